"""The table of stages: what each is called, what it computes of a plan, what it writes, and what it needs.

One vocabulary: a stage's name is its command, its module in `gradleak.stages` and its part of an archive. Its rule is a
verb and what one job is about. Workflow, jobs, status, archives, report and command line read this table.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradleak.study.outline import Outline
    from gradleak.study.plan import Plan


@dataclass(frozen=True)
class Stage:
    """A kind of job.

    name: of its command. rule: of Snakemake. title: what it does, in a few words. group: a key of `GROUPS`. ids: what
    its jobs compute of a plan, a job each. The job of a whole study has the id `""`, or the study's name where a
    cluster may run it. needs: rules whose files it reads. output: its file under `results/<study>`, with `{}` for the
    id. Empty where it lies elsewhere or has more to its name. gpu: whether it asks for a GPU. local: whether Snakemake
    runs it itself instead of submitting it. kept: whether archives keep the provenance of its jobs. temporary: whether
    its file is removed once it was used.
    """

    name: str
    rule: str
    title: str
    group: str
    ids: Callable[["Plan | Outline"], Collection[str]]
    needs: tuple[str, ...] = ()
    output: str = ""
    gpu: bool = False
    local: bool = False
    kept: bool = False
    temporary: bool = False


#: What stages belong to, in words.
GROUPS = {
    "data": "data",
    "client": "server and clients",
    "adversary": "adversary",
    "measured": "measurement",
    "shown": "tables, figures, claims",
}


def _once(plan: "Plan | Outline") -> Collection[str]:
    return [""]


def _shown(name: str, title: str, *needs: str) -> Stage:
    return Stage(name, name, title, "shown", _once, needs, local=True)


STAGES = (
    Stage(
        *("data", "fetch_data", "list, look at and download data sets", "data"),
        ids=lambda plan: plan.datasets,
        output="data/{}.json",
        local=True,
    ),
    Stage(
        *("data", "fetch_lpips", "download the backbone of LPIPS", "data"),
        ids=lambda plan: [""] if plan.batches or plan.auxiliaries else [],
        local=True,
    ),
    Stage(
        *("federate", "federate_training"),
        *("federated training: global models of later rounds as checkpoints", "client"),
        ids=lambda plan: plan.trainings,
        needs=("fetch_data",),
        output="trainings/{}.parquet",
        gpu=True,
        kept=True,
    ),
    Stage(
        *("pretrain", "pretrain_auxiliary"),
        *("generators and enhancement networks that adversaries train on public images", "adversary"),
        ids=lambda plan: plan.auxiliaries,
        needs=("fetch_data",),
        output="auxiliary/{}.safetensors",
        gpu=True,
        kept=True,
    ),
    Stage(
        *("update", "compute_updates", "local training of the victim clients: what the server sees", "client"),
        ids=lambda plan: plan.batches,
        needs=("fetch_data", "federate_training"),
        output="updates/{}.safetensors",
        kept=True,
        temporary=True,
    ),
    Stage(
        *("smoothness", "measure_smoothness"),
        *("IGSA of the attacked models, for the cells that ask for it", "client"),
        ids=lambda plan: plan.smoothness_batches,
        needs=("fetch_data", "federate_training"),
        output="smoothness/{}.parquet",
        gpu=True,
        kept=True,
    ),
    Stage(
        *("reconstruct", "reconstruct_batch", "run the attacks of a batch on the shared updates", "adversary"),
        ids=lambda plan: plan.batches,
        needs=("compute_updates", "federate_training", "pretrain_auxiliary"),
        output="reconstructions/{}.safetensors",
        gpu=True,
        kept=True,
    ),
    Stage(
        *("pretrain", "show_auxiliaries", "how good auxiliary models are, in numbers and pictures", "adversary"),
        ids=lambda plan: [plan.study] if plan.auxiliaries else [],
        needs=("pretrain_auxiliary", "fetch_lpips"),
    ),
    Stage(
        *("score", "score_batch", "match reconstructions to victims and measure them", "measured"),
        ids=lambda plan: plan.batches,
        needs=("reconstruct_batch", "fetch_lpips"),
        output="shards/{}.parquet",
        kept=True,
    ),
    Stage(
        *("collect", "collect_results", "join the shards of all batches", "measured"),
        ids=_once,
        needs=("score_batch", "measure_smoothness", "federate_training"),
        output="results.parquet",
        local=True,
    ),
    Stage(
        *("collect", "collect_images", "join the pictures of all batches", "measured"),
        ids=lambda plan: [""] if plan.batches else [],
        needs=("score_batch",),
        output="images.parquet",
        local=True,
    ),
    _shown("tables", "tables as CSV and LaTeX", "collect_results"),
    _shown("figures", "figures and galleries as PDF and PNG", "collect_results", "collect_images"),
    _shown("theory", "the paper's lemma and theorems as numerical experiments, Figure 3"),
    _shown("survey", "Table 7 and Figures 1, 2 and 8"),
    _shown(
        *("claims", "which of the paper's findings the results support; its numbers beside ours"),
        *("collect_results", "theory"),
    ),
    _shown(
        *("report", "all of it as one HTML file, with provenance, the graph of rules and run times"),
        *("tables", "figures", "claims", "theory", "survey", "show_auxiliaries", "collect_results"),
    ),
)

#: What the command of a stage does: the words of its first rule.
TITLES: dict[str, str] = {}
for _stage in STAGES:
    TITLES.setdefault(_stage.name, _stage.title)
#: Stages by rule, and those whose jobs' provenance archives keep by name.
RULES = {stage.rule: stage for stage in STAGES}
KEPT = {stage.name: stage for stage in STAGES if stage.kept}

# Former names, until version 0.2: commands and settings of rules are taken under them, and archives are read.
FORMER_COMMANDS = {"train": "checkpoint"}
FORMER_RULES = {
    "show_auxiliary": "show_auxiliaries",
    "train_federated": "federate_training",
    "train_auxiliary": "pretrain_auxiliary",
    "run_attack": "reconstruct_batch",
}
GONE_RULES = ("write_checkpoint", "train_checkpoint")  # untrained models are no jobs any more
FORMER_KEPT = {"attack": "reconstruct", "measure": "smoothness", "train": "federate"}
