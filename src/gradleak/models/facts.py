"""Facts of a model that its name does not say: parameters, skip connections, and the share of a gradient view."""

from functools import cache

import torch
from torch import nn

from gradleak.models.base import build_model
from gradleak.models.structure import parameter_share, skip_connections
from gradleak.specs import ModelSpec

Facts = dict[str, float | int]


def model_facts(model: ModelSpec, num_classes: int, resolution: int, view: tuple[str, ...] | None = None) -> Facts:
    """Columns `model_parameters`, `model_skips` (see `skip_connections`) and `params_ratio`, in (0, 1].

    Raises UserError for an unknown model or option, or a view that names what the model does not have.
    """
    return _facts(model.model_dump_json(exclude={"round", "init_seed", "training"}), num_classes, resolution, view)


@cache
def _facts(model: str, num_classes: int, resolution: int, view: tuple[str, ...] | None) -> Facts:
    with torch.device("meta"):  # shapes alone: nothing is drawn or allocated
        spec = ModelSpec.model_validate_json(model)
        built = build_model(spec, num_classes, resolution, *[(0.5,) * spec.channels] * 2)
    return facts_of(built, view)


def facts_of(built: nn.Module, view: tuple[str, ...] | None = None) -> Facts:
    """The columns of `model_facts` for a built model; frozen parameters, which no client shares, are left out."""
    return {
        "model_parameters": sum(parameter.numel() for parameter in built.parameters() if parameter.requires_grad),
        "model_skips": skip_connections(built),
        "params_ratio": parameter_share(built, view),
    }
