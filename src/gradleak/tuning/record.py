"""A search from file to file: what is kept while it runs, and the settings with their evidence at the end."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml

from gradleak.engine.device import device_name, precision
from gradleak.errors import UserError
from gradleak.files import software, write_text
from gradleak.frozen import digest
from gradleak.metrics.backbone import fetch_backbone
from gradleak.stages.common import dataset_of
from gradleak.stages.session import Session
from gradleak.stages.single import train_missing
from gradleak.study.config import Config
from gradleak.study.ids import auxiliary_id
from gradleak.study.nested import assign, copied
from gradleak.tuning.evaluation import Evaluator, Scores, tuning_clients
from gradleak.tuning.halving import Candidate, run_search
from gradleak.tuning.search import Search

_HEADER = "# Written by `gradleak tune`; docs/tuning.md says what is in here and how a study uses it.\n"


class SearchState:
    """The scores of finished steps in a JSON file, so that a killed search goes on where it was.

    `identity` is a hash of all that decides the scores. Raises UserError for the file of another search.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self._path = path
        self._content: dict[str, Any] = {"identity": identity, "seconds": 0.0, "steps": {}}
        if not path.exists():
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            known = found["identity"], found["steps"]
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not the state of a search ({error!r}); delete it to start anew") from None
        if known[0] != identity:
            raise UserError(
                f"{path}: belongs to another search, data, version or precision; delete it, or give another --out"
            )
        self._content = found

    @property
    def seconds(self) -> float:
        """The time that all finished steps took, in seconds."""
        return float(self._content["seconds"])

    def step(self, name: str, compute: Callable[[], dict[int, Scores]]) -> dict[int, Scores]:
        """The scores of a step by their candidates' numbers: those that are kept, else computed and kept."""
        steps = self._content["steps"]
        if name not in steps:
            started = time.time()
            steps[name] = {str(number): scores for number, scores in compute().items()}
            self._content["seconds"] = self.seconds + time.time() - started
            write_text(self._path, json.dumps(self._content, indent=1) + "\n")
        return {int(number): scores for number, scores in steps[name].items()}

    def remove(self) -> None:
        """Forget all: the search is finished."""
        self._path.unlink(missing_ok=True)


def tune(search: Search, config: Config, out: Path, auxiliaries: Path, session: Session) -> str:
    """Run a search and its validation and write the settings that won to `out`. Returns them in words.

    State is kept in `<out>.state.json` while it runs. Auxiliary models that the folder lacks are trained first.
    """
    fetch_backbone(config.cache)
    clients = tuning_clients(search, config, session)
    fingerprint = dataset_of(search.cell, config).fingerprint()
    state = SearchState(out.with_name(out.name + ".state.json"), _identity(search, config, fingerprint))
    train_missing(search.cell, config, auxiliaries, session)
    evaluator = Evaluator(config, auxiliaries, session)
    searched, fresh = clients[: search.spec.trials.count], clients[search.spec.trials.count :]
    candidates = run_search(search, lambda step, attacks: state.step(step, lambda: evaluator(attacks, searched, step)))
    winner = min(candidates, key=lambda candidate: (candidate.final, candidate.number))
    again = {item.number: search.attack(item.settings) for item in [*candidates[: len(search.start)], winner]}
    validation = state.step("validation", lambda: evaluator(again, fresh, "validation"))
    provenance = {
        "device": device_name(session.device),
        "precision": precision(),
        **software("optuna"),
        "data": {search.cell.dataset.name: fingerprint},
        "seconds": round(state.seconds, 1),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    # A copy, so that no two parts are one object, which YAML would write as a reference.
    content = copied(_content(search, candidates, winner, validation) | {"provenance": provenance})
    write_text(out, _HEADER + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120))
    state.remove()
    settings = ", ".join(f"{path} {value}" for path, value in winner.settings.items())
    scores = validation[winner.number]
    lpips = "not finite" if scores is None else f"{fmean(scores):.4f}"
    return f"{settings}: LPIPS {lpips} on fresh tuning images -> {out}"


def _content(
    search: Search, candidates: list[Candidate], winner: Candidate, validation: dict[int, Scores]
) -> dict[str, Any]:
    settings: dict[str, Any] = {"attack": {"name": search.cell.attack.name}}
    assign(settings, {f"attack.{path}": value for path, value in winner.settings.items()}, search.where)
    return {
        **settings,
        "search": search.spec.model_dump(mode="json"),
        "result": {
            "winner": _result(winner, validation),
            "start": [_result(item, validation) for item in candidates[: len(search.start)]],
        },
        "candidates": [
            {
                "candidate": item.number,
                "generation": item.generation + 1,
                "status": item.status,
                "lpips": [_rounded(value) for value in item.lpips],
                "settings": item.settings,
            }
            for item in candidates
        ],
    }


def _result(candidate: Candidate, validation: dict[int, Scores]) -> dict[str, Any]:
    scores = validation[candidate.number]
    return {
        "candidate": candidate.number,
        "search_lpips": _rounded(candidate.lpips[-1]) if candidate.status == "complete" else None,
        "validation_lpips": None if scores is None else _statistics(scores),
    }


def _statistics(scores: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, standard deviation over images, and their number."""
    spread = stdev(scores) if len(scores) > 1 else None
    return {"mean": _rounded(fmean(scores)), "std": _rounded(spread), "n": len(scores)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _identity(search: Search, config: Config, fingerprint: str) -> str:
    """Hash of what decides the scores of a search."""
    spec = search.spec.model_dump(mode="json", exclude={"title"})
    models = [auxiliary_id(auxiliary, config) for auxiliary in search.cell.attack.auxiliaries()]
    return digest([spec, fingerprint, models, software("optuna")["versions"], precision()])
