"""What a metric is, the registry of metrics, and the scoring of matched images by all of them."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from gradleak.registry import Registry

PerImage = Callable[[Tensor, Tensor], Tensor]
"""Takes truth and reconstruction, each (n, 3, h, w) in [0, 1]; returns one float per image, shape (n,)."""

Measure = Callable[[Tensor, Tensor], Mapping[str, Tensor]]
"""As `PerImage`, for several columns at once: column name -> one float per image, shape (n,)."""


@dataclass(frozen=True)
class Column:
    """One column of the results.

    `label` names it in tables and on axes, with its unit. `better` says which direction means a closer
    reconstruction, hence more leakage (`neither`: it says nothing of the reconstruction). `of`: what it measures, the
    pair of whole images, a region of both, or the truth alone. `digits`: after the point in tables.
    """

    label: str
    better: Literal["lower", "higher", "neither"]
    of: Literal["image", "region", "truth"] = "image"
    digits: int = 4


@dataclass(frozen=True)
class Metric:
    """Per-image measures that are computed together, each a column of the results.

    `factory` takes the cache folder, where weights of a network may lie, and returns the function that computes
    exactly the named `columns`. See `one_column` for a metric with a single one.
    """

    columns: Mapping[str, Column]
    factory: Callable[[Path], Measure]


METRICS: Registry[Metric] = Registry("metric", "gradleak.metrics")


def one_column(
    name: str,
    label: str,
    better: Literal["lower", "higher"],
    factory: Callable[[Path], PerImage],
    digits: int = 4,
) -> Metric:
    """A metric whose only column is `name`: a similarity measure of whole images. Arguments as in `Metric`."""

    def named(cache: Path) -> Measure:
        function = factory(cache)
        return lambda truth, reconstructed: {name: function(truth, reconstructed)}

    return Metric({name: Column(label, better, digits=digits)}, named)


def columns() -> dict[str, Column]:
    """The columns of all registered metrics. Raises ValueError where two metrics have one of the same name."""
    found: dict[str, Column] = {}
    for metric in METRICS:
        twice = sorted(found.keys() & METRICS[metric].columns.keys())
        if twice:
            raise ValueError(f"metric '{metric}': another metric has the column '{twice[0]}', too")
        found |= METRICS[metric].columns
    return found


def described() -> dict[str, dict[str, object]]:
    """The columns as `plan.json` holds them, for the stages that print values: they import no metric and no torch."""
    return {name: asdict(column) for name, column in columns().items()}


class Scorer:
    """All registered metrics, loaded once. Raises UserError where `cache` lacks the weights of one."""

    def __init__(self, cache: Path) -> None:
        self._columns = columns()
        self._measures = [METRICS[name].factory(cache) for name in METRICS]

    def __call__(self, truth: Tensor, reconstructed: Tensor) -> dict[str, Tensor]:
        """Score `reconstructed[i]` against `truth[i]`, both (n, 3, h, w) in [0, 1]: column -> (n,) float64.

        The caller matches the images first (`gradleak.metrics.matching`). Raises ValueError for images of
        other shapes, outside [0, 1] or not finite.
        """
        check_pair(truth, reconstructed)
        found = {name: values for measure in self._measures for name, values in measure(truth, reconstructed).items()}
        return {name: found[name].double().cpu() for name in self._columns}


def score(truth: Tensor, reconstructed: Tensor, cache: Path) -> dict[str, Tensor]:
    """Score once by the columns that measure whole images. See `Scorer`, which has all of them and is the choice for
    more than one call.
    """
    known = columns()
    values = Scorer(cache)(truth, reconstructed)
    return {name: value for name, value in values.items() if known[name].of == "image"}


def check_pair(truth: Tensor, reconstructed: Tensor) -> None:
    """Raise ValueError unless both are (n, 3, h, w), of one shape, finite and in [0, 1]."""
    if truth.shape != reconstructed.shape or truth.dim() != 4 or truth.shape[1] != 3:
        raise ValueError(
            f"images are {tuple(truth.shape)} and {tuple(reconstructed.shape)}, allowed: both (n, 3, h, w)"
        )
    for name, images in (("truth", truth), ("reconstruction", reconstructed)):
        # Written so that not-a-number fails too.
        if not bool(((images >= 0) & (images <= 1)).all()):
            raise ValueError(f"{name}: values must be in [0, 1], found {images.min():g} to {images.max():g}")
