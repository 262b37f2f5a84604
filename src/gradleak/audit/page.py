"""The page of an audit: one self-contained HTML file, A4 when printed."""

import base64
from collections import defaultdict
from collections.abc import Sequence
from importlib import resources
from typing import Any

import jinja2
import pandas as pd

from gradleak.audit.run import Found
from gradleak.audit.spec import AuditSpec, defense_title
from gradleak.audit.table import Entry, Verdict
from gradleak.audit.words import assumption, bytes_words, client_words, interval, number, verdict_words

_PAIRS = 3
_COLOURS = {"leaks": "leaks", "leaks in part": "part", "no leak found": "none", "not attacked": "unattacked"}


def page(spec: AuditSpec, found: Found, table: Sequence[Entry], verdicts: Sequence[Verdict]) -> str:
    """The page as HTML text. Equal results give equal text."""
    text = resources.files("gradleak.resources.audit").joinpath("page.html.jinja").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(text)
    return template.render(
        title=spec.title,
        setup=_setup(spec, found),
        verdicts=[_verdict(found, verdict) for verdict in verdicts],
        rounds=[str(checkpoint.round) for checkpoint in spec.checkpoints],
        defenses=_table(spec, table),
        assumptions=_assumptions(spec),
        pictures=[
            {"defense": verdict.defense, "pairs": _pairs(found.pictures, verdict.defense)} for verdict in verdicts
        ],
        size=spec.images.resolution,
        trials=spec.trials,
    )


def _setup(spec: AuditSpec, found: Found) -> list[tuple[str, str]]:
    first = found.rows.iloc[0]
    classes = found.received[0].model.num_classes
    model = f"{spec.model.text}, {int(first['model_parameters']):,} parameters shared, {classes} classes"
    size = spec.images.resolution
    count = spec.client.samples
    images = (
        f"{spec.trials} clients with {count} image{'s' * (count > 1)} each, no image twice, "
        f"from {first['dataset_name']} at {size}×{size} pixels; seed {spec.seed}"
    )
    weights = ", ".join(f"{model.round}: {model.weights}" for model in found.received)
    rows = [("Model", model), ("Weights by round", weights), ("Client", client_words(spec)), ("Images", images)]
    return [*rows, *(("Note", note) for note in found.notes)]


def _assumptions(spec: AuditSpec) -> list[dict[str, Any]]:
    """Each assumption, with the attacks whose numbers rest on it."""
    found: dict[tuple[int, str], list[str]] = defaultdict(list)
    for attack in spec.attacks:
        found[attack.level, assumption(attack)].append(attack.title)
    return [{"level": level, "words": words, "titles": titles} for (level, words), titles in sorted(found.items())]


def _verdict(found: Found, verdict: Verdict) -> dict[str, str]:
    own = found.rows[found.rows["audit_defense"] == verdict.defense]
    sent, plain = float(own["update_bytes"].mean()), 4 * int(own["model_parameters"].iloc[0])
    epsilon = own["epsilon"].iloc[0]
    return {
        "defense": verdict.defense,
        "outcome": verdict.outcome,
        "colour": _COLOURS[verdict.outcome],
        "words": verdict_words(verdict),
        "bytes": f"{bytes_words(sent)} ({100 * sent / plain:.0f} %)",
        "epsilon": "–" if pd.isna(epsilon) else f"{epsilon:.3g}",
    }


def _table(spec: AuditSpec, table: Sequence[Entry]) -> list[dict[str, Any]]:
    """The attacks of each post-processing, each with a cell per round or with the attack that stands in its place."""
    by_key = {(entry.defense, entry.attack, entry.round): entry for entry in table}
    result = []
    for chain in spec.defenses:
        title = defense_title(chain)
        rows: list[dict[str, Any]] = []
        for attack in spec.attacks:
            row: dict[str, Any] = {"attack": attack.title, "level": attack.level, "as": None, "cells": []}
            other = spec.stand_in(attack, chain)
            if other is attack:
                keys = [(title, attack.title, str(checkpoint.round)) for checkpoint in spec.checkpoints]
                row["cells"] = [_cell(by_key[key]) for key in keys]
            else:
                row["as"] = other.title
            rows.append(row)
        result.append({"title": title, "rows": rows})
    return result


def _cell(entry: Entry) -> dict[str, str]:
    return {
        "colour": _COLOURS[entry.outcome],
        "lpips": number(entry.lpips),
        "interval": interval(entry.low, entry.high),
        "worst": number(entry.worst),
        "recognised": f"{entry.recognised}/{entry.images}",
        "brr": f"{100 * entry.brr:.0f} %",
        "psnr": f"{entry.psnr:.1f} dB",
        "unattacked": f"not attacked: {entry.unattacked} of {entry.clients} ({entry.reasons})" * bool(entry.unattacked),
    }


def _pairs(pictures: pd.DataFrame, defense: str) -> list[dict[str, str]]:
    """The closest reconstructions over all attacks and rounds, each image once."""
    own = pictures[pictures["audit_defense"] == defense].dropna(subset="lpips").sort_values("lpips", kind="stable")
    closest = own.drop_duplicates("image").head(_PAIRS)
    return [
        {
            "truth": _data_url(row["truth_png"]),
            "reconstruction": _data_url(row["reconstruction_png"]),
            "lpips": number(row["lpips"]),
            "where": f"{row['audit_attack']}, round {row['audit_round']}",
        }
        for row in closest.to_dict("records")
    ]


def _data_url(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
