"""How many processes a run of the study `quick` starts that import torch: each takes two seconds before it computes."""

import re
from pathlib import Path

import pytest

from gradleak.pipeline.stages import STAGES
from gradleak.study.config import Config
from gradleak.study.expand import load_study, study_path
from gradleak.study.planning import make_plan

ROOT = Path(__file__).parents[2]
MOST = 40


@pytest.fixture(scope="module")
def rules() -> dict[str, str]:
    """The environment of each rule that has one."""
    text = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    pattern = r'(?:^rule |name:\s+f")([a-z_]+?)_?(?::|\{).*?conda:\s+"../../envs/(\w+)\.yaml"'
    return dict(re.findall(pattern, text, re.M | re.S))


def test_quick_starts_at_most_forty_processes_that_import_torch(rules):
    assert rules.keys() == {stage.rule for stage in STAGES}
    assert set(rules.values()) == {"compute", "report"}  # torch is in the first only
    plan = make_plan(load_study(study_path(str(ROOT / "workflow/studies/quick.yaml"))), Config())
    jobs = {stage.rule: len(stage.ids(plan)) for stage in STAGES if rules[stage.rule] == "compute"}
    driver = 1
    assert sum(jobs.values()) + driver <= MOST, jobs
