"""Seeded draws: directions on the unit sphere and points in the ball, in the space of a whole batch of images."""

import torch
from torch import Tensor


class Ball:
    """The l2-ball of radius r around the origin of images (N, 3, H, W), d = 3 N H W dimensions.

    Draws come one after the other from one generator on the CPU in float64: the k-th draw does not depend on how many
    are asked for at once, nor on the device or precision that use it.
    """

    def __init__(self, shape: torch.Size, radius: float, seed: int) -> None:
        self._shape = shape
        self._radius = radius
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def mean_length(self) -> float:
        """E|Delta| of a point Delta uniform in the ball: r d / (d + 1)."""
        return self._radius * self._shape.numel() / (self._shape.numel() + 1)

    def directions(self, count: int) -> Tensor:
        """Directions uniform on the unit sphere: (count, N, 3, H, W) float64."""
        return torch.stack([self._direction() for _ in range(count)])

    def points(self, count: int) -> Tensor:
        """Points uniform in the ball: (count, N, 3, H, W) float64, each a direction times r u^(1/d), u uniform."""
        return torch.stack([self._direction() * self._length() for _ in range(count)])

    def _direction(self) -> Tensor:
        normal = torch.randn(self._shape, generator=self._generator, dtype=torch.float64)
        return normal / normal.norm()

    def _length(self) -> Tensor:
        uniform = torch.rand((), generator=self._generator, dtype=torch.float64)
        return self._radius * uniform ** (1 / self._shape.numel())
