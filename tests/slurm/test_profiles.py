"""The profiles as typed in a fresh checkout; needs no SLURM."""

import re

import pytest
import yaml
from slurm_cases import ROOT

PROFILES = ROOT / "workflow/profiles"


@pytest.mark.slow
def test_snakemake_finds_the_slurm_profile_by_name_in_a_fresh_checkout(checkout):
    place = checkout("typed")
    planned = place.run("snakemake", "--profile", "slurm", "--dry-run")
    assert "Using profile slurm" in planned
    asked = dict(re.findall(r"^rule (\w+):\n(?:    (?!resources).*\n)*    resources: (.*)\n", planned, re.M))
    assert "gpu=1" in asked["reconstruct_batch"]
    assert "runtime=11" in asked["reconstruct_batch"]
    assert "gpu" not in asked["score_batch"]
    assert "mem_mb=8000" in asked["score_batch"]


def test_the_link_leads_to_the_profile_that_the_docs_name():
    assert (ROOT / "slurm").resolve() == PROFILES / "slurm"


def test_jobs_of_an_array_ask_for_the_same():
    profile = yaml.safe_load((PROFILES / "slurm/config.yaml").read_text())
    rules = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    for rule in profile["slurm-array-jobs"].split(","):
        resources = re.search(rf"^rule {rule}:\n.*?\n    resources:\n((?:        [^\n]*\n)+)", rules, re.M | re.S)[1]
        assert re.fullmatch(r"        mem_mb=grown\(\d+\),\n        runtime=grown\(\d+\),\n", resources), rule
