"""What a presentation is: how an experiment says what it shows, and how numbers are named and printed."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gradleak.errors import UserError, first_error
from gradleak.registry import Registry

if TYPE_CHECKING:
    from gradleak.analysis.experiment import Experiment, StudyData


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
    "model_accuracy": Quantity("Test accuracy (%)", 1, percent=True),
}


def of_columns(columns: Mapping[str, Mapping[str, Any]]) -> dict[str, Quantity]:
    """How the columns of metrics are shown, from `columns` of a plan."""
    arrows = {"lower": DOWN, "higher": UP}
    return {
        name: Quantity(str(column["label"]), int(column["digits"]), arrow=arrows.get(column["better"], ""))
        for name, column in columns.items()
    }


def quantity(name: str, spec: "PresentationSpec") -> Quantity:
    """How `name` is shown: named as a spec's `headings` say, else as its `quantities`, else by its usual name, else by
    its column's name.
    """
    known = spec.quantities.get(name) or QUANTITIES.get(name) or Quantity(spec.heading(name))
    return Quantity(spec.headings.get(name, known.name), known.digits, known.percent, known.arrow)


#: Kinds of presentation (`table`, `line`, `gallery`, ...). A new kind is one new module in gradleak.presentations.
PRESENTATIONS: Registry[type["Presentation"]] = Registry("kind of presentation", "gradleak.presentations")

#: Text shown for a column where neither a spec nor its own name says it well.
HEADINGS = {"attack_level": "Level"}


class PresentationSpec(BaseModel):
    """Keys of one entry of an experiment's `show` list that every kind has.

    `suffix` keeps the files of two entries of one experiment apart. `headings` maps a label or column to the
    text shown for it, `names` maps a value (e.g. `wst`) to the text shown for it; text may hold `$math$`. `quantities`
    says how numbers are named and printed: those of metrics as their columns say, unless it is given here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    kind: str
    suffix: str = Field("", pattern=r"^[a-z0-9_-]*$")
    headings: dict[str, str] = {}
    names: dict[str, str] = {}
    quantities: dict[str, Quantity] = {}

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

    def columns_used(self) -> list[str]:
        """Labels or columns that this presentation groups by: what a plan can check before anything runs."""
        return []


def as_text(value: object) -> str:
    """One value of a label or column as text; whole floats lose their fraction."""
    return f"{value:g}" if isinstance(value, float) else str(value)


class Presentation(ABC):
    """One kind of presentation: its spec, the files it writes, and how it writes them."""

    Spec: ClassVar[type[PresentationSpec]]
    #: The command that writes it: `gradleak tables` or `gradleak figures`.
    stage: ClassVar[Literal["tables", "figures"]] = "figures"
    #: Whether it reads images.parquet.
    needs_images: ClassVar[bool] = False
    #: Ends of the names of the files it writes, after the experiment's name.
    endings: ClassVar[tuple[str, ...]]

    @classmethod
    @abstractmethod
    def render(cls, spec: PresentationSpec, experiment: "Experiment", data: "StudyData") -> dict[str, bytes]:
        """Content of every file, keyed by its ending; raises UserError where the data lack what the spec
        names.
        """


def parse_spec(content: object, where: str, usual: Mapping[str, Quantity] | None = None) -> PresentationSpec:
    """Validate one entry of a `show` list; `usual` are the quantities of metrics, under those that the entry gives.

    Raises UserError that names `where`, the key, the value found and what exists, for an unknown kind, an
    unknown or missing key, or a wrong value.
    """
    if not isinstance(content, dict) or not isinstance(content.get("kind"), str):
        raise UserError(f"{where}: needs a 'kind'; known: {', '.join(PRESENTATIONS.names())}")
    if content["kind"] not in PRESENTATIONS:
        raise UserError(f"{where}: unknown kind '{content['kind']}'; known: {', '.join(PRESENTATIONS.names())}")
    model = PRESENTATIONS[content["kind"]].Spec
    try:
        spec = model.model_validate(content)
    except ValidationError as error:
        known = f"; known: {', '.join(model.model_fields)}" if error.errors()[0]["type"] == "extra_forbidden" else ""
        raise UserError(f"{where}: {first_error(error)}{known}") from None
    return spec.model_copy(update={"quantities": {**(usual or {}), **spec.quantities}})


def output_names(name: str, specs: tuple[PresentationSpec, ...], where: str) -> list[list[str]]:
    """File names that the entries of an experiment's `show` list write, one list per entry.

    Raises UserError where two entries write the same file.
    """
    names: list[list[str]] = []
    taken: set[str] = set()
    for spec in specs:
        stem = f"{name}_{spec.suffix}" if spec.suffix else name
        own = [stem + ending for ending in PRESENTATIONS[spec.kind].endings]
        clash = sorted(taken & set(own))
        if clash:
            raise UserError(f"{where}: two entries of 'show' write {clash[0]}; give one of them a 'suffix'")
        taken |= set(own)
        names.append(own)
    return names
