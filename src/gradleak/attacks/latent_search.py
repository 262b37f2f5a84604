"""Stage one of GIA-L: the search for latent vectors with a fixed generator, by gradients or by evolution."""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gradleak.auxiliary.base import Generator, draw
from gradleak.engine.descent import DescentConfig
from gradleak.frozen import Frozen

if TYPE_CHECKING:
    from gradleak.attacks.matching import Problem

#: Latent vectors are kept where a standard normal has nearly all its mass.
_LATENT_BOUND = 3.0


class Latents(NamedTuple):
    """Latent vectors (T, N, d) on the device; their objective (T,) and iterations run (T,), both on the CPU."""

    vectors: Tensor
    objective: Tensor
    iterations: Tensor


class LatentSpace:
    """Latent vectors (T, N, d) of a generator with fixed weights."""

    def __init__(self, generator: Generator, labels: Tensor) -> None:
        self._generator, self._labels = generator, labels.flatten()

    def decode(self, variables: Tensor) -> Tensor:
        """Return images (T, N, 3, H, W) in [0, 1]."""
        return self._generator(variables.flatten(0, 1), self._labels).unflatten(0, variables.shape[:2])

    def project(self, variables: Tensor) -> Tensor:
        """Clamp to three standard deviations."""
        return variables.clamp(-_LATENT_BOUND, _LATENT_BOUND)


class LatentDescent(Frozen):
    """Adam on the latent vectors; of `starts` random starts per trial, the one with the best objective goes on."""

    method: Literal["gradient"] = "gradient"
    starts: int = Field(1, ge=1, le=10_000)
    descent: DescentConfig = DescentConfig(iterations=400, lr=0.03, signed=False)

    @property
    def iterations(self) -> int:
        """Iterations of all starts together."""
        return self.descent.iterations * self.starts

    def evaluations(self) -> int:
        """Evaluations of the objective per trial."""
        return self.iterations

    def search(self, problem: "Problem", generator: Generator) -> Latents:
        """Latent vectors for every trial of a problem."""
        space = LatentSpace(generator, problem.labels)
        generators = problem.generators()
        best: Latents | None = None
        for attempt in range(self.starts):
            start = problem.tensor(*(_draw(problem, generator, random) for random in generators))
            found = problem.descend(f"latent{attempt}", start, space, [self.descent] * len(start), generator)
            if best is None:
                best = Latents(found.variables, found.objective, found.iterations)
                continue
            better = (found.objective < best.objective)[:, None, None]
            best = Latents(
                torch.where(better, found.variables, best.vectors),
                torch.minimum(found.objective, best.objective),
                best.iterations + found.iterations,
            )
        assert best is not None
        return best._replace(vectors=best.vectors.to(problem.labels.device))


class LatentEvolution(Frozen):
    """CMA-ES with a diagonal covariance over the latent vectors, without gradients, as Li et al. 2022."""

    method: Literal["cma-es"] = "cma-es"
    generations: int = Field(400, ge=1, le=10_000_000)
    population: int = Field(16, ge=4, le=10_000)
    sigma: float = Field(0.5, gt=0)

    @property
    def iterations(self) -> int:
        """Generations."""
        return self.generations

    def evaluations(self) -> int:
        """Evaluations of the objective per trial."""
        return self.generations * self.population

    def search(self, problem: "Problem", generator: Generator) -> Latents:
        """Latent vectors for every trial of a problem.

        Fitness values are saved for resuming: they are told again to a fresh CMA-ES with the same seed.
        """
        trials, samples = problem.labels.shape
        evolutions = [self._evolution(problem, generator, trial) for trial in range(trials)]
        fitness = torch.full((self.generations, trials, self.population), torch.nan, dtype=torch.float64)
        store = problem.store("latent", generator)
        done = store.load({"fitness": fitness}) if store else 0
        best = torch.full((trials,), torch.inf, dtype=torch.float64)
        vectors = torch.zeros(trials, samples, generator.latent_size)
        for generation in range(self.generations):
            asked = [np.stack(evolution.ask()) for evolution in evolutions]
            population = torch.tensor(np.stack(asked), dtype=torch.float32)
            population = population.view(trials, self.population, *vectors.shape[1:])
            population = population.clamp(-_LATENT_BOUND, _LATENT_BOUND)
            if generation >= done:
                fitness[generation] = _fitness(problem, generator, population)
            for trial, evolution in enumerate(evolutions):
                values = fitness[generation, trial]
                evolution.tell(list(asked[trial]), values.tolist())
                if values.min() < best[trial]:
                    best[trial], vectors[trial] = values.min(), population[trial, int(values.argmin())]
            if problem.context.progress is not None:
                problem.context.progress(1)
            if store:
                store.save_if_due({"fitness": fitness}, generation + 1)
        if store:
            store.save({"fitness": fitness}, self.generations)
        ran = torch.full((trials,), self.generations)
        return Latents(vectors.to(next(problem.model.parameters())), best, ran)

    def _evolution(self, problem: "Problem", generator: Generator, trial: int) -> Any:
        import cma

        start = _draw(problem, generator, problem.generators()[trial]).numpy().astype(np.float64).ravel()
        random = np.random.default_rng(problem.trials[trial].seed)
        options = {
            "popsize": self.population,
            "CMA_diagonal": True,
            "verbose": -9,
            # Numbers of its own: by default all evolutions would draw from NumPy's one global generator.
            "seed": np.nan,
            "randn": lambda *shape: random.standard_normal(shape),
        }
        return cma.CMAEvolutionStrategy(start, self.sigma, options)


def _draw(problem: "Problem", generator: Generator, random: torch.Generator) -> Tensor:
    return draw(random, problem.labels.shape[1], generator.latent_size)


def _fitness(problem: "Problem", generator: Generator, population: Tensor) -> Tensor:
    """Objective with priors, float64 (T, K), of K candidates per trial (T, K, N, d)."""
    space = LatentSpace(generator, problem.labels)
    columns = []
    for candidate in population.unbind(1):  # candidate k of every trial is one batch of the problem's own T trials
        with torch.no_grad():
            images = space.decode(candidate.to(next(problem.model.parameters())))
        found = problem.evaluate(images, problem.priors)
        columns.append((found.objective + found.prior.double()).cpu())
    return torch.stack(columns, dim=1)
