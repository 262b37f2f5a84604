"""Gram matrices of a convolution's positions: <g, g> of its weight's gradient without forming the gradient.

With patches p_i of x at output positions i, the weight's gradient is g = sum_i d_i p_i^T, so that

    <g, g> = sum_ij <d_i, d_j> <p_i, p_j>,   <p_i, p_j> = sum_k <x_{i+k}, x_{j+k}>

where k runs over the kernel: the Gram matrix of patches is that of pixels, summed along the kernel. That costs as many
multiplications as the kernel has cells less than the patches would.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from gradleak.engine.convolutions import ConvArgs


class Kernel(NamedTuple):
    """Size, stride, padding and dilation of a convolution, each (height, width)."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]


def pays(x: torch.Size, y: torch.Size, weight: torch.Size, args: ConvArgs, trials: int) -> bool:
    """Whether the Gram matrices cost less than the gradient of the weight (out, in, k, k)."""
    if args.groups > 1:
        return False
    inside, outside = (shape.numel() // (trials * shape[1]) for shape in (x, y))
    grams = 2 * (inside**2 * weight[1] + outside**2 * weight[0])
    return grams * _PRODUCT < outside * weight.numel()


class AlongKernel:
    """Sums a Gram matrix of pixels along a kernel, and the transpose of that: products with a matrix for each side."""

    def __init__(self, x: torch.Size, y: torch.Size, kernel: Kernel, trials: int, like: Tensor) -> None:
        self._trials, self._samples = trials, x[0] // trials
        self._x, self._y = x[2:], y[2:]
        self._matrices = [_shifts(x[2 + i], y[2 + i], *(each[i] for each in kernel)).to(like) for i in (0, 1)]

    def __call__(self, gram: Tensor) -> Tensor:
        """The Gram matrix of patches (T, N H' W', N H' W') from that of pixels, (T, N H W, N H W)."""
        return self._summed(gram, self._x, self._y, self._matrices)

    def transposed(self, gram: Tensor) -> Tensor:
        """The transpose: (T, N H' W', N H' W') to (T, N H W, N H W)."""
        return self._summed(gram, self._y, self._x, [matrix.mT for matrix in self._matrices])

    def _summed(self, gram: Tensor, side: torch.Size, out: torch.Size, matrices: list[Tensor]) -> Tensor:
        trials, samples = self._trials, self._samples
        (height, width), (high, wide) = side, out
        grid = gram.view(trials, samples, height, width, samples, height, width)
        grid = grid.permute(2, 5, 0, 1, 4, 3, 6).reshape(height * height, -1)
        rows = torch.mm(matrices[0], grid).view(-1, width * width)
        found = torch.mm(rows, matrices[1].mT).view(high, high, trials, samples, samples, wide, wide)
        return found.permute(2, 3, 0, 5, 4, 1, 6).reshape(trials, samples * high * wide, samples * high * wide)


def _shifts(inside: int, outside: int, size: int, stride: int, padding: int, dilation: int) -> Tensor:
    """Which pairs of pixels are summed for which pairs of positions along a side: (outside^2, inside^2) of 0 and 1."""
    one = torch.zeros(size, outside, inside, dtype=torch.float64)
    for k in range(size):
        for i in range(outside):
            if 0 <= (pixel := i * stride + k * dilation - padding) < inside:
                one[k, i, pixel] = 1
    return torch.einsum("kip,kjq->ijpq", one, one).reshape(outside**2, inside**2)


#: A batched product takes so many times the time of a convolution of as many operations.
_PRODUCT = 2.0
