"""What a model needs so that its forward pass can be differentiated twice, as an attack does.

PyTorch has no second derivative of fused attention (on CPUs and GPUs alike) and of a few functions. Attention has a
plain form, and the functions can be written out.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


@contextmanager
def plain_attention() -> Iterator[None]:
    """Compute attention by matrix products and a softmax, in `nn.MultiheadAttention` and `TransformerEncoder` too."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def written_out() -> Iterator[None]:
    """Compute functions without a second derivative by others that have one, and nothing by compiled code.

    It slows every call of a torch function down a little, and is for networks that are not this package's.
    """
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:  # else nothing is compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_WrittenOut())
        yield


def _hardsigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    return (x + 3).clamp(0, 6) / 6


def _cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
    return torch.linalg.vector_norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), ord=p, dim=-1)


#: All of torch.nn's activations and layers were tried: of what takes images, only these have no second derivative.
WRITTEN_OUT: Mapping[Callable[..., Any], Callable[..., Tensor]] = {F.hardsigmoid: _hardsigmoid, torch.cdist: _cdist}


class _WrittenOut(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return WRITTEN_OUT.get(func, func)(*args, **(kwargs or {}))
