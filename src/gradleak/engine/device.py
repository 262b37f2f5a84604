"""The device: how many trials fit at once, repeatable arithmetic, memory kept by the process."""

import ctypes
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from gradleak.errors import UserError

T = TypeVar("T")

_MAX_TRIALS = 64
_MAX_IMAGES_CPU = 256  # beyond, activations leave the cache and a larger batch is no faster
_SHARE = 0.7  # of a GPU's free memory; the rest is for a recorded iteration and fragments
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}  # of a CPU that multiplies bfloat16

_precision = "float32"


def prepare_device(device: str, threads: int, precision: str) -> None:
    """Set up a process that computes results: deterministic algorithms, thread count, and the precision of products.

    `precision` is that of matrix products and convolutions; variables, moments, objectives and sums stay as they are.
    `float32`; `tf32`: those of CUDA in TF32; `bf16`: the engine gives those of the model bfloat16 operands, and sums
    stay in float32. Call once at the start of a command. Raises UserError if CUDA is asked for and not there, and as
    `check_precision` does.
    """
    global _precision
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device is '{device}', but this torch {torch.__version__} sees no CUDA device; use 'cpu'")
    check_precision(device, precision)
    _precision = precision
    # On CUDA, max-pooling's backward pass is only known to be deterministic where windows do not overlap: a warning.
    # Not `use_deterministic_algorithms`, which does the same and also loads torch's compiler: 1.4 s of processor time.
    torch.set_deterministic_debug_mode("warn" if device.startswith("cuda") else "error")
    # Deterministic mode also fills every fresh tensor, which nothing here reads before writing it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.set_num_threads(threads)
    _keep_freed_memory()


def precision() -> str:
    """The precision that `prepare_device` set for this process: `float32`, `tf32` or `bf16`; before it, `float32`."""
    return _precision


def check_precision(device: str, precision: str) -> None:
    """Raise UserError, which says what to use, if a device (`cpu` or `cuda`) has no products in a precision."""
    cuda = device.startswith("cuda")
    if precision == "tf32" and not cuda:
        raise UserError("precision is 'tf32', which only CUDA devices have, not a CPU; use float32 or bf16")
    if precision == "bf16" and cuda and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError("precision is 'bf16', which this CUDA device does not multiply; use float32")
    if precision == "bf16" and not cuda and not _cpu_has_bf16():
        raise UserError("precision is 'bf16', but this CPU has neither AVX-512 BF16 nor AMX; use float32")


def _cpu_has_bf16() -> bool:
    flags = _cpu_facts().get("flags", "").split()
    return not _BF16_FLAGS.isdisjoint(flags) and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _keep_freed_memory() -> None:
    # glibc returns large blocks to the system on every free, and the next iteration pays for the page faults again.
    # Measured on the attack loop of a narrow ResNet-18: about 10 % of the time.
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
    except (OSError, AttributeError):
        pass  # another C library: slower, not wrong


def resolve_device(device: str) -> str:
    """`auto` is the first CUDA device if there is one, else the CPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def device_name(device: str) -> str:
    """A device's kind in words, for provenance."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"cpu ({torch.get_num_threads()} threads)"


def device_facts(device: str) -> dict[str, object]:
    """What rounding depends on, for provenance: `device` in words, and the `cpu` (see `processor`)."""
    return {"device": device_name(device), "cpu": processor()}


def processor() -> dict[str, str | int]:
    """The CPU: its model, the vector instructions that torch uses, and installed memory, which decides how many trials
    run at once (`trials_that_fit`).
    """
    return {
        "model": _cpu_model(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "memory_gib": round(_memory() / 2**30),
    }


def _cpu_model() -> str:
    found = _cpu_facts()
    if "model name" not in found:
        return (not found and platform.processor()) or platform.machine()
    numbers = ", ".join(f"{key} {found[key]}" for key in ("cpu family", "model", "stepping") if key in found)
    return f"{found['model name']} ({numbers})"


def _cpu_facts() -> dict[str, str]:
    """What Linux says of the first core; elsewhere nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def most_trials(device: str, samples: int) -> int:
    """How many trials of N samples run at once on a kind of device that has memory enough: a power of two up to 64."""
    most = _MAX_TRIALS if device.startswith("cuda") else min(_MAX_TRIALS, max(1, _MAX_IMAGES_CPU // samples))
    return 1 << (most.bit_length() - 1)


def trials_that_fit(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    samples: int,
    steps: int,
    variables: int = 0,
    batch_size: int | None = None,
) -> int:
    """How many trials of N samples and U simulated local steps fit into the device's memory at once: 1 to 64.

    The model is asked with images of one mini-batch (`batch_size`; None: all N), as it may not take other numbers.

    Estimated from the model's activations for one image, its parameters, and further optimised variables. On a CPU
    the installed memory counts, so that the answer, and with it the rounding of every sum, does not depend on what
    else runs on the machine; on a GPU the free memory, see `trials_by_memory`.
    """
    parameter = next(model.parameters())
    budget, cap = _budget(parameter.device), most_trials(parameter.device.type, samples)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    activations = _activation_bytes(model, image_shape, batch_size or samples)
    # Per trial: target, its packed copies, gradient and cotangent of every weight, per simulated step; a dozen tensors
    # per activation. A further variable has its gradient, two moments, the best so far and a decoded copy.
    per_trial = steps * (6 * weights + 12 * samples * activations) + 8 * variables * parameter.element_size()
    return _power_of_two(min(cap, budget / max(per_trial, 1)))


def trials_by_memory(evaluate: Callable[[int], object], estimate: int, most: int) -> int:
    """How many trials fit into the memory of the CUDA device, by what `evaluate(trials)` of 1 and of 2 takes: 1 to 64.

    `estimate` is returned where there are not two trials (`most`), or where two do not fit.
    """
    if most < 2:
        return estimate
    peaks = []
    for trials in (1, 2):
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        try:
            evaluate(trials)
        except RuntimeError as error:
            if not is_oom(error):
                raise
            return estimate
        torch.cuda.synchronize()
        peaks.append(torch.cuda.max_memory_allocated() - before)
    torch.cuda.empty_cache()
    each = max(peaks[1] - peaks[0], 1)
    free, _ = torch.cuda.mem_get_info()
    return _power_of_two(min(_MAX_TRIALS, (_SHARE * free - (peaks[0] - each)) / each))


def _power_of_two(fitting: float) -> int:
    """The greatest power of two up to a number, at least 1."""
    return 1 << (max(1, int(fitting)).bit_length() - 1)


def _budget(device: torch.device) -> float:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return _SHARE * free
    return 0.2 * _memory()


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _activation_bytes(model: nn.Module, image_shape: tuple[int, int, int], images: int) -> int:
    parameter = next(model.parameters())
    total = 0

    def count(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, Tensor) and not list(module.children()):
            total += output.numel() * output.element_size()

    hooks = [module.register_forward_hook(count) for module in model.modules()]
    try:
        with torch.no_grad():
            model(torch.full((images, *image_shape), 0.5, dtype=parameter.dtype, device=parameter.device))
    finally:
        for hook in hooks:
            hook.remove()
    return total // images


def halve_on_oom(run: Callable[[int], T], trials: int) -> T:
    """Call `run(trials)`; on out-of-memory halve the number and call again. Raises UserError when one does not fit."""
    while True:
        try:
            return run(trials)
        except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU allocator raises a plain one
            if not is_oom(error):
                raise
            if trials == 1:
                raise UserError(f"one trial does not fit into the device's memory: {error}") from None
            trials //= 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def is_oom(error: BaseException) -> bool:
    """Whether an error says that the device's memory does not suffice."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
