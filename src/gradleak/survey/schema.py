"""The survey file: what it may contain, and reading it."""

from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Field, ValidationError, model_validator

import gradleak
from gradleak.documents import read_yaml
from gradleak.errors import UserError, first_error
from gradleak.frozen import Frozen

Trust = Literal["HBC", "M"]
Capability = Literal["passive", "active"]
Goal = Literal["label", "data"]
Level = Literal[0, 1, 2, 3, 4, 5]
Strategy = Literal["GIA-O", "GIA-L", "GIA-A"]
Modality = Literal["CV", "NLP", "Tabular"]
Defense = Literal["Q", "S", "C", "P"]

SURVEY = Path(gradleak.__file__).parent / "resources" / "survey" / "survey.yaml"
"""The package's own survey file."""

Column = Literal["trust", "capability", "goal", "assumptions", "strategy", "modality", "defenses"]

FIELDS: tuple[Column, ...] = get_args(Column)
"""The columns of Table 7 that hold lists."""


def _distinct(values: tuple[object, ...]) -> tuple[object, ...]:
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise ValueError(f"lists {twice!r} twice")
    return values


Distinct = AfterValidator(_distinct)


class Assumption(Frozen):
    """A level of Sec. 2.2; access: how an adversary comes by it in practice (`easy`, `strong`, `excessive`)."""

    name: str = Field(min_length=1)
    access: Literal["easy", "strong", "excessive"]


class Milestone(Frozen):
    """The idea for which an attack was the first or is the paper's example, and the section that says so."""

    text: str = Field(min_length=1, max_length=26)
    where: str = Field(min_length=1)


class Implemented(Frozen):
    """The attack of this package that stands for a surveyed one, with which settings, and what of it is left out."""

    attack: str
    settings: str
    without: str | None = None


class SurveyedAttack(Frozen):
    """A row of Table 7. An empty list is the table's "None"; null is what the paper's text has lost, with a note.

    reference: number in the paper's bibliography, from which title, venue and cited_year are. year: the table's.
    """

    reference: int = Field(ge=1, le=100)
    name: str = Field(min_length=1)
    year: int = Field(ge=2019, le=2025)
    title: str = Field(min_length=1)
    venue: str = Field(min_length=1)
    cited_year: int = Field(ge=2015, le=2025)
    trust: Annotated[tuple[Trust, ...], Field(min_length=1), Distinct] | None
    capability: Annotated[tuple[Capability, ...], Field(min_length=1), Distinct] | None
    goal: Annotated[tuple[Goal, ...], Field(min_length=1), Distinct] | None
    assumptions: Annotated[tuple[Level, ...], Field(min_length=1), Distinct] | None
    strategy: Annotated[tuple[Strategy, ...], Field(min_length=1), Distinct] | None
    modality: Annotated[tuple[Modality, ...], Field(min_length=1), Distinct] | None
    defenses: Annotated[tuple[Defense, ...], Distinct] | None
    milestone: Milestone | None = None
    implemented: Implemented | None = None
    note: str | None = None

    @property
    def label(self) -> str:
        """Name and reference, `Zhu [100]`."""
        return f"{self.name} [{self.reference}]"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        lost = [field for field in FIELDS if getattr(self, field) is None]
        if lost and not self.note:
            raise ValueError(f"{self.label}: {lost[0]} is null, so a note must say why")
        if self.assumptions is not None and 0 not in self.assumptions:
            raise ValueError(f"{self.label}: assumptions lack level 0, which every attack needs")
        if (
            self.capability is not None
            and self.trust is not None
            and ("M" in self.trust) != ("active" in self.capability)
        ):
            raise ValueError(f"{self.label}: a malicious server (M) is active, an honest-but-curious one (HBC) is not")
        return self


class Statement(Frozen):
    """A statement of the paper's text on some references: `field` of their rows contains `value`."""

    says: str
    where: str
    field: Column
    value: str | int
    references: Annotated[tuple[int, ...], Field(min_length=1), Distinct]


class Survey(Frozen):
    """The whole survey file."""

    assumptions: dict[Level, Assumption]
    statements: tuple[Statement, ...] = ()
    attacks: tuple[SurveyedAttack, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        references = [attack.reference for attack in self.attacks]
        twice = next((reference for reference in references if references.count(reference) > 1), None)
        if twice is not None:
            raise ValueError(f"attacks: reference {twice} has two rows")
        unnamed = sorted(set(range(6)) - set(self.assumptions))
        if unnamed:
            raise ValueError(f"assumptions: level {unnamed[0]} has no entry")
        return self


def load_survey(path: Path | None = None) -> Survey:
    """Read a survey file, by default the package's. Raises UserError with one line where it breaks the format."""
    name = "survey.yaml" if path is None else str(path)
    content = read_yaml(Path(str(SURVEY)) if path is None else path)
    try:
        return Survey.model_validate(content)
    except ValidationError as error:
        raise UserError(f"'{name}': {first_error(error)}") from None
