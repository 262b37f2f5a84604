"""GIA-L: gradient inversion in the latent space of a generator (Definition 2, Eq. 2), then in its weights.

Two stages as in Jeon et al. 2021 (Appx. B.I of the paper): the latent vectors are searched with the generator fixed,
then the generator's weights are optimised with the latent vectors fixed. Every trial has its own copy of the weights.
"""

from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.func import functional_call, vmap

from gradleak.attacks.base import ATTACKS, RunContext
from gradleak.attacks.latent_search import LatentDescent, LatentEvolution, LatentSpace
from gradleak.attacks.matching import Found, MatchingAttack, Problem
from gradleak.auxiliary.base import AUXILIARY_LEVEL, AnyAuxiliary, Auxiliary, Generator
from gradleak.engine.descent import DescentConfig
from gradleak.errors import UserError


@ATTACKS.register("gia-l")
class GiaL(MatchingAttack):
    """Optimises latent vectors, then generator weights, of T x R candidates at once.

    Without `weights`, the second stage is left out.
    """

    name: Literal["gia-l"] = "gia-l"
    generator: AnyAuxiliary
    latent: Annotated[LatentDescent | LatentEvolution, Field(discriminator="method")] = LatentDescent()
    weights: DescentConfig | None = DescentConfig(iterations=6000, lr=1e-3)

    @field_validator("latent", mode="before")
    @classmethod
    def _by_gradient_unless_said(cls, value: Any) -> Any:
        return {"method": "gradient", **value} if isinstance(value, dict) else value

    @property
    def level(self) -> int:
        """Level 2 or more: the generator is trained on data like the client's."""
        return max(AUXILIARY_LEVEL, super().level)

    @property
    def total_iterations(self) -> int:
        """Iterations of one restart, both stages."""
        return self.latent.iterations + (self.weights.iterations if self.weights else 0)

    @property
    def descends(self) -> bool:
        """See `MatchingAttack.descends`: evolution compares values of the objective."""
        return not isinstance(self.latent, LatentEvolution) or self.weights is not None

    def origins(self) -> list[str]:
        """Modules of the attack, the objective, the priors and the generator."""
        return [*super().origins(), type(self.generator).__module__]

    def auxiliaries(self) -> list[Auxiliary]:
        """The generator."""
        return [self.generator]

    def cost_factor(self) -> float:
        """Several starts or a population multiply the cost of stage one."""
        stage_two = self.weights.iterations if self.weights else 0
        return (self.latent.evaluations() + stage_two) / self.total_iterations

    def variables(self, context: RunContext) -> int:
        """Count the weights of the generator, if they are optimised."""
        generator = context.auxiliary(self.generator)
        return sum(parameter.numel() for parameter in generator.parameters()) if self.weights else 0

    def attack_pass(self, problem: Problem[Self]) -> Found:
        """Run both stages; the better one of both ends is returned, by the objective.

        Raises UserError if the auxiliary model is no generator, or one of another resolution.
        """
        generator = self._opened(problem)
        latents, objective, iterations = self.latent.search(problem, generator)
        if self.weights is None:
            images = LatentSpace(generator, problem.labels).decode(latents)
            return Found(images.cpu(), objective, iterations)
        space = WeightSpace(generator, latents, problem.labels)
        outcome = problem.descend("weights", space.start, space, [self.weights] * len(latents), generator)
        with torch.no_grad():
            images = space.decode(outcome.variables.to(latents.device))
        return Found(images.cpu(), outcome.objective, iterations + outcome.iterations)

    def _opened(self, problem: Problem[Self]) -> Generator:
        generator = problem.context.auxiliary(self.generator)
        if not isinstance(generator, Generator):
            raise UserError(f"attack.generator: '{self.generator.name}' is not a generator")
        size = problem.image_shape[-1]
        if generator.resolution != size:
            raise UserError(f"attack.generator makes {generator.resolution} pixels, the client's images have {size}")
        return generator.eval().requires_grad_(False).to(next(problem.model.parameters()))


class WeightSpace:
    """Weights (T, P) of a generator, one copy per trial, with fixed latent vectors (T, N, d)."""

    def __init__(self, generator: Generator, latents: Tensor, labels: Tensor) -> None:
        self._generator, self._latents, self._labels = generator, latents.detach(), labels
        parameters = dict(generator.named_parameters())
        self._shapes = {name: value.shape for name, value in parameters.items()}
        flat = torch.cat([value.detach().flatten() for value in parameters.values()])
        self.start = flat.expand(len(latents), -1).clone()

    def decode(self, variables: Tensor) -> Tensor:
        """Return images (T, N, 3, H, W) in [0, 1]."""
        parts = variables.split([shape.numel() for shape in self._shapes.values()], dim=1)
        weights = {
            name: part.view(len(variables), *shape)
            for part, (name, shape) in zip(parts, self._shapes.items(), strict=True)
        }
        if variables.is_cuda and len(variables) > 1:
            return vmap(self._image)(weights, self._latents, self._labels)
        # On a CPU a loop beats one grouped convolution: the weights of a single trial stay in the cache.
        rows = zip(self._latents, self._labels, strict=True)
        own = ({name: value[trial] for name, value in weights.items()} for trial in range(len(variables)))
        return torch.stack([self._image(w, *row) for w, row in zip(own, rows, strict=True)])

    def _image(self, weights: dict[str, Tensor], latents: Tensor, labels: Tensor) -> Tensor:
        return functional_call(self._generator, weights, (latents, labels))

    def project(self, variables: Tensor) -> Tensor:
        """Return the weights as they are: they have no bounds."""
        return variables
