"""What a study file may say, and `experiments.yaml` beside the studies: validated, not yet expanded."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from gradleak.documents import read_yaml
from gradleak.errors import UserError
from gradleak.frozen import Frozen, Scalar
from gradleak.names import check_texts


class Trials(Frozen):
    """Which victims: trial i of `count` attacks the N test images from index first + i N on.

    Each trial is run with `seeds` different seeds. With `wrap`, indices go on from 0 where
    the split ends, so that large batches of a small victim set can have several trials.
    """

    count: int = Field(1, ge=1)
    seeds: int = Field(1, ge=1)
    first: int = Field(0, ge=0)
    wrap: int | None = Field(None, ge=1)


class Point(Frozen):
    """One point of an axis: cell keys to set (dotted paths) and labels for tables and figures."""

    model_config = ConfigDict(allow_inf_nan=True)  # of labels: an epsilon may be infinite

    set: dict[str, Any] = Field({})
    labels: dict[str, Scalar] = Field({})


class LabelledAxis(Frozen):
    """An axis whose values have names: a point's `label` is the name, and each of `keys` is set to the value.

    The value null sets nothing: the point is what the block is without this axis.
    """

    model_config = ConfigDict(allow_inf_nan=True)  # as of a point

    label: str
    keys: list[str] = Field(min_length=1)
    values: dict[Scalar, Any]

    def points(self) -> list[Point]:
        """The axis as a list of points."""
        return [
            Point(set={} if value is None else dict.fromkeys(self.keys, value), labels={self.label: name})
            for name, value in self.values.items()
        ]


def _form(axis: object) -> str:
    if isinstance(axis, dict):
        return "labelled" if "label" in axis else "values"
    return "name" if isinstance(axis, str) else "points"


_FORMS = "{key: [values]}, {label: ..., keys: [...], values: {name: value}} or a list of points"
_Written = (
    Annotated[dict[str, list[Any]], Tag("values")]
    | Annotated[LabelledAxis, Tag("labelled")]
    | Annotated[list[Point], Tag("points")]
)
#: An axis that has a name.
NamedAxis = Annotated[_Written, Discriminator(_form, "axis", f"must be {_FORMS}")]
#: An axis of a block: as above, or the name of one.
Axis = Annotated[_Written | Annotated[str, Tag("name")], Discriminator(_form)]


class Block(Point):
    """A product of axes over a base. What it leaves out of `axes` and `trials` is the experiment's."""

    axes: list[Axis] | None = None
    trials: Trials | None = None


class ExperimentSpec(Block):
    """What one table or figure of the paper needs, and how it is shown; `note`: how it differs from the paper's.

    `baseline` tells the cells in which nothing protects yet (`gradleak.analysis.experiment.Baseline`). `cells` lists
    its blocks. What the experiment sets itself holds for all of them, under what they set.
    """

    title: str
    paper: str
    note: str = ""
    baseline: dict[str, Any] | None = None
    cells: list[Block] = Field([Block()])
    show: list[dict[str, Any]]


class Jobs(Frozen):
    """How a study's attacks are cut into jobs, where the settings do not say.

    `minutes`: about how many each shall take. `device`: where, if the settings leave the device to the machine.
    """

    minutes: float = Field(5.0, gt=0)
    device: Literal["cpu", "cuda"] | None = None


class StudySpec(Frozen):
    """The content of a study file; `note`: what is smaller than in the paper, for readers of its results.

    `axes` are axes by name, for all blocks; they come before those of `experiments.yaml`.
    """

    title: str
    note: str = ""
    defaults: dict[str, Any]
    trials: Trials = Trials()
    jobs: Jobs = Jobs()
    axes: dict[str, NamedAxis] = Field({})
    experiments: dict[str, ExperimentSpec] = Field(min_length=1)


class _Words(Frozen):
    title: str
    paper: str
    show: list[dict[str, Any]]
    baseline: dict[str, Any] | None = None


class _Shared(Frozen):
    """The content of `experiments.yaml`: what the studies beside it share."""

    axes: dict[str, NamedAxis] = Field({})
    experiments: dict[str, _Words] = Field({})


def read_study(path: Path) -> StudySpec:
    """Read a study file, and under it what `../experiments.yaml` says of its experiments, if there is such a file.

    Raises UserError naming the file, the experiment and the key.
    """
    content = read_yaml(path)
    check_texts(content, f"{path}: study")
    beside = Path(os.path.normpath(path.parent / ".." / "experiments.yaml"))
    if beside.exists():
        shared = read_yaml(beside)
        _Shared.parse(shared, str(beside))
        content = _completed(content, shared, path, beside)
    return StudySpec.parse(content, str(path))


def _completed(study: dict[str, Any], shared: dict[str, Any], path: Path, beside: Path) -> dict[str, Any]:
    """A study's content with the shared axes and words under its own; what is not as it should be is left alone."""
    axes, experiments = study.get("axes", {}), study.get("experiments")
    if not isinstance(axes, dict) or not isinstance(experiments, dict):
        return study
    known = shared.get("experiments", {})
    completed = {}
    for name, own in experiments.items():
        where = f"{path}: experiments.{name}"
        if not isinstance(own, dict):
            completed[name] = own
        elif name in known:
            completed[name] = known[name] | own | {"show": _shown(known[name]["show"], own.get("show", {}), where)}
        elif own.keys() >= {name for name, key in _Words.model_fields.items() if key.is_required()}:
            completed[name] = own
        else:
            raise UserError(
                f"{where}: must give title, paper and show: {beside} has no such experiment; known: {', '.join(known)}"
            )
    return study | {"axes": shared.get("axes", {}) | axes, "experiments": completed}


def _shown(shared: list[dict[str, Any]], own: object, where: str) -> object:
    """What an experiment shows: a list replaces what is shared; a mapping by kind changes keys of it, or adds to it."""
    if not isinstance(own, dict):
        return own
    shown = [dict(entry) for entry in shared]
    for kind, keys in own.items():
        if not isinstance(keys, dict):
            raise UserError(f"{where}.show.{kind}: must be a mapping of keys to change (found {keys!r})")
        same = [entry for entry in shown if entry.get("kind") == kind]
        if len(same) > 1:
            raise UserError(f"{where}.show.{kind}: {len(same)} of this kind are shown; give all of show as a list")
        if not same:
            shown.append({"kind": kind})
        (same or shown)[-1].update(keys)
    return shown
