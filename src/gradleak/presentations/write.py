"""Writes what experiments show: the files of all presentations of one stage."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from gradleak.analysis.experiment import StudyData
from gradleak.errors import UserError
from gradleak.files import write_bytes
from gradleak.presentations.base import Presentation, Stage
from gradleak.presentations.read import ShownExperiment


def write_stage(
    stage: Stage, experiments: dict[str, ShownExperiment], names: tuple[str, ...], data: StudyData, out: Path
) -> list[Path]:
    """Write what the named experiments (all where none is named) show in one stage; returns the paths.

    Each experiment's files are rendered before the first of them is written, and each file replaces its predecessor in
    one step, so that an error leaves what was there before. Where none is named, what needs images and has none is left
    out (`left_out`). Raises UserError for an unknown name, a named experiment that shows nothing in this stage, and
    data that lack what an entry names.
    """
    for name in names:
        if name not in experiments:
            raise UserError(f"unknown experiment '{name}'; known: {', '.join(experiments)}")
        if not stage_files(stage, experiments[name]):
            raise UserError(f"experiment '{name}' shows no {stage}")
    paths: list[Path] = []
    chosen = {name: experiments[name] for name in names} or _drawable(experiments, data)
    for experiment in chosen.values():
        for file, content in render_stage(stage, experiment, data).items():
            write_bytes(out / file, content)
            paths.append(out / file)
    return paths


def left_out(stage: Stage, experiments: dict[str, ShownExperiment], data: StudyData) -> list[str]:
    """Names of the files of one stage that need images, where the data have none of the experiment's cells."""
    drawable = _drawable(experiments, data)
    return [
        file
        for name, experiment in experiments.items()
        for file in stage_files(stage, experiment)
        if file not in stage_files(stage, drawable[name])
    ]


def _drawable(experiments: dict[str, ShownExperiment], data: StudyData) -> dict[str, ShownExperiment]:
    return {name: drawable(each, data.images is not None, data.reused) for name, each in experiments.items()}


def drawable(experiment: ShownExperiment, images: bool, reused: Collection[str]) -> ShownExperiment:
    """The experiment without what needs images, if there are none of its cells: see `has_pictures`."""
    if has_pictures(experiment, images, reused):
        return experiment
    return replace(experiment, show=tuple(entry for entry in experiment.show if not entry.needs_images))


def has_pictures(experiment: ShownExperiment, images: bool, reused: Collection[str]) -> bool:
    """Whether there are pictures of a cell; `images`: of the study at all; `reused`: cells of archives, without any."""
    return images and not experiment.cells["cell_id"].isin(reused).all()


def stage_files(stage: Stage, experiment: ShownExperiment) -> list[str]:
    """Names of the files that an experiment has in one stage, without rendering them."""
    return [file for entry in _entries(stage, experiment) for file in entry.files(experiment.name)]


def render_stage(stage: Stage, experiment: ShownExperiment, data: StudyData) -> dict[str, bytes]:
    """Content of every file that an experiment has in one stage, keyed by file name."""
    content: dict[str, bytes] = {}
    for entry in _entries(stage, experiment):
        try:
            rendered = entry.render(experiment, data)
        except ValueError as error:
            if isinstance(error, UserError) or "Parse" not in str(error):
                raise
            reason = str(error).strip().splitlines()[-1]  # of matplotlib's reader of mathematics
            raise UserError(
                f"experiment '{experiment.name}': a text between dollar signs cannot be set as mathematics ({reason})"
            ) from None
        content |= {entry.stem(experiment.name) + ending: rendered[ending] for ending in entry.endings}
    return content


def _entries(stage: Stage, experiment: ShownExperiment) -> list[Presentation]:
    return [entry for entry in experiment.show if entry.stage == stage]
