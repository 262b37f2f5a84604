"""What a user's model must do before it is attacked, asked in the way in which clients and attacks will ask it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gradleak.audit.culprit import first_without_second_derivative, surrogate
from gradleak.audit.own_code import OwnCodeError, own_code, own_words
from gradleak.engine import activation
from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.base import Matcher, Targets, no_priors
from gradleak.engine.functional import FunctionalMatcher, OneByOneMatcher
from gradleak.errors import UserError
from gradleak.federated.client import gradient_of, parameters_of
from gradleak.models.base import Classifier, Way
from gradleak.objectives.base import OBJECTIVES, Objective

Shape = tuple[int, int, int]
_TOLERANCE = 1e-2
_ASKED = 3  # times: a layer that is random now and then is rarely the same so often


def classes_of(model: Classifier, sizes: Sequence[int], shape: Shape) -> int:
    """The number of classes, by asking for images (n, C, H, W) of every size n.

    Raises UserError where it is no classifier of such images, or answers the same images differently.
    """
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    found = set()
    for size in sizes:
        images = _images(size, shape).to(next(model.parameters()).device)
        with torch.no_grad():
            answer = _asked(model, images, sizes)
            _check_answer(answer, images)
            again = [model(images) for _ in range(_ASKED)]
        scale = answer.abs().max()
        if any(bool((other - answer).abs().max() > 1e-5 * scale) for other in again):
            raise UserError(
                "model: answers the same images differently; a random layer is on, e.g. saved before eval(), or a "
                "function such as F.dropout without training=self.training"
            )
        found.add(int(answer.shape[1]))
    for name, value in model.state_dict().items():
        if not torch.equal(value, before[name]):
            own = name.removeprefix("network.")
            raise UserError(f"model: answering changes its '{own}'; a model in evaluation mode must leave it as it is")
    if len(found) > 1:
        raise UserError(f"model: answers with {' or '.join(map(str, sorted(found)))} classes, by the number of images")
    return found.pop()


def way_of(model: Classifier, sizes: Sequence[int], shape: Shape) -> tuple[Way, str]:
    """The fastest way to differentiate a model that is right for two clients of every size, and why none is faster.

    The reason is empty unless clients go one by one. Leaves the model with some way. Raises UserError, which names the
    layer where possible, if there is no derivative of the update with respect to the images.
    """
    together, tapped, why = True, True, ""
    for size in sizes:
        question = _Question.of(model, size, shape)
        right = _right(model, question)
        if together:
            model.way = "together"
            together, why = _same(FunctionalMatcher, model, question, right)
        model.way = "tapped"
        tapped = together and tapped and activation.supports(model)
        if tapped:
            tapped, _ = _same(ActivationMatcher, model, question, right)
    if not together:
        return "alone", why
    return "tapped" if tapped else "together", ""


@dataclass(frozen=True)
class _Question:
    """Two clients' updates as targets, and candidates (2, n, C, H, W)."""

    targets: Targets
    candidates: Tensor

    @classmethod
    def of(cls, model: Classifier, size: int, shape: Shape) -> "_Question":
        """What clients of random images share, checked against training the model itself."""
        device = next(model.parameters()).device
        victims, candidates = _images(2 * 2 * size, shape).to(device).view(2, 2, size, *shape)
        labels = (torch.arange(2 * size, device=device) % model.num_classes).view(2, size)
        model.way = "alone"
        updates = [_update(model, x, y) for x, y in zip(victims, labels, strict=True)]
        stacked = {name: torch.stack([update[name] for update in updates]) for name in updates[0]}
        return cls(Targets.of(stacked, labels), candidates)


def _update(model: Classifier, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The gradient of one mini-batch. Raises UserError where it is not that of plain training."""
    with own_code("model: cannot be trained, its gradient fails"):
        logits = model(images)
        if not logits.requires_grad:
            raise UserError(
                "model: autograd does not see how its answers depend on its parameters; forward must not run under "
                "no_grad or inference_mode, nor detach"
            )
        own = {name: value for name, value in model.named_parameters() if value.requires_grad}
        loss = F.cross_entropy(logits, labels)
        plain = torch.autograd.grad(loss, list(own.values()), materialize_grads=True)
    with own_code("model: cannot be called as a function of its parameters"):
        update = gradient_of(model)(model, parameters_of(model), images, labels)
    off = sum(float((update[name] - value).norm()) ** 2 for name, value in zip(own, plain, strict=True)) ** 0.5
    if not off <= _TOLERANCE * sum(float(value.norm()) ** 2 for value in plain) ** 0.5:
        raise UserError(
            "model: its gradient is another one when it is called as a function of its parameters; its code must "
            "reach them by the modules that own them, and keep no second reference"
        )
    return update


def _right(model: Classifier, question: _Question) -> Tensor:
    """The objective's gradient by plain autograd, one client after the other."""
    model.way = "alone"
    evaluate = OneByOneMatcher(model, question.targets, OBJECTIVES["cosine"])
    try:
        found = evaluate(question.candidates, no_priors).gradient
    except UserError:
        raise
    except Exception as error:  # from the backward pass of whatever the model is made of
        layer = first_without_second_derivative(model, question.candidates[0])
        raise UserError(f"model: {layer} has no second derivative, which attacks need ({own_words(error)})") from None
    if not bool(found.isfinite().all()):
        layer = first_without_second_derivative(model, question.candidates[0])
        raise UserError(
            f"model: {layer} has a second derivative that is not finite, e.g. of a norm or a root at zero; add a small "
            "number inside"
        )
    function = surrogate(
        model, question.candidates, lambda own: OneByOneMatcher(own, question.targets, OBJECTIVES["cosine"])
    )
    if function is not None:
        raise UserError(
            f"model: function '{function}' has a backward whose own derivative is not that of what it computes (finite "
            "differences say otherwise); write it with differentiable operations, or leave the function out"
        )
    return found


def _same(
    kind: Callable[[Classifier, Targets, Objective], Matcher], model: Classifier, question: _Question, right: Tensor
) -> tuple[bool, str]:
    """Whether a kind of matcher has the right gradient, and the reason why not."""
    try:
        found = kind(model, question.targets, OBJECTIVES["cosine"])(question.candidates, no_priors).gradient
    except Exception as error:  # whatever torch.func or a tapped layer make of the user's code
        return False, own_words(error)
    same = bool((found - right).norm() <= _TOLERANCE * right.norm())
    return same, "" if same else "the numbers would be others"


def _asked(model: Classifier, images: Tensor, sizes: Sequence[int]) -> Tensor:
    """The model's answer. Raises UserError that says what to change in the audit's file, as far as that can be told."""
    try:
        answer: Tensor = model(images)
    except OwnCodeError as error:
        size, (channels, resolution) = len(images), images.shape[1:3]
        for other in (1, 3, 4):
            if other != channels and _takes(model.network, images[:, :1].expand(-1, other, -1, -1)):
                told = f"model.channels is {channels}; an audit's images have 3 (RGB) or 1 (grey)"
                raise UserError(f"model: takes images of {other} channel(s), but {told}") from None
        if size == 1 and _takes(model, images.expand(2, -1, -1, -1)):
            raise UserError(
                f"{error}; it takes 2, so choose client.samples and client.batch_size that leave no mini-batch of 1"
            ) from None
        raise UserError(
            f"{error}; set images.resolution ({resolution}) or client.batch_size ({size}) to what it takes"
        ) from None
    return answer


def _takes(network: torch.nn.Module, images: Tensor) -> bool:
    try:
        network(images)
    except (Exception, SystemExit):  # whatever the user's code raises
        return False
    return True


def _check_answer(answer: Tensor, images: Tensor) -> None:
    shape, size = tuple(answer.shape), len(images)
    if answer.dim() != 2 or len(answer) != size or answer.shape[1] < 2:
        raise UserError(
            f"model: must answer images {tuple(images.shape)} with logits ({size}, classes), but answers with {shape}"
        )
    if not answer.is_floating_point():
        raise UserError(f"model: answers with {answer.dtype}, not with logits; leave out the last argmax or threshold")
    if not bool(answer.isfinite().all()):
        raise UserError("model: answers with numbers that are not finite; look at its weights")
    if bool((answer >= 0).all()) and bool(((answer.double().sum(dim=1) - 1).abs() < 1e-4).all()):
        raise UserError("model: answers with probabilities; the loss needs logits, so leave out the last softmax")


def _images(count: int, shape: Shape) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(count))
