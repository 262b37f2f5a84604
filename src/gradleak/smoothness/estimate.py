"""An estimate of IGSA: the inverse of a mean, with its standard error and a 95 % interval."""

import math
from dataclasses import dataclass

from scipy.stats import t as student
from torch import Tensor

from gradleak.errors import UserError

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """IGSA from K = `samples` draws: the inverse of a mean norm, in the inverse unit of the gradient, > 0.

    `standard_error` is the inverse mean's by the delta method, se(mean) / mean^2. [`low`, `high`] is the 95 % interval:
    Student's interval of the mean, inverted; `high` is infinite where that interval reaches 0.
    """

    igsa: float
    standard_error: float
    low: float
    high: float
    samples: int

    @property
    def relative_error(self) -> float:
        """Standard error over IGSA; by the delta method it is that of the mean, too."""
        return self.standard_error / self.igsa


def estimate_of(norms: Tensor) -> Estimate:
    """The estimate from independent norms (K,) float64, K >= 2.

    The inverse of a mean is biased by about the squared relative error, which is left: 0.0001 of the value at 1 %.
    Raises UserError where IGSA is not a number: gradients that are not finite, or do not change at all.
    """
    samples, mean = len(norms), norms.mean().item()
    if not math.isfinite(mean):
        raise UserError("IGSA: the gradient around these images is not finite; the model or the radius is too large")
    if mean == 0:
        raise UserError("IGSA: the gradient around these images does not change; must change, a larger radius may help")
    error = norms.std().item() / math.sqrt(samples)
    half = student.ppf((1 + _CONFIDENCE) / 2, samples - 1).item() * error
    high = 1 / (mean - half) if mean > half else math.inf
    return Estimate(1 / mean, error / mean**2, 1 / (mean + half), high, samples)
