"""A user's network as a model that the engine attacks: checked, and on the fast path where that is right."""

import torch
from torch import Tensor, nn

from gradleak.audit.opaque import Opaque
from gradleak.audit.spec import Normalisation
from gradleak.engine import activation
from gradleak.engine.activation import ActivationMatcher
from gradleak.engine.base import Targets
from gradleak.engine.functional import FunctionalMatcher
from gradleak.errors import UserError
from gradleak.federated.client import parameters_of, summed_gradients
from gradleak.models.base import Classifier, set_bn_mode
from gradleak.objectives.base import OBJECTIVES

#: Units in which attacks search where the network does its own normalisation: those of photographs.
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
_TOLERANCE = 1e-2


class RawClassifier(Classifier):
    """A network that takes images in [0, 1] as they are; `normalise` holds only the units of the attacks' search."""

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, 3, H, W) in [0, 1] to logits (n, classes)."""
        return self.network(images)


def attackable(
    network: nn.Module, normalise: Normalisation | None, resolution: int, bn_mode: str, channels: int = 3
) -> Classifier:
    """The model that the clients receive, with batch normalisation in their mode.

    The network's layers are tapped (the fast path) where that gives the same derivatives as calling it as a function of
    its parameters. Else, and for TorchScript, it is opaque. Raises UserError for a network that cannot be audited.
    """
    scripted = isinstance(network, torch.jit.ScriptModule)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UserError("model: has no trainable parameter: its clients would share nothing")
    if not scripted:
        set_bn_mode(network, bn_mode)
    elif bn_mode == "train" and any(name.endswith("running_mean") for name in network.state_dict()):
        raise UserError("client.bn_mode: 'train' needs model.import; TorchScript fixes how it normalises batches")

    def wrapped(inner: nn.Module, classes: int) -> Classifier:
        if normalise is None:
            return RawClassifier(inner, classes, MEAN[:channels], STD[:channels]).eval()
        return Classifier(inner, classes, normalise.mean, normalise.std).eval()

    classes = _classes(network, resolution, channels)
    frozen = any(not parameter.requires_grad for parameter in network.parameters())
    if not scripted and not frozen:
        model = wrapped(network, classes)
        if not activation.supports(model) or _agrees(model, resolution, channels):
            return model
    return wrapped(Opaque(network), classes)


def path_of(model: Classifier) -> str:
    """How the engine differentiates a model, in words."""
    return "layers tapped" if activation.supports(model) else "as one function"


def _classes(network: nn.Module, resolution: int, channels: int) -> int:
    """The number of classes, by asking the network. Raises UserError where it is no classifier of such images."""
    images = torch.rand(2, channels, resolution, resolution, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in network.named_buffers()}
    with torch.no_grad():
        answer = _ask(network, images)
        shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        if not isinstance(answer, Tensor) or answer.dim() != 2 or len(answer) != 2 or answer.shape[1] < 2:
            raise UserError(
                f"model: must answer images {tuple(images.shape)} with logits (2, classes), but answers with {shape}"
            )
        if not bool(answer.isfinite().all()):
            raise UserError("model: answers with numbers that are not finite")
        if bool((answer >= 0).all()) and torch.allclose(answer.sum(dim=1), torch.ones(2), atol=1e-4):
            raise UserError("model: answers with probabilities; the loss needs logits, so leave out the last softmax")
        if not torch.equal(answer, network(images)):
            raise UserError(
                "model: answers the same images differently; a random layer is on, e.g. saved before eval()"
            )
    for name, value in network.named_buffers():
        if not torch.equal(value, before[name]):
            raise UserError(f"model: answering changes its buffer '{name}'; save it after eval()")
    return int(answer.shape[1])


def _ask(network: nn.Module, images: Tensor) -> object:
    try:
        return network(images)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1][:160]
        for channels in (1, 3, 4):
            try:
                network(images[:, :1].expand(-1, channels, -1, -1))
            except (RuntimeError, ValueError):
                continue
            told = f"but model.channels is {images.shape[1]}; an audit's images have 3 (RGB) or 1 (grey)"
            raise UserError(f"model: takes images of {channels} channel(s), {told}") from None
        raise UserError(f"model: does not take images {tuple(images.shape)} ({reason})") from None


def _agrees(model: Classifier, resolution: int, channels: int) -> bool:
    """Whether tapped layers give the derivatives of the whole function, for two trials of two random images.

    They do not where a layer is used twice, or its output is changed in place.
    """
    random = torch.Generator().manual_seed(1)
    images, candidates = torch.rand(2, 2, 2, channels, resolution, resolution, generator=random)
    labels = torch.tensor([[0, 1], [1, 1]])
    updates = [
        summed_gradients(model, parameters_of(model), x, y, 2, 1, 1.0) for x, y in zip(images, labels, strict=True)
    ]
    stacked = {name: torch.stack([update[name] for update in updates]) for name in updates[0]}
    norm2 = torch.stack([value.flatten(1).double().square().sum(dim=1) for value in stacked.values()]).sum(dim=0)
    targets = Targets(stacked, labels, norm2)

    def no_priors(images: Tensor, moments: object) -> Tensor:
        return torch.zeros(len(images))

    right = FunctionalMatcher(model, targets, OBJECTIVES["cosine"])(candidates, no_priors).gradient
    try:
        fast = ActivationMatcher(model, targets, OBJECTIVES["cosine"])(candidates, no_priors).gradient
    except (RuntimeError, AttributeError):
        return False
    return bool((fast - right).norm() <= _TOLERANCE * right.norm())
