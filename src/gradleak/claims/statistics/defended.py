"""Statistics of defenses: what remains of a model's utility once a technique defends (Figure 11)."""

import pandas as pd

from gradleak.analysis.choice import Values, among
from gradleak.analysis.tradeoff import tradeoff_points
from gradleak.claims.base import STATISTICS, ClaimData, Sample, UntestedError
from gradleak.claims.selection import TRIAL, CellStatistic
from gradleak.metrics.rates import TAU_LPIPS


class DefendedStatistic(CellStatistic):
    """A statistic of kept utility: one score per trial, setting and technique.

    The score is the greatest utility, as a share of that under the technique `none`, among the strengths of a technique
    against which the adversary's best choice of attack and round (see `tradeoff_points`) leaves `privacy` at
    `leak_line` or above; 0 where no strength does. A trial chooses strength and attack for itself. Utility belongs to
    the model and is the same for all.
    """

    apart: tuple[str, ...] = ()
    panels: str = "setting"
    technique: str = "technique"
    strength: str = "strength"
    none: str = "None"
    chooses: tuple[str, ...] = ("attack",)
    round: str = "model_round"
    privacy: str = "lpips"
    utility: str = "model_accuracy"
    leak_line: float = TAU_LPIPS

    def scores(self, data: ClaimData) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """One row per unit and setting, a column per technique but `none`, and the cells that were read.

        Raises UntestedError where a setting has no cells without a defense, or nothing but those.
        """
        point = [self.panels, self.technique, self.strength]
        cells = self.cells(data, [*point, *self.chooses, self.round], [self.privacy, self.utility])
        # The trial's number is a key, not one of the columns that are averaged.
        units = [tuple(unit) for unit in cells.table[cells.unit].itertuples(index=False, name=None)]
        table = cells.table.drop(columns=[TRIAL])
        latest = tradeoff_points(table, point, self.chooses, self.round, self.privacy, self.utility)
        table = table.drop(columns=[self.utility]).merge(latest[[*point, self.utility]], on=point, how="left")
        records = []
        for unit, own in table.groupby(pd.Series(units, index=table.index)):
            points = tradeoff_points(own, point, self.chooses, self.round, self.privacy, self.utility)
            for setting, there in points.groupby(self.panels, sort=False):
                records += self._of_setting(unit, setting, there)
        if not records:
            raise UntestedError(f"experiment '{self.experiment}' has no post-processing")
        table = pd.DataFrame(records)
        return table.pivot(index=["unit", "setting"], columns="technique", values="score"), cells.ids

    def sample(self, values: pd.Series, cells: tuple[str, ...]) -> Sample:
        """A value per unit from one per unit and setting."""
        return Sample(values.groupby(level="unit").mean().to_numpy(float), cells)

    def _of_setting(self, unit: object, setting: object, points: pd.DataFrame) -> list[dict[str, object]]:
        bare = points[points[self.technique] == self.none]
        if bare.empty:
            raise UntestedError(f"experiment '{self.experiment}', '{setting}', has no cells with '{self.none}'")
        if not float(bare[self.utility].iloc[0]) > 0:
            raise UntestedError(
                f"experiment '{self.experiment}', '{setting}', has no {self.utility} above 0 without defense"
            )
        kept = points[self.utility] / float(bare[self.utility].iloc[0])
        scores = kept.where(points[self.privacy] >= self.leak_line, 0.0).groupby(points[self.technique]).max()
        rows = scores.drop(self.none).items()
        return [{"unit": unit, "setting": setting, "technique": str(name), "score": score} for name, score in rows]


@STATISTICS.register("defended_utility")
class DefendedUtility(DefendedStatistic):
    """Mean score of the techniques `of`, over settings and trials."""

    of: Values

    @property
    def effect(self) -> str:
        """What the score is."""
        return f"share of accuracy kept by {', '.join(self.of)} where it defends"

    def samples(self, data: ClaimData) -> list[Sample]:
        """One sample. Raises UntestedError also where the study has no such technique."""
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
        """One sample. Raises UntestedError also if the study lacks a side."""
        scores, cells = self.scores(data)
        own = [name for name in scores.columns if among(name, self.of)]
        others = [name for name in scores.columns if name not in own]
        if not own or not others:
            raise UntestedError(f"experiment '{self.experiment}' has not {', '.join(self.of)} and another technique")
        return [self.sample(scores[own].max(axis=1) - scores[others].max(axis=1), cells)]
