"""Processor, GPU, precision, memory and disk."""

import os
import shutil
from pathlib import Path

from gradleak.doctor.base import Finding, Place

_GIB = 2**30
_LEAST_MEMORY_GIB = 4
_LEAST_DISK_GIB = 1


def processor(place: Place) -> Finding:
    """The CPU's kind, its vector instructions, and the threads that jobs have."""
    from gradleak.engine import device

    facts, cores = (
        device.processor(),
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    )
    found = f"{facts['model']}, {facts['vectors']}, {cores} cores, {place.config.threads} thread(s) per job"
    if cores and place.config.threads > cores:
        return Finding(
            found,
            f"processor: config.yaml has threads {place.config.threads}, but there are {cores} cores; lower threads",
        )
    return Finding(found)


def gpu(place: Place) -> Finding:
    """CUDA devices, and whether they compute in bfloat16. None is no fault, unless the settings ask for one."""
    import torch

    if torch.cuda.is_available():
        bf16 = "with" if torch.cuda.is_bf16_supported() else "without"
        return Finding(f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}, {bf16} bf16")
    if place.config.device == "cuda":
        return Finding("none", "GPU: config.yaml has device 'cuda', but torch sees none; set device to auto or cpu")
    return Finding("none (not needed)")


def precision(place: Place) -> Finding:
    """The precision of matrix products. Raises UserError where the device that jobs would take here lacks it."""
    from gradleak.engine.device import check_precision, resolve_device

    check_precision(resolve_device(place.config.device), place.config.precision)
    return Finding(place.config.precision)


def memory(place: Place) -> Finding:
    """Installed memory, or what the container may use if that is less."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    usable = min(installed, _container_limit())
    found = f"{usable / _GIB:.1f} GiB"
    if usable < _LEAST_MEMORY_GIB * _GIB:
        return Finding(found, f"memory: {found}, jobs need {_LEAST_MEMORY_GIB} GiB; run fewer at once (`make CORES=1`)")
    return Finding(found)


def disk(place: Place) -> Finding:
    """Free space where results and downloads are written, and whether they can be."""
    parts = []
    for title, path in {"results": place.folder / "results", "cache": place.folder / place.config.cache}.items():
        there = _existing(path)
        if not there.is_dir():
            return Finding(f"{there} is a file", f"{title}: '{there}' is a file, must be a folder; move it away")
        if not os.access(there, os.W_OK | os.X_OK):
            return Finding(f"{there} is read-only", f"{title}: '{there}' cannot be written; give yourself the right to")
        free = shutil.disk_usage(there).free / _GIB
        parts.append(f"{title} {free:.1f} GiB free")
        if free < _LEAST_DISK_GIB:
            return Finding(
                parts[-1], f"{title}: {free:.2f} GiB free in '{there}', needs {_LEAST_DISK_GIB} GiB; make room"
            )
    return Finding(", ".join(parts))


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def _container_limit() -> float:
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return float("inf")
    return float("inf") if limit == "max" else float(limit)
