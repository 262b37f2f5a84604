"""A user's network as a model that the engine attacks, in the fastest way that is right for it."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from gradleak.audit.check import classes_of, way_of
from gradleak.audit.opaque import Opaque
from gradleak.audit.own_code import own_code
from gradleak.audit.spec import Normalisation
from gradleak.engine import activation
from gradleak.errors import UserError
from gradleak.models.base import Classifier, set_bn_mode
from gradleak.models.twice import plain_attention, written_out

#: Units in which attacks search where the network does its own normalisation: those of photographs.
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
_WORDS = {"tapped": "as one function", "together": "as one function", "alone": "one by one"}


class OwnClassifier(Classifier):
    """A user's network behind its input step, such that it can be differentiated twice.

    It may answer with logits or with a structure that has them as `logits`. What its code raises is a UserError.
    `notes` are lines for the user about what the audit does with it.
    """

    notes: tuple[str, ...] = ()

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, C, H, W) in [0, 1] to logits (n, classes)."""
        kind = "TorchScript" if isinstance(self.network, Opaque) else type(self.network).__name__
        failing = f"model: {kind} does not take images {tuple(images.shape)}"
        with own_code(failing), plain_attention(), written_out():
            return _logits(self.network(self.entered(images)))

    def entered(self, images: Tensor) -> Tensor:
        """What the network is given."""
        return self.normalise(images)


class RawClassifier(OwnClassifier):
    """A network that takes images in [0, 1] as they are; `normalise` holds only the units of the attacks' search."""

    def entered(self, images: Tensor) -> Tensor:
        """What the network is given: a copy, which it may change."""
        return images.clone()


def attackable(
    network: nn.Module,
    normalise: Normalisation | None,
    resolution: int,
    bn_mode: str,
    channels: int = 3,
    sizes: Sequence[int] = (2,),
    device: str = "cpu",
) -> OwnClassifier:
    """The model that the clients receive, with batch normalisation in their mode.

    `sizes` are the numbers of images that it is given at once. It is asked with these on the device, and the way in
    which the engine differentiates it is the fastest that gives the right derivatives. TorchScript is opaque. Raises
    UserError for a network that cannot be audited.
    """
    _check_parameters(network)
    if not isinstance(network, torch.jit.ScriptModule):
        set_bn_mode(network, bn_mode)
    elif bn_mode == "train" and any(name.endswith("running_mean") for name in network.state_dict()):
        raise UserError("client.bn_mode: 'train' needs model.import; TorchScript fixes how it normalises batches")
    inner = Opaque(network) if isinstance(network, torch.jit.ScriptModule) else network
    if normalise is None:
        model: OwnClassifier = RawClassifier(inner, 0, MEAN[:channels], STD[:channels])
    else:
        model = OwnClassifier(inner, 0, normalise.mean, normalise.std)
    model.eval().to(device)
    shape = (channels, resolution, resolution)
    model.num_classes = classes_of(model, sizes, shape)
    model.way, why = way_of(model, sizes, shape)
    model.notes = tuple(_notes(network, why))
    return model


def path_of(model: Classifier) -> str:
    """How the engine differentiates a model, in words."""
    return "layers tapped" if activation.supports(model) else _WORDS[model.way]


def _logits(answer: object) -> Tensor:
    found = answer.get("logits") if isinstance(answer, Mapping) else getattr(answer, "logits", None)
    found = answer if isinstance(answer, Tensor) or found is None else found
    if isinstance(found, Tensor):
        return found
    raise UserError(
        f"model: answers with a {type(answer).__name__}; it must be the logits (n, classes), or have them as `logits`"
    )


def _check_parameters(network: nn.Module) -> None:
    parameters = dict(network.named_parameters())
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise UserError("model: has no trainable parameter: its clients would share nothing")
    odd = next((name for name, value in parameters.items() if not value.is_floating_point()), None)
    if odd is not None:
        kind = str(parameters[odd].dtype).removeprefix("torch.")
        raise UserError(
            f"model: its parameter '{odd}' is {kind}; an audit takes real ones; make it a buffer, or torch.view_as_real"
        )


def _notes(network: nn.Module, why: str) -> list[str]:
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    notes = []
    if frozen:
        total = len(list(network.parameters()))
        notes.append(
            f"model: {len(frozen)} of {total} parameters are frozen and not shared, the first is '{frozen[0]}'"
        )
    if why:
        notes.append(f"model: clients are attacked one after another, as they cannot be together ({why})")
    return notes
