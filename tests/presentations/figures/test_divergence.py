"""Marks of entries whose client diverged: where they stand, what is said of them, and nothing where none did."""

import io
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.summary import cell_table
from gradleak.presentations import divergence, style
from gradleak.presentations.gallery import Gallery
from gradleak.presentations.line import Line
from gradleak.presentations.write import render_stage
from gradleak.report import pivot

Make = Callable[..., Experiment]
HOW = "(its loss ended above its start or was not finite)."
TABLE = {"kind": "table", "rows": ["variant"], "columns": "dataset_resolution"}
LINE = {"kind": "line", "x": "dataset_resolution", "hue": "variant"}
GALLERY = {"kind": "gallery", "rows": ["variant"], "columns": "dataset_resolution", "victims": 1}
SHOW = [
    TABLE,
    {**LINE, "suffix": "line"},
    {"kind": "bars", "x": "dataset_resolution", "panels": "variant"},
    {"kind": "correlation", "over": "dataset_resolution", "x": "dataset_resolution", "y": "lpips"},
    {"kind": "contrast", "between": {"label": "variant", "baseline": "$G_O$", "against": "$G_L$"}},
    GALLERY,
]


@pytest.fixture
def marked(data: StudyData) -> StudyData:
    """The second variant's clients diverged at 64 pixels in trials 0 and 2."""
    own = data.results["cell_id"].isin(["v1-r64-t0", "v1-r64-t2"])
    return replace(data, results=data.results.assign(client_diverged=own.where(own).astype("boolean")))


def render(experiment: Experiment, data: StudyData) -> dict[str, bytes]:
    return render_stage("tables", experiment, data) | render_stage("figures", experiment, data)


def test_where_none_diverged_no_byte_changes(data: StudyData, make_experiment: Make) -> None:
    experiment = make_experiment(*SHOW)
    none = replace(data, results=data.results.assign(client_diverged=pd.array([None] * 27, "boolean")))
    others = pd.DataFrame([{**data.results.iloc[0], "cell_id": "of another experiment", "client_diverged": True}])
    elsewhere = replace(data, results=pd.concat([data.results, others], ignore_index=True))
    plain = render(experiment, data)
    assert render(experiment, none) == plain
    assert render(experiment, elsewhere) == plain


def test_a_cell_that_was_not_attacked_is_not_counted(marked: StudyData, make_experiment: Make) -> None:
    reasons = marked.results["cell_id"].eq("v1-r64-t2").map({True: "the update is not finite", False: None})
    found = divergence.counted(marked.results.assign(unattacked=reasons), make_experiment())
    assert found == f"In 1 of 26 trials the client's local training diverged {HOW}"


def test_table(marked: StudyData, make_experiment: Make) -> None:
    files = render_stage("tables", make_experiment(TABLE), marked)
    rows = pd.read_csv(io.BytesIO(files["exp.csv"]))
    assert rows["diverged"].tolist() == [0, 0, 0, 0, 2, 0, 0, 0, 0]
    assert rows["value"].iloc[4] == pytest.approx(0.21)
    tex = files["exp.tex"].decode()
    assert tex.count(r"$^{\dagger}$") == 2
    assert r"0.2100$^{\dagger}$\,{\scriptsize$\pm$.0100}" in tex
    said = rf"$^{{\dagger}}$: the client's local training diverged in at least one trial {HOW}"
    assert said in tex


def test_the_page_shows_the_table_so(marked: StudyData, make_experiment: Make) -> None:
    experiment = make_experiment(TABLE)
    (table,) = experiment.show
    text = render_stage("tables", experiment, marked)["exp.csv"].decode()
    rows = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False).to_dict("records")
    fields = [field.text for row in pivot.rows_by_columns(table, rows).rows for field in row]
    assert [str(text) for text in fields if "†" in text] == [
        '0.2100<span class="math"><sup>†</sup></span> <small class="std">±0.0100</small>'
    ]
    assert f"diverged in at least one trial {HOW}" in pivot.caption(table, rows)


def test_line(marked: StudyData, make_experiment: Make) -> None:
    line = Line(**LINE)
    cells = divergence.marked(
        cell_table(marked.results, make_experiment(), line.keys, [line.y]), marked.results, make_experiment()
    )
    points = line.points(cells)
    with style.theme():
        figure = line.draw(cells, points)
    hollow = [drawn for drawn in figure.axes[0].lines if drawn.get_markerfacecolor() == "white"]
    assert [drawn.get_xydata().tolist() for drawn in hollow if len(drawn.get_xdata())] == [[[64, pytest.approx(0.21)]]]
    assert len(figure.legends[0].get_texts()) == 3
    files = render_stage("figures", make_experiment(LINE), marked)
    assert (
        f"Hollow markers: the client's local training diverged in at least one trial {HOW}" in files["exp.txt"].decode()
    )
    assert pd.read_csv(io.BytesIO(files["exp.csv"]))["diverged"].sum() == 2


def test_gallery(marked: StudyData, make_experiment: Make) -> None:
    gallery = Gallery(**GALLERY)
    pairs = gallery.pairs(make_experiment(), marked)
    with style.theme():
        texts = [text.get_text() for text in gallery.draw(pairs).texts]
    assert [text for text in texts if "dagger" in text] == [f"0.2000{divergence.DAGGER}"]
    caption = render_stage("figures", make_experiment(GALLERY), marked)["exp_gallery.txt"].decode()
    assert f"{divergence.DAGGER}: the client's local training diverged {HOW}" in caption


@pytest.mark.parametrize("spec", SHOW[2:5], ids=lambda spec: spec["kind"])
def test_other_kinds_say_in_how_many_trials(marked: StudyData, make_experiment: Make, spec: dict) -> None:
    files = render(make_experiment(spec), marked)
    texts = b"".join(content for name, content in files.items() if name.endswith((".txt", ".tex"))).decode()
    assert f"In 2 of 27 trials the client's local training diverged {HOW}" in texts
