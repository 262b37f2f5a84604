"""An experiment whose baseline is not reconstructed: which cells are noise, what says so, and what is not judged."""

from dataclasses import replace

import pytest
from worlds import Row, study, world

from gradleak.analysis.baseline import noise
from gradleak.analysis.experiment import Baseline
from gradleak.claims.base import ClaimData
from gradleak.claims.ledger import parse_claim, read_ledger
from gradleak.claims.verdict import Verdict, judge, judge_all
from gradleak.errors import UserError
from gradleak.presentations.captions import titled
from gradleak.presentations.read import parse_experiment

ENTRY = {"id": "cuts-protect", "text": "Cutting a connection protects.", "where": "Sec. 5", "claimed": "above"}
DIFFERENCE = {"kind": "difference", "experiment": "exp", "key": "cut", "baseline": "N", "match": ["net"]}


def nets(**lpips: dict[str, list[float]]) -> list[Row]:
    """Cells of several networks: an LPIPS per cut and trial."""
    return [
        ({"net": net, "cut": cut}, {"image": image, "lpips": value, "client_lr": 0.1, "attack_level": 1})
        for net, cuts in lpips.items()
        for cut, values in cuts.items()
        for image, value in enumerate(values)
    ]


def compared(rows: list[Row], **baseline: object) -> ClaimData:
    data = study(rows)
    experiment = replace(data.experiments["exp"], baseline=Baseline.parse(baseline, "here"))
    return replace(data, experiments={"exp": experiment})


def judged(data: ClaimData, **changes: object) -> Verdict:
    return judge(parse_claim({**ENTRY, "statistic": DIFFERENCE, **changes}, "here"), data)


GOOD = {"N": [0.01, 0.02, 0.03, 0.04, 0.2], "1": [0.2, 0.21, 0.22, 0.23, 0.4]}
NOISE = {"N": [0.3, 0.3, 0.3, 0.01, 0.02], "1": [0.1, 0.1, 0.1, 0.1, 0.1]}


def test_a_group_whose_baseline_is_above_the_line_in_most_trials_is_noise():
    data = compared(nets(a=GOOD, b=NOISE), where={"cut": "N"}, each=["net"])
    found = noise(data.results, data.experiments["exp"])
    assert found.cells == {f"c{i}" for i in range(10, 20)}
    (group,) = found.groups
    assert (group.name, group.below, group.cells) == ("b", 2, 5)
    assert group.lpips == pytest.approx(0.186)
    assert str(found) == "the baseline (cut N) is not reconstructed: b: LPIPS 0.186, 2 of 5 trials recognisable"


def test_half_of_the_trials_is_not_most():
    data = compared(nets(a={"N": [0.05, 0.3], "1": [0.3, 0.3]}), where={"cut": "N"})
    assert not noise(data.results, data.experiments["exp"]).groups


def test_cells_whose_client_diverged_are_no_baseline():
    rows = nets(a={"N": [0.05, 0.06, 0.3, 0.3, 0.3], "1": [0.2, 0.2, 0.2, 0.2, 0.2]})
    marked = [(labels, columns | {"client_diverged": columns["lpips"] == 0.3}) for labels, columns in rows]
    assert str(noise(compared(rows, where={"cut": "N"}).results, compared(rows, where={"cut": "N"}).experiments["exp"]))
    data = compared(marked, where={"cut": "N"})
    assert not str(noise(data.results, data.experiments["exp"]))
    assert not titled(data.experiments["exp"], data.results).endswith("judged by it.")


def test_claims_read_what_is_compared_with_a_reconstructed_baseline():
    assert judged(compared(nets(a=GOOD), where={"cut": "N"}, each=["net"])).word == "supported"
    both = judged(compared(nets(a=GOOD, b=NOISE), where={"cut": "N"}, each=["net"]))
    assert (both.word, both.effect) == ("supported", pytest.approx(0.192))
    assert both.reason.startswith("10 cells are left out: the baseline (cut N) is not reconstructed: b: LPIPS 0.186")
    # As one group, the networks are reconstructed in six of ten trials.
    assert judged(compared(nets(a=GOOD, b=NOISE), where={"cut": "N"})).effect == pytest.approx(0.192 / 2 - 0.086 / 2)


def test_without_any_baseline_nothing_is_tested():
    data = compared(nets(b=NOISE), where={"cut": "N"}, each=["net"])
    verdict = judged(data, strongest="same")
    reason = "experiment 'exp': the baseline (cut N) is not reconstructed: b: LPIPS 0.186, 2 of 5 trials recognisable"
    assert (verdict.word, verdict.reason) == ("not tested", reason)
    assert verdict.strongest is not None
    assert (verdict.strongest.word, verdict.strongest.reason) == ("not tested", reason)


def test_a_group_without_cells_of_the_baseline_goes_with_the_others():
    alone = {"1": [0.5] * 5}
    kept = compared(nets(a=GOOD, c=alone), where={"cut": "N"}, each=["net"])
    assert not noise(kept.results, kept.experiments["exp"]).cells
    gone = compared(nets(b=NOISE, c=alone), where={"cut": "N"}, each=["net"])
    assert len(noise(gone.results, gone.experiments["exp"]).cells) == 15


def test_the_strongest_attack_is_not_judged_by_its_own_selection():
    # Level 2 is judged by attack b where that is best; its only baseline there would be above the line.
    rows = [
        ({"net": "a", "cut": cut}, {"attack_name": name, "attack_level": 1, "client_lr": lr, "image": i, "lpips": v})
        for name, by_cut in {
            "a": {"N": [0.05, 0.05, 0.05, 0.12, 0.12], "1": [0.3] * 5},
            "b": {"N": [0.06, 0.06, 0.06, 0.2, 0.2], "1": [0.2] * 5},
        }.items()
        for lr, (cut, values) in enumerate(by_cut.items())
        for i, v in enumerate(values)
    ]
    data = compared(rows, where={"cut": "N"})
    verdict = judged(data, statistic={"kind": "threshold", "experiment": "exp", "where": {"cut": 1}}, strongest="same")
    assert verdict.strongest is not None
    assert verdict.strongest.effect == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("baseline", "said"),
    [
        (
            {"where": {"cut": "N"}},
            "The baseline (cut N) is not reconstructed: LPIPS 0.186, 2 of 5 trials ",
        ),
        ({"where": {"cut": 7}}, "There is no baseline (cut 7) to compare with."),
        ({"where": {"cut": "1", "of no study": 1}}, ""),
        ({"where": {"cut": "1"}, "each": ["of no study"]}, ""),
    ],
)
def test_captions_say_so(baseline, said):
    data = compared(nets(b=NOISE), **baseline)
    caption = titled(data.experiments["exp"], data.results)
    assert caption.startswith(f"t. {said}".rstrip())
    assert caption.endswith("no claim is judged by it.") == ("not reconstructed" in said)


def test_columns_of_results_choose_too():
    rows = nets(a=GOOD, b=NOISE)
    changed = [(labels, {**columns, "attack_level": 1 + (labels["net"] == "b")}) for labels, columns in rows]
    data = compared(changed, where={"image": {"least": 0, "most": 2}, "cut": "N"}, each=["attack_level"])
    found = noise(data.results, data.experiments["exp"])
    assert str(found).endswith(
        "(image from 0 to 2, cut N) is not reconstructed: 2: LPIPS 0.300, 0 of 3 trials recognisable"
    )


def test_nothing_is_said_without_lpips_or_baseline():
    data = compared(nets(b=NOISE), where={"cut": "N"})
    experiment = data.experiments["exp"]
    assert not str(noise(data.results.drop(columns="lpips"), experiment))
    assert not str(noise(data.results, replace(experiment, baseline=None)))


def test_a_baseline_that_cannot_be_read_is_refused():
    content = {"title": "t", "show": [], "cells": [{"cell_id": "c"}], "baseline": {"where": {"cut": {}}}}
    with pytest.raises(UserError, match=r"experiment 'exp': baseline: where.*needs least, most or both"):
        parse_experiment("exp", content, "plan")
    with pytest.raises(UserError, match="experiment 'exp': baseline: each_one: unknown key"):
        parse_experiment("exp", content | {"baseline": {"each_one": []}}, "plan")


def test_where_nothing_is_reconstructed_no_claim_of_a_study_is_tested():
    data = world("paper")
    worse = data.results.assign(lpips=data.results["lpips"] + 1.0)
    experiments = {name: replace(one, baseline=Baseline()) for name, one in data.experiments.items()}
    claims = [claim for claim in read_ledger() if not claim.statistic.reads.endswith(".csv")]
    verdicts = judge_all(claims, replace(data, results=worse, experiments=experiments))
    assert {verdict.word for verdict in verdicts} == {"not tested"}
    assert {verdict.strongest.word for verdict in verdicts if verdict.strongest} == {"not tested"}
