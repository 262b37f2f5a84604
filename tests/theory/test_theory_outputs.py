"""`gradleak theory`: all declared files, the same bytes twice, one line for a bad folder; figures not clipped."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure

from gradleak.cli.outputs import theory
from gradleak.errors import UserError
from gradleak.presentations import style
from gradleak.theory import figure3, lemma41, theorem42, theorem43
from gradleak.theory.outputs import FILES
from gradleak.theory.rounding import settled


@pytest.mark.slow
def test_command_writes_all_files(tmp_path: Path) -> None:
    done = CliRunner().invoke(theory, ["--output", str(tmp_path / "new" / "folder")], catch_exceptions=False)
    assert done.exit_code == 0
    found = {path.name: path.read_bytes() for path in (tmp_path / "new" / "folder").iterdir()}
    assert set(found) == set(FILES)
    assert all(found.values())
    assert {Path(line).name for line in done.output.splitlines()} == set(FILES)


MEASURED: dict[str, Callable[[], pd.DataFrame]] = {
    "example": lambda: figure3.example().points,
    "lemma41": lemma41.measure,
    "theorem42": lambda: theorem42.measure(trials=1),
    "sizes": theorem43.sizes,
    "sweep": theorem43.sweep,
    "exceptions": theorem43.exceptions,
}


@pytest.mark.parametrize("name", list(MEASURED))
def test_numbers_are_the_same_again_but_for_rounding(name: str) -> None:
    first, second = (settled(MEASURED[name]()).to_csv(float_format="%.5g") for _ in range(2))
    assert first == second


def test_settled_hides_rounding_only() -> None:
    frame = pd.DataFrame({"name": ["a", "b", "c"], "count": [1, 2, 3], "value": [-3e-16, 2e-9, float("nan")]})
    found = settled(frame)
    assert found["value"].tolist()[:2] == [0.0, 2e-9]
    assert found["value"].isna().tolist() == [False, False, True]
    assert found[["name", "count"]].equals(frame[["name", "count"]])


def test_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    from gradleak.files import write_files

    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=r"taken/\S+: cannot be written"):
        write_files(tmp_path / "taken", {"a": b""})
    with pytest.raises(UserError, match="cannot be written"):
        write_files(tmp_path / "taken" / "deeper", {"a": b""})


def _draw(name: str) -> Figure:
    if name == "fig3":
        return figure3.draw(figure3.example())
    if name == "lemma41":
        return lemma41.draw(lemma41.measure(trials=2))
    if name == "theorem42":
        return theorem42.draw(theorem42.measure(trials=1), theorem42.limits(trials=1))
    return theorem43.draw(*theorem43.pairs(), theorem43.sizes(), theorem43.sweep())


@pytest.mark.parametrize("name", ["fig3", "lemma41", "theorem42", "theorem43"])
def test_no_text_is_clipped(name: str) -> None:
    with style.theme():
        figure = _draw(name)
        figure.canvas.draw()
        texts = [text for axes in figure.axes for text in (axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts)]
        boxes = [text.get_window_extent() for text in texts if text.get_text()]
        for axes in figure.axes:
            low, high = axes.get_ylim()
            labels = [label for label in axes.get_yticklabels() if low <= label.get_position()[1] <= high]
            boxes += [label.get_window_extent() for label in labels if label.get_text()]
    assert len(boxes) > 6
    for box in boxes:
        assert box.x0 >= -0.5
        assert box.y0 >= -0.5
        assert box.x1 <= figure.bbox.x1 + 0.5
        assert box.y1 <= figure.bbox.y1 + 0.5


def test_figure_3_shows_what_was_measured() -> None:
    example = figure3.example()
    assert list(example.points["U"]) == list(figure3.STEPS)
    first, last = example.points.iloc[0], example.points.iloc[-1]
    assert first["mu"] == pytest.approx(figure3.LOGIT)
    assert first["across"] < 1e-10
    assert (example.found[0] - example.truth).abs().max() < 1e-10
    assert last["mu"] < first["mu"]
    assert example.points["across"].is_monotonic_increasing
