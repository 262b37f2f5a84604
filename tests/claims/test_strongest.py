"""The second judgement: which attack is the strongest, whose LPIPS has a say in it, and what the page says first."""

import io
import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from worlds import Row, study

from gradleak.claims.adversary import LEVEL, best_attacks, levels, of_paper, strongest
from gradleak.claims.base import ClaimData, UntestedError
from gradleak.claims.ledger import Claim, parse_claim, read_ledger
from gradleak.claims.report import claims_csv, claims_md, claims_tex, terminal
from gradleak.claims.verdict import Twice, judge
from gradleak.errors import UserError

A, B = {"attack_name": "a", "attack_level": 1}, {"attack_name": "b", "attack_level": 1}
ADAPTIVE = {"attack_name": "a", "attack_level": 3, "attack_adaptive": True}
SURROGATE = {"attack_name": "a", "attack_level": 1, "attack_surrogate_alpha": "0.5"}
WHITENED = {"attack_name": "a", "attack_level": 1, "attack_whitening_power": 0.125}
LAYERS = {"attack_name": "a", "attack_level": 1, "attack_objective": "layers"}
ENTRY = {"id": "steps-protect", "text": "Local steps protect images.", "where": "Sec. 4.1"}
THRESHOLD = {"kind": "threshold", "experiment": "exp"}
NAN = float("nan")


def attacked(*attacks: tuple[Mapping[str, object], list[float | None]], **more: object) -> list[Row]:
    """Cells of attacks: an LPIPS per trial, None where the attack lacks it."""
    return [
        ({}, {**attack, **more, "image": image, "lpips": lpips})
        for attack, values in attacks
        for image, lpips in enumerate(values)
        if lpips is not None
    ]


def kept(data: ClaimData, level: int) -> dict[int, tuple[str, float]]:
    """By trial, attack and LPIPS of the strongest at a level."""
    view, _ = strongest(data, "exp", [level])
    cells = view.experiments["exp"].cells["cell_id"]
    rows = data.results[data.results["cell_id"].isin(cells)]
    return {int(row.image): (row.attack_name, row.lpips) for row in rows.itertuples()}


def claim(**changes: object) -> Claim:
    entry = {**ENTRY, "statistic": THRESHOLD, "strongest": "same", "claimed": "above", "margin": 0.1}
    return parse_claim(entry | changes, "here")


def test_an_attack_is_chosen_on_other_trials_than_the_one_that_is_judged() -> None:
    data = study(attacked((A, [0.9, 0.1, 0.1, 0.1]), (B, [0.0, 0.2, 0.2, 0.2])))
    assert kept(data, 1)[0] == ("a", 0.9), "b is better on trial 0, and nobody knew before"
    # Trial 0 is one of the others of trials 1 to 3, on which b is better because of it.
    assert [kept(data, 1)[trial] for trial in (1, 2, 3)] == [("b", 0.2)] * 3


def test_the_judged_lpips_never_has_a_say() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        lpips = generator.random((6, 4))
        lpips[generator.random((6, 4)) < 0.2] = NAN
        lpips[np.isnan(lpips).all(axis=1), 0] = 0.5
        best = best_attacks(lpips)
        for trial in range(6):
            changed = lpips.copy()
            changed[trial] = np.where(np.isnan(lpips[trial]), NAN, generator.random(4) * 100)
            assert best_attacks(changed)[trial] == best[trial]


def test_of_complete_trials_the_lowest_mean_of_the_others_wins() -> None:
    generator = np.random.default_rng(1)
    for trials, attacks in itertools.product((2, 3, 8), (2, 5)):
        lpips = generator.random((trials, attacks))
        means = (lpips.sum(axis=0) - lpips) / (trials - 1)
        assert best_attacks(lpips) == list(means.argmin(axis=1))


def test_an_attack_that_lacks_trials_competes_on_those_that_it_has() -> None:
    # b has the easy trials 2 to 5 only, and there it is worse than a, though its mean is lower.
    a, b = [0.8, 0.8, 0.1, 0.1, 0.1, 0.1], [NAN, NAN, 0.2, 0.2, 0.2, 0.2]
    assert best_attacks(np.array([a, b]).T) == [0] * 6
    # Better on what it has, it is chosen where it is.
    b = [NAN, NAN, 0.05, 0.05, 0.05, 0.05]
    assert best_attacks(np.array([a, b]).T) == [0, 0, 1, 1, 1, 1]
    # With less than half of the others it does not compete: of trials 0, 1 and 3, 4 only.
    b = [NAN, NAN, 0.05, 0.05, NAN, NAN]
    assert best_attacks(np.array([a, b]).T) == [0] * 6


def test_an_adversary_has_the_attacks_up_to_its_level() -> None:
    two, three = {"attack_name": "two", "attack_level": 2}, {"attack_name": "three", "attack_level": 3}
    data = study(attacked((A, [0.3] * 5), (two, [0.1] * 5), (three, [0.2] * 5)))
    assert levels(data, "exp") == [1, 2, 3]
    for level, name in ((1, "a"), (2, "two"), (3, "two")):
        assert {attack for attack, _ in kept(data, level).values()} == {name}
    verdict = judge(claim(), data).strongest
    assert verdict is not None
    assert (verdict.word, verdict.effect) == ("undecided", pytest.approx(0.1))
    assert verdict.reason.startswith("least favourable of 3: level 2")
    assert verdict.attacks == "level 1: a; level 2: two; level 3: two"


def test_levels_by_where_and_levels_compared() -> None:
    wst = {"attack_name": "a", "attack_level": 3, "attack_knowledge": "wst"}
    data = study(attacked((A, [0.3] * 5), (wst, [0.05] * 5)))
    below = judge(claim(strongest={"where": {"level": {"most": 2}}}), data).strongest
    assert below is not None
    assert (below.word, below.effect, below.attacks) == ("supported", pytest.approx(0.3), "level 1: a")
    none = judge(claim(strongest={"where": {"level": {"least": 4}}}), data).strongest
    assert none is not None
    assert (none.word, none.reason) == ("not tested", "experiment 'exp' has no attack of such a level (has 1, 3)")
    details = {"kind": "difference", "key": "level", "baseline": 3, "against": [1, 2]}
    compared = judge(claim(strongest=details, margin=0), data).strongest
    assert compared is not None
    assert (compared.word, compared.effect) == ("supported", pytest.approx(0.25))
    assert compared.attacks == "level 1: a; level 3: a wst"


def test_a_level_without_cells_to_read_is_noted() -> None:
    two = {"attack_name": "b", "attack_level": 2}
    rows = attacked((A, [0.3] * 5), client_steps=1) + attacked((two, [0.2] * 5), client_steps=4)
    four = {**THRESHOLD, "where": {"client_steps": 4}}
    verdict = judge(claim(statistic=four), study(rows)).strongest
    assert verdict is not None
    assert (verdict.word, verdict.units) == ("supported", 5)
    assert verdict.reason == "not tested at level 1: experiment 'exp' has no cells with client_steps 4 (has 1)"


def test_each_setting_has_its_own_best_and_facts_of_trials_make_no_setting() -> None:
    rows = attacked((A, [0.1] * 5), (B, [0.2] * 5), client_steps=1)
    rows += attacked((A, [0.4] * 5), (B, [0.3] * 5), client_steps=8)
    facts = ("client_loss_before", "client_loss_after", "update_cosine", "model_accuracy", "seed", "knowledge_level")
    rows = [(labels, {**columns, **dict.fromkeys(facts, 0.1 * i)}) for i, (labels, columns) in enumerate(rows)]
    view, lone = strongest(study(rows), "exp", [1])
    assert (lone, list(view.experiments["exp"].cells["cell_id"])) == (0, [f"c{i}" for i in (*range(5), *range(15, 20))])
    assert list(view.experiments["exp"].cells[LEVEL]) == [1] * 10


def test_with_one_trial_nothing_can_be_chosen() -> None:
    one = judge(claim(), study(attacked((A, [0.3]), (B, [0.2]))))
    assert (one.word, one.strongest and one.strongest.word) == ("undecided", "not tested")
    assert one.strongest is not None
    assert one.strongest.reason == (
        "experiment 'exp': no setting has a second trial, on which an attack could be chosen for the first"
    )
    # A single attack needs no choice.
    alone = judge(claim(), study(attacked((A, [0.3])))).strongest
    assert alone is not None
    assert (alone.word, alone.effect) == ("undecided", pytest.approx(0.3))
    # A setting of one trial is left out of the others', and said.
    rows = attacked((A, [0.3] * 5), (B, [0.2] * 5), client_steps=1) + attacked((A, [9]), (B, [9]), client_steps=2)
    some = judge(claim(), study(rows)).strongest
    assert some is not None
    assert (some.word, some.effect) == ("supported", pytest.approx(0.2))
    assert some.reason == "level 1: 1 trials have no other to choose an attack on and are left out"


def test_results_without_a_level_or_lpips_have_no_second_judgement() -> None:
    data = study(attacked((A, [0.3] * 5), (B, [0.2] * 5)))
    for column, reason in (("attack_level", "no 'attack_level'"), ("lpips", "no 'lpips' to choose attacks by")):
        psnr = replace(data, results=data.results.assign(psnr=9.0).drop(columns=column))
        verdict = judge(claim(statistic={**THRESHOLD, "value": "psnr"}), psnr)
        assert verdict.word == "supported"
        assert verdict.strongest is not None
        assert verdict.strongest.word == "not tested"
        assert reason in verdict.strongest.reason


def test_the_first_judgement_is_of_the_papers_attacks() -> None:
    data = study(
        attacked(
            (A, [0.3] * 5),
            (ADAPTIVE, [0.01] * 5),
            (SURROGATE, [0.02] * 5),
            (WHITENED, [0.03] * 5),
            (LAYERS, [0.04] * 5),
        )
    )
    verdict = judge(claim(), data)
    assert (verdict.word, verdict.effect) == ("supported", pytest.approx(0.3))
    second = verdict.strongest
    assert second is not None
    assert (second.word, second.effect) == ("not supported", pytest.approx(0.01))
    assert second.attacks == "level 1: a at alpha 0.5; level 3: a adaptive"
    whitened = judge(claim(), study(attacked((A, [0.3] * 5), (WHITENED, [0.03] * 5)))).strongest
    assert whitened is not None
    assert whitened.attacks == "level 1: a whitened"
    layers = judge(claim(), study(attacked((A, [0.3] * 5), (LAYERS, [0.04] * 5)))).strongest
    assert layers is not None
    assert layers.attacks == "level 1: a layers"
    others = study(
        attacked((ADAPTIVE, [0.01] * 5), (SURROGATE, [0.02] * 5), (WHITENED, [0.03] * 5), (LAYERS, [0.04] * 5))
    )
    with pytest.raises(UntestedError, match="no cell of one of the paper's attacks"):
        of_paper(others, "exp")
    assert judge(claim(strongest=None), others).word == "not tested"
    assert judge(claim(strongest=None), others).strongest is None
    nulls = data.results.assign(attack_surrogate_alpha=None, attack_adaptive=None, attack_whitening_power=None)
    nulls["attack_objective"] = "cosine"
    assert of_paper(replace(data, results=nulls), "exp").experiments["exp"] is data.experiments["exp"]


def test_cells_of_diverged_clients_are_left_out_and_counted() -> None:
    rows = attacked((A, [0.3] * 6), (B, [0.2] * 6))
    diverged = [(labels, {**columns, "client_diverged": columns["image"] == 5 or None}) for labels, columns in rows]
    worse = [(labels, columns | {"lpips": 9} if columns["image"] == 5 else columns) for labels, columns in diverged]
    verdict = judge(claim(), study(worse))
    assert (verdict.units, verdict.effect) == (5, pytest.approx(0.25))
    assert verdict.reason == "2 cells' clients diverged and are left out"
    assert verdict.strongest is not None
    assert (verdict.strongest.units, verdict.strongest.effect) == (5, pytest.approx(0.2))
    assert verdict.strongest.reason == verdict.reason
    every = judge(claim(), study([(labels, columns | {"client_diverged": True}) for labels, columns in rows]))
    assert (every.word, every.reason) == ("not tested", "experiment 'exp': the client of every attacked cell diverged")
    assert every.strongest is not None
    assert (every.strongest.word, every.strongest.reason) == (every.word, every.reason)


def test_trials_keep_their_numbers_where_cells_are_left_out() -> None:
    # Of N = 4, the client of trial 1 (image 4) diverged: image 8 is still trial 2's, as image 2 is of N = 1.
    measured = {(1, 0): 0.1, (1, 1): 0.2, (1, 2): 0.4, (4, 0): 0.2, (4, 4): 7, (4, 8): 0.9}
    rows: list[Row] = []
    for (samples, image), lpips in measured.items():
        columns = {**A, "client_samples": samples, "image": image, "lpips": lpips}
        rows.append(({}, columns | {"client_diverged": True if image == 4 else None}))
    statistic = {"kind": "difference", "experiment": "exp", "key": "client_samples", "baseline": 1}
    found = claim(statistic=statistic)
    assert list(found.statistic.samples(study(rows))[0].values) == pytest.approx([0.1, 0.5])
    view, _ = strongest(study(rows), "exp", [1])
    assert list(found.statistic.samples(view)[0].values) == pytest.approx([0.1, 0.5])


def fallen() -> ClaimData:
    """What protects against a, and against nothing that matches at a surrogate point."""
    return study(attacked((A, [0.3, 0.31, 0.3, 0.32, 0.3]), (SURROGATE, [0.01, 0.02, 0.01, 0.03, 0.01])))


def test_the_page_first_says_which_claims_fall() -> None:
    data = fallen()
    other = parse_claim({**ENTRY, "id": "others", "statistic": THRESHOLD, "claimed": "above", "margin": 0.1}, "here")
    verdicts = [judge(one, data) for one in (claim(), other, claim(id="barely", margin=0.0))]
    page = claims_md(verdicts, data)
    first = page.splitlines()[0]
    assert first == (
        "Against the strongest attack of the study these claims fall: steps-protect. Supported twice: 1 of the 2 that"
        " were judged so."
    )
    (row,) = [line for line in page.splitlines() if line.startswith("| `steps-protect`")]
    assert " 0.306 | 0.300 to 0.314 | 5 | **supported** | 0.016 | 0.010 to 0.024 | 5 | **not supported** | " in row
    assert "strongest attacks: level 1: a at alpha 0.5" in row
    summary = "Of 3 claims: 3 supported, 0 not supported, 0 undecided, 0 not tested. Of the 2 claims of protection,"
    summary += " against the strongest attack: 1 supported, 1 not supported, 0 undecided, 0 not tested."
    assert summary in page
    assert summary in claims_tex(verdicts, data)
    assert first in claims_tex(verdicts, data)
    shown = io.StringIO()
    Console(file=shown, width=220).print(terminal(verdicts, data))
    assert first in " ".join(shown.getvalue().split())
    assert "not supported: 0.016 (0.010 to 0.024)" in shown.getvalue()
    table = pd.read_csv(io.StringIO(claims_csv(verdicts, data)), keep_default_na=False).set_index("id")
    assert list(table["verdict"]) == ["supported"] * 3
    assert list(table["strongest_verdict"]) == ["not supported", "", "supported"]
    assert list(table.loc["steps-protect"][["strongest_effect", "strongest_n"]].astype(float)) == [0.016, 5]
    assert table.loc["steps-protect", "strongest_attacks"] == "level 1: a at alpha 0.5"


def test_the_first_line_where_none_falls_and_where_none_is_judged_twice() -> None:
    firm = [("a", "supported", "supported"), ("b", "not supported", "not supported"), ("c", "supported", "")]
    assert Twice.of(firm).headline() == (
        "Against the strongest attack of the study no claim falls. Supported twice: 1 of the 2 that were judged so."
    )
    doubted = Twice.of([*firm, ("d", "supported", "undecided")])
    assert "These become undecided: d. Supported twice: 1 of the 3" in doubted.headline()
    assert (doubted.fallen, doubted.doubted) == ((), ("d",))
    denied = Twice.of([("e", "not tested", "not supported"), ("f", "not tested", "supported")])
    assert denied.headline() == (
        "Against the strongest attack of the study no claim falls. The paper's attacks could not test these, and they "
        "are not supported: e. Supported twice: 0 of the 2 that were judged so."
    )
    fallen = Twice.of([*firm, ("d", "supported", "not supported"), ("e", "undecided", "not supported")])
    assert "these claims fall: d, e." in fallen.headline()
    none = "No claim could be judged against the strongest attack of the study."
    assert Twice.of([("a", "supported", "not tested")]).headline() == none
    assert (Twice.of([]).headline(), Twice.of([]).summary()) == (none, "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strongest": "other"}, "strongest: Input should be a valid dictionary (found 'other')"),
        ({"strongest": {"along": 1}}, "strongest: along: unknown key; known: experiment"),
        ({"strongest": {"kind": "slope"}}, "strongest: unknown kind 'slope'"),
        ({"strongest": {"experiment": "other"}}, "strongest: must read the cells of the experiment"),
        ({"statistic": {"kind": "csv_column", "file": "a.csv", "column": "b"}}, "strongest: must read the cells"),
    ],
)
def test_a_bad_second_judgement_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        claim(**changes)
    assert message in str(caught.value)


def test_every_claim_but_those_on_attacks_metrics_and_theory_is_judged_twice() -> None:
    assert {one.id for one in read_ledger() if one.strongest is None} == {
        *("lemma-inverts", "lemma-as-printed", "theorem-mask"),
        *("latent-batch", "latent-resolution", "nin-enough", "metrics-brr", "metrics-wsrr"),
        # These say that something does not protect: a stronger attack can only confirm it.
        *("updates-one", "batch-small", "resolution-low", "skips-all", "clipping-fails"),
    }


def paired(*, control: bool) -> ClaimData:
    """Table 2 of one and two mini-batches. The control of one mini-batch is the same cell, listed twice."""
    rows: list[Row] = []
    for minibatches, knowledge, lpips in ((1, "BST", 0.1), (2, "BST", 0.3), (1, "WST", 0.1), (2, "WST", 0.25)):
        for trial in range(5):
            columns = {"attack_name": "a", "attack_knowledge": knowledge.lower(), "client_samples": 4 * minibatches}
            columns |= {"attack_level": 1 if knowledge == "BST" else 3, "client_batch_size": 4}
            columns |= {"client_steps": minibatches, "image": trial, "lpips": lpips + 0.01 * trial}
            labels = {"minibatches": minibatches} | ({"knowledge": knowledge} if control else {})
            rows.append((labels, columns))
    if control:
        for trial in range(5):
            columns = {"attack_name": "a", "attack_knowledge": "bst", "client_samples": 8, "client_batch_size": 8}
            columns |= {"attack_level": 1, "client_steps": 1, "image": trial, "lpips": 0.28 + 0.01 * trial}
            rows.append(({"minibatches": 2, "knowledge": "one batch"}, columns))
    data = study(rows)
    experiment = data.experiments["exp"]
    cells = experiment.cells
    if control:
        same = cells[:5].assign(knowledge="one batch")
        cells = pd.concat([cells, same], ignore_index=True)
    experiments = {"table2": replace(experiment, name="table2", cells=cells)}
    return replace(data, experiments=experiments)


LEDGER = {one.id: one for one in read_ledger()}


def test_mini_batches_are_compared_with_one_batch_of_as_many_images() -> None:
    data = paired(control=True)
    bst, wst = (judge(LEDGER[name], data) for name in ("minibatches-paired", "minibatches-paired-known"))
    assert (bst.word, bst.effect, bst.units) == ("supported", pytest.approx(0.02), 5)
    assert (wst.word, wst.effect, wst.units) == ("not supported", pytest.approx(-0.03), 5)
    assert bst.strongest is not None
    assert wst.strongest is not None
    assert (bst.strongest.word, bst.strongest.attacks) == ("supported", "level 1: a")
    assert (wst.strongest.word, wst.strongest.effect) == ("not supported", pytest.approx(-0.03))
    assert wst.strongest.attacks == "level 3: a wst (5 cells), a (5 cells)"


def test_the_papers_reading_leaves_the_controls_out_and_needs_no_label() -> None:
    with_control, without = (judge(LEDGER["minibatches-worse"], paired(control=control)) for control in (True, False))
    assert (with_control.word, with_control.effect) == ("supported", pytest.approx(1.0))
    assert with_control == without
    assert judge(LEDGER["minibatches-paired"], paired(control=False)).word == "not tested"
    for name in ("minibatches-fail", "minibatches-fail-known", "details-protect"):
        assert judge(LEDGER[name], paired(control=True)) == judge(LEDGER[name], paired(control=False))


def test_views_of_the_gradient_are_compared_each_by_its_best_attack() -> None:
    rows = [
        row
        for view, first, second in ((None, 0.3, 0.05), ("nin1", 0.1, 0.2))
        for attack, value in ((A, first), (LAYERS, second))
        for row in attacked((attack, [value] * 5), attack_view=view)
    ]
    rows = [({**labels, "gradient": columns["attack_view"] or "Full"}, columns) for labels, columns in rows]
    statistic = {"kind": "difference", "experiment": "exp", "key": "gradient", "baseline": "Full"}
    verdict = judge(claim(statistic=statistic, claimed="below", margin=0), study(rows))
    assert (verdict.word, verdict.effect) == ("supported", pytest.approx(-0.2))
    assert verdict.strongest is not None
    assert (verdict.strongest.word, verdict.strongest.effect) == ("not supported", pytest.approx(0.05))
