"""Settings of IGSA. The defaults are the paper's where it states a value (Appx. B.II)."""

from typing import Annotated, Literal

from pydantic import Field

from gradleak.frozen import Frozen

Order = Literal["backward", "forward"]
Precision = Literal["float64", "float32"]


class SmoothnessSettings(Frozen):
    """The settings that both estimators share.

    `radius` r of the ball around the batch, in the units of images in [0, 1]. `samples` K, the number of draws, which
    ends earlier once the relative standard error of the estimate is at most `relative_error`; 0: never earlier.
    `order`: see `problem.layer_weights`. `seed` of all draws. `precision` of the arithmetic.
    """

    radius: float = Field(1e-3, gt=0)
    samples: int = Field(10_000, ge=2)
    relative_error: float = Field(0.0, ge=0, lt=1)
    order: Order = "backward"
    seed: int = Field(0, ge=0, lt=2**63)
    precision: Precision = "float64"


class IgsaSettings(SmoothnessSettings):
    """`method: finite`: the paper's estimator, `igsa.igsa`, by default with 10,000 points in float64.

    `float32` is faster and refused where its rounding shows.
    """

    method: Literal["finite"] = "finite"


class ForwardSettings(SmoothnessSettings):
    """`method: forward`: the estimator `igsa.forward_igsa`, by default until 1 %, in float32 (nothing cancels)."""

    relative_error: float = Field(0.01, ge=0, lt=1)
    precision: Precision = "float32"
    method: Literal["forward"] = "forward"


SmoothnessSpec = Annotated[IgsaSettings | ForwardSettings, Field(discriminator="method")]
