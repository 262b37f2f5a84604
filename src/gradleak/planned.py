"""The plan of a run's settings: what archives have, what is chosen beside it, and what of it can be shown."""

from typing import NamedTuple

from gradleak.archive.reuse import known_trials, open_archives
from gradleak.metrics.base import described
from gradleak.rehearsal import rehearse, showable
from gradleak.study.choosing import Choice, choose
from gradleak.study.config import Config
from gradleak.study.expand import load_study, study_path
from gradleak.study.plan import Plan
from gradleak.study.planning import make_plan


class Planned(NamedTuple):
    """A plan, the choice that it rests on, and a line for all that is not computed or shown of the study's file."""

    plan: Plan
    choice: Choice
    lines: list[str]


def plan_run(config: Config) -> Planned:
    """Plan what `config` asks for. Raises UserError, in one line, for what cannot be planned, computed or shown.

    Of a study that is computed whole, all that it shows must be there. Of a part of it, what cannot be shown yet is
    left out of the plan and named.
    """
    archives = open_archives(config)
    known = {} if config.minutes is None else known_trials(archives)
    choice = choose(load_study(study_path(config.study)), config, known)
    plan = make_plan(choice.study, config, described(), archives)
    if config.minutes is None:
        rehearse(plan)
        return Planned(plan, choice, [])
    plan, unshown = showable(plan)
    return Planned(plan, choice, [choice.line(), *unshown])
