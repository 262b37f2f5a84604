"""Label inference from the gradient of the layer whose output is the logits (knowledge level 0)."""

import torch
from torch import Tensor

from gradleak.attacks.class_rows import ClassRows, find_class_rows
from gradleak.errors import UserError
from gradleak.federated.shared_update import SharedUpdate

_IMAGES, _ASKED = 64, 8


def infer_labels(update: SharedUpdate) -> Tensor:
    """Return labels int64 (N,), ascending, that explain the update. Raises UserError as `infer_label_counts`."""
    counts = infer_label_counts(update)
    return torch.repeat_interleave(torch.arange(update.num_classes), counts)


def share_right(inferred: Tensor, labels: Tensor) -> float:
    """The share, 0 to 1, of inferred labels (N,) that are right, in whatever order."""
    classes = int(torch.cat([inferred, labels]).max()) + 1
    counts = [torch.bincount(found, minlength=classes) for found in (inferred, labels)]
    return float(torch.minimum(*counts).sum()) / len(labels)


def infer_label_counts(update: SharedUpdate) -> Tensor:
    """Return how often each class occurs among the N samples: int64 (classes,), summing to N.

    The gradient of a class's logit, summed over the U local steps, is U times its mean softmax minus the sum of its
    shares of the mini-batches. An image of a smaller last mini-batch has a larger share; it is told apart where B and
    E are known (level 3). One image is exact for every model: only its own class has a negative gradient (iDLG, Zhao
    et al. 2020). More are exact where the model answers all images alike, as an untrained one does. A layer without
    bias tells the gradient up to a scale; fewer images than classes fix it, as some class is then absent.

    Raises UserError if nothing in the update tells the classes apart, or it is zero or not finite there.
    """
    images = _noise(update.image_shape).to(next(update.model.parameters()))
    rows = _class_rows(update, images)
    summed = rows.project(update.update[rows.name])
    if update.samples == 1:
        return (torch.arange(update.num_classes) == summed.argmin()).long()
    softmax = _mean_softmax(update, images)
    least = float((summed / softmax).max())  # U times the scale at which no class has a negative count
    some_class_is_absent = update.samples < update.num_classes
    scale = least if some_class_is_absent and not rows.alike else update.steps or max(1.0, least)
    return _counts(update, (scale * softmax - summed).clamp_min(0))


def spread_over_batches(labels: Tensor, batch_size: int) -> Tensor:
    """Put labels int64 (N,) into an order in which every mini-batch has its share of each class.

    The server does not know the order of the client's mini-batches. This one depends on the counts alone.
    """
    places = torch.arange(len(labels))
    batch = places // batch_size
    within = (places % batch_size + 0.5) / torch.bincount(batch)[batch]
    ordered = torch.empty_like(labels)
    ordered[within.argsort(stable=True)] = labels.sort().values
    return ordered


def _class_rows(update: SharedUpdate, images: Tensor) -> ClassRows:
    """The rows of the classes that the update tells something of."""
    told = [name for name, value in update.update.items() if bool(value.any())]
    rows = find_class_rows(update.model, told, update.num_classes, images[:_ASKED])
    if rows is None:
        silent = find_class_rows(update.model, update.update, update.num_classes, images[:_ASKED])
        if silent is not None:
            raise _refused(f"the update of '{silent.name}' is all zero")
        raise _refused("no shared parameter of the model has a row per class that moves this class's logit alone")
    if not bool(update.update[rows.name].isfinite().all()):
        raise _refused(f"the update of '{rows.name}' is not finite")
    return rows


def _counts(update: SharedUpdate, shares: Tensor) -> Tensor:
    """Whole counts for the classes' shares of all mini-batches, summed: float64 (classes,), of any scale."""
    samples, training = update.samples, update.training
    last = samples % training.batch_size if training else 0
    if training is None or not last or samples < training.batch_size:
        return _whole(samples * shares / shares.sum())
    shares = shares * -(-samples // training.batch_size) / shares.sum()  # of one epoch
    counts = torch.zeros(len(shares), dtype=torch.int64)
    for _ in range(last):
        largest = shares.argmax()
        counts[largest] += 1
        shares[largest] -= 1 / last
    rest = shares.clamp_min(0)
    return counts + _whole((samples - last) * rest / rest.sum())


def _whole(expected: Tensor) -> Tensor:
    """Round numbers that sum to a whole one so that their sum stays (largest remainders)."""
    counts = expected.floor().long()
    missing = round(float(expected.sum())) - int(counts.sum())
    counts[(expected - counts).argsort(descending=True, stable=True)[:missing]] += 1
    return counts


def _mean_softmax(update: SharedUpdate, images: Tensor) -> Tensor:
    """The mean softmax of images that nobody knows: float64 (classes,).

    That of noise, as far as the model answers all noise alike. As far as it does not, it is trained and answers other
    images otherwise: then all classes alike. Between the two by shrinkage, spread over answers against distance.
    """
    with torch.no_grad():
        softmax = update.model(images).softmax(dim=1).cpu().double()
    mean, alike = softmax.mean(dim=0), torch.full((softmax.shape[1],), 1 / softmax.shape[1], dtype=torch.float64)
    spread, distance = (softmax - mean).square().sum(dim=1).mean(), (mean - alike).square().sum()
    return alike + (mean - alike) * distance / (distance + spread).clamp_min(1e-30)


def _noise(shape: tuple[int, int, int]) -> Tensor:
    """Images (n, 3, H, W) in [0, 1] of coloured noise whose amplitude falls with frequency, as that of photographs."""
    channels, height, width = shape
    random = torch.randn(_IMAGES, channels, height, width, generator=torch.Generator().manual_seed(0))
    down, across = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    falling = (down.square() + across.square()).sqrt().clamp_min(1 / max(height, width)) ** -1.5
    noise = torch.fft.irfft2(torch.fft.rfft2(random) * falling, s=(height, width))
    noise = 3 * noise.mean(dim=1, keepdim=True) + noise  # mostly grey
    return (0.5 + 0.25 * noise / noise.std(dim=(1, 2, 3), keepdim=True)).clamp(0, 1)


def _refused(reason: str) -> UserError:
    return UserError(f"labels cannot be inferred: {reason}; let the attack be given them (attack.labels: known)")
