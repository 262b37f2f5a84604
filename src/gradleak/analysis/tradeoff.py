"""Privacy against utility: how much each strength of each technique leaves of both (Figure 11)."""

from collections.abc import Sequence

import pandas as pd

from gradleak.analysis.text import as_text


def tradeoff_points(
    cells: pd.DataFrame, point: Sequence[str], chooses: Sequence[str], round_: str, privacy: str, utility: str
) -> pd.DataFrame:
    """One row per point (panel, technique, strength), in order of first appearance.

    `privacy` (higher where reconstructions are farther) is the mean over trials against the adversary's best choice of
    round and of the columns `chooses`, such as the attack: a defense is as good as the best attack on it. `utility` is
    that of the latest round. The choice is in columns `<name>` of `chooses` and `round_`; `trials` says how many cells
    the mean has. Further numeric columns of `cells` are averaged over the chosen cells.
    """
    rows = []
    for key, own in cells.groupby(list(point), sort=False):
        means = own.groupby([*chooses, round_], sort=False).mean(numeric_only=True).reset_index()
        best = means.sort_values(privacy, kind="stable").iloc[0]
        latest = own[own[round_] == own[round_].max()]
        chosen = own[(own[[*chooses, round_]] == best[[*chooses, round_]]).all(axis=1)]
        row = {str(name): value for name, value in best.items()} | dict(zip(point, key, strict=True))
        rows.append({**row, "trials": len(chosen), utility: float(latest[utility].mean())})
    return pd.DataFrame(rows)


def complete(
    cells: pd.DataFrame, point: Sequence[str], baseline: str, round_: str, utility: str
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The cells of panels of which a trade-off can be said, and of every other panel what it lacks.

    point: the columns of panel, technique and strength. A panel needs cells of the technique `baseline` and, for each
    point, `utility` in the panel's latest round (NaN: not measured). A study that was computed in part may lack them.
    """
    panel, technique, strength = point
    lacks: dict[str, str] = {}
    for name, own in cells.groupby(panel, sort=False):
        if not (own[technique] == baseline).any():
            lacks[as_text(name)] = f"no cells with '{baseline}'"
            continue
        latest = own[round_].max()
        known = own[(own[round_] == latest) & own[utility].notna()]
        points, measured = (frame[[technique, strength]].drop_duplicates() for frame in (own, known))
        if len(measured) < len(points):
            lacks[as_text(name)] = f"{utility} of {len(measured)} of {len(points)} points in round {as_text(latest)}"
    whole = cells[~cells[panel].map(as_text).isin(list(lacks))]
    return whole.reset_index(drop=True), lacks


def pareto(points: pd.DataFrame, higher: Sequence[str], lower: Sequence[str] = ()) -> pd.Series:
    """Whether no other point is at least as good in every column and better in one, by row."""
    values = pd.concat([points[list(higher)], -points[list(lower)]], axis=1).astype(float).to_numpy()
    dominated = [
        bool(((values >= own).all(axis=1) & (values > own).any(axis=1)).any()) for own in values
    ]  # few points: quadratic is fine
    return ~pd.Series(dominated, index=points.index, dtype=bool)


def best_of_each(points: pd.DataFrame, group: Sequence[str], privacy: str, utility: str, limit: float) -> pd.Series:
    """Whether a row is the best point of its group: the most useful one with privacy from `limit` up.

    If there is none, the most private one.
    """
    chosen = []
    for _, own in points.groupby(list(group), sort=False):
        safe = own[own[privacy] >= limit]
        chosen.append(safe[utility].idxmax() if len(safe) else own[privacy].idxmax())
    return pd.Series(points.index.isin(chosen), index=points.index)
