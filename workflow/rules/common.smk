"""Paths and lists that the rules share; all logic is in the package."""

from pathlib import Path

from gradleak.documents import read_yaml
from gradleak.errors import UserError
from gradleak.pipeline.stages import RULES
from gradleak.place import check_place
from gradleak.workflow import Workflow, take_former_names

try:
    check_place(Path(workflow.basedir))
    for path in workflow.configfiles:
        read_yaml(Path(path))  # Snakemake has read it, and of a key that is there twice takes the last
    # Each SLURM job is a Snakemake process of its own: it takes the plan of the run that it is part of.
    STUDY = Workflow.load(config) if workflow.is_main_process else Workflow.read(config, Path("results"))
    if workflow.is_main_process:
        STUDY.check(Path("results"))
except UserError as error:
    raise WorkflowError(str(error)) from None

take_former_names(workflow.resource_settings.overwrite_resources)
take_former_names(workflow.resource_settings.overwrite_threads)
RESULTS = f"results/{STUDY.name}"
FIGURES = f"paper_figures/{STUDY.name}"
# Written by the run that owns Snakemake's lock, when it starts, and no file of any rule: what is named by an id is the
# same in every plan that has it. What depends on the plan as a whole has its digest as a parameter.
PLAN = f"{RESULTS}/plan.json"
OUTPUTS = [f"{FIGURES}/{name}" for name in STUDY.tables + STUDY.figures + STUDY.sheets]


wildcard_constraints:
    batch="[0-9a-f]{16}",
    auxiliary="[0-9a-f]{16}",
    study="[^/]+",


def result(rule, name):
    """The file that a rule's job writes of what has this name, as the table of stages says."""
    return f"{RESULTS}/{RULES[rule].output.format(name)}"


def weights(checkpoint):
    """The file of a checkpoint that a training writes."""
    return f"{RESULTS}/checkpoints/{checkpoint}.safetensors"


def checkpoints(wildcards):
    """The checkpoints that a batch attacks, but for those of round 0: each job makes untrained models itself."""
    return [weights(name) for name in STUDY.plan.trained(wildcards.batch)]


def datasets(wildcards):
    """The data sets whose images a batch attacks."""
    return [result("fetch_data", name) for name in STUDY.datasets(wildcards.batch)]


def auxiliaries(wildcards):
    """The models trained on public images that the attacks of a batch use."""
    return [result("pretrain_auxiliary", name) for name in STUDY.plan.batches[wildcards.batch].auxiliaries]


def grown(value):
    """A resource that doubles on every retry."""
    return lambda wildcards, attempt: value * 2 ** (attempt - 1)


def minutes(rule, wildcard):
    """Time limit of a job with a GPU: twice its estimate and some minutes, doubled on every retry."""
    return lambda wildcards, attempt: STUDY.minutes(rule, wildcards[wildcard]) * 2 ** (attempt - 1)


def memory(wildcards, attempt):
    """Memory of an attack job, doubled on every retry."""
    return STUDY.memory_mb(wildcards.batch) * 2 ** (attempt - 1)


def folder_option(name, files):
    """The words of an option that names the folder of some files; none where there are none."""
    return [f"--{name}", str(Path(files[0]).parent)] if files else []
