"""Microseconds of the engine's ways to convolve, by shape: what `engine/per_trial.py` rests on.

Of a convolution with one weight per trial: its weight's gradient, and its products with a weight for the output and
for the input, together, by every way. Of one with a constant weight: output and transpose, by PyTorch and by the
engine (packed, mirrored, in blocks). Processor time on a CPU, the best of several rounds.
"""

import argparse
import time
from collections.abc import Callable
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from gradleak.engine.convolutions import Constant, ConvArgs
from gradleak.engine.device import prepare_device
from gradleak.engine.layout import laid_out
from gradleak.engine.per_trial import WAYS, OneEach, Row, Way

ROUNDS = 5
#: Trials, images, input channels, output channels, pixels a side, kernel, stride.
SHAPES = [
    *((trials, 1, *layer) for trials in (1, 2, 3, 5, 16) for layer in ((16, 16, 32, 3, 1), (128, 128, 4, 3, 1))),
    *((trials, 1, *layer) for trials in (3, 5, 16) for layer in ((8, 8, 32, 3, 1), (32, 16, 32, 1, 1))),
    *((trials, 1, *layer) for trials in (3, 8) for layer in ((32, 32, 32, 3, 1), (64, 64, 32, 3, 1))),
    *((8, 4, *layer) for layer in ((3, 32, 32, 5, 1), (32, 64, 16, 5, 1), (16, 32, 32, 3, 2))),
    *(
        (1, samples, *layer)
        for samples in (1, 4)
        for layer in ((64, 64, 32, 3, 1), (256, 256, 8, 3, 1), (512, 512, 4, 3, 1))
    ),
]


def microseconds(call: Callable[[], object], device: str) -> float:
    """The best of several rounds."""

    def now() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    call()
    begun = now()
    call()
    count = max(1, int(0.02 / max(now() - begun, 1e-6)))
    best = float("inf")
    for _ in range(ROUNDS):
        begun = now()
        for _ in range(count):
            call()
        best = min(best, (now() - begun) / count)
    return 1e6 * best


def per_trial(x: Tensor, d: Tensor, shape: torch.Size, args: ConvArgs, trials: int, way: Way) -> None:
    """All three products of a convolution with one weight per trial, by a way."""
    with mock.patch.dict(WAYS, {kind: [Row(way)] for kind in WAYS}):
        each = OneEach(x, d, shape, args, trials)
        weights = each.gradient()
        each.forward(weights, None)
        each.transpose(weights)


@torch.no_grad()
def compare(shape: tuple[int, ...], device: str) -> dict[str, float]:
    """Microseconds of every way."""
    trials, samples, inside, outside, side, size, stride = shape
    args = ConvArgs((stride,) * 2, (size // 2,) * 2, (1, 1), 1)
    x = laid_out(torch.randn(trials * samples, inside, side, side, device=device))
    weight = torch.randn(outside, inside, size, size, device=device)
    d = laid_out(torch.randn_like(F.conv2d(x, weight, None, *args)))
    ways: list[Way] = ["loop", "groups", *(["product"] if size == stride == 1 else [])]  # type: ignore[list-item]
    found = {
        way: microseconds(lambda way=way: per_trial(x, d, weight.shape, args, trials, way), device)  # type: ignore[misc]
        for way in ways
    }
    engine = Constant(weight, args)

    def plain() -> None:
        F.conv2d(x, weight, None, *args)
        stride_, padding, dilation, groups = args
        mask = (True, False, False)
        torch.ops.aten.convolution_backward(d, x, weight, None, stride_, padding, dilation, False, (0, 0), groups, mask)

    found["constant, PyTorch"] = microseconds(plain, device)
    found["constant, engine"] = microseconds(lambda: (engine.forward(x), engine.transpose(d, x.shape)), device)
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="float32", choices=["float32", "tf32", "bf16"])
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="how many, from the first on")
    arguments = parser.parse_args()
    prepare_device(arguments.device, 1, arguments.precision)
    for shape in SHAPES[: arguments.shapes]:
        trials, samples, inside, outside, side, size, stride = shape
        operations = 2 * samples * inside * outside * (size * side // stride) ** 2
        found = ", ".join(f"{way} {value:.0f}" for way, value in compare(shape, arguments.device).items())
        print(
            f"T={trials} N={samples} {inside}->{outside} {side}px {size}x{size}/{stride}, "
            f"{operations / 1e6:.1f} million operations per trial: {found}",
            flush=True,
        )


if __name__ == "__main__":
    main()
