"""The survey: the file against the paper's table, its format, Table 7 and the figures."""

import csv
import io
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from gradleak.attacks.base import ATTACKS
from gradleak.cli.outputs import survey as survey_command
from gradleak.errors import UserError
from gradleak.presentations import style
from gradleak.survey import figure1, figure2, figure8, table7
from gradleak.survey.outputs import FILES
from gradleak.survey.schema import SURVEY, Survey, load_survey


@pytest.fixture(scope="module")
def survey() -> Survey:
    return load_survey()


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# Rows as the paper prints them, from all parts of its table.
PRINTED = {
    80: ("Wang", 2019, "HBC, M", "passive, active", "data", "0, 1, 2", "GIA-O", "CV", "none"),
    100: ("Zhu", 2019, "HBC", "passive", "label, data", "0", "GIA-O", "CV, NLP", "Q, S, P"),
    13: ("Dang", 2021, "HBC", "passive", "label", "0", "GIA-O, GIA-A", "CV, NLP", "Q, S"),
    33: ("Hatamizadeh", 2022, "HBC", "passive", "data", "0, 1, 2, 4", "GIA-O", "CV", "none"),
    85: ("Xu", 2022, "HBC", "passive", "label, data", "0, 1, 3, 4", "GIA-O", "CV", "none"),
    74: ("Vero", 2023, "HBC", "passive", "label, data", "0", "GIA-O, GIA-A", "Tabular", "none"),
    4: ("Boenisch", 2021, "M", "active", "data", "0, 5", "GIA-A", "CV", "C, P"),
    89: ("Yue", 2023, "HBC", "passive", "data", "0, 1, 2", "GIA-L", "CV", "Q, S, P"),
    25: ("Garov", 2024, "M", "active", "label, data", "0, 2", "GIA-L", "CV", "C, P"),
    78: ("Wang", 2024, "HBC", "passive", "label", "0", "GIA-A", "CV", "P"),
}


def test_rows_are_those_of_the_paper(survey: Survey) -> None:
    rows = {int(row["reference"]): row for row in _rows(table7.table_csv(survey))}
    assert len(rows) == 38
    keys = ("name", "year", "trust", "capability", "goal", "assumptions", "strategy", "modality", "defenses")
    for reference, expected in PRINTED.items():
        assert tuple(rows[reference][key] for key in keys) == tuple(map(str, expected))
    assert [rows[reference]["note"] != "" for reference in (25, 54, 58)] == [True] * 3


def test_text_of_the_paper_agrees_with_its_table(survey: Survey) -> None:
    checks = _rows(table7.checks_csv(survey))
    assert all(row["differ"] == "" for row in checks)
    # Three references are named in the text and have no row.
    assert {number for row in checks for number in row["no_row"].split()} == {"41", "55", "97"}


def test_checks_tell_a_difference(survey: Survey) -> None:
    attacks = tuple(
        attack.model_copy(update={"strategy": ("GIA-A",)}) if attack.reference == 42 else attack
        for attack in survey.attacks
    )
    changed = survey.model_copy(update={"attacks": attacks})
    row = next(row for row in _rows(table7.checks_csv(changed)) if row["value"] == "GIA-L")
    assert (row["agree"], row["differ"]) == ("2", "42")


def test_implemented_attacks_exist_and_are_those_of_the_registry(survey: Survey) -> None:
    named = {attack.implemented.attack for attack in survey.attacks if attack.implemented}
    assert named == set(ATTACKS)


def test_counts(survey: Survey) -> None:
    counts = {(row["field"], row["value"]): row for row in _rows(table7.counts_csv(survey))}
    assert counts["assumptions", "0"]["attacks"] == "38"
    assert counts["strategy", "GIA-L"]["attacks"] == "7"
    assert sum(int(row["attacks"]) for key, row in counts.items() if key[0] == "year") == 38
    # GIA-L here: Jeon, Li and Yue.
    assert counts["strategy", "GIA-L"]["implemented"] == "3"


def test_latex(survey: Survey) -> None:
    text = table7.table_latex(survey)
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 39
    assert {line.count(" & ") for line in lines} == {8}
    assert r"Jeon et al. (2021) [42] & HBC & passive & data & 0, 2 & GIA-L & CV & S, P & \texttt{gia-l} \\" in text
    assert r"(\texttt{gia-o}) \\" in text
    assert r"\label{tab:survey-table7}" in text


def _edited(tmp_path: Path, pattern: str, replacement: str) -> Path:
    text, count = re.subn(pattern, replacement, SURVEY.read_text(encoding="utf-8"), count=1)
    assert count == 1
    path = tmp_path / "survey.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"trust: \[HBC, M\]", "trust: [HBC, X]", r"attacks.0.trust.1: Input should be 'HBC' or 'M' \(found 'X'\)"),
        (r"assumptions: \[0, 1, 2\]", "assumptions: [0, 7]", r"attacks.0.assumptions.1: .*\(found 7\)"),
        (r"assumptions: \[0, 1, 2\]", "assumptions: [1, 2]", r"Wang \[80\]: assumptions lack level 0"),
        (r"assumptions: \[0, 1, 2\]", "assumptions: [0, 0]", "lists 0 twice"),
        (r"capability: \[passive, active\]", "capability: [passive]", r"a malicious server \(M\) is active"),
        (r"goal: \[data\]", "goal: null", "goal is null, so a note must say why"),
        (r"strategy: \[GIA-O\]", "strategy: []", "attacks.0.strategy: .* at least 1 item"),
        (r"reference: 100\b", "reference: 80", "reference 80 has two rows"),
        (r"year: 2019", "year: 1919", r"attacks.0.year: .*\(found 1919\)"),
        (r"name: Wang", "nmae: Wang", "attacks.0.name: Field required"),
        (r"modality: \[CV\]", "modality: [CV]\n    colour: red", "attacks.0.colour: unknown key"),
        (r"  5: \{", "  6: {", "assumptions"),
        (r"\nattacks:", "\nattacks: [", "not valid YAML"),
    ],
)
def test_bad_file_is_one_line(tmp_path: Path, pattern: str, replacement: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_survey(_edited(tmp_path, pattern, replacement))
    assert "\n" not in str(caught.value)
    assert "survey.yaml" in str(caught.value)


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nosuch.yaml: cannot be read \(No such file"):
        load_survey(tmp_path / "nosuch.yaml")


def test_lost_values_stay_empty(tmp_path: Path) -> None:
    path = _edited(tmp_path, r"goal: \[data\]", "goal: null\n    note: lost")
    lost = load_survey(path)
    assert _rows(table7.table_csv(lost))[0]["goal"] == ""
    assert " & passive, active &  & 0, 1, 2 & " in table7.table_latex(lost)
    assert ["goal", "lost", "1", "0"] in list(csv.reader(io.StringIO(table7.counts_csv(lost))))


def test_command_writes_all_files_twice_the_same(tmp_path: Path) -> None:
    for name in ("first", "second"):
        done = CliRunner().invoke(survey_command, ["--output", str(tmp_path / name)], catch_exceptions=False)
        assert done.exit_code == 0
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "second")
    )
    assert set(first) == set(FILES)
    assert first == second


def test_command_leaves_what_was_there_on_a_bad_file(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump({"attacks": []}))
    done = CliRunner().invoke(
        survey_command, ["--output", str(tmp_path / "out"), "--survey", str(tmp_path / "bad.yaml")]
    )
    assert isinstance(done.exception, UserError)
    assert not (tmp_path / "out").exists()


def test_timeline_shows_every_attack_in_its_lane(survey: Survey) -> None:
    with style.theme():
        texts = [text.get_text() for text in figure1.draw(survey).axes[0].texts]
    for attack in survey.attacks:
        assert texts.count(attack.label) == len(attack.strategy or ())
    assert "17 attacks" in next(text for text in texts if text.startswith("observable"))


def test_timeline_grows_with_the_file(tmp_path: Path, survey: Survey) -> None:
    path = _edited(tmp_path, r"year: 2019", "year: 2025")
    with style.theme():
        texts = [text.get_text() for text in figure1.draw(load_survey(path)).axes[0].texts]
    assert "2025" in texts


@pytest.mark.parametrize("name", ["fig1", "fig2", "fig8"])
def test_no_text_is_clipped_or_overlaps(survey: Survey, name: str) -> None:
    with style.theme():
        figure = {"fig1": lambda: figure1.draw(survey), "fig2": figure2.draw, "fig8": figure8.draw}[name]()
        figure.canvas.draw()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    assert len(boxes) > 15
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
        for other in boxes[i + 1 :]:
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            down = min(box.y1, other.y1) - max(box.y0, other.y0)
            # Lines of text that stand close share a pixel of leading.
            assert across <= 1 or down <= 0.25 * min(box.height, other.height)
