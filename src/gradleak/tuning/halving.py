"""Successive halving: many candidates with few iterations, the best of them with more, each with a whole schedule."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

import optuna
from optuna.trial import TrialState

from gradleak.attacks.base import Attack
from gradleak.errors import UserError
from gradleak.tuning.evaluation import Scores
from gradleak.tuning.search import Search
from gradleak.tuning.space import Settings

Evaluate = Callable[[str, Mapping[int, Attack]], dict[int, Scores]]
"""Takes the name of a step and attacks by their candidates' numbers; returns their scores."""


@dataclass
class Candidate:
    """Settings that were tried: `lpips` has the mean of each rung that it reached, None where the attack failed."""

    number: int
    generation: int
    settings: Settings
    status: Literal["running", "complete", "pruned", "failed"] = "running"
    lpips: list[float | None] = field(default_factory=list)

    @property
    def final(self) -> float:
        """Mean LPIPS with all iterations. Infinite for one that was pruned or failed."""
        value = self.lpips[-1] if self.status == "complete" else None
        return float("inf") if value is None else value


def run_search(search: Search, evaluate: Evaluate) -> list[Candidate]:
    """All candidates of all generations. The first ones are the start settings.

    The same search and scores give the same candidates. Raises UserError if none gets to the end.
    """
    spec = search.spec
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=_sampler(spec.candidates, spec.seed))
    for settings in search.start:
        study.enqueue_trial({path: spec.space[path].parameter(value) for path, value in settings.items()})
    candidates: list[Candidate] = []
    for generation in range(spec.generations):
        running: dict[int, tuple[Candidate, optuna.Trial]] = {}
        for _ in range(spec.candidates):
            trial = study.ask()
            settings = {path: dimension.draw(trial, path) for path, dimension in spec.space.items()}
            if trial.number < len(search.start):
                settings = search.start[trial.number]  # as given, not rounded
            candidates.append(Candidate(trial.number, generation, settings))
            running[trial.number] = candidates[-1], trial
        for rung, share in enumerate(spec.rungs):
            if not running:
                break
            attacks = {number: search.attack(item.settings, share) for number, (item, _) in running.items()}
            scores = evaluate(f"generation {generation + 1}, rung {rung + 1}", attacks)
            _tell(study, running, scores, rung)
            finished = sorted(running, key=lambda number: (_last(running[number][0]), number))
            last = rung + 1 == len(spec.rungs)
            going = finished if last else finished[: search.survivors(len(finished))]
            for number in finished:
                candidate, trial = running[number]
                if last:
                    candidate.status = "complete"
                    study.tell(trial, _last(candidate))
                elif number not in going:
                    candidate.status = "pruned"
                    study.tell(trial, state=TrialState.PRUNED)
            running = {number: running[number] for number in sorted(going)}
    if all(candidate.status != "complete" for candidate in candidates):
        raise UserError(f"{search.where}: the objective of every candidate stopped being finite; lower the space's lr")
    return candidates


def _tell(
    study: optuna.Study, running: dict[int, tuple[Candidate, optuna.Trial]], scores: dict[int, Scores], rung: int
) -> None:
    """Record the scores of a rung. Candidates that failed are no longer running."""
    for number, (candidate, trial) in list(running.items()):
        values = scores[number]
        candidate.lpips.append(None if values is None else fmean(values))
        if values is None:
            candidate.status = "failed"
            study.tell(trial, state=TrialState.FAIL)
            del running[number]
        else:
            trial.report(_last(candidate), rung)


def _last(candidate: Candidate) -> float:
    value = candidate.lpips[-1]
    assert value is not None
    return value


def _sampler(candidates: int, seed: int) -> optuna.samplers.TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # A generation is drawn at once: the liar keeps its candidates apart.
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(10, candidates), constant_liar=True)
