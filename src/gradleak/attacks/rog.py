"""ROG (Yue et al. 2023): search in a low-dimensional space of images, then a learned enhancement.

The low-dimensional space makes the attack robust where the update was quantised, sparsified, clipped or perturbed:
what such an update still says of coarse content is enough to fit few unknowns.
"""

from typing import Literal

import torch
from torch import Tensor

from gradleak.attacks.base import ATTACKS, AttackConfig
from gradleak.attacks.matching import Found, MatchingAttack, MatchingConfig, Problem
from gradleak.auxiliary.base import AUXILIARIES, AUXILIARY_LEVEL, AnyAuxiliary, AuxiliaryConfig
from gradleak.auxiliary.rog import RogModel
from gradleak.engine.descent import DescentConfig
from gradleak.errors import UserError


class RogAttackConfig(MatchingConfig):
    """The space with its enhancement network, and the descent; without `enhance` the coarse image is returned."""

    name: Literal["rog"] = "rog"
    space: AnyAuxiliary
    enhance: bool = True
    descent: DescentConfig = DescentConfig(lr=0.05)

    @property
    def total_iterations(self) -> int:
        """Iterations of one restart."""
        return self.descent.iterations

    def origins(self) -> list[str]:
        """Modules of the objective, the priors and the auxiliary model."""
        return [*super().origins(), AUXILIARIES.origin(self.space.name)]

    def auxiliaries(self) -> list[AuxiliaryConfig]:
        """The space and its enhancement network."""
        return [self.space]

    def batch_key(self) -> str:
        """Trials may differ in priors' weights, rate, schedule, sign and box."""
        return self.model_copy(update={"priors": {}, "descent": self.descent.shape()}).model_dump_json()


class CodeSpace:
    """Codes (T, N, c, h, w) of a low-dimensional space, each in [-1, 1]."""

    def __init__(self, model: RogModel) -> None:
        self._model = model

    def decode(self, variables: Tensor) -> Tensor:
        """Images (T, N, 3, H, W), about [0, 1]."""
        return self._model.decode(variables.flatten(0, 1)).unflatten(0, variables.shape[:2])

    def project(self, variables: Tensor) -> Tensor:
        """Clamp to what encoders return."""
        return variables.clamp(-1, 1)


@ATTACKS.register("rog")
class Rog(MatchingAttack):
    """Optimises codes of T x R candidates at once, then enhances the decoded images."""

    Config = RogAttackConfig

    @classmethod
    def level(cls, config: AttackConfig) -> int:
        """At least 2: the enhancement network is trained on data like the client's."""
        assert isinstance(config, RogAttackConfig)
        return max(AUXILIARY_LEVEL, config.matching_level())

    @classmethod
    def attack_pass(cls, problem: Problem) -> Found:
        """One descent from small random codes."""
        configs = [_config(trial.config) for trial in problem.trials]
        model = problem.context.auxiliary(configs[0].space)
        if not isinstance(model, RogModel):
            raise UserError(f"attack.space: '{configs[0].space.name}' is not a low-dimensional space; use 'rog'")
        if model.resolution != problem.image_shape[-1]:
            raise UserError(
                f"attack.space has {model.resolution} pixels, the client's images have {problem.image_shape[-1]}"
            )
        model = model.eval().requires_grad_(False).to(next(problem.model.parameters()))
        space = CodeSpace(model)
        shape = (problem.image_shape[0], *model.code_shape)
        start = problem.tensor(*(0.1 * torch.randn(shape, generator=random) for random in problem.generators()))
        outcome = problem.descend("codes", start, space, [config.descent for config in configs], model)
        with torch.no_grad():
            images = space.decode(outcome.variables.to(start.device)).clamp(0, 1)
            if configs[0].enhance:
                images = model.enhance(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        return Found(images.cpu(), outcome.objective, outcome.iterations)


def _config(config: AttackConfig) -> RogAttackConfig:
    assert isinstance(config, RogAttackConfig)
    return config
