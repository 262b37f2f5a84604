"""What a measured quantity is called and how its values are printed."""

from dataclasses import dataclass

from gradleak.tables.spec import PresentationSpec


@dataclass(frozen=True)
class Quantity:
    """A quantity's name (may hold `$math$`), digits after the point, whether a fraction is shown in percent,
    and the direction in which reconstructions get better (an arrow as `$math$`, or nothing).
    """

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


def quantity(name: str, spec: PresentationSpec) -> Quantity:
    """How `name` is shown: as a spec's `headings` say, else by its usual name, else by its column's name."""
    known = QUANTITIES.get(name, Quantity(spec.heading(name)))
    return Quantity(spec.headings.get(name, known.name), known.digits, known.percent, known.arrow)
