"""Table 7 as CSV and LaTeX, and how far the paper's text agrees with it."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from gradleak.analysis.text import csv_text
from gradleak.presentations import markup
from gradleak.survey.schema import FIELDS, Survey, SurveyedAttack

_HEADINGS = ("Publication", "Server", "Capability", "Goal", "Assump.", "Strategy", "Modality", "Defense", "Here")


def table_csv(survey: Survey) -> str:
    """One row per attack in the table's order; lists as `a, b`, an empty list as `none`, what is lost as empty."""
    fixed = ("reference", "name", "year", "title", "venue", "cited_year")
    rows = []
    for attack in survey.attacks:
        row = [getattr(attack, key) for key in fixed] + [_listed(getattr(attack, field)) for field in FIELDS]
        here = attack.implemented
        row += [here.attack, here.settings, here.without or ""] if here else ["", "", ""]
        rows.append([*row, attack.note or ""])
    head = [*fixed, *FIELDS, "implemented_as", "implemented_settings", "implemented_without", "note"]
    return csv_text([head, *rows])


def table_latex(survey: Survey) -> str:
    """The table as a LaTeX environment over both columns of a page."""
    body = []
    for attack in survey.attacks:
        cells = [f"{attack.name} et al. ({attack.year}) [{attack.reference}]"]
        cells += [_listed(getattr(attack, field)) for field in FIELDS]
        body.append(markup.line([*(markup.escape(cell) for cell in cells), _mark(attack)]))
    levels = ", ".join(f"({level}) {entry.name}" for level, entry in sorted(survey.assumptions.items()))
    caption = (
        "Systematization of gradient inversion attacks (the paper's Table 7). Server: honest but curious (HBC) or "
        f"malicious (M). Assumptions: {levels}. GIA-O, GIA-L: optimisation in the observable or a latent space; GIA-A: "
        "analytic. Defenses that the publication considers: quantization (Q), sparsification (S), clipping (C), "
        "perturbation (P). References are the paper's."
    )
    here = " Here: the attack of this package that implements it; in brackets: in part."
    heading = [markup.line([markup.escape(text) for text in _HEADINGS])]
    return markup.frame(body, heading, len(_HEADINGS), 0, markup.escape(caption) + here, "survey-table7", wide=True)


def counts_csv(survey: Survey) -> str:
    """How many attacks have each value of each column, and how many this package implements, wholly or in part."""
    rows: list[list[object]] = [["field", "value", "attacks", "implemented"]]
    for field in (*FIELDS, "year"):
        found: Counter[str] = Counter()
        here: Counter[str] = Counter()
        for attack in survey.attacks:
            values = (attack.year,) if field == "year" else getattr(attack, field)
            for value in ("none",) if values == () else values or ("lost",):
                found[str(value)] += 1
                here[str(value)] += attack.implemented is not None
        rows += [[field, value, found[value], here[value]] for value in sorted(found)]
    return csv_text(rows)


def checks_csv(survey: Survey) -> str:
    """Every statement of the text beside the table.

    Columns: `says`, `where`, `field`, `value`, `references` (how many the text names), `agree`, `differ` (references
    whose row has another value), `no_row`, and `unnamed` (rows with the value that no statement names; the text's lists
    are often examples).
    """
    rows: list[list[object]] = [
        ["says", "where", "field", "value", "references", "agree", "differ", "no_row", "unnamed"]
    ]
    by_reference = {attack.reference: attack for attack in survey.attacks}
    named_by_any: dict[tuple[str, object], set[int]] = defaultdict(set)
    for statement in survey.statements:
        named_by_any[statement.field, statement.value].update(statement.references)
    for statement in survey.statements:
        field, value = statement.field, statement.value
        has = {number for number, attack in by_reference.items() if value in (getattr(attack, field) or ())}
        named = set(statement.references)
        differ, absent = (named & set(by_reference)) - has, named - set(by_reference)
        row = [statement.says, statement.where, field, value, len(named), len(named & has)]
        groups = (differ, absent, has - named_by_any[field, value])
        rows.append([*row, *(" ".join(map(str, sorted(group))) for group in groups)])
    return csv_text(rows)


def _listed(values: Sequence[object] | None) -> str:
    if values is None:
        return ""
    return ", ".join(map(str, values)) or "none"


def _mark(attack: SurveyedAttack) -> str:
    here = attack.implemented
    if here is None:
        return ""
    name = rf"\texttt{{{markup.escape(here.attack)}}}"
    return f"({name})" if here.without else name
