"""What a cell says of its IGSA: the estimator's name and its settings."""

from typing import Annotated, Literal

from pydantic import Field

from gradleak.smoothness.settings import ForwardSettings, IgsaSettings


class FiniteSpec(IgsaSettings):
    """`method: finite`: the paper's estimator, `igsa.igsa`."""

    method: Literal["finite"]


class ForwardSpec(ForwardSettings):
    """`method: forward`: the estimator by forward-mode derivatives, `forward.forward_igsa`."""

    method: Literal["forward"]


SmoothnessSpec = Annotated[FiniteSpec | ForwardSpec, Field(discriminator="method")]
