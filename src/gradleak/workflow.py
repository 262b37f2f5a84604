"""Answers what the Snakefile asks: the plan, the names of all files, code inputs, and resources."""

import contextlib
import sys
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from gradleak.auxiliary.base import AUXILIARIES, Auxiliary
from gradleak.claims.base import STATISTICS
from gradleak.claims.ledger import LEDGER
from gradleak.data.base import DATASETS
from gradleak.errors import UserError
from gradleak.metrics.backbone import WEIGHTS
from gradleak.metrics.base import METRICS
from gradleak.models.base import MODELS
from gradleak.pipeline.code import code_files, resource_files
from gradleak.pipeline.jobs import gpu_job, work
from gradleak.pipeline.plan_file import check_folder, former_plan, own_plan
from gradleak.pipeline.progress import Work
from gradleak.pipeline.slurm import cancel_orphans, status_command
from gradleak.pipeline.stages import FORMER_RULES, GONE_RULES, STAGES
from gradleak.planned import plan_run
from gradleak.post_processing.chain import origins
from gradleak.presentations.base import PRESENTATIONS
from gradleak.presentations.read import ShownExperiment, parse_experiment
from gradleak.presentations.write import drawable, stage_files
from gradleak.specs import DatasetSpec
from gradleak.study.cell import Cell
from gradleak.study.config import Config
from gradleak.study.expand import run_name
from gradleak.study.outline import Outline
from gradleak.study.plan import Plan
from gradleak.study.reused import reused_cells


class Workflow:
    """A study's plan as Snakemake's rules need it. Raises UserError for a cache whose name Snakemake cannot take."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.name = plan.study
        self.threads = plan.config.threads
        self.backbone = str(plan.config.cache / WEIGHTS)
        if {"{", "}"} & set(self.backbone):
            raise UserError(
                f"cache: '{plan.config.cache}' has braces, which Snakemake reads as wildcards; choose another"
            )
        self.gpus = 0 if plan.config.device == "cpu" else 1

    @classmethod
    def load(cls, config: dict[str, Any]) -> "Workflow":
        """Validate a config, expand its study and plan it. Raises UserError with one line on bad input."""
        planned = plan_run(Config.parse(config, "config.yaml"))
        for line in planned.lines:
            print(f"gradleak: {line}", file=sys.stderr)
        return cls(planned.plan)

    @classmethod
    def read(cls, config: dict[str, Any], results: Path) -> "Workflow":
        """The plan that `start` wrote under `results`. Raises UserError where it is missing.

        For the processes in which Snakemake runs a job of a run that goes on: to plan again takes each of them seconds,
        and an edit of the study meanwhile would give them another plan.
        """
        parsed = Config.parse(config, "config.yaml")
        return cls(Plan.read(results / run_name(parsed.study, parsed.run) / "plan.json"))

    def check(self, results: Path) -> None:
        """Check that the study's folder under `results` can hold its results; see `check_folder`. Changes nothing."""
        check_folder(self.plan, results / self.name)

    def start(self, results: Path, figures: Path, slurm: Any = None) -> None:
        """What the run that owns Snakemake's lock does before its first job.

        Writes the plan, and removes tables and figures that the plan before had and this one has not. `slurm`: the
        settings of Snakemake's executor plugin where jobs are submitted; another plugin's are left alone. Raises
        UserError as `own_plan` and `status_command` do.
        """
        folder = results / self.name
        former = former_plan(folder)
        alone = own_plan(self.plan, folder)
        if slurm is not None:
            if alone:
                _cancel_orphans([self.plan, former or self.plan], folder)
            _ask_who_answers(slurm)
        names = sorted(_files_of(former) - _files_of(self.plan)) if former else []
        gone = [path for name in names if (path := figures / self.name / name).is_file()]
        for path in gone:
            path.unlink()
        if gone:
            print(f"gradleak: removed what is no longer shown: {', '.join(map(str, gone))}", file=sys.stderr)

    def work(self, jobs: Iterable[Any], results: Path) -> Work:
        """What the run has to do, of Snakemake's jobs, for whoever shows how far it is."""
        return work(self.plan, [(job.rule.name, job.wildcards_dict) for job in jobs], results / self.name)

    @cached_property
    def _experiments(self) -> list[ShownExperiment]:
        return [
            parse_experiment(name, content, f"study '{self.name}'") for name, content in self.plan.experiments.items()
        ]

    @cached_property
    def digest(self) -> str:
        """Digest of the whole plan: what is collected and shown is made again where it changes."""
        return self.plan.digest

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that decide bits: a job whose numbers they decide runs again where one changes."""
        return self.plan.config.numerics

    @cached_property
    def archives(self) -> list[str]:
        """Folders of the archives that hold cells of the study."""
        return [entry.archive for entry in self.plan.reused]

    @cached_property
    def tables(self) -> list[str]:
        """Names of all table files."""
        return [file for experiment in self._experiments for file in stage_files("tables", experiment)]

    @cached_property
    def figures(self) -> list[str]:
        """Names of all figure files: galleries only where a cell's pictures are there."""
        reused = reused_cells(self.plan.reused)
        found = [drawable(experiment, bool(self.plan.batches), reused) for experiment in self._experiments]
        return [file for experiment in found for file in stage_files("figures", experiment)]

    @cached_property
    def sheets(self) -> list[str]:
        """Names of the pictures of all auxiliary models' samples."""
        return [f"auxiliary_{name}.png" for name in self.plan.shown_auxiliaries]

    @cached_property
    def urgency(self) -> dict[str, float]:
        """Priorities of jobs by the ids of batches, checkpoints and auxiliary models: what long attacks need is first.

        Estimated seconds of the longest attack of a batch that is it or needs it.
        """
        found: dict[str, float] = {}
        for batch in self.plan.batches.values():
            for name in (batch.id, *batch.checkpoints, *batch.auxiliaries):
                found[name] = max(found.get(name, 0.0), batch.seconds)
        return found

    def minutes(self, rule: str, name: str) -> int:
        """Minutes that a job with a GPU may take at its first attempt; `name` is the id of what it computes."""
        return gpu_job(self.plan, rule, name).limit_min

    def pretrain_code(self, auxiliary: str) -> list[str]:
        """Files that training an auxiliary model runs."""
        return code_files(["gradleak.stages.pretrain", *_auxiliary_modules(self.plan.auxiliaries[auxiliary])])

    def show_code(self) -> list[str]:
        """Files that measuring and drawing all auxiliary models runs."""
        modules = [module for config in self.plan.auxiliaries.values() for module in _auxiliary_modules(config)]
        return code_files(["gradleak.stages.pretrain", *modules])

    def federate_code(self, training: str) -> list[str]:
        """Files that a federated training runs."""
        cell = self.plan.training_cell(training)
        assert cell.model.training is not None
        modules = [MODELS.origin(cell.model.name), *_data_modules(cell.training_data)]
        return code_files(["gradleak.stages.federate", *modules, *origins(cell.model.training.post_processing)])

    def datasets(self, batch: str) -> list[str]:
        """Names of the data sets whose images the cells of a batch attack."""
        return sorted({cell.dataset.name for cell in self.plan.batch_cells(batch)})

    def smoothness_code(self, batch: str) -> list[str]:
        """Files that measuring the cells of a batch runs."""
        return code_files(["gradleak.stages.smoothness", *self._models_and_data(batch)])

    def memory_mb(self, batch: str) -> int:
        """Memory of an attack job, for the largest resolution of its cells."""
        highest = max(cell.dataset.resolution for cell in self.plan.batch_cells(batch))
        return 8000 if highest <= 64 else 16000

    def data_code(self) -> list[str]:
        """Files that opening and describing data sets runs."""
        return code_files(["gradleak.stages.data", *map(DATASETS.origin, DATASETS)])

    def update_code(self, batch: str) -> list[str]:
        """Files that computing a batch's updates runs."""
        return code_files(["gradleak.stages.update", *self._models_and_data(batch), *self._defenses(batch)])

    def reconstruct_code(self, batch: str) -> list[str]:
        """Files that attacking a batch runs: its own attacks, objectives, priors and defenses, not all there are."""
        attacks = [module for cell in self.plan.batch_cells(batch) for module in cell.attack.origins()]
        modules = [*attacks, *self._models_and_data(batch), *self._defenses(batch)]
        return code_files(["gradleak.stages.reconstruct", *modules])

    def score_code(self) -> list[str]:
        """Files that scoring runs: all metrics."""
        return code_files(["gradleak.stages.score", *map(METRICS.origin, METRICS)])

    def collect_code(self) -> list[str]:
        """Files that joining shards runs."""
        return code_files(["gradleak.stages.collect"])

    def table_code(self) -> list[str]:
        """Files that writing tables runs, and the published values."""
        return code_files(["gradleak.presentations.write", *self._kinds("tables")]) + resource_files("published")

    def figure_code(self) -> list[str]:
        """Files that drawing figures runs."""
        return code_files(["gradleak.presentations.write", *self._kinds("figures")])

    def claim_code(self) -> list[str]:
        """Files that judging claims runs, the ledger, and the published values."""
        kinds = [*map(PRESENTATIONS.origin, PRESENTATIONS), *map(STATISTICS.origin, STATISTICS)]
        code = code_files(["gradleak.claims.report", "gradleak.claims.verdict", *kinds])
        return code + resource_files("published") + resource_files(".", LEDGER)

    def theory_code(self) -> list[str]:
        """Files that the theory experiments run; their images are of photos10, whatever the study."""
        return code_files(["gradleak.theory.outputs", DATASETS.origin("photos10")])

    def survey_code(self) -> list[str]:
        """Files that the survey's table and figures run, and the survey itself."""
        return code_files(["gradleak.survey.outputs"]) + resource_files("survey", "*.yaml")

    def report_code(self) -> list[str]:
        """Files that writing the report runs, with its template, style and script, and the published values."""
        code = code_files(["gradleak.report.page", *map(PRESENTATIONS.origin, PRESENTATIONS)])
        return code + resource_files("report", "report.*") + resource_files("published")

    def _models_and_data(self, batch: str) -> list[str]:
        return [module for cell in self.plan.batch_cells(batch) for module in _model_and_data(cell)]

    def _defenses(self, batch: str) -> list[str]:
        return [module for cell in self.plan.batch_cells(batch) for module in origins(cell.post_processing)]

    def _kinds(self, stage: str) -> list[str]:
        shown = [entry for experiment in self._experiments for entry in experiment.show if entry.stage == stage]
        return [PRESENTATIONS.origin(entry.kind) for entry in shown]


def take_former_names(settings: MutableMapping[str, Any]) -> None:
    """Gives the settings that a profile has for rules under former names to the rules of today, and says so.

    A rule of one training has its id behind the name. What is set under today's name wins. What is set for a rule that
    is gone is left out.
    """
    for name in list(settings):
        if name in GONE_RULES:
            del settings[name]
            print(f"gradleak: there is no rule '{name}' any more: what is set for it is left out", file=sys.stderr)
            continue
        former = next((known for known in FORMER_RULES if name == known or name.startswith(f"{known}_")), None)
        if former is not None:
            rule = FORMER_RULES[former] + name.removeprefix(former)
            own = settings.pop(name)
            # Resources are mappings, threads are numbers.
            both = rule in settings and isinstance(own, Mapping)
            settings[rule] = type(own)({**own, **settings[rule]}) if both else settings.get(rule, own)
            print(f"gradleak: the rule '{name}' is now '{rule}'; the old name goes with version 0.2", file=sys.stderr)


def _cancel_orphans(plans: Sequence[Plan | Outline], results: Path) -> None:
    """Cancel the SLURM jobs of some plans that a run which has ended left in this folder, and say so."""
    # As Snakemake's plugin writes comments: of rules with a wildcard, and of those of one training.
    files = {
        f"rule_{stage.rule}_{before}{name}": results / stage.output.format(name) if stage.output else None
        for plan in plans
        for stage in STAGES
        if not stage.local
        for name in stage.ids(plan)
        for before in ("wildcards_", "")
    }
    found = cancel_orphans(Path.cwd(), files)
    if found:
        print(f"Cancelled SLURM jobs of an earlier run: {', '.join(found)}", file=sys.stderr)


def _ask_who_answers(settings: Any) -> None:
    """Let Snakemake's plugin for SLURM ask for the state of jobs what can answer."""
    if getattr(settings, "status_command", "squeue") != "squeue":
        settings.status_command, reason = status_command()
        if reason:
            print(f"gradleak: this cluster keeps no accounts ({reason}); squeue is asked instead", file=sys.stderr)


def _files_of(plan: Plan | Outline) -> set[str]:
    """Names of the files that a plan's experiments and auxiliary models show; none of what can no longer be read."""
    found: set[str] = set()
    for name, content in plan.experiments.items():
        with contextlib.suppress(UserError):
            experiment = parse_experiment(name, content, "plan.json")
            found |= {*stage_files("tables", experiment), *stage_files("figures", experiment)}
    return found


def _auxiliary_modules(auxiliary: Auxiliary) -> list[str]:
    return [AUXILIARIES.origin(auxiliary.name), *_data_modules(auxiliary.dataset)]


def _model_and_data(cell: Cell) -> list[str]:
    return [MODELS.origin(cell.model.name), *_data_modules(cell.dataset)]


def _data_modules(dataset: DatasetSpec) -> list[str]:
    return [DATASETS.origin(name) for name in (dataset.name, dataset.labels_of) if name in DATASETS]
