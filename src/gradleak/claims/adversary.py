"""Against which attacks a claim is judged: the paper's, or the best that the study has at each level of knowledge."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from gradleak.analysis.choice import among
from gradleak.analysis.summary import cell_table
from gradleak.claims.base import ClaimData, Sample, UntestedError
from gradleak.claims.selection import CellStatistic, exchanged, narrowed, standing, trials

LEVEL = "level"
"""Label of the cells of `strongest`: the level of knowledge of the adversary who chose them."""

#: Distances of gradients that the paper's attacks have (Eq. 1): the cosine of whole updates, the squared difference.
PAPER_OBJECTIVES = ("cosine", "euclidean")

#: Columns of what is not the adversary's, which tell settings apart; of the attack's own the view of the gradient, for
#: Table 3 compares views. Those of `_MEASURED` are facts of single trials, or follow from the model's own columns.
_SETTING = ("dataset_", "model_", "client_", "post_processing", "technique", "strength", "attack_view")
_MEASURED = frozenset(
    {
        *("client_loss_before", "client_loss_after", "client_diverged"),
        *("model_accuracy", "model_parameters", "model_skips"),
    }
)


def of_paper(data: ClaimData, name: str) -> ClaimData:
    """The same with those cells of an experiment only whose attack is one of the paper's: it compares gradients by one
    of `PAPER_OBJECTIVES` (`attack_objective`) and not whitened (`attack_whitening_power`), at no surrogate point
    (`attack_surrogate_alpha`), without knowledge of the post-processing (`attack_adaptive`).

    Raises UntestedError where no cell is left.
    """
    if name not in data.experiments:
        return data
    results, cells = data.results, data.experiments[name].cells
    other = pd.Series(False, index=results.index)
    for column in ("attack_surrogate_alpha", "attack_whitening_power"):
        if column in results:
            other |= results[column].notna()
    if "attack_objective" in results:
        other |= results["attack_objective"].notna() & ~results["attack_objective"].isin(PAPER_OBJECTIVES)
    if "attack_adaptive" in results:
        other |= results["attack_adaptive"].eq(True).fillna(False).astype(bool)
    left = cells[~cells["cell_id"].isin(results["cell_id"][other])]
    if left.empty:
        raise UntestedError(f"experiment '{name}' has no cell of one of the paper's attacks")
    return narrowed(data, name, left) if len(left) < len(cells) else data


@dataclass(frozen=True)
class Judged:
    """What the second judgement of a claim has to judge.

    samples: those of the statistic, named by level. attacks: by level, how many of the cells read are of which attack.
    notes: what was left out, as sentences' parts.
    """

    samples: list[Sample] = field(default_factory=list)
    attacks: dict[int, Counter[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def named(self) -> str:
        """The attacks that were chosen, as text: `level 1: gia-o; level 2: gia-l (12 cells), gia-o (3)`."""
        return "; ".join(f"level {level}: {_counted(found)}" for level, found in self.attacks.items() if found)


def judged(statistic: CellStatistic, data: ClaimData) -> Judged:
    """A statistic's samples of the strongest attacks: of each level of knowledge by itself, or of all levels together
    where the statistic compares them (its `key` is `LEVEL`).

    A level that cannot be tested is left out and noted. Raises UntestedError where none can.
    """
    every = levels(data, statistic.experiment)
    choice = statistic.where.get(LEVEL)
    own = [level for level in every if choice is None or among(level, choice)]
    if not own:
        has = ", ".join(map(str, every))
        raise UntestedError(f"experiment '{statistic.experiment}' has no attack of such a level (has {has})")
    found = Judged()
    for group in [own] if getattr(statistic, "key", None) == LEVEL else [[level] for level in own]:
        try:
            view, lone = strongest(data, statistic.experiment, group)
            samples = statistic.samples(view)
        except UntestedError as error:
            if len(group) > 1 or (group[0] == own[-1] and not found.samples):
                raise
            found.notes.append(f"not tested at level {group[0]}: {error}")
            continue
        if lone:
            found.notes.append(f"{_levels(group)}: {lone} trials have no other to choose an attack on and are left out")
        prefix = f"{_levels(group)}, " if len(group) == 1 else ""
        found.samples.extend(replace(one, name=f"{prefix}{one.name}".removesuffix(", ")) for one in samples)
        read = {cell for one in samples for cell in one.cells}
        cells = view.experiments[statistic.experiment].cells
        for level in group:
            ids = set(cells["cell_id"][cells[LEVEL] == level]) & read
            found.attacks[level] = Counter(_names(data.results, ids))
    return found


def levels(data: ClaimData, name: str) -> list[int]:
    """Levels of knowledge that an experiment's attacks need (`attack_level`), from the lowest on.

    Raises UntestedError where the study does not have the experiment or the column.
    """
    cells = standing(data, name).cells
    if "attack_level" not in data.results:
        raise UntestedError("the results have no 'attack_level'")
    own = data.results["attack_level"][data.results["cell_id"].isin(cells["cell_id"])]
    return sorted({int(level) for level in own.dropna()})


def strongest(data: ClaimData, name: str, known: Sequence[int]) -> tuple[ClaimData, int]:
    """The same with those cells of an experiment only that are of the best attack on their trial, and how many trials
    were left out.

    An adversary of each level in `known` has the attacks of `attack_level` up to it. A setting is what is not the
    adversary's: all columns of data set, model, client and post-processing; and which view of the gradient is matched.
    In each, and for each trial, the best attack (all other `attack_` columns) is chosen on the setting's other trials,
    see `best_attacks`: the LPIPS that is judged has no say. Where there is no other trial, several attacks leave no
    choice, and the trial is left out. Cells have the label `LEVEL`, and are there once per level.

    Raises UntestedError where the results have no LPIPS, or no trial is left.
    """
    experiment = standing(data, name)
    rows = data.results[data.results["cell_id"].isin(experiment.cells["cell_id"])]
    if "lpips" not in rows or rows["lpips"].isna().all():
        raise UntestedError(f"experiment '{name}' has no 'lpips' to choose attacks by")
    once = replace(experiment, cells=experiment.cells[["cell_id"]].drop_duplicates(ignore_index=True))
    table = cell_table(data.results, once, [], ["lpips"])
    rows = rows.drop_duplicates("cell_id").set_index("cell_id")
    columns = [str(column) for column in rows.columns]
    setting = [name for name in columns if name.startswith(_SETTING) and name not in _MEASURED]
    attack = [name for name in columns if name.startswith("attack_") and name not in setting]
    table["setting"] = table["cell_id"].map(_numbered(rows, setting))
    table["attack"] = table["cell_id"].map(_numbered(rows, attack))
    table["needs"] = table["cell_id"].map(rows["attack_level"])
    table["trial"] = table["cell_id"].map(trials(data, name))
    parts, lone = [], 0
    for level in known:
        able = table[table["needs"] <= level]
        several = able.groupby("setting")["attack"].transform("nunique") > 1
        kept = list(able["cell_id"][~several])
        for _, own in able[several].groupby("setting", sort=False):
            means = own.pivot_table(index="trial", columns="attack", values="lpips", aggfunc="mean")
            best = best_attacks(means.to_numpy(float))
            lone += best.count(None)
            chosen = {trial: means.columns[i] for trial, i in zip(means.index, best, strict=True) if i is not None}
            kept.extend(own["cell_id"][own["attack"] == own["trial"].map(chosen)])
        parts.append(experiment.cells[experiment.cells["cell_id"].isin(kept)].assign(**{LEVEL: level}))
    cells = pd.concat(parts)
    if cells.empty:
        raise UntestedError(
            f"experiment '{name}': no setting has a second trial, on which an attack could be chosen for the first"
        )
    cells[LEVEL] = cells[LEVEL].astype(object)
    return exchanged(data, name, replace(experiment, cells=cells.reset_index(drop=True))), lone


def best_attacks(lpips: np.ndarray) -> list[int | None]:
    """For each trial, the attack with the lowest mean LPIPS over all other trials.

    lpips: (trials, attacks), of one setting; NaN where an attack lacks a trial. Returns (trials,), indices of attacks.
    Attacks that have the trial compete. They are compared with the one that has the most other trials, on those that
    both have: a mean over easier trials is no better attack. Those with less than half of its trials do not compete.
    None where there are several attacks and no other trial.
    """
    found: list[int | None] = []
    for trial, own in enumerate(lpips):
        able = np.flatnonzero(~np.isnan(own))
        others = np.delete(lpips, trial, axis=0)[:, able]
        counts = (~np.isnan(others)).sum(axis=0)
        most = int(counts.argmax())
        if len(able) == 1:
            found.append(int(able[0]))
        elif not counts[most]:
            found.append(None)
        else:
            gaps = others - others[:, [most]]
            shared = (~np.isnan(gaps)).sum(axis=0)
            competes = 2 * shared >= counts[most]
            means = np.nansum(gaps, axis=0)[competes] / shared[competes]
            found.append(int(able[competes][means.argmin()]))
    return found


def _numbered(rows: pd.DataFrame, columns: list[str]) -> pd.Series:
    """A number for each combination of columns, in order of first appearance; nothing is a value like any other."""
    if not columns:
        return pd.Series(0, index=rows.index)
    return rows.groupby(columns, sort=False, dropna=False).ngroup()


def _names(results: pd.DataFrame, cells: Iterable[str]) -> list[str]:
    """Names of the attacks of cells, with what the paper's have not and what the adversary simulates."""
    rows = results[results["cell_id"].isin(list(cells))].drop_duplicates("cell_id")
    found = []
    for row in rows.to_dict("records"):
        alpha, adaptive = row.get("attack_surrogate_alpha"), row.get("attack_adaptive")
        objective = row.get("attack_objective")
        parts = [
            str(row.get("attack_name", "the attack")),
            "" if pd.isna(objective) or objective in PAPER_OBJECTIVES else str(objective),
            "whitened" if pd.notna(row.get("attack_whitening_power")) else "",
            "wst" if row.get("attack_knowledge") == "wst" else "",
            "adaptive" if pd.notna(adaptive) and adaptive else "",
            "" if pd.isna(alpha) else f"at alpha {alpha}",
        ]
        found.append(" ".join(part for part in parts if part))
    return found


def _counted(found: Counter[str]) -> str:
    if len(found) == 1:
        return next(iter(found))
    return ", ".join(f"{name} ({count} cells)" for name, count in found.most_common())


def _levels(group: Sequence[int]) -> str:
    return f"level{'s' if len(group) > 1 else ''} {', '.join(map(str, group))}"
