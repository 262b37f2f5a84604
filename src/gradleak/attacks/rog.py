"""ROG (Yue et al. 2023): search in a low-dimensional space of images, then a learned enhancement.

The low-dimensional space makes the attack robust where the update was quantised, sparsified, clipped or perturbed.
Such an update still tells enough of the coarse content to fit few unknowns.
"""

from typing import Literal, Self

import torch
from torch import Tensor

from gradleak.attacks.base import ATTACKS
from gradleak.attacks.matching import Found, MatchingAttack, Problem
from gradleak.auxiliary.base import AUXILIARY_LEVEL, AnyAuxiliary, Auxiliary
from gradleak.auxiliary.rog import RogModel
from gradleak.engine.descent import DescentConfig
from gradleak.errors import UserError


class CodeSpace:
    """Codes (T, N, c, h, w) of a low-dimensional space, each in [-1, 1]."""

    def __init__(self, model: RogModel) -> None:
        self._model = model

    def decode(self, variables: Tensor) -> Tensor:
        """Return images (T, N, 3, H, W), about [0, 1]."""
        return self._model.decode(variables.flatten(0, 1)).unflatten(0, variables.shape[:2])

    def project(self, variables: Tensor) -> Tensor:
        """Clamp to what encoders return."""
        return variables.clamp(-1, 1)


@ATTACKS.register("rog")
class Rog(MatchingAttack):
    """Optimises codes of T x R candidates at once, then enhances the decoded images.

    `space` is the low-dimensional space with its enhancement network. Without `enhance` the coarse image is returned.
    """

    name: Literal["rog"] = "rog"
    space: AnyAuxiliary
    enhance: bool = True
    descent: DescentConfig = DescentConfig(lr=0.05)

    @property
    def level(self) -> int:
        """Level 2 or more: the enhancement network is trained on data like the client's."""
        return max(AUXILIARY_LEVEL, super().level)

    @property
    def total_iterations(self) -> int:
        """Iterations of one restart."""
        return self.descent.iterations

    def origins(self) -> list[str]:
        """Modules of the attack, the objective, the priors and the auxiliary model."""
        return [*super().origins(), type(self.space).__module__]

    def auxiliaries(self) -> list[Auxiliary]:
        """The space and its enhancement network."""
        return [self.space]

    def batch_key(self) -> str:
        """Trials may differ in priors' weights, rate, schedule, sign and box."""
        return self.model_copy(update={"priors": {}, "descent": self.descent.shape()}).model_dump_json()

    def attack_pass(self, problem: Problem[Self]) -> Found:
        """Run one descent from small random codes.

        Raises UserError if the auxiliary model is no low-dimensional space, or one of another resolution.
        """
        model = problem.context.auxiliary(self.space)
        if not isinstance(model, RogModel):
            raise UserError(f"attack.space: '{self.space.name}' is not a low-dimensional space; use 'rog'")
        if model.resolution != problem.image_shape[-1]:
            raise UserError(
                f"attack.space has {model.resolution} pixels, the client's images have {problem.image_shape[-1]}"
            )
        model = model.eval().requires_grad_(False).to(next(problem.model.parameters()))
        space = CodeSpace(model)
        shape = (problem.image_shape[0], *model.code_shape)
        start = problem.tensor(*(0.1 * torch.randn(shape, generator=random) for random in problem.generators()))
        outcome = problem.descend("codes", start, space, [trial.attack.descent for trial in problem.trials], model)
        with torch.no_grad():
            images = space.decode(outcome.variables.to(start.device)).clamp(0, 1)
            if self.enhance:
                images = model.enhance(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        return Found(images.cpu(), outcome.objective, outcome.iterations)
