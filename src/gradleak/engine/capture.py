"""Runs one iteration again and again: captured as a CUDA graph where there is a GPU, called as it is elsewhere.

A 32x32 attack iteration is a few thousand tiny kernels; launching them one by one leaves a GPU idle. The captured
function must read and write the same tensors each time and must not look at a value on the host.
"""

from collections.abc import Callable

import torch

from gradleak.engine.device import is_oom

_WARM_UP = 3


def captured(step: Callable[[], None], restore: Callable[[], None], device: str) -> Callable[[], None]:
    """Return a function that does what `step` does, as one CUDA graph launch if `device` is a GPU.

    Warming up runs `step` a few times; `restore` puts the tensors back afterwards. A step that cannot be captured, as
    of a model that looks at values on the host, is called as it is.
    """
    if not device.startswith("cuda"):
        return step
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    replay = graph.replay
    try:
        with torch.cuda.graph(graph):
            step()
    except RuntimeError as error:
        if is_oom(error):
            raise
        replay = step
    restore()
    return replay
