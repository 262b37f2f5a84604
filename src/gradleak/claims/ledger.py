"""The ledger: the paper's claims, one entry each, validated."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from gradleak.claims.base import STATISTICS, Statistic
from gradleak.claims.selection import CellStatistic
from gradleak.documents import read_yaml
from gradleak.errors import UserError, first_error
from gradleak.frozen import Frozen

LEDGER = "claims.yaml"


class ClaimSpec(Frozen):
    """One entry as the file has it: `statistic` is a mapping with the key `kind` and that kind's arguments.

    strongest: for a claim of protection `same`, or the keys of `statistic` that the second judgement replaces.
    """

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    text: str = Field(min_length=10)
    where: str = Field(min_length=3)
    statistic: dict[str, Any]
    strongest: Annotated[dict[str, Any], BeforeValidator(lambda value: {} if value == "same" else value)] | None = None
    claimed: Literal["above", "below"]
    margin: float = 0.0


class Claim(Frozen):
    """One claim of the paper.

    text: in our words. where: its place in the paper. statistic: what tests it. strongest: of a claim of protection,
    what tests it against the study's strongest attacks. claimed: the side of `margin` on which the paper says that the
    statistic lies.
    """

    id: str
    text: str
    where: str
    kind: str
    statistic: Statistic
    strongest: CellStatistic | None
    claimed: Literal["above", "below"]
    margin: float

    @property
    def rule(self) -> str:
        """The claimed side of the margin, as text."""
        return f"{self.claimed} {self.margin:g}"


def read_ledger(path: Path | None = None) -> list[Claim]:
    """The claims of a file, or of the package's own ledger.

    Raises UserError that names the file, the entry and the key.
    """
    source = path or Path(str(files("gradleak.resources") / LEDGER))
    content = read_yaml(source)
    if not isinstance(content.get("claims"), list) or len(content) != 1:
        raise UserError(f"{source}: must hold one key, 'claims', with a list")
    claims = [parse_claim(entry, f"{source}: claims[{i}]") for i, entry in enumerate(content["claims"])]
    for i, claim in enumerate(claims):
        if claim.id in {other.id for other in claims[:i]}:
            raise UserError(f"{source}: claims[{i}]: id '{claim.id}' is there twice")
    return claims


def parse_claim(content: object, where: str) -> Claim:
    """Validate one entry. Raises UserError that names `where`, the key and what is allowed."""
    spec = ClaimSpec.parse(content, where)
    where = f"{where} ('{spec.id}')"
    rest = spec.model_dump(exclude={"statistic", "strongest"})
    statistic = _statistic(spec.statistic, f"{where}: statistic")
    strongest = None
    if spec.strongest is not None:
        strongest = _statistic({**spec.statistic, **spec.strongest}, f"{where}: strongest")
        if not isinstance(strongest, CellStatistic) or strongest.reads != statistic.reads:
            raise UserError(f"{where}: strongest: must read the cells of the experiment that 'statistic' reads")
    return Claim(**rest, kind=spec.statistic["kind"], statistic=statistic, strongest=strongest)


def _statistic(content: dict[str, Any], where: str) -> Statistic:
    arguments = dict(content)
    kind = arguments.pop("kind", None)
    if not isinstance(kind, str) or kind not in STATISTICS:
        raise UserError(f"{where}: unknown kind '{kind}'; known: {', '.join(STATISTICS.names())}")
    model = STATISTICS[kind]
    try:
        return model.model_validate(arguments)
    except ValidationError as error:
        known = f"; known: {', '.join(model.model_fields)}" if error.errors()[0]["type"] == "extra_forbidden" else ""
        raise UserError(f"{where}: {first_error(error)}{known}") from None
