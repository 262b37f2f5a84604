"""The verdict on a claim: where the interval of its statistic lies."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from gradleak.analysis.baseline import noise
from gradleak.analysis.scale import scale
from gradleak.analysis.statistics import LEAST, side
from gradleak.analysis.summary import diverged, unattacked
from gradleak.claims.adversary import judged, of_paper
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
    were not attacked or are of a client that diverged. scale: what was attacked. strongest: of a claim of protection,
    the second verdict, against the study's strongest attacks. attacks: which these are; of a second verdict.
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
    attacks: str = ""
    strongest: "Verdict | None" = None


def judge(claim: Claim, data: ClaimData) -> Verdict:
    """The verdict against the paper's attacks and, of a claim of protection, that against the study's strongest.

    The rule of both: an interval wholly on the claimed side of the margin supports a claim, one wholly on the other
    side does not support it, any other leaves it undecided. So do fewer than `LEAST` values. Of several samples, the
    one that speaks most against the claim decides. Raises UserError where results are incomplete.
    """
    first = _against_paper(claim, data)
    return first if claim.strongest is None else replace(first, strongest=_against_strongest(claim, data))


def _against_paper(claim: Claim, data: ClaimData) -> Verdict:
    try:
        data = of_paper(data, claim.statistic.reads)
        samples = claim.statistic.samples(data)
    except UntestedError as error:
        return Verdict(claim, "not tested", reason=str(error))
    return _decided(claim, samples, data, _left_out(claim, data))


def _against_strongest(claim: Claim, data: ClaimData) -> Verdict:
    assert claim.strongest is not None
    try:
        found = judged(claim.strongest, data)
    except UntestedError as error:
        return Verdict(claim, "not tested", reason=str(error))
    verdict = _decided(claim, found.samples, data, [*_left_out(claim, data), *found.notes])
    return replace(verdict, attacks=found.named())


def _decided(claim: Claim, samples: list[Sample], data: ClaimData, left_out: list[str]) -> Verdict:
    """The verdict by the sample that speaks most against the claim."""
    intervals = [(sample, *sample.interval()) for sample in samples]
    sample, low, high = min(intervals, key=lambda found: _favour(claim, *found))
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
        "; ".join([*left_out, *sample.notes, *_reason(claim, sample, len(samples), word)]),
        scale(data.results, cells) or claim.statistic.reads,
    )


def judge_all(claims: Iterable[Claim], data: ClaimData) -> list[Verdict]:
    """The verdicts on several claims, in their order."""
    return [judge(claim, data) for claim in claims]


def counts(words: Sequence[str]) -> dict[str, int]:
    """How many claims have each verdict, in the order of `VERDICTS`. words: a verdict per claim."""
    return {word: words.count(word) for word in VERDICTS}


@dataclass(frozen=True)
class Twice:
    """Of claims of protection, the verdicts against the paper's attacks (`first`) and the strongest, by id.

    words: the verdicts against the strongest. fallen: ids of claims that are not supported against the strongest, and
    supported or undecided against the paper's attacks; doubted: that are supported and then undecided; denied: that
    the paper's attacks could not test, and that are not supported against the strongest. firm: how many are supported
    twice.
    """

    words: tuple[str, ...] = ()
    fallen: tuple[str, ...] = ()
    doubted: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    firm: int = 0

    @classmethod
    def of(cls, verdicts: Iterable[tuple[str, str, str]]) -> "Twice":
        """From id, first and second word of each claim; claims without a second word do not count."""
        both = [(name, first, second) for name, first, second in verdicts if second]
        standing = ("supported", "undecided")
        return cls(
            tuple(second for *_, second in both),
            tuple(name for name, first, second in both if first in standing and second == "not supported"),
            tuple(name for name, *words in both if words == ["supported", "undecided"]),
            tuple(name for name, *words in both if words == ["not tested", "not supported"]),
            sum(words == ["supported", "supported"] for _, *words in both),
        )

    def headline(self) -> str:
        """Which claims fall against the strongest attack, as sentences."""
        tested = len(self.words) - self.words.count("not tested")
        if not tested:
            return "No claim could be judged against the strongest attack of the study."
        if self.fallen:
            text = f"Against the strongest attack of the study these claims fall: {', '.join(self.fallen)}."
        else:
            text = "Against the strongest attack of the study no claim falls."
        if self.doubted:
            text += f" These become undecided: {', '.join(self.doubted)}."
        if self.denied:
            text += f" The paper's attacks could not test these, and they are not supported: {', '.join(self.denied)}."
        return f"{text} Supported twice: {self.firm} of the {tested} that were judged so."

    def summary(self) -> str:
        """How many claims have which second verdict, as a sentence. Nothing where none is judged twice."""
        if not self.words:
            return ""
        found = ", ".join(f"{count} {word}" for word, count in counts(self.words).items())
        return f"Of the {len(self.words)} claims of protection, against the strongest attack: {found}."


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


def _left_out(claim: Claim, data: ClaimData) -> list[str]:
    """How many cells of the experiment that a claim reads are left out, and why."""
    experiment = data.experiments.get(claim.statistic.reads)
    if experiment is None:
        return []
    skipped, gone = unattacked(data.results, experiment), diverged(data.results, experiment)
    found = noise(data.results, experiment)
    counted = {
        "cells were not attacked and are left out": len(skipped),
        "cells' clients diverged and are left out": len(gone),
        f"cells are left out: {found}": len(found.cells.difference(gone)),
    }
    return [f"{count} {text}" for text, count in counted.items() if count]


def _reason(claim: Claim, sample: Sample, samples: int, word: Word) -> list[str]:
    parts = [f"least favourable of {samples}: {sample.name}"] if samples > 1 else []
    if sample.fewest < LEAST:
        parts.append(f"{sample.fewest} of the {LEAST} {claim.statistic.unit} that an interval needs")
    elif word == "undecided":
        parts.append(f"the interval holds {claim.margin:g}")
    return parts
