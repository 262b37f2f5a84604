"""The space of a search: for each setting, a list of choices or a range of numbers."""

from typing import Annotated, Any

from optuna.trial import Trial
from pydantic import BeforeValidator, Field, model_validator

from gradleak.frozen import Frozen

_DIGITS = 3
Settings = dict[str, Any]
"""Values by dotted paths under a cell's `attack`."""


class Choice(Frozen):
    """One of several values, which may be anything that YAML has."""

    choice: list[Any] = Field(min_length=1)

    def allows(self, value: object) -> bool:
        """Whether a value is one of the choices."""
        return any(value == known and isinstance(value, bool) == isinstance(known, bool) for known in self.choice)

    def ends(self) -> list[Any]:
        """All values."""
        return list(self.choice)

    def draw(self, trial: Trial, path: str) -> Any:
        """The value that a trial suggests."""
        return self.choice[int(trial.suggest_categorical(path, list(range(len(self.choice)))))]

    def parameter(self, value: object) -> Any:
        """The sampler's name of a value: its position."""
        return next(index for index, known in enumerate(self.choice) if Choice(choice=[known]).allows(value))


class Range(Frozen):
    """A number from `low` to `high`, uniform or, with `log`, uniform in its logarithm; `whole`: an integer.

    Numbers that are drawn have three significant digits.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> "Range":
        if self.high <= self.low:
            raise ValueError(f"high is {self.high:g}, it must be above low ({self.low:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low:g}, it must be above 0 where log is true")
        if self.whole and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(f"low and high are {self.low:g} and {self.high:g}, must be whole where whole is true")
        return self

    def allows(self, value: object) -> bool:
        """Whether a value is a number of this range."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high and (not self.whole or float(value).is_integer())

    def ends(self) -> list[Any]:
        """The two ends."""
        return [int(self.low), int(self.high)] if self.whole else [self.low, self.high]

    def draw(self, trial: Trial, path: str) -> float | int:
        """The value that a trial suggests, rounded."""
        if self.whole:
            return trial.suggest_int(path, int(self.low), int(self.high), log=self.log)
        value = float(f"{trial.suggest_float(path, self.low, self.high, log=self.log):.{_DIGITS}g}")
        return min(max(value, self.low), self.high)

    def parameter(self, value: object) -> Any:
        """The sampler's name of a value: the value itself."""
        return value


def _parse(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return Choice.model_validate(value) if "choice" in value else Range.model_validate(value)


Dimension = Annotated[Choice | Range, BeforeValidator(_parse)]
