"""Gram matrices of patches from those of pixels: as by unfolding, the transpose of it, and where they pay."""

import pytest
import torch
import torch.nn.functional as F
from core_cases import random

from gradleak.engine.convolutions import ConvArgs
from gradleak.engine.gram import AlongKernel, pays
from gradleak.engine.layout import laid_out, rows

KERNELS = {
    "1x1": ((1, 1), (1, 1), (0, 0), (1, 1)),
    "same": ((3, 3), (1, 1), (1, 1), (1, 1)),
    "strided": ((3, 3), (2, 2), (1, 1), (1, 1)),
    "uneven": ((2, 5), (1, 3), (0, 2), (1, 1)),
    "dilated": ((3, 2), (1, 2), (2, 1), (2, 3)),
    "padded-wide": ((2, 3), (1, 1), (3, 4), (1, 1)),
    "padded-wide-dilated-strided": ((2, 2), (2, 3), (4, 3), (2, 1)),
    "gaps": ((1, 2), (3, 4), (0, 0), (1, 1)),  # pixels that no position sees
}


@pytest.mark.parametrize(("trials", "samples"), [(1, 1), (1, 3), (2, 2)])
@pytest.mark.parametrize("name", KERNELS)
def test_summing_along_the_kernel_is_unfolding_and_its_transpose_is_the_transpose(name, trials, samples):
    size, stride, padding, dilation = KERNELS[name]
    x = torch.randn(trials * samples, 3, 5, 7, generator=random(0), dtype=torch.float64)
    weight = torch.zeros(4, 3, *size, dtype=torch.float64)
    y = F.conv2d(x, weight, None, stride, padding, dilation).shape
    along = AlongKernel(x, y, weight.shape, ConvArgs(stride, padding, dilation, 1), trials)
    pixels = rows(laid_out(x), trials)
    patches = F.unfold(x, size, dilation, padding, stride).mT.reshape(trials, samples * y[2:].numel(), -1)
    found = along(pixels @ pixels.mT)
    assert torch.allclose(found, patches @ patches.mT, rtol=1e-12, atol=1e-12)
    # For any matrices, symmetric or not: <A u, v> = <u, A' v>.
    u = torch.randn(pixels.shape[0], pixels.shape[1], pixels.shape[1], generator=random(1), dtype=torch.float64)
    v = torch.randn(found.shape, generator=random(2), dtype=torch.float64)
    left, right = (along(u) * v).sum(dim=(1, 2)), (u * along.transposed(v)).sum(dim=(1, 2))
    assert torch.allclose(left, right, rtol=1e-11)
    assert left.abs().min() > 1e-3


def test_gram_matrices_pay_where_positions_are_few_and_never_for_groups():
    args = ConvArgs((1, 1), (1, 1), (1, 1), 1)
    deep, early = torch.Size((4, 64, 2, 2)), torch.Size((4, 64, 32, 32))
    weight = torch.Size((64, 64, 3, 3))
    assert pays(deep, deep, weight, args, 2)
    assert not pays(early, early, weight, args, 2)
    assert not pays(deep, deep, weight, args._replace(groups=2), 2)
