"""The ledger: every claim flips with the results, studies have what claims name, bad entries are refused."""

import dataclasses
import math
from pathlib import Path

import pandas as pd
import pytest
import yaml
from worlds import TRIALS, world

from gradleak.analysis.published import published_names, source_of
from gradleak.claims.base import ClaimData
from gradleak.claims.ledger import parse_claim, read_ledger
from gradleak.claims.verdict import Verdict, judge, judge_all
from gradleak.errors import UserError
from gradleak.presentations.read import parse_experiment
from gradleak.study.expand import load_study
from gradleak.theory.outputs import FILES

ROOT = Path(__file__).parents[2]
LEDGER = read_ledger()
THEORY = {"lemma41.csv", "theorem43.csv"}
ENTRY = {
    "id": "batch-worse",
    "text": "Larger batches are harder.",
    "where": "Figure 4b",
    "statistic": {"kind": "trend", "experiment": "fig4b", "over": "client_samples"},
    "claimed": "above",
}
Judged = dict[str, dict[str, Verdict]]


@pytest.mark.parametrize("claim", [claim.id for claim in LEDGER])
def test_results_flip_every_verdict(judged: Judged, claim: str) -> None:
    found = {kind: verdicts[claim] for kind, verdicts in judged.items()}
    assert {kind: verdict.word for kind, verdict in found.items()} == {
        "paper": "supported",
        "mirror": "not supported",
        "mixed": "undecided",
    }
    for verdict in found.values():
        margin = verdict.claim.margin
        assert verdict.low <= verdict.effect <= verdict.high
        assert verdict.units == TRIALS or verdict.units == TRIALS // 2 or verdict.units == 2 * TRIALS
        assert (verdict.low <= margin <= verdict.high) == (verdict.word == "undecided")
        assert verdict.scale


@pytest.mark.parametrize("claim", [claim.id for claim in LEDGER if claim.strongest is not None])
def test_results_flip_every_second_verdict(judged: Judged, claim: str) -> None:
    found = {kind: verdicts[claim].strongest for kind, verdicts in judged.items()}
    words = {kind: verdict.word for kind, verdict in found.items() if verdict is not None}
    if claim == "details-protect":  # who may choose does not lose by knowing more
        assert (words["paper"], words["mirror"]) == ("supported", "undecided")
    else:
        assert words == {"paper": "supported", "mirror": "not supported", "mixed": "undecided"}
    for verdict in found.values():
        assert verdict is not None
        assert verdict.attacks.startswith("level ")
        assert verdict.scale


@pytest.mark.parametrize("claim", LEDGER, ids=lambda claim: claim.id)
def test_a_study_without_the_experiment_does_not_test_it(claim) -> None:
    nothing = dataclasses.replace(world("paper"), experiments={})
    verdict = judge(claim, nothing)
    assert verdict.word == "not tested"
    assert verdict.claim.statistic.reads in verdict.reason
    assert math.isnan(verdict.effect)


def test_few_trials_decide_nothing() -> None:
    data = world("paper")
    kept = data.results["cell_id"].str.split("-").str[-1].astype(int) < 4
    experiments = {
        name: dataclasses.replace(own, cells=own.cells[own.cells["cell_id"].isin(data.results["cell_id"][kept])])
        for name, own in data.experiments.items()
    }
    few = dataclasses.replace(data, results=data.results[kept], experiments=experiments)
    claim = next(claim for claim in LEDGER if claim.id == "updates-worse")
    verdict = judge(claim, few)
    assert (verdict.word, verdict.units, verdict.effect) == ("undecided", 4, pytest.approx(1.0))
    assert verdict.reason == "4 of the 5 trials that an interval needs"
    assert math.isnan(verdict.low)


def test_a_claim_about_any_of_several_is_decided_by_the_least_favourable(judged: Judged) -> None:
    verdict = judged["paper"]["skips-any"]
    assert verdict.reason == "least favourable of 4: cut 3"
    assert verdict.effect == pytest.approx(0.21 - 0.05)
    assert judged["mirror"]["skips-any"].reason == "least favourable of 4: cut 0"


def shaped(study: str) -> ClaimData:
    """A study's cells and labels with invented numbers, one row per cell; of Figure 7, a few rounds."""
    loaded = load_study(ROOT / f"workflow/studies/{study}.yaml")
    rows: list[dict[str, object]] = []
    kept = [cell for cell in loaded.cells() if cell.model.round in (0, 2, 5, 6, 20, 50)]
    for i, cell in enumerate(kept):
        values = {"lpips": (i * 37 % 101) / 300, "psnr": 5.0 + i * 53 % 17, "igsa": float(i * 29 % 97)}
        values |= {"model_accuracy": (i * 7 % 11) / 11, "detail": (i * 31 % 89) / 89, "lpips_detail": i * 11 % 7 / 20}
        values |= {"hf_detail": (i * 13 % 23) / 23, "hf_background": (i * 17 % 19) / 19, "model_skips": i}
        fixed = {"cell_id": cell.id, "restart": 0, "chosen": True, "position": 0, "image": cell.victims[0]}
        rows.append({**cell.factors(), **fixed, **values, "iterations": 10})
    ids = {cell.id for cell in kept}
    experiments = {}
    for name, own in loaded.experiments.items():
        cells = [{"cell_id": cell.id, "labels": labels} for cell, labels in own.cells if cell.id in ids]
        experiments[name] = parse_experiment(name, {"title": own.title, "show": own.show, "cells": cells}, study)
    return ClaimData(study, loaded.title, experiments, pd.DataFrame(rows))


@pytest.mark.parametrize(
    ("study", "untested"),
    [
        (
            "quick",
            {"batch-large", "latent-batch", "latent-resolution", "details-classes", "late-rounds-fail", "metrics-none"},
        ),
        ("paper", set()),
        ("architecture", set()),
        ("content", set()),
    ],
)
def test_studies_have_what_claims_name(study: str, untested: set[str]) -> None:
    """A claim whose experiment a study has is tested there, except those named, which need what `quick` leaves out."""
    data = shaped(study)
    own = [claim for claim in LEDGER if claim.statistic.reads in data.experiments]
    assert own
    verdicts = judge_all(own, data)
    assert {verdict.claim.id for verdict in verdicts if verdict.word == "not tested"} == untested
    second = {verdict.claim.id: verdict.strongest.word for verdict in verdicts if verdict.strongest is not None}
    assert {name for name, word in second.items() if word == "not tested"} == untested & second.keys()
    units = {verdict.claim.id: verdict.units for verdict in verdicts}
    if study == "paper":  # ten trials on either data set; of nine models; of two networks
        assert (units["updates-worse"], units["early-rounds"], units["skips-help"]) == (20, 90, 20)
    if study == "content":  # seven pairs of dogs and four of buildings, each with one image per source
        assert units["ood-worse"] == 11


def test_theory_writes_what_claims_read() -> None:
    assert set(FILES) >= THEORY


def test_ids_are_unique_and_every_published_table_and_figure_is_read() -> None:
    assert len({claim.id for claim in LEDGER}) == len(LEDGER)
    reads = {claim.statistic.reads for claim in LEDGER}
    tables = [name for name in published_names() if source_of(name).is_paper]
    assert {*tables, "fig4a", "fig4b", "fig5", "fig6", "fig7", "fig9", "fig10", "fig11", *THEORY} == reads
    text = " ".join(claim.where for claim in LEDGER)
    for insight in ("4.1", "4.2.1", "4.2.2", "5.1", "5.2.1 (1)", "5.2.1 (2)", "5.2.2", "6"):
        assert f"Insight {insight}" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"claimed": "higher"}, "claimed: Input should be 'above' or 'below' (found 'higher')"),
        ({"verdict": "supported"}, "verdict: unknown key"),
        ({"id": "Batch Worse"}, "id: "),
        ({"statistic": {"experiment": "fig4b"}}, "unknown kind 'None'; known: correlation, csv_column"),
        ({"statistic": {"kind": "slope", "experiment": "fig4b"}}, "unknown kind 'slope'"),
        ({"statistic": {**ENTRY["statistic"], "along": 1}}, "along: unknown key; known: experiment, where"),
        ({"statistic": {"kind": "trend", "experiment": "fig4b"}}, "over: Field required"),
        ({"statistic": {**ENTRY["statistic"], "where": {"client_samples": {"least": 5, "most": 4}}}}, "least"),
        ({"statistic": {**ENTRY["statistic"], "where": {"client_samples": {}}}}, "needs least, most or both"),
    ],
)
def test_a_bad_entry_is_named(change: dict[str, object], message: str) -> None:
    assert parse_claim(ENTRY, "here").rule == "above 0"
    with pytest.raises(UserError) as caught:
        parse_claim(ENTRY | change, "here")
    assert str(caught.value).startswith("here")
    assert message in str(caught.value)


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.yaml"
    for text, message in (
        ("claims: {", "not valid YAML"),
        ("claims: 3", "must hold one key"),
        (yaml.safe_dump({"claims": [ENTRY, ENTRY]}), "claims[1]: id 'batch-worse' is there twice"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=r"ledger\.yaml") as caught:
            read_ledger(path)
        assert message in str(caught.value)
    with pytest.raises(UserError, match="cannot be read"):
        read_ledger(tmp_path / "none.yaml")
