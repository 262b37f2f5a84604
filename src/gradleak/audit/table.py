"""The numbers of an audit's page: an entry per attack, post-processing and round, a verdict per post-processing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from gradleak.analysis.statistics import mean_interval
from gradleak.audit.spec import AuditSpec, defense_title
from gradleak.metrics.rates import TAU_LPIPS, leaked

Outcome = Literal["leaks", "leaks in part", "no leak found", "not attacked"]


@dataclass(frozen=True)
class Entry:
    """One run: means over its images, of each trial the restart with the lowest objective.

    low, high: the 95 % interval of `lpips` over trials, NaN for fewer than 5. worst: the lowest LPIPS of an image.
    recognised: how many of `images` have an LPIPS below 0.1; brr: share with a PSNR above 18 dB as well. No number is
    of the `unattacked` among the `clients`, which shared nothing to attack for these `reasons`.
    """

    defense: str
    attack: str
    level: int
    round: str
    lpips: float
    low: float
    high: float
    worst: float
    recognised: int
    images: int
    brr: float
    psnr: float
    clients: int
    unattacked: int = 0
    reasons: str = ""

    @property
    def outcome(self) -> Outcome:
        """It leaks if the mean LPIPS is below 0.1, in part if an image's is, and otherwise nothing was found."""
        if not self.images:
            return "not attacked"
        if self.lpips < TAU_LPIPS:
            return "leaks"
        return "leaks in part" if self.recognised else "no leak found"


@dataclass(frozen=True)
class Verdict:
    """What the attacks found out in spite of a post-processing. `left_out`: entries that are without some clients.

    best: of all attacks and rounds the one with the lowest mean LPIPS. It leaks, or leaks in part where any image of
    any attack is below LPIPS 0.1. worst: the one with the lowest LPIPS of an image. gain: best LPIPS less that without
    post-processing, paired by trials, with its 95 % interval. NaN where none was audited.
    """

    defense: str
    outcome: Outcome
    best: Entry
    worst: Entry
    gain: tuple[float, float, float]
    left_out: tuple[Entry, ...] = ()


def entries(rows: pd.DataFrame) -> list[Entry]:
    """The entries of all runs, in the order of the audit's file."""
    chosen = rows[rows["chosen"]]
    found = []
    for keys, every in chosen.groupby(["audit_defense", "audit_attack", "audit_round"], sort=False):
        defense, attack, number = (str(key) for key in keys)
        reasons = every.drop_duplicates("trial")["unattacked"].dropna() if "unattacked" in every else pd.Series()
        part = every[~every["trial"].isin(every["trial"][reasons.index])]
        low, high = mean_interval(_by_trial(part))
        found.append(
            Entry(
                defense,
                attack,
                int(every["attack_level"].iloc[0]),
                number,
                float(part["lpips"].mean()),
                low,
                high,
                float(part["lpips"].min()),
                int((part["lpips"] < TAU_LPIPS).sum()),
                len(part),
                float(leaked(part["psnr"], part["lpips"]).mean()),
                float(part["psnr"].mean()),
                every["trial"].nunique(),
                len(reasons),
                "; ".join(dict.fromkeys(reasons)),
            )
        )
    return found


def verdicts(spec: AuditSpec, found: Sequence[Entry], rows: pd.DataFrame) -> list[Verdict]:
    """One per post-processing, in the order of the audit's file."""
    plain = _best([entry for entry in found if entry.defense == "none"]) if () in spec.defenses else None
    result = []
    for chain in spec.defenses:
        own = [entry for entry in found if entry.defense == defense_title(chain)]
        best = _best(own)
        worst = best if best.outcome == "not attacked" else min(_attacked(own), key=lambda entry: entry.worst)
        left_out = tuple(entry for entry in own if entry.unattacked)
        outcome: Outcome = "leaks in part" if best.outcome != "leaks" and worst.recognised else best.outcome
        gain = (math.nan, math.nan, math.nan)
        if plain is not None and chain and best.images and plain.images:
            difference = (_trials(rows, best) - _trials(rows, plain)).dropna()
            gain = (float(difference.mean()), *mean_interval(difference))
        result.append(Verdict(best.defense, outcome, best, worst, gain, left_out))
    return result


def _best(own: Sequence[Entry]) -> Entry:
    return min(_attacked(own) or own, key=lambda entry: entry.lpips)


def _attacked(own: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in own if entry.images]


def _trials(rows: pd.DataFrame, entry: Entry) -> pd.Series:
    own = rows["chosen"] & (rows["audit_defense"] == entry.defense)
    return _by_trial(rows[own & (rows["audit_attack"] == entry.attack) & (rows["audit_round"] == entry.round)])


def _by_trial(part: pd.DataFrame) -> pd.Series:
    return part.groupby("trial")["lpips"].mean().dropna()
