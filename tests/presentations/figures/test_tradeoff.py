"""The tradeoff kind: the adversary's best choice, the best point of a technique, the front, same bytes twice."""

import io
import math
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.summary import cell_table
from gradleak.analysis.tradeoff import pareto
from gradleak.errors import UserError
from gradleak.presentations import style
from gradleak.presentations.tradeoff import Tradeoff
from gradleak.presentations.write import render_stage

Make = Callable[..., Experiment]
SHOW = {"kind": "tradeoff", "panels": "setting", "size": "update_bytes"}
# technique, strength: LPIPS by GIA-O and by ROG in round 1, by GIA-O in round 9; accuracy in round 9; bytes
POINTS = {
    ("None", "-"): (0.01, 0.05, 0.30, 0.80, 4000),
    ("Q", "2 bit"): (0.30, 0.25, 0.40, 0.76, 250),
    ("Q", "1 bit"): (0.40, 0.35, 0.40, 0.50, 130),
    ("Q", "4 bit"): (0.12, 0.05, 0.40, 0.79, 500),
    ("C", "0.1"): (0.02, 0.06, 0.30, 0.20, 4000),
    ("C", "0.5"): (0.01, 0.06, 0.30, 0.70, 4000),
    ("N", "0.2"): (0.20, 0.24, 0.15, 0.60, 4000),
}


@pytest.fixture
def study(make_experiment: Make) -> tuple[StudyData, Experiment]:
    rows, cells = [], []
    for (technique, strength), (gia_o, rog, late, accuracy, size) in POINTS.items():
        for attack, round_, lpips in (("GIA-O", 1, gia_o), ("ROG", 1, rog), ("GIA-O", 9, late)):
            for trial in range(2):
                cell = f"{technique}-{strength}-{attack}-{round_}-{trial}"
                labels = {"setting": "ResNet-18", "technique": technique, "strength": strength, "attack": attack}
                cells.append({"cell_id": cell, "labels": labels})
                value = {"lpips": lpips + 0.002 * trial - 0.001, "model_accuracy": 0.1 if round_ == 1 else accuracy}
                rows.append(
                    {"cell_id": cell, "image": trial, "restart": 0, "chosen": True, "model_round": round_} | value
                )
                rows[-1] |= {"update_bytes": size, "epsilon": 24.375 if technique == "C" else math.nan}
    return StudyData("test_study", pd.DataFrame(rows)), make_experiment(SHOW, cells=cells)


def points_of(study: tuple[StudyData, Experiment], **keys: object) -> tuple[Tradeoff, pd.DataFrame]:
    data, experiment = study
    tradeoff = Tradeoff.model_validate(SHOW | keys)
    values = ["lpips", "model_accuracy", "update_bytes"]
    return tradeoff, tradeoff.judged(cell_table(data.results, experiment, tradeoff.keys, values))


def test_privacy_is_against_the_best_attack_and_utility_is_the_latest(study: tuple[StudyData, Experiment]) -> None:
    _, points = points_of(study)
    found = points.set_index(["technique", "strength"])
    for key, (gia_o, rog, late, accuracy, _) in POINTS.items():
        assert found.loc[key, "lpips"] == pytest.approx(min(gia_o, rog, late))
        assert found.loc[key, "model_accuracy"] == pytest.approx(accuracy)
        assert found.loc[key, "trials"] == 2
    assert found.loc[("Q", "2 bit"), "attack"] == "ROG"
    assert found.loc[("N", "0.2"), "model_round"] == 9
    assert found.loc[("C", "0.1"), "kept"] == pytest.approx(0.25)


def test_lines_best_points_and_fronts(study: tuple[StudyData, Experiment]) -> None:
    _, points = points_of(study)

    def names(column: str) -> set[tuple[str, str]]:
        return set(points.loc[points[column], ["technique", "strength"]].itertuples(index=False, name=None))

    assert names("defends") == {("Q", "2 bit"), ("Q", "1 bit"), ("N", "0.2")}
    assert names("useful") == {("None", "-"), ("Q", "2 bit"), ("Q", "4 bit"), ("C", "0.5"), ("N", "0.2")}
    # Q: the more accurate of two that defend. C: none defends, so the one that is most private.
    assert names("best") == {("None", "-"), ("Q", "2 bit"), ("C", "0.1"), ("N", "0.2")}
    assert names("front") == {("None", "-"), ("Q", "4 bit"), ("Q", "2 bit"), ("Q", "1 bit")}
    assert names("front_with_size") == names("front")


def test_a_tie_is_on_the_front_and_a_duplicate_too() -> None:
    frame = pd.DataFrame({"a": [1, 1, 0, 1], "b": [1, 1, 2, 0], "cost": [5, 5, 5, 1]})
    assert pareto(frame, ["a", "b"]).tolist() == [True, True, True, False]
    assert pareto(frame, ["a", "b"], ["cost"]).tolist() == [True, True, True, True]


def test_drawing(study: tuple[StudyData, Experiment]) -> None:
    data, experiment = study
    files = render_stage("figures", experiment, data)
    assert files == render_stage("figures", experiment, data)
    table = pd.read_csv(io.BytesIO(files["exp_tradeoff.csv"]), keep_default_na=False)
    assert len(table) == len(POINTS)
    assert "Q" in set(table["technique"])
    assert table.set_index("technique")["epsilon"].to_dict() == {
        "None": "none",
        "Q": "none",
        "C": "24.375",
        "N": "none",
    }
    lines = [line for line in files["exp_tradeoff.tex"].decode().splitlines() if "ResNet-18 &" in line.replace("}", "")]
    assert len(lines) == len(POINTS)
    assert sum(r"\textbf" in line for line in lines) == 4
    assert [line for line in lines if "0.5 &" in line] == [
        r"  ResNet-18 & C & 0.5 & GIA-O & 1 & 70.0 & 0.0100 & 4,000 & 24.4 \\"
    ]
    with style.theme():
        tradeoff, points = points_of(study)
        (axes,) = tradeoff.draw(points).axes
    solid = [dots for dots in axes.collections if dots.get_alpha() == 1]
    assert len(axes.collections) == len(POINTS)
    assert len(solid) == 4
    assert {text.get_text() for text in axes.texts} == {"2 bit", "0.1", "0.2"}
    red, blue, front = axes.lines[:3]
    assert red.get_xdata()[0] == pytest.approx(0.1)
    assert blue.get_ydata()[0] == pytest.approx(0.7 * 0.8)
    assert list(front.get_xdata()) == sorted(front.get_xdata())
    areas = {float(dots.get_sizes()[0]) for dots in axes.collections}
    assert len(areas) > 2


def test_an_unknown_column_is_named(study: tuple[StudyData, Experiment], make_experiment: Make) -> None:
    data, experiment = study
    with pytest.raises(UserError, match="bandwidth"):
        render_stage("figures", make_experiment(SHOW | {"size": "bandwidth"}, cells=_cells(experiment)), data)


def test_a_panel_of_which_a_part_is_missing_is_named_and_not_drawn(
    study: tuple[StudyData, Experiment], make_experiment: Make
) -> None:
    data, experiment = study
    whole = render_stage("figures", experiment, data)
    results, cells = data.results, experiment.cells
    other, more = results.copy(), cells.copy()
    for frame in (other, more):
        frame["cell_id"] = "swin-" + frame["cell_id"]
    more["setting"] = "Swin"
    late = other["model_round"] == 9
    parts = {
        "no cells with 'None'": ~other["cell_id"].str.contains("None"),
        "model_accuracy of 6 of 7 points in round 9": ~(late & other["cell_id"].str.contains("Q-1 bit")),
        "model_accuracy of 0 of 7 points in round 1": ~late,
    }
    for what, there in parts.items():
        # Of an untrained model nobody has measured the accuracy.
        part = other[there].assign(model_accuracy=other["model_accuracy"].where(other["model_round"] == 9))
        own = more[more["cell_id"].isin(part["cell_id"])]
        both = StudyData("test_study", pd.concat([results, part]))
        found = make_experiment(SHOW, cells=_cells(replace(experiment, cells=pd.concat([cells, own]))))
        files = render_stage("figures", found, both)
        assert f"Not drawn: Swin (has {what})." in files["exp_tradeoff.txt"].decode()
        for name in whole.keys() - {"exp_tradeoff.txt"}:
            assert files[name] == whole[name], name
        alone = make_experiment(SHOW, cells=_cells(replace(experiment, cells=own)))
        with pytest.raises(UserError, match=f"Not drawn: Swin .has {what}"):
            render_stage("figures", alone, StudyData("test_study", part))


def _cells(experiment: Experiment) -> list[dict[str, object]]:
    return [{"cell_id": row.pop("cell_id"), "labels": row} for row in experiment.cells.to_dict("records")]
