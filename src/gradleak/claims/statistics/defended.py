"""Statistics of defenses: what remains of a model's utility once a technique defends (Figure 11)."""

from typing import NamedTuple

import pandas as pd

from gradleak.analysis.choice import Values, among
from gradleak.analysis.tradeoff import complete, tradeoff_points
from gradleak.claims.base import STATISTICS, ClaimData, Sample, UntestedError
from gradleak.claims.selection import TRIAL, CellStatistic
from gradleak.metrics.rates import TAU_LPIPS


class Read(NamedTuple):
    """The cells that a statistic read, and what of the experiment was left out, and why."""

    cells: tuple[str, ...]
    notes: tuple[str, ...]


class DefendedStatistic(CellStatistic):
    """A statistic of kept utility: one score per trial, setting and technique.

    The score is the greatest utility, as a share of that under the technique `none`, among the strengths of a technique
    against which the adversary's best choice of attack and round (see `tradeoff_points`) leaves `privacy` at
    `leak_line` or above; 0 where no strength does. A trial chooses strength and attack for itself. Utility belongs to
    the model and is the same for all. Settings of which a part is missing are left out.
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

    def scores(self, data: ClaimData) -> tuple[pd.DataFrame, Read]:
        """One row per unit and setting, a column per technique but `none`; and what was read.

        Raises UntestedError where no setting is whole, one has no utility without a defense, or there is no defense.
        """
        point = [self.panels, self.technique, self.strength]
        values = [self.privacy, self.utility]
        cells = self.cells(data, [*point, *self.chooses, self.round], values, gaps=[self.utility])
        whole, lacks = complete(cells.table, point, self.none, self.round, self.utility)
        notes = tuple(f"'{name}' has {what} and is left out" for name, what in lacks.items())
        if whole.empty:
            raise UntestedError(f"experiment '{self.experiment}': {'; '.join(notes)}")
        # The trial's number is a key, not one of the columns that are averaged.
        units = [tuple(unit) for unit in whole[cells.unit].itertuples(index=False, name=None)]
        table = whole.drop(columns=[TRIAL])
        latest = tradeoff_points(table, point, self.chooses, self.round, self.privacy, self.utility)
        latest["kept"] = latest[self.utility] / latest[self.panels].map(self._without_defense(latest))
        table = table.merge(latest[[*point, "kept"]], on=point, how="left")
        found = []
        for unit, own in table.groupby(pd.Series(units, index=table.index)):
            points = tradeoff_points(own, point, self.chooses, self.round, self.privacy, self.utility)
            points = points[points[self.technique] != self.none]
            score = points["kept"].where(points[self.privacy] >= self.leak_line, 0.0)
            best = points.assign(score=score).groupby([self.panels, self.technique], sort=False)["score"].max()
            found.append(best.reset_index().assign(unit=[unit] * len(best)))
        if (best_of_all := pd.concat(found)).empty:
            raise UntestedError(f"experiment '{self.experiment}' has no post-processing")
        scores = best_of_all.pivot(index=["unit", self.panels], columns=self.technique, values="score")
        return scores, Read(tuple(dict.fromkeys(whole["cell_id"])), notes)

    def sample(self, values: pd.Series, read: Read) -> Sample:
        """A value per unit from one per unit and setting."""
        return Sample(values.groupby(level="unit").mean().to_numpy(float), read.cells, notes=read.notes)

    def _without_defense(self, latest: pd.DataFrame) -> pd.Series:
        """Utility without a defense, by setting."""
        bare = latest[latest[self.technique] == self.none].set_index(self.panels)[self.utility]
        for setting in bare.index[~(bare > 0)]:
            raise UntestedError(
                f"experiment '{self.experiment}', '{setting}', has no {self.utility} above 0 without defense"
            )
        return bare


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
        scores, read = self.scores(data)
        names = [name for name in scores.columns if among(name, self.of)]
        if not names:
            raise UntestedError(f"experiment '{self.experiment}' has no technique {', '.join(self.of)}")
        return [self.sample(scores[names].mean(axis=1), read)]


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
        scores, read = self.scores(data)
        share = (scores >= self.least).where(scores.notna()).astype(float).mean(axis=1)
        return [self.sample(share, read)]


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
        scores, read = self.scores(data)
        own = [name for name in scores.columns if among(name, self.of)]
        others = [name for name in scores.columns if name not in own]
        if not own or not others:
            raise UntestedError(f"experiment '{self.experiment}' has not {', '.join(self.of)} and another technique")
        return [self.sample(scores[own].max(axis=1) - scores[others].max(axis=1), read)]
