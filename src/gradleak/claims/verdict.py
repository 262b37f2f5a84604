"""The verdict on a claim: where the interval of its statistic lies."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from gradleak.analysis.scale import scale
from gradleak.analysis.statistics import LEAST, side
from gradleak.analysis.summary import unattacked
from gradleak.claims.base import ClaimData, Sample, UntestedError
from gradleak.claims.ledger import Claim

Word = Literal["supported", "not supported", "undecided", "not tested"]
VERDICTS: tuple[Word, ...] = get_args(Word)


@dataclass(frozen=True)
class Verdict:
    """What a study says of a claim.

    effect, low, high: of the statistic, with its 95 % interval. NaN where there is none. units: number of independent
    values (in the smaller of two groups). share: of the values on the claimed side (NaN for two groups).
    reason: why the verdict is `undecided` or `not tested`, which of several samples the numbers are of, how many cells
    were not attacked. scale: what was attacked.
    """

    claim: Claim
    word: Word
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    units: int = 0
    share: float = math.nan
    reason: str = ""
    scale: str = ""


def judge(claim: Claim, data: ClaimData) -> Verdict:
    """The verdict by the rule: an interval wholly on the claimed side of the margin supports a claim, one wholly on
    the other side does not support it, any other leaves it undecided. So do fewer than `LEAST` values.

    Of several samples, the one that speaks most against the claim decides. Raises UserError where results are
    incomplete.
    """
    try:
        samples = claim.statistic.samples(data)
    except UntestedError as error:
        return Verdict(claim, "not tested", reason=str(error))
    judged = [(sample, *sample.interval()) for sample in samples]
    sample, low, high = min(judged, key=lambda found: _favour(claim, *found))
    word = _word(claim, low, high)
    cells = [cell for own in samples for cell in own.cells]
    return Verdict(
        claim,
        word,
        sample.effect,
        low,
        high,
        sample.fewest,
        _share(claim, sample),
        _reason(claim, sample, len(samples), word, _left_out(claim, data)),
        scale(data.results, cells) or claim.statistic.reads,
    )


def judge_all(claims: Iterable[Claim], data: ClaimData) -> list[Verdict]:
    """The verdicts on several claims, in their order."""
    return [judge(claim, data) for claim in claims]


def counts(words: Sequence[str]) -> dict[str, int]:
    """How many claims have each verdict, in the order of `VERDICTS`. words: a verdict per claim."""
    return {word: words.count(word) for word in VERDICTS}


def _word(claim: Claim, low: float, high: float) -> Word:
    found = side(low - claim.margin, high - claim.margin)
    if found == "undecided":
        return "undecided"
    return "supported" if (found == "higher") == (claim.claimed == "above") else "not supported"


def _favour(claim: Claim, sample: Sample, low: float, high: float) -> tuple[int, float]:
    """Sorts samples from the one most against a claim on: by verdict, then by the effect towards the claimed side."""
    rank = {"not supported": 0, "undecided": 1, "supported": 2}[_word(claim, low, high)]
    return rank, sample.effect if claim.claimed == "above" else -sample.effect


def _share(claim: Claim, sample: Sample) -> float:
    if sample.baseline is not None:
        return math.nan
    towards = sample.values > claim.margin if claim.claimed == "above" else sample.values < claim.margin
    return float(towards.mean())


def _left_out(claim: Claim, data: ClaimData) -> int:
    """How many cells of the experiment that a claim reads were not attacked."""
    experiment = data.experiments.get(claim.statistic.reads)
    return 0 if experiment is None else len(unattacked(data.results, experiment))


def _reason(claim: Claim, sample: Sample, samples: int, word: Word, left_out: int) -> str:
    parts = [f"{left_out} cells were not attacked and are left out"] if left_out else []
    if samples > 1:
        parts.append(f"least favourable of {samples}: {sample.name}")
    if sample.fewest < LEAST:
        parts.append(f"{sample.fewest} of the {LEAST} {claim.statistic.unit} that an interval needs")
    elif word == "undecided":
        parts.append(f"the interval holds {claim.margin:g}")
    return "; ".join(parts)
