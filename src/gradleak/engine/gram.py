"""Implicit pairing of a convolution: <g, g*> and <g, g> of its weight's gradient g without forming it.

With patches p_i of x at output positions i, the weight's gradient is g = sum_i d_i p_i^T, so that

    <g, g> = sum_ij <d_i, d_j> <p_i, p_j>,   <p_i, p_j> = sum_k <x_{i+k}, x_{j+k}>

where k runs over the kernel: the Gram matrix of patches is that of pixels, summed along the kernel. That costs as many
multiplications as the kernel has cells less than the patches would. <g, g*> is <d, conv(x; g*)>, and the derivatives
with respect to d and x of a function of both numbers need no gradient either.
"""

import torch
from torch import Tensor

from gradleak.engine.convolutions import ConvArgs
from gradleak.engine.layout import dot, images, rows
from gradleak.engine.per_trial import PerTrial

#: A batched product takes so many times the time of a convolution of as many operations.
_PRODUCT = 2.0


def pays(x: torch.Size, y: torch.Size, weight: torch.Size, args: ConvArgs, trials: int) -> bool:
    """Whether the Gram matrices cost less than the gradient of the weight (out, in, k, k)."""
    if args.groups > 1:
        return False
    inside, outside = (shape.numel() // (trials * shape[1]) for shape in (x, y))
    grams = 2 * (inside**2 * weight[1] + outside**2 * weight[0])
    return grams * _PRODUCT < outside * weight.numel()


class Implicit:
    """Pairs gradients of a weight with targets, for inputs x (T * N, C, H, W) and backward signals d."""

    def __init__(self, x: Tensor, d: Tensor, target: PerTrial, along_kernel: "AlongKernel", trials: int) -> None:
        self._x, self._d, self._target, self._along_kernel, self._trials = x, d, target, along_kernel, trials
        self._x_rows, self._d_rows = rows(x, trials), rows(d, trials)

    def pair(self) -> tuple[Tensor, Tensor]:
        """<g, g*> and <g, g>, each (T,)."""
        self._paired = rows(self._target.forward(self._x), self._trials)
        self._x_gram = self._along_kernel(torch.bmm(self._x_rows, self._x_rows.mT))
        self._d_gram = torch.bmm(self._d_rows, self._d_rows.mT)
        inner = dot(self._paired.flatten(1), self._d_rows.flatten(1))
        return inner, dot(self._x_gram.flatten(1), self._d_gram.flatten(1))

    def pull(self, a: Tensor, b2: Tensor) -> tuple[Tensor, Tensor]:
        """The derivatives with respect to d and x, for slopes a and 2 b, each (T, 1)."""
        a, b2 = a[:, None], b2[:, None]
        turned = self._along_kernel.transposed(self._d_gram * b2)
        back = rows(self._target.transpose(self._d, self._x.shape), self._trials)
        by_d = torch.baddbmm(self._paired * a, self._x_gram * b2, self._d_rows)
        by_x = torch.baddbmm(back * a, turned, self._x_rows)
        return images(by_d, self._d.shape), images(by_x, self._x.shape)


class AlongKernel:
    """Sums a Gram matrix of pixels along a kernel, and the transpose of that: products with a matrix for each side."""

    def __init__(self, x: Tensor, y: torch.Size, weight: torch.Size, args: ConvArgs, trials: int) -> None:
        """`x` are inputs, `y` the shape of outputs, `weight` that of the weight."""
        self._trials, self._samples = trials, len(x) // trials
        self._x, self._y = x.shape[2:], y[2:]
        sides = zip(self._x, self._y, weight[2:], args.stride, args.padding, args.dilation, strict=True)
        self._matrices = [_shifts(*side).to(x) for side in sides]

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
