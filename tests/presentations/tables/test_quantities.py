"""How numbers are named and printed: by the metrics, the package's list, or a column's own name."""

from gradleak.metrics.base import columns, described
from gradleak.presentations.base import QUANTITIES, Quantity, of_columns
from gradleak.presentations.read import parse_experiment

CELLS = [{"cell_id": "a", "labels": {}}]


def shown(name: str, **keys: object) -> Quantity:
    """A quantity as the table of a plan shows it that has the columns of all metrics and one more."""
    show = {"kind": "table", "columns": "x", **keys}
    more = {"sharpness": {"label": "Sharpness", "better": "higher", "digits": 1, "of": "image"}}
    content = {"title": "t", "show": [show], "cells": CELLS}
    (entry,) = parse_experiment("exp", content, "plan", described() | more).show
    return entry.quantity(name)


def test_the_list_names_the_columns_of_the_packages_metrics_as_they_do():
    assert {name: QUANTITIES[name] for name in columns()} == of_columns(described())


def test_a_metric_names_and_rounds_its_column_unless_the_study_does():
    assert shown("sharpness") == Quantity("Sharpness", 1, arrow="$\\uparrow$")
    assert shown("sharpness").text(1.26) == "1.3"
    assert shown("sharpness", headings={"sharpness": "S"}).title == "S $\\uparrow$"
    assert shown("sharpness", quantities={"sharpness": {"name": "S", "percent": True}}).text(0.5) == "50.0000"
    assert shown("lpips") == QUANTITIES["lpips"]
    assert shown("wall_time").name == "Wall time"
