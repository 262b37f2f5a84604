"""How images and weights of T trials lie in memory: trial-major, (T * N, C, H, W), with channels last."""

import torch
from torch import Tensor


def laid_out(x: Tensor) -> Tensor:
    """Images (T * N, C, H, W) with channels last in memory."""
    return x.contiguous(memory_format=torch.channels_last)


def rows(x: Tensor, trials: int) -> Tensor:
    """(T * N, C, H, W), channels last, as (T, N * H * W, C): the positions of a trial as rows, without a copy."""
    return x.permute(0, 2, 3, 1).reshape(trials, -1, x.shape[1])


def images(positions: Tensor, like: torch.Size) -> Tensor:
    """Undo `rows` for images as many and as large as those of a shape."""
    return positions.view(like[0], like[2], like[3], positions.shape[2]).permute(0, 3, 1, 2)


def split(x: Tensor, trials: int) -> list[Tensor]:
    """The images (N, ...) of every trial of (T * N, ...), without a copy."""
    return [x] if trials == 1 else list(x.tensor_split(trials))


def joined(parts: list[Tensor]) -> Tensor:
    """Undo `split`."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def merge(x: Tensor, trials: int) -> Tensor:
    """(T * N, C, H, W) as (N, T * C, H, W), channels last: the trials as groups of channels."""
    if trials == 1:
        return x
    rows = x.permute(0, 2, 3, 1).unflatten(0, (trials, -1))
    return rows.permute(1, 2, 3, 0, 4).flatten(3).permute(0, 3, 1, 2)


def apart(x: Tensor, trials: int) -> Tensor:
    """Undo `merge`."""
    if trials == 1:
        return x
    rows = x.permute(0, 2, 3, 1).unflatten(3, (trials, -1))
    return rows.permute(3, 0, 1, 2, 4).contiguous().flatten(0, 1).permute(0, 3, 1, 2)


def merged_shape(shape: torch.Size, trials: int) -> torch.Size:
    """The shape of `merge` of a tensor of `shape`."""
    return torch.Size((shape[0] // trials, trials * shape[1], *shape[2:]))


def flat(weights: Tensor) -> Tensor:
    """Weights (T, out, in, k, k) as (T, P), with channels last."""
    return weights.permute(0, 1, 3, 4, 2).reshape(len(weights), -1)


def unflat(weights: Tensor, shape: torch.Size) -> Tensor:
    """Undo `flat`; `shape` is (out, in, k, k)."""
    out, fan, height, width = shape
    return weights.view(-1, out, height, width, fan).permute(0, 1, 4, 2, 3)


def dot(left: Tensor, right: Tensor) -> Tensor:
    """Inner products per trial of (T, P): (T,)."""
    if len(left) == 1:
        return torch.dot(left[0], right[0])[None]
    return torch.linalg.vecdot(left, right)
