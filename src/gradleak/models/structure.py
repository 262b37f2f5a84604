"""What a built model consists of: named blocks whose gradients can be selected, and its skip connections."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from gradleak.errors import UserError
from gradleak.models.base import Classifier

# A network says both about itself, where it can: `parts` maps a block's name to the submodules it consists of,
# `skips` is a number. Neither is required of a new model.


def named_blocks(model: nn.Module) -> dict[str, list[str]]:
    """The model's blocks in forward order: name to prefixes of parameter names.

    Every parameter belongs to exactly one block. A prefix ends in a dot, so `name.startswith(prefix)` is exact. A
    network without `parts` has one block per child module that has parameters.
    """
    network, prefix = _network(model)
    parts: dict[str, list[str]] | None = getattr(network, "parts", None)
    if parts is None:
        parts = {name: [name] for name, child in network.named_children() if any(True for _ in child.parameters())}
    return {block: [f"{prefix}{path}." for path in paths] for block, paths in parts.items()}


def block_parameters(model: nn.Module, block: str) -> list[str]:
    """Names of the parameters of one block, in the model's order. Raises UserError for an unknown block."""
    blocks = named_blocks(model)
    if block not in blocks:
        raise UserError(f"the model has no block '{block}'; it has: {', '.join(blocks)}")
    return [name for name in _shared(model) if name.startswith(tuple(blocks[block]))]


def parameters_in(model: nn.Module, view: Sequence[str]) -> list[str]:
    """Names of the parameters in a gradient view, in the model's order.

    An entry of the view is a block, or a module or a parameter by its name, with or without the leading `network.`.
    Raises UserError for an entry that names none that clients share.
    """
    prefix = _network(model)[1]
    blocks = named_blocks(model)
    chosen: set[str] = set()
    for entry in view:
        if entry in blocks:
            chosen.update(block_parameters(model, entry))
            continue
        path = prefix + entry.removeprefix(prefix)
        found = [name for name in _shared(model) if name == path or name.startswith(f"{path}.")]
        if not found:
            raise UserError(
                f"view names '{entry}', which is no trainable parameter or module with such, nor a block: "
                + ", ".join(blocks)
            )
        chosen.update(found)
    return [name for name in _shared(model) if name in chosen]


def parameter_share(model: nn.Module, view: Sequence[str] | None) -> float:
    """Share of the model's trainable parameters that are in a gradient view, in (0, 1]; 1 for None, the whole."""
    if view is None:
        return 1.0
    chosen = set(parameters_in(model, view))
    sizes = {name: parameter.numel() for name, parameter in _shared(model).items()}
    return sum(sizes[name] for name in chosen) / sum(sizes.values())


def skip_connections(model: nn.Module) -> int:
    """How many connections between layers that are not neighbours the model has (Sec. 5.2.1, Figure 10).

    ResNet: one per residual block whose shortcut is not cut, identity or projection. DenseNet: within a dense block,
    one per concatenated input of a layer beyond the output of the layer right before it. The transition (or the
    classifier) that follows a dense block counts as a layer. Swin: two per block. Other models have none: the parallel
    branches of an inception block all leave from the same layer and skip nothing.
    """
    return int(getattr(_network(model)[0], "skips", 0))


def _shared(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable parameters, which are what a client shares."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _network(model: nn.Module) -> tuple[Any, str]:
    return (model.network, "network.") if isinstance(model, Classifier) else (model, "")
