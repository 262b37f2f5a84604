"""Label inference from the last linear layer's gradient (knowledge level 0)."""

import torch
from torch import Tensor, nn

from gradleak.errors import UserError
from gradleak.federated.shared_update import SharedUpdate


def infer_labels(update: SharedUpdate) -> Tensor:
    """Return labels int64 (N,), ascending, that explain the update: by iDLG for one, by counts per class for more.

    Raises UserError if the model's last layer is not linear with a bias, or is not in the update.
    """
    if update.samples == 1:
        return infer_single_label(update)
    counts = infer_label_counts(update)
    return torch.repeat_interleave(torch.arange(update.num_classes), counts)


def infer_single_label(update: SharedUpdate) -> Tensor:
    """Return the only class whose gradient in the last layer is negative, int64 (1,): iDLG (Zhao et al. 2020)."""
    return _bias_gradient(update).argmin().view(1)


def infer_label_counts(update: SharedUpdate) -> Tensor:
    """Return how often each class occurs among the N samples: int64 (classes,), summing to N.

    The last bias's gradient is mean softmax minus the class frequency. The mean softmax is estimated by the model's
    answer to grey images with noise, after which frequencies are rounded so that they sum to N (largest remainders).
    Exact where the model answers all images alike, as an untrained one does.
    """
    gradient = _bias_gradient(update)
    expected = (_mean_softmax(update) - gradient).clamp_min(0)
    expected = update.samples * expected / expected.sum()
    counts = expected.floor().long()
    missing = update.samples - int(counts.sum())
    largest = (expected - counts).argsort(descending=True, stable=True)[:missing]
    counts[largest] += 1
    return counts


def _bias_gradient(update: SharedUpdate) -> Tensor:
    layers = [name for name, module in update.model.named_modules() if isinstance(module, nn.Linear)]
    bias = f"{layers[-1]}.bias" if layers else ""
    if bias not in update.update:
        raise UserError("label inference needs a model whose last layer is linear with a bias, in the shared update")
    return update.update[bias].cpu().double()


def _mean_softmax(update: SharedUpdate) -> Tensor:
    parameter = next(update.model.parameters())
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(64, *update.image_shape, generator=generator)
    grey = (0.5 + 0.25 * noise).clamp(0, 1).to(parameter)
    with torch.no_grad():
        return update.model(grey).softmax(dim=1).mean(dim=0).cpu().double()
