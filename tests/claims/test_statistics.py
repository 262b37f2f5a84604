"""Each kind of statistic against values worked out by hand, and who is a trial."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError
from worlds import Row, study

from gradleak.claims.base import STATISTICS, ClaimData, Sample, UntestedError
from gradleak.claims.ledger import parse_claim
from gradleak.claims.verdict import judge
from gradleak.errors import UserError


def sample(data: ClaimData, kind: str, **arguments: object) -> Sample:
    (found,) = STATISTICS[kind].model_validate({"experiment": "exp", **arguments}).samples(data)
    return found


def values(data: ClaimData, kind: str, **arguments: object) -> list[float]:
    return [round(float(value), 9) for value in sample(data, kind, **arguments).values]


def test_cells_on_the_same_victims_are_one_trial() -> None:
    # Two settings and two seeds of victim 7, one of victim 9; victim 7 of another data set is another image.
    rows = [({"s": "a"}, 7, 0.1), ({"s": "b"}, 7, 0.2), ({"s": "b"}, 7, 0.3), ({"s": "a"}, 9, 0.5)]
    data = study([(labels, {"image": image, "lpips": lpips}) for labels, image, lpips in rows])
    assert values(data, "threshold") == [0.2, 0.5]
    other = study(
        [(labels, {"image": image, "lpips": lpips}) for labels, image, lpips in rows]
        + [({"s": "a"}, {"image": 7, "lpips": 0.9, "dataset_name": "e"})]
    )
    assert values(other, "threshold") == [0.2, 0.5, 0.9]
    assert values(other, "threshold", apart=[]) == [0.375, 0.5]
    assert values(other, "threshold", apart=["nothing", "s"]) == [0.5, 0.5, 0.25]


def test_batches_of_different_sizes_are_the_same_trial() -> None:
    # Trial 1 attacks image 1 where N = 1, images 4 to 7 where N = 4; the images' order in the file does not matter.
    rows = [(1, 0, 0.1), (1, 1, 0.2), (4, 0, 0.3), (4, 4, 0.1)]
    data = study([({}, {"client_samples": n, "image": image, "lpips": lpips}) for n, image, lpips in rows])
    assert values(data, "trend", over="client_samples") == [1.0, -1.0]


def test_where_and_without_choose() -> None:
    data = study([({"k": k}, {"image": 0, "lpips": lpips}) for k, lpips in (("N", 0.1), (1, 0.2), (2, 0.4), (9, 0.8))])
    assert values(data, "threshold", where={"k": {"least": 2}}) == [0.6]
    assert values(data, "threshold", where={"k": {"most": 2}}) == [0.3]
    assert values(data, "threshold", where={"k": ["n", 1]}) == [0.15]
    assert values(data, "threshold", without={"k": "N"}, where={"k": {"most": 2}}) == [0.3]
    assert values(data, "threshold", without={"absent": "N"}) == [0.375]
    for arguments, message in (
        ({"where": {"k": [3]}}, "no cells with k 3 .has N, 1, 2, 9."),
        ({"without": {"k": ["N", 1, 2, 9], "absent": "N"}}, "no cells without k"),
        ({"where": {"l": [3]}}, "experiment 'exp' has no 'l'"),
        ({"value": "igsa"}, "experiment 'exp' has no 'igsa'"),
    ):
        with pytest.raises(UntestedError, match=message):
            sample(data, "threshold", **arguments)
    with pytest.raises(UntestedError, match="no experiment 'fig1'"):
        sample(data, "threshold", experiment="fig1")


def test_missing_results_are_an_error_and_a_column_without_any_is_not_tested() -> None:
    data = study([({}, {"image": i, "lpips": lpips, "igsa": float("nan")}) for i, lpips in enumerate((0.1, None))])
    with pytest.raises(UserError, match="'lpips' of cell c1 is not a number"):
        sample(data, "threshold")
    with pytest.raises(UntestedError, match="no values of 'igsa'"):
        sample(data, "threshold", value="igsa")


def test_difference_compares_like_with_like() -> None:
    # In trial 0, U = 1 and 2 on both sides; U = 8 only on one, which is not compared. Trial 1 has one side only.
    rows = [("wst", 1, 0, 0.1), ("wst", 2, 0, 0.2), ("bst", 1, 0, 0.3), ("bst", 2, 0, 0.6), ("bst", 8, 0, 9.0)]
    rows += [("wst", 1, 1, 0.1)]
    data = study([({"k": k}, {"u": u, "image": image, "lpips": lpips}) for k, u, image, lpips in rows])
    keys = {"key": "k", "baseline": "WST"}
    assert values(data, "difference", match=["u", "absent"], **keys) == [0.3]
    assert values(data, "difference", match=["u"], against="wst", key="k", baseline="bst") == [-0.3]
    with pytest.raises(UntestedError, match="no cells with k none"):
        sample(data, "difference", against="none", **keys)
    with pytest.raises(UntestedError, match="no trial has both values of k"):
        sample(data, "difference", where={"u": [1, 8]}, match=["u"], apart=["k"], **keys)


def test_every_difference_has_a_sample_per_value() -> None:
    rows = [("N", 0, 0.1), ("N", 1, 0.2), (0, 0, 0.5), (0, 1, 0.5), (1, 0, 0.1), (1, 1, 0.4)]
    data = study([({"cut": cut}, {"image": image, "lpips": lpips}) for cut, image, lpips in rows])
    kind = STATISTICS["every_difference"].model_validate({"experiment": "exp", "key": "cut", "baseline": "N"})
    found = {own.name: [round(float(value), 9) for value in own.values] for own in kind.samples(data)}
    assert found == {"cut 0": [0.4, 0.3], "cut 1": [0.0, 0.2]}


def test_difference_has_a_sample_of_its_own_for_each_rate() -> None:
    rows = [("one", 0.1, 0, 0.1), ("many", 0.1, 0, 0.5), ("one", 0.01, 0, 0.1), ("many", 0.01, 0, 0.2)]
    rows += [("one", 0.1, 1, 0.2), ("many", 0.1, 1, 0.3), ("many", 0.5, 0, 0.9)]
    data = study([({"k": k, "rate": rate}, {"image": image, "lpips": lpips}) for k, rate, image, lpips in rows])
    content = {"experiment": "exp", "key": "k", "baseline": "one", "each": "rate"}
    kind = STATISTICS["difference"].model_validate(content)
    found = {own.name: [round(float(value), 9) for value in own.values] for own in kind.samples(data)}
    assert found == {"rate 0.1": [0.4, 0.1], "rate 0.01": [0.1]}
    absent = STATISTICS["difference"].model_validate(content | {"each": "absent", "where": {"rate": [0.1]}})
    assert [own.name for own in absent.samples(data)] == [""]
    apart = study([({"k": k, "rate": rate}, {"image": 0, "lpips": 0.1}) for k, rate in (("one", 1), ("many", 2))])
    with pytest.raises(UntestedError, match="no rate has both values of k"):
        STATISTICS["difference"].model_validate(content).samples(apart)
    with pytest.raises(ValidationError):
        STATISTICS["every_difference"].model_validate(content)


def test_groups_and_halves() -> None:
    rows = [
        ("plain", 0, 0.1, 1.0),
        ("plain", 1, 0.3, 5.0),
        ("rich", 2, 0.6, 3.0),
        ("rich", 3, 0.9, 4.0),
        ("rich", 4, 0.3, 2),
    ]
    data = study([({"k": k}, {"image": i, "lpips": lpips, "detail": d}) for k, i, lpips, d in rows])
    found = sample(data, "group_difference", key="k", baseline="plain", against="rich")
    assert found.effect == pytest.approx(0.6 - 0.2)
    assert found.fewest == 2
    # Five values of detail: 1 and 2 below, 3, 4 and 5 above.
    halves = sample(data, "halves", by="detail")
    assert halves.effect == pytest.approx((0.6 + 0.9 + 0.3) / 3 - (0.1 + 0.3) / 2)
    one = study([({}, {"image": 0, "lpips": 0.1, "detail": 1.0})])
    with pytest.raises(UntestedError, match="no halves"):
        sample(one, "halves", by="detail")


def test_metric_difference_is_of_the_same_reconstructions() -> None:
    data = study([({}, {"image": i, "a": a, "b": b}) for i, (a, b) in enumerate(((0.1, 0.4), (0.2, 0.1)))])
    assert values(data, "metric_difference", baseline="a", against="b") == [0.3, -0.1]


def test_trends_are_rank_correlations_averaged_over_series() -> None:
    # Trial 0: series o grows with every step (1), series l is 1, 3, 2 (rho = 0.5). Trial 1: no change is no trend.
    rows = [("o", u, 0, u) for u in (1, 2, 4)] + [("l", u, 0, y) for u, y in ((1, 1), (2, 3), (4, 2))]
    rows += [("o", u, 1, 5) for u in (1, 2, 4)]
    data = study([({"a": a}, {"u": u, "image": image, "lpips": float(y)}) for a, u, image, y in rows])
    assert values(data, "trend", over="u", series=["a"]) == [0.75, 0.0]
    with pytest.raises(UntestedError, match="'a' is not a number"):
        sample(data, "trend", over="a")
    with pytest.raises(UntestedError, match="no trial has two values of u"):
        sample(data, "trend", over="u", where={"u": [2]})


def test_correlation_of_two_measurements() -> None:
    rows = [(0, 3.0, 30.0), (1, 2.0, 10.0), (2, 1.0, 20.0)]
    data = study([({}, {"round": r, "image": 0, "igsa": x, "psnr": y}) for r, x, y in rows])
    assert values(data, "correlation", x="igsa", y="psnr", over="round") == [0.5]


def test_signs_count_what_moves_as_expected() -> None:
    rows = [("None", 0.1), ("R a", 0.05), ("I b", 0.05), ("I c", 0.1)]
    data = study([({"m": m}, {"image": 0, "lpips": lpips}) for m, lpips in rows])
    expected = {"R a": "lower", "I b": "higher", "I c": "higher", "absent": "lower"}
    assert values(data, "signs", key="m", baseline="None", expected=expected) == [0.5]  # (1 + 0 + 1/2) / 3
    with pytest.raises(UntestedError, match="none of the expected"):
        sample(data, "signs", key="m", baseline="None", expected={"absent": "lower"})


# technique, strength: LPIPS of two trials by GIA-O and by ROG, accuracy in the last round
DEFENSES = {
    ("None", "-"): ((0.01, 0.01), (0.01, 0.01), 0.8),
    ("Quantization", "2-bit"): ((0.3, 0.3), (0.2, 0.05), 0.76),  # ROG breaks it in trial 1
    ("Quantization", "1-bit"): ((0.4, 0.4), (0.4, 0.4), 0.6),
    ("Clipping", "0.1"): ((0.02, 0.2), (0.2, 0.2), 0.4),
}


def defenses(others: Sequence[Row] = ()) -> ClaimData:
    rows: list[Row] = [*others]
    for (technique, strength), (gia_o, rog, accuracy) in DEFENSES.items():
        for attack, lpips in (("gia-o", gia_o), ("rog", rog)):
            for image, value in enumerate(lpips):
                columns = {"technique": technique, "strength": strength, "model_round": 3}
                measured = {"image": image, "lpips": value, "model_accuracy": 0.1}
                rows.append(({"setting": "ResNet-18", "attack": attack}, columns | measured))
        # A later round, attacked in one trial only: its accuracy holds for the other, too.
        late = {"image": 0, "model_round": 9, "lpips": 0.9, "model_accuracy": accuracy}
        rows.append(({"setting": "ResNet-18", "attack": "gia-o"}, columns | late))
    return study(rows)


def test_scores_of_defenses() -> None:
    data = defenses()
    # Trial 0: two bits defend (0.95), clipping does not. Trial 1: only one bit does (0.75), and clipping (0.5).
    assert values(data, "defended_utility", of="Quantization") == [0.95, 0.75]
    assert values(data, "defended_utility", of="Clipping") == [0.0, 0.5]
    assert values(data, "defended_lead", of="Quantization") == [0.95, 0.25]
    assert values(data, "defended_share", least=0.7) == [0.5, 0.5]
    assert values(data, "defended_share", least=0.5) == [0.5, 1.0]
    two = {"strength": ["-", "2-bit"]}
    assert values(data, "defended_utility", of="Quantization", where=two) == [0.95, 0.0]
    with pytest.raises(UntestedError, match="no technique Perturbation"):
        sample(data, "defended_utility", of="Perturbation")
    with pytest.raises(UntestedError, match="no cells with 'None'"):
        sample(data, "defended_share", least=0.5, without={"technique": "None"})


def test_a_setting_that_was_computed_in_part_is_left_out_of_the_scores_of_defenses() -> None:
    whole = defenses()
    others: list[Row] = [
        (
            {"setting": "Swin", "attack": "rog"},
            {"technique": technique, "strength": strength, "model_round": round_, "image": 0, "lpips": 0.5}
            | {"model_accuracy": accuracy},
        )
        for technique, strength, round_, accuracy in (
            ("None", "-", 3, float("nan")),
            ("None", "-", 9, 0.8),
            ("Quantization", "2-bit", 3, float("nan")),
        )
    ]
    both = defenses(others)
    for kind, more in (("defended_utility", {"of": "Quantization"}), ("defended_share", {"least": 0.7})):
        assert values(both, kind, **more) == values(whole, kind, **more)
        notes = sample(both, kind, **more).notes
        assert notes == ("'Swin' has model_accuracy of 1 of 2 points in round 9 and is left out",)


def test_csv_column(tmp_path: Path) -> None:
    (tmp_path / "lemma.csv").write_text("network,trial,error\na,0,0.1\na,0,0.3\na,1,0.5\nb,0,7\n")
    data = ClaimData("s", "S", {}, pd.DataFrame(), tmp_path)

    def read(**more: object) -> list[float]:
        kind = STATISTICS["csv_column"].model_validate({"file": "lemma.csv", "column": "error", **more})
        return [round(float(value), 9) for value in kind.samples(data)[0].values]

    assert read() == [0.1, 0.3, 0.5, 7.0]
    assert read(where={"network": "a"}, unit_column="trial") == [0.2, 0.5]
    for more, message in (({"where": {"network": "c"}}, "has no such lines"), ({"file": "x.csv"}, "no file x.csv")):
        with pytest.raises(UntestedError, match=message):
            read(**more)
    for more, message in (({"column": "mu"}, "lacks the column 'mu'"), ({"column": "network"}, "not a number")):
        with pytest.raises(UserError, match=message):
            read(**more)


def test_cells_that_were_not_attacked_are_left_out_and_counted() -> None:
    nothing = {"lpips": float("nan"), "unattacked": "the update is zero"}
    rows: list[Row] = [({}, {"image": i, "lpips": 0.05 + 0.01 * i, "unattacked": None}) for i in range(5)]
    data = study([*rows, ({}, {"image": 5, **nothing})])
    assert values(data, "threshold") == [0.05, 0.06, 0.07, 0.08, 0.09]
    statistic = {"kind": "threshold", "experiment": "exp"}
    entry = {"id": "a", "text": "Images are recognised.", "where": "Sec. 1", "claimed": "below", "margin": 0.1}
    claim = parse_claim({**entry, "statistic": statistic}, "here")
    verdict = judge(claim, data)
    assert (verdict.word, verdict.units) == ("supported", 5)
    assert verdict.reason == "1 cells were not attacked and are left out"
    none = judge(claim, study([({}, {"image": 5, **nothing})]))
    assert (none.word, none.reason) == ("not tested", "experiment 'exp': no cell was attacked (the update is zero)")
