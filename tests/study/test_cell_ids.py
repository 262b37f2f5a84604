"""The cells of the studies stay the ones that results were computed for: cell_ids.json holds a digest per experiment.

A digest is of the ids of an experiment's cells, in their order. Renew the file after an intended change of a study with
`python tests/study/test_cell_ids.py`: what was computed for the changed experiments then has to be computed again.
"""

import json
from pathlib import Path

import pytest

from gradleak.frozen import digest
from gradleak.study.expand import load_study

STUDIES = Path(__file__).parents[2] / "workflow/studies"
RECORD = Path(__file__).with_name("cell_ids.json")


def digests(study):
    experiments = load_study(STUDIES / f"{study}.yaml").experiments
    return {name: digest([cell.id for cell, _ in own.cells]) for name, own in experiments.items()}


@pytest.mark.parametrize("study", ["quick", "reference", "paper"])
def test_a_study_has_the_cells_that_were_recorded(study):
    recorded = json.loads(RECORD.read_text())[study]
    assert list(digests(study).items()) == list(recorded.items())


if __name__ == "__main__":
    RECORD.write_text(json.dumps({study: digests(study) for study in ("quick", "reference", "paper")}, indent=1) + "\n")
