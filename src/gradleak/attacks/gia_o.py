"""GIA-O: gradient inversion in the observable (image) space (Definition 1, Eq. 1)."""

from typing import Literal

import torch
from torch import Tensor

from gradleak.attacks.base import ATTACKS, AttackConfig
from gradleak.attacks.matching import Found, MatchingAttack, MatchingConfig, Problem
from gradleak.engine.descent import DescentConfig
from gradleak.models.base import Classifier

Init = Literal["normal", "uniform", "grey"]


class GiaOConfig(MatchingConfig):
    """Objective, weighted priors, initialisation and descent.

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


class ImageSpace:
    """Pixels, in the units of the model's normalised input, in which the literature quotes learning rates."""

    def __init__(self, model: Classifier) -> None:
        self._mean, self._std = model.normalise.mean, model.normalise.std

    def decode(self, variables: Tensor) -> Tensor:
        """Candidates in image units; inside [0, 1] if the box constraint is on."""
        return variables * self._std + self._mean

    def project(self, variables: Tensor) -> Tensor:
        """Clamp to what pixels in [0, 1] map to."""
        low, high = -self._mean / self._std, (1 - self._mean) / self._std
        return torch.minimum(torch.maximum(variables, low), high)


@ATTACKS.register("gia-o")
class GiaO(MatchingAttack):
    """Optimises T x R candidates at once."""

    Config = GiaOConfig

    @classmethod
    def level(cls, config: AttackConfig) -> int:
        """Level 0 for gradient matching alone, 1 with p_TV, 3 if it simulates the client, 4 with p_BN."""
        assert isinstance(config, GiaOConfig)
        return config.matching_level()

    @classmethod
    def attack_pass(cls, problem: Problem) -> Found:
        """One descent from random images."""
        space = ImageSpace(problem.model)
        configs = [_config(trial.config) for trial in problem.trials]
        drawn = zip(configs, problem.generators(), strict=True)
        start = problem.tensor(*(start_image(config.init, problem.image_shape, random) for config, random in drawn))
        outcome = problem.descend("images", start, space, [config.descent for config in configs])
        images = space.decode(outcome.variables.to(start.device)).clamp(0, 1).cpu()
        return Found(images, outcome.objective, outcome.iterations)


def start_image(init: Init, shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    """Where a descent begins, in units of the normalised image: noise of the given shape, or grey."""
    if init == "normal":
        return torch.randn(shape, generator=random)
    if init == "uniform":
        return 2 * torch.rand(shape, generator=random) - 1
    return torch.zeros(shape)


def _config(config: AttackConfig) -> GiaOConfig:
    assert isinstance(config, GiaOConfig)
    return config
