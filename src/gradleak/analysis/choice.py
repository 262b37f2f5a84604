"""Choosing cells by the values of their labels and columns."""

from collections.abc import Mapping
from typing import Annotated, Self

import pandas as pd
from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from gradleak.analysis.text import as_text
from gradleak.frozen import Frozen


class Range(Frozen):
    """Numbers from `least` to `most`, both included."""

    model_config = ConfigDict(allow_inf_nan=True)

    least: float = float("-inf")
    most: float = float("inf")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.least <= self.most or (self.least, self.most) == (float("-inf"), float("inf")):
            raise ValueError("needs least, most or both, and least must not be above most")
        return self

    def holds(self, value: object) -> bool:
        """Whether a number is in the range. Text never is."""
        return isinstance(value, int | float) and self.least <= value <= self.most

    def __str__(self) -> str:
        bounds = [(self.least, "from {:g}"), (self.most, "to {:g}")]
        return " ".join(text.format(value) for value, text in bounds if abs(value) != float("inf"))


def _listed(value: object) -> object:
    return tuple(as_text(item) for item in (value if isinstance(value, list | tuple) else [value]))


#: Values as text, one or a list; and these or a range.
Values = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]
Choice = Annotated[
    Annotated[Values, Tag("values")] | Annotated[Range, Tag("range")],
    Discriminator(lambda value: "range" if isinstance(value, Mapping | Range) else "values"),
]


def among(value: object, choice: tuple[str, ...] | Range) -> bool:
    """Whether a value of a label or column is in the choice. Upper and lower case are the same."""
    if isinstance(choice, Range):
        return choice.holds(value)
    return as_text(value).casefold() in {item.casefold() for item in choice}


def are_among(column: pd.Series, choice: tuple[str, ...] | Range) -> pd.Series:
    """`among` for each value of a column."""
    return column.map(lambda value: among(value, choice)).astype(bool)


def in_short(choice: tuple[str, ...] | Range) -> str:
    """A choice as text: `N`, `16, 32` or `to 32`."""
    return str(choice) if isinstance(choice, Range) else ", ".join(choice)
