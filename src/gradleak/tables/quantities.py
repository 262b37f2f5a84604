"""What a measured quantity is called and how its values are printed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict

if TYPE_CHECKING:
    from gradleak.tables.spec import PresentationSpec


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
