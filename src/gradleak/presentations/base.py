"""What a presentation is: an entry of an experiment's `show` list, which words and numbers it uses, what it writes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, ValidationError

from gradleak.analysis.experiment import Experiment, StudyData
from gradleak.analysis.text import as_text
from gradleak.errors import UserError, first_error
from gradleak.frozen import Frozen
from gradleak.registry import Registry


@dataclass(frozen=True)
class Quantity:
    """A quantity's name (may hold `$math$`), digits after the point, whether a fraction is shown in percent,
    and the direction in which reconstructions get better (an arrow as `$math$`, or nothing).
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    digits: int = 4
    percent: bool = False
    arrow: str = ""

    @property
    def title(self) -> str:
        """Name and arrow."""
        return f"{self.name} {self.arrow}".strip()

    def text(self, value: float) -> str:
        """A value as plain text; percentages without their sign."""
        return f"{100 * value if self.percent else value:.{self.digits}f}"


UP, DOWN = "$\\uparrow$", "$\\downarrow$"

#: What the stages write. The columns of metrics are named by the metrics themselves: a plan says how (`of_columns`),
#: which holds over this table; here are those that come with the package, for what is shown without a plan.
QUANTITIES = {
    "lpips": Quantity("LPIPS", arrow=DOWN),
    "psnr": Quantity("PSNR (dB)", 2, arrow=UP),
    "ssim": Quantity("SSIM", 3, arrow=UP),
    "params_ratio": Quantity("Params ratio (%)", 2, percent=True),
    "mse": Quantity("MSE", arrow=DOWN),
    "lpips_detail": Quantity("LPIPS of details", arrow=DOWN),
    "lpips_background": Quantity("LPIPS of background", arrow=DOWN),
    "hf_detail": Quantity("HF error of details", arrow=DOWN),
    "hf_background": Quantity("HF error of background", arrow=DOWN),
    "detail": Quantity("Detail"),
    "brr": Quantity("BRR (%)", 2, percent=True),
    "wsrr": Quantity("WSRR (%)", 2, percent=True),
    "igsa": Quantity("IGSA", 3),
    "update_cosine": Quantity("Cosine of update and gradient"),
    "client_loss_before": Quantity("Client's loss before its steps"),
    "client_loss_after": Quantity("Client's loss after its steps"),
    "model_accuracy": Quantity("Test accuracy (%)", 1, percent=True),
}


def of_columns(columns: Mapping[str, Mapping[str, Any]]) -> dict[str, Quantity]:
    """How the columns of metrics are shown, from `columns` of a plan."""
    arrows = {"lower": DOWN, "higher": UP}
    return {
        name: Quantity(str(column["label"]), int(column["digits"]), arrow=arrows.get(column["better"], ""))
        for name, column in columns.items()
    }


def in_words(name: str) -> str:
    """The name of a metric or column in running text."""
    return QUANTITIES[name].name if name in QUANTITIES else name.replace("_", " ")


#: Text shown for a column where neither an entry of `show` nor its own name says it well.
HEADINGS = {"attack_level": "Level"}


class Wording(Frozen):
    """How columns, values and numbers are called where they are shown; all text may hold `$math$`.

    `headings` maps a label or column to the text shown for it, `names` maps a value (e.g. `wst`) to the text shown for
    it. `quantities` says how numbers are named and printed: those of metrics as their columns say, unless it is given
    here.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    headings: dict[str, str] = Field({})
    names: dict[str, str] = Field({})
    quantities: dict[str, Quantity] = Field({})

    def heading(self, column: str) -> str:
        """Text shown for a label or column."""
        return self.headings.get(column) or HEADINGS.get(column) or column.replace("_", " ").capitalize()

    def shown(self, value: object) -> str:
        """Text shown for one value of a label or column; whole floats lose their fraction."""
        text = as_text(value)
        return self.names.get(text, text)

    def named(self, key: str, value: object) -> str:
        """Text shown for a value where nothing beside it says what it is: a bare number gets its name."""
        text = self.shown(value)
        bare = isinstance(value, int | float) and text not in self.names.values()
        return f"{self.heading(key)} = {text}" if bare else text

    def quantity(self, name: str) -> Quantity:
        """How a number is shown: named as `headings` say, else as `quantities`, else by its usual name, else by its
        column's name.
        """
        known = self.quantities.get(name) or QUANTITIES.get(name) or Quantity(self.heading(name))
        return Quantity(self.headings.get(name, known.name), known.digits, known.percent, known.arrow)


#: Kinds of presentation (`table`, `line`, `gallery`, ...). A new kind is one new module in gradleak.presentations.
PRESENTATIONS: Registry[type["Presentation"]] = Registry("kind of presentation", "gradleak.presentations")

#: The command that writes a presentation: `gradleak tables` or `gradleak figures`.
Stage = Literal["tables", "figures"]


class Presentation(Wording, ABC):
    """One entry of an experiment's `show` list: what it shows, and how it is written.

    A kind adds its own keys as fields. `suffix` keeps the files of two entries of one experiment apart.
    """

    #: The command that writes it.
    stage: ClassVar[Stage] = "figures"
    #: Whether it reads images.parquet.
    needs_images: ClassVar[bool] = False
    #: Ends of the names of the files it writes, after the experiment's name.
    endings: ClassVar[tuple[str, ...]]

    kind: str
    suffix: str = Field("", pattern=r"^[a-z0-9_-]*$")

    @abstractmethod
    def render(self, experiment: Experiment, data: StudyData) -> dict[str, bytes]:
        """Content of every file, keyed by its ending; raises UserError where the data lack what this entry names."""

    def check(self, experiment: Experiment, data: StudyData) -> None:
        """Raise UserError where the data lack what this entry names. Draws nothing, and looks at no picture or value.

        The data may be invented, when a study is planned. A kind that does not say what it needs is not checked.
        """

    def stem(self, experiment: str) -> str:
        """What the names of all its files begin with, for the name of an experiment."""
        return f"{experiment}_{self.suffix}" if self.suffix else experiment

    def files(self, experiment: str) -> list[str]:
        """Names of the files that it writes for the name of an experiment, in the order of `endings`."""
        return [self.stem(experiment) + ending for ending in self.endings]


def parse_presentation(content: object, where: str, usual: Mapping[str, Quantity] | None = None) -> Presentation:
    """Validate one entry of a `show` list; `usual` are the quantities of metrics, under those that the entry gives.

    Raises UserError that names `where`, the key, the value found and what exists, for an unknown kind, an
    unknown or missing key, or a wrong value.
    """
    if not isinstance(content, dict) or not isinstance(content.get("kind"), str):
        raise UserError(f"{where}: needs a 'kind'; known: {', '.join(PRESENTATIONS.names())}")
    if content["kind"] not in PRESENTATIONS:
        raise UserError(f"{where}: unknown kind '{content['kind']}'; known: {', '.join(PRESENTATIONS.names())}")
    kind = PRESENTATIONS[content["kind"]]
    try:
        parsed = kind.model_validate(content)
    except ValidationError as error:
        known = ["kind", *(key for key in kind.model_fields if key != "kind")]
        more = f"; known: {', '.join(known)}" if error.errors()[0]["type"] == "extra_forbidden" else ""
        raise UserError(f"{where}: {first_error(error)}{more}") from None
    return parsed.model_copy(update={"quantities": {**(usual or {}), **parsed.quantities}})
