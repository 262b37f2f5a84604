"""The surrogate point: matching at a model between the one that the server sent and the one that it received.

After Zhu et al., "Surrogate Model Extension", ICML 2023: on the way from W_0 to W_U lies a model whose gradient is
nearly parallel to the whole way. Matching there costs one gradient per iteration, however many steps the client took.
"""

import copy
from typing import Annotated

import torch
from pydantic import BeforeValidator, Field, field_validator

from gradleak.federated.shared_update import SharedUpdate
from gradleak.frozen import Frozen


def _listed(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


class Surrogate(Frozen):
    """Where the candidates' gradient is taken: at W_0 + alpha (W_U - W_0), which needs no knowledge (level 0).

    `alpha` is a number in [0, 1] or several. With several, every restart is attacked once per alpha, from the same
    images, and the lowest objective chooses among all of them. The buffers of the model stay those of W_0.
    """

    alpha: Annotated[tuple[float, ...], BeforeValidator(_listed)] = Field((0.5,), min_length=1, max_length=100)

    @field_validator("alpha")
    @classmethod
    def _on_the_way(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        for value in values:
            if not 0 <= value <= 1:
                raise ValueError(f"alpha is {value:g}; must be from 0 (the model sent) to 1 (the model received)")
        if len(set(values)) < len(values):
            raise ValueError(f"alpha lists a value twice: {', '.join(f'{value:g}' for value in values)}")
        return values


def at_point(update: SharedUpdate, alpha: float) -> SharedUpdate:
    """The update with the model at W_0 + alpha (W_U - W_0), a copy.

    The update itself for alpha 0, and where the client shares one gradient: there is no other point than W_0.
    """
    if update.difference is None or alpha == 0:
        return update
    model = copy.deepcopy(update.model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in update.difference:
                parameter.add_(update.difference[name].to(parameter.device), alpha=alpha)
    return update.with_model(model)
