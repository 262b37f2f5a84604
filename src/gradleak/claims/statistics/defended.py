"""Statistics of Figure 11: utility that techniques keep while they defend."""

from gradleak.claims.base import STATISTICS, ClaimData, Sample, UntestedError
from gradleak.claims.defended import DefendedStatistic
from gradleak.claims.selection import Values, among


@STATISTICS.register("defended_utility")
class DefendedUtility(DefendedStatistic):
    """Mean score of the techniques `of`, over settings and trials."""

    of: Values

    @property
    def effect(self) -> str:
        """What the score is."""
        return f"share of accuracy kept by {', '.join(self.of)} where it defends"

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample; raises UntestedError also where the study has no such technique."""
        scores, cells = self.scores(data)
        names = [name for name in scores.columns if among(name, self.of)]
        if not names:
            raise UntestedError(f"experiment '{self.experiment}' has no technique {', '.join(self.of)}")
        return [self.sample(scores[names].mean(axis=1), cells)]


@STATISTICS.register("defended_share")
class DefendedShare(DefendedStatistic):
    """Mean share of techniques, over settings and trials, whose score is `least` or more."""

    least: float

    @property
    def effect(self) -> str:
        """What is counted."""
        return f"share of techniques that defend and keep {self.least:g} of the accuracy"

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample."""
        scores, cells = self.scores(data)
        share = (scores >= self.least).where(scores.notna()).astype(float).mean(axis=1)
        return [self.sample(share, cells)]


@STATISTICS.register("defended_lead")
class DefendedLead(DefendedStatistic):
    """Mean score of the techniques `of`, less the highest one of all others, over settings and trials."""

    of: Values

    @property
    def effect(self) -> str:
        """What is subtracted from what."""
        return f"share of accuracy kept by {', '.join(self.of)} less that of the best other technique"

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample; raises UntestedError also where the study has not both sides."""
        scores, cells = self.scores(data)
        own = [name for name in scores.columns if among(name, self.of)]
        others = [name for name in scores.columns if name not in own]
        if not own or not others:
            raise UntestedError(f"experiment '{self.experiment}' has not {', '.join(self.of)} and another technique")
        return [self.sample(scores[own].max(axis=1) - scores[others].max(axis=1), cells)]
