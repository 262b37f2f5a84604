"""Writing what experiments show: all presentations of one stage."""

from pathlib import Path
from typing import Literal

from gradleak.errors import UserError
from gradleak.files import atomic
from gradleak.tables.plan import Experiment, StudyData
from gradleak.tables.spec import PRESENTATIONS, output_names

Stage = Literal["tables", "figures"]


def write_stage(
    stage: Stage, experiments: dict[str, Experiment], names: tuple[str, ...], data: StudyData, out: Path
) -> list[Path]:
    """Write what the named experiments (all where none is named) show in one stage; returns the paths.

    Each experiment's files are rendered before the first of them is written, and each file replaces its
    predecessor in one step, so that an error leaves what was there before. Raises UserError for an
    unknown name, a named experiment that shows nothing in this stage, and data that lack what a spec names.
    """
    for name in names:
        if name not in experiments:
            raise UserError(f"unknown experiment '{name}'; known: {', '.join(experiments)}")
        if not stage_files(stage, experiments[name]):
            raise UserError(f"experiment '{name}' shows no {stage}")
    paths: list[Path] = []
    for name in names or experiments:
        for file, content in render_stage(stage, experiments[name], data).items():
            with atomic(out / file) as temporary:
                temporary.write_bytes(content)
            paths.append(out / file)
    return paths


def stage_files(stage: Stage, experiment: Experiment) -> list[str]:
    """Names of the files that an experiment has in one stage, without rendering them."""
    written = output_names(experiment.name, experiment.show, f"experiment '{experiment.name}'")
    pairs = zip(experiment.show, written, strict=True)
    return [file for spec, files in pairs if PRESENTATIONS[spec.kind].stage == stage for file in files]


def render_stage(stage: Stage, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
    """Content of every file that an experiment has in one stage, keyed by file name."""
    content: dict[str, bytes] = {}
    written = output_names(experiment.name, experiment.show, f"experiment '{experiment.name}'")
    for spec, names in zip(experiment.show, written, strict=True):
        kind = PRESENTATIONS[spec.kind]
        if kind.stage == stage:
            files = kind.render(spec, experiment, data)
            content |= {name: files[end] for name, end in zip(names, kind.endings, strict=True)}
    return content
