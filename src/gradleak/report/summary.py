"""A study in about ten lines: where its files are, how its claims fare, its strongest finding, what to open next."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from gradleak.analysis.text import fixed, interval
from gradleak.report.read import number_of, read_csv
from gradleak.study.outline import Outline

Line = Mapping[str, str]

# As `gradleak.claims.verdict` has them, whose numbers would take half of this command's time to import.
_VERDICTS = ("supported", "not supported", "undecided", "not tested")
_COLUMNS = ("claim", "reads", "effect_is", "claimed", "verdict", "reason", "strongest_verdict")
_NUMBERS = ("margin", "effect", "low", "high")
_WIDTH = 18


def summary(plan: Outline, results: Path, figures: Path) -> list[str]:
    """The lines. results, figures: the study's folders, as `gradleak` and the workflow name them.

    What is missing is said in a line of its own. Raises UserError for a `claims.csv` that is none.
    """
    cells = f"{len(plan.cells)} cells" + (f", {len(plan.taken_over)} of them reused" if plan.taken_over else "")
    lines = [_line("study", f"{plan.study}: {plan.title}"), _line("", f"{len(plan.experiments)} experiments, {cells}")]
    kinds = {"figures": ".png", "tables": ".tex"}
    found = [f"{sum(path.suffix == kind for path in _files(figures))} {name}" for name, kind in kinds.items()]
    lines.append(_line("in the folder", f"{figures}: {' and '.join(found)}, with their numbers as CSV"))
    strongest = None
    if (figures / "claims.csv").exists():
        claims = read_csv(figures / "claims.csv", "gradleak claims", _COLUMNS, numbers=_NUMBERS)
        lines += _counted(claims)
        strongest = strongest_finding(claims)
        lines += _finding(strongest)
    missing = [str(path) for path in (results / "results.parquet", figures / "claims.csv") if not path.exists()]
    if missing:
        lines.append(_line("missing", f"{', '.join(missing)}; `make` goes on from what is finished"))
    return lines + _to_open(results, figures, strongest)


def strongest_finding(claims: Sequence[Line]) -> Line | None:
    """Of the claims that are supported, the line of the one whose effect is farthest from its margin; None for none.

    The distance is counted in half widths of the effect's 95 % interval, so that claims about different quantities can
    be compared. Only claims that something protects or exposes are findings: those that stand against the study's
    strongest attacks too. Left out are intervals without width: there, values do not vary, and say nothing of how sure
    they are. Of equals, the first.
    """
    standing = [
        line
        for line in claims
        if line["verdict"] == line["strongest_verdict"] == "supported"
        and number_of(line["high"]) > number_of(line["low"])
    ]
    return max(standing, key=_distance, default=None)


def _distance(line: Line) -> float:
    effect, margin, low, high = (number_of(line[name]) for name in ("effect", "margin", "low", "high"))
    return 2 * abs(effect - margin) / (high - low)


def _counted(claims: Sequence[Line]) -> list[str]:
    counts = Counter(line["verdict"] for line in claims)
    words = [*_VERDICTS, *(word for word in counts if word not in _VERDICTS)]
    lines = [_line("claims", f"{', '.join(f'{counts[word]} {word}' for word in words)}; of {len(claims)}")]
    reasons = Counter(line["reason"] for line in claims if line["verdict"] == "not tested")
    if reasons:
        ((reason, count),) = reasons.most_common(1)
        lines.append(_line("not tested", f"most often ({count} of {reasons.total()}) because {reason}"))
    return lines


def _finding(line: Line | None) -> list[str]:
    if line is None:
        return [_line("strongest finding", "none: no claim that something protects stands against all attacks")]
    effect, low, high = (number_of(line[name]) for name in ("effect", "low", "high"))
    numbers = f"{fixed(effect, 3)} (95 % interval {interval(low, high, 3)}), claimed {line['claimed']} {line['margin']}"
    measured = line["effect_is"].replace("$", "")
    return [_line("strongest finding", line["claim"]), _line("", f"{measured}: {numbers}")]


def _to_open(results: Path, figures: Path, strongest: Line | None) -> list[str]:
    page = results / "report.html"
    lines = [_line("open next", f"{page} in a browser" if page.exists() else f"`make report`, which writes {page}")]
    reads = strongest["reads"] if strongest else ""
    pictures = [path for path in _files(figures) if path.suffix == ".png"]
    shown = [path for path in pictures if path.stem == reads or path.stem.startswith(f"{reads}_")]
    if reads and shown:
        lines.append(_line("", f"{shown[0]}, on the strongest finding"))
    if (figures / "claims.md").exists():
        lines.append(_line("", f"{figures / 'claims.md'}, each claim with its reason"))
    return lines


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _line(label: str, text: str) -> str:
    return f"{label:<{_WIDTH}} {text}"
