"""Ways to a convolution with one weight per trial: which is the fastest, by layer of ResNet-18 and precision?

Of the three convolutions of a layer (`fprop`: its output, `dgrad`: the gradient of its input, `wgrad`: that of its
weight), `grouped` takes trials as groups of channels, `loop` calls each trial, `unfold` and `fold` multiply matrices
of patches, and `channels_last` is `grouped` in that memory format. `fprop shared` has one weight for all trials: the
bound.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from gpu import Run
from torch import Tensor


class Layer(NamedTuple):
    """A 3x3 convolution with padding 1: input and output channels, pixels a side of its input, stride."""

    inside: int
    out: int
    side: int
    stride: int

    def __str__(self) -> str:
        return f"{self.inside}->{self.out} {self.side}px stride {self.stride}"

    @property
    def out_side(self) -> int:
        """Pixels a side of its output."""
        return self.side // self.stride

    def operations(self, images: int) -> float:
        """Floating-point operations of one of its three convolutions."""
        return 2 * images * self.out * self.inside * 9 * self.out_side**2


#: The layers of ResNet-18 with the CIFAR stem.
LAYERS = [
    *(Layer(3, 64, 32, 1), Layer(64, 64, 32, 1), Layer(64, 128, 32, 2)),
    *(Layer(128, 128, 16, 1), Layer(256, 256, 8, 1), Layer(512, 512, 4, 1)),
]
SIZES = [(64, 1), (16, 4)]  # trials, images of each
PRECISIONS = [(torch.float32, False), (torch.float32, True), (torch.bfloat16, False)]  # and whether TF32 is allowed
REPEATS = 5


def measure(run: Run) -> None:
    """Microseconds and TFLOP/s of every way."""
    sizes, layers = ([(2, 1)], LAYERS[:2]) if run.small else (SIZES, LAYERS)
    for (dtype, tf32), (trials, samples), layer in itertools.product(PRECISIONS, sizes, layers):
        if run.left < 5:
            return
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        name = f"{str(dtype).removeprefix('torch.')} tf32={tf32} T={trials} N={samples} {layer}"
        found: dict[str, object] = {}
        for way, call in _Convolutions(layer, trials, samples, run.device, dtype).ways().items():
            try:
                each = run.seconds(call, REPEATS)
                tflops = layer.operations(trials * samples) / each / 1e12
                found[way] = {"us": round(each * 1e6, 1), "tflops": round(tflops, 2)}
            except RuntimeError as error:  # not every way is there in every precision
                found[way] = str(error)[:80]
        run.note(name, found)


class _Convolutions:
    """Input, weights and output gradient of T trials of N images, with trials as groups of channels and one by one."""

    def __init__(self, layer: Layer, trials: int, samples: int, device: str, dtype: torch.dtype) -> None:
        def random(*shape: int) -> Tensor:
            return torch.randn(shape, device=device, dtype=dtype)

        def apart(grouped: Tensor) -> Tensor:
            return grouped.unflatten(1, (trials, -1)).transpose(0, 1).contiguous()

        self._layer, self._trials, self._samples = layer, trials, samples
        self._x = random(samples, trials * layer.inside, layer.side, layer.side)
        self._w = random(trials * layer.out, layer.inside, 3, 3)
        self._g = random(samples, trials * layer.out, layer.out_side, layer.out_side)
        self._xs, self._ws, self._gs = apart(self._x), self._w.unflatten(0, (trials, -1)), apart(self._g)

    def ways(self) -> dict[str, Callable[[], object]]:
        """Functions by name."""
        grouped = (self._x, self._w, self._g)
        last = tuple(tensor.contiguous(memory_format=torch.channels_last) for tensor in grouped)
        single = list(zip(self._xs, self._ws, self._gs, strict=True))
        return {
            "wgrad grouped": lambda: self._backward(*grouped, "weight"),
            "wgrad channels_last": lambda: self._backward(*last, "weight"),
            "wgrad loop": lambda: [self._backward(*one, "weight") for one in single],
            "wgrad unfold": lambda: torch.bmm(self._gradients(), self._patches().transpose(1, 2)),
            "fprop grouped": lambda: self._forward(*grouped[:2]),
            "fprop channels_last": lambda: self._forward(*last[:2]),
            "fprop loop": lambda: [self._forward(x, w) for x, w, _ in single],
            "fprop unfold": lambda: torch.bmm(self._ws.flatten(2), self._patches()),
            "dgrad grouped": lambda: self._backward(*grouped, "input"),
            "dgrad channels_last": lambda: self._backward(*last, "input"),
            "dgrad loop": lambda: [self._backward(*one, "input") for one in single],
            "dgrad fold": self._folded,
            "fprop shared": lambda: self._forward(self._xs.flatten(0, 1), self._ws[0]),
        }

    def _forward(self, x: Tensor, w: Tensor) -> Tensor:
        return F.conv2d(x, w, None, self._layer.stride, 1, groups=x.shape[1] // self._layer.inside)

    def _backward(self, x: Tensor, w: Tensor, g: Tensor, of: str) -> object:
        groups, mask = x.shape[1] // self._layer.inside, (of == "input", of == "weight", False)
        stride = (self._layer.stride, self._layer.stride)
        return torch.ops.aten.convolution_backward(g, x, w, None, stride, (1, 1), (1, 1), False, (0, 0), groups, mask)

    def _patches(self) -> Tensor:
        """(T, 9 input channels, N output pixels)."""
        patches = F.unfold(self._xs.flatten(0, 1), 3, padding=1, stride=self._layer.stride)
        return patches.unflatten(0, (self._trials, self._samples)).transpose(1, 2).flatten(2)

    def _gradients(self) -> Tensor:
        """(T, output channels, N output pixels)."""
        return self._gs.flatten(3).transpose(1, 2).flatten(2)

    def _folded(self) -> Tensor:
        layer = self._layer
        patches = torch.bmm(self._ws.flatten(2).transpose(1, 2), self._gradients())
        patches = patches.unflatten(2, (self._samples, -1)).transpose(1, 2).flatten(0, 1)
        return F.fold(patches, (layer.side, layer.side), 3, padding=1, stride=layer.stride)
