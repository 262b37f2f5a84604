"""The surrogate point: matching at a model between the one that the server sent and the one that it received.

After Zhu et al., "Surrogate Model Extension", ICML 2023: on the way from W_0 to W_U lies a model whose gradient is
nearly parallel to the whole way. Matching there costs one gradient per iteration, however many steps the client took.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
from pydantic import BeforeValidator, field_validator
from torch import Tensor

from gradleak.engine.base import Evaluation, Matcher, Priors, no_priors
from gradleak.frozen import Frozen

_GRID = 16
_MOVES = 16


def _listed(value: object) -> object:
    return value if isinstance(value, list | tuple) or value == "learned" else (value,)


class Surrogate(Frozen):
    """Where the candidates' gradient is taken: at W_0 + alpha (W_U - W_0), which needs no knowledge (level 0).

    `alpha` is a number in [0, 1] or several. With several, every restart is attacked once per alpha, from the same
    images, and the lowest objective chooses among all of them. `learned` begins at 0.5 and moves during the descent
    (see `LearnedPoint`). The buffers of the model stay those of W_0.
    """

    alpha: Annotated[tuple[float, ...] | Literal["learned"], BeforeValidator(_listed)] = (0.5,)

    @property
    def first(self) -> tuple[float, ...]:
        """The points from which starts begin."""
        return (0.5,) if self.alpha == "learned" else self.alpha

    @property
    def points(self) -> tuple[float, ...]:
        """The points at which starts may end."""
        return tuple(i / _GRID for i in range(_GRID + 1)) if self.alpha == "learned" else self.alpha

    @field_validator("alpha")
    @classmethod
    def _on_the_way(cls, values: tuple[float, ...] | Literal["learned"]) -> tuple[float, ...] | Literal["learned"]:
        if values == "learned":
            return values
        if not 1 <= len(values) <= 100:
            raise ValueError(f"alpha lists {len(values)} values; must be 1 to 100")
        for value in values:
            if not 0 <= value <= 1:
                raise ValueError(f"alpha is {value:g}; must be from 0 (the model sent) to 1 (the model received)")
        if len(set(values)) < len(values):
            raise ValueError(f"alpha lists a value twice: {', '.join(f'{value:g}' for value in values)}")
        return values


class LearnedPoint:
    """A matcher of T trials each of which moves its point to where its candidates' gradient fits better.

    Sixteen times during a descent a trial looks at its point and at those a sixteenth to both sides, and goes where the
    objective of its candidates, without priors, is lowest. (Zhu et al. descend on alpha in small steps.)
    """

    def __init__(self, build: Callable[[Sequence[float]], Matcher], first: Sequence[float], device: str) -> None:
        """`build` makes the matcher of the trials at given points."""
        self._build = build
        self.state = {"point": torch.tensor(first, dtype=torch.float64, device=device)}
        self.prepare()

    def __call__(self, images: Tensor, priors: Priors) -> Evaluation:
        """See `Matcher`."""
        return self._matcher(images, priors)

    def every(self, iterations: int) -> int:
        """How many of a descent's iterations lie between two moves."""
        return max(1, iterations // _MOVES)

    def prepare(self) -> None:
        """Match at the points of `state`, which may have been loaded."""
        self._matcher = self._build(self.state["point"].tolist())

    def move(self, images: Tensor) -> None:
        """Let each trial move, given its candidates (T, N, 3, H, W)."""
        here = self.state["point"]
        near = torch.stack([here, here - 1 / _GRID, here + 1 / _GRID]).clamp(0, 1)
        values = torch.stack([self._build(points.tolist())(images, no_priors).objective for points in near])
        here.copy_(near.gather(0, values.argmin(dim=0, keepdim=True))[0])
        self.prepare()
