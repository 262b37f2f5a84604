"""GIA-O: gradient inversion in the observable (image) space (Definition 1, Eq. 1)."""

from typing import Literal, Self

import torch
from torch import Tensor

from gradleak.attacks.base import ATTACKS
from gradleak.attacks.matching import Found, MatchingAttack, Problem
from gradleak.engine.descent import DescentConfig
from gradleak.models.base import Classifier

Init = Literal["normal", "uniform", "grey"]


class ImageSpace:
    """Pixels, in the units of the model's normalised input, in which the literature quotes learning rates."""

    def __init__(self, model: Classifier) -> None:
        self._mean, self._std = model.normalise.mean, model.normalise.std

    def decode(self, variables: Tensor) -> Tensor:
        """Return candidates in image units; they are inside [0, 1] if the box constraint is on."""
        return variables * self._std + self._mean

    def project(self, variables: Tensor) -> Tensor:
        """Clamp to what pixels in [0, 1] map to."""
        low, high = -self._mean / self._std, (1 - self._mean) / self._std
        return torch.minimum(torch.maximum(variables, low), high)


@ATTACKS.register("gia-o")
class GiaO(MatchingAttack):
    """Optimises T x R candidates at once by a descent from images that are drawn as `init` says.

    The defaults are those of Geiping et al. 2020 but for the schedule.
    """

    name: Literal["gia-o"] = "gia-o"
    init: Init = "normal"
    descent: DescentConfig = DescentConfig()

    @property
    def total_iterations(self) -> int:
        """Iterations of one restart."""
        return self.descent.iterations

    def batch_key(self) -> str:
        """Trials may differ in priors' weights, initialisation, rate, schedule, sign and box."""
        return self.model_copy(
            update={"priors": {}, "init": "normal", "descent": self.descent.shape()}
        ).model_dump_json()

    def attack_pass(self, problem: Problem[Self]) -> Found:
        """Run one descent from random images."""
        space = ImageSpace(problem.model)
        attacks = [trial.attack for trial in problem.trials]
        drawn = zip(attacks, problem.generators(), strict=True)
        start = problem.tensor(*(start_image(attack.init, problem.image_shape, random) for attack, random in drawn))
        outcome = problem.descend("images", start, space, [attack.descent for attack in attacks])
        images = space.decode(outcome.variables.to(start.device)).clamp(0, 1).cpu()
        return Found(images, outcome.objective, outcome.iterations)


def start_image(init: Init, shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    """Return where a descent begins, in units of the normalised image: noise of the given shape, or grey."""
    if init == "normal":
        return torch.randn(shape, generator=random)
    if init == "uniform":
        return 2 * torch.rand(shape, generator=random) - 1
    return torch.zeros(shape)
