"""A study with more trials than an archive has: Snakemake runs what is new and joins the rest."""

import re
import shlex
import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
from archive_cases import ARCHIVED, STUDY, finished_run
from core_cases import gradleak
from test_workflow import checkout  # noqa: F401  # the fixture

from gradleak.archive.verify import recompute
from gradleak.archive.write import write_archive
from gradleak.stages.session import Session
from gradleak.study.plan import Plan
from gradleak.workflow import Workflow


def test_more_trials_cause_only_the_new_jobs(checkout, tmp_path, monkeypatch):  # noqa: F811
    """The jobs are those of a dry run; what they compute is computed here, and joined by the command that it prints."""
    place = checkout("more")
    first = finished_run(tmp_path / "first", place.cache)
    write_archive(tmp_path / "first", place.folder / "archive")
    study = STUDY.replace("count: 3", "count: 4") + ARCHIVED
    (place.folder / "tests/workflow/more.yaml").write_text(study)
    planned = place.run(
        *("snakemake", "--cores", "1", "--dry-run", "--printshellcmds", "--config"),
        *("study=tests/workflow/more.yaml", f"cache={place.cache}", "device=cpu", "reuse=archive"),
    )
    assert planned.returncode == 0, planned.stdout[-3000:]
    rules = Counter(re.findall(r"^(?:local)?rule (\w+):", planned.stdout, re.M))
    once = ["fetch_data", "compute_updates", "reconstruct_batch", "score_batch", "collect_results"]
    assert [rules[rule] for rule in once] == [1] * 5
    assert "table1_gallery.png" in planned.stdout
    assert "fig4a.csv" in planned.stdout
    assert "fig4a_gallery" not in planned.stdout

    shutil.rmtree(place.folder / "src")  # what follows runs in this process, with the code of the tests
    monkeypatch.chdir(place.folder)
    here = place.folder / "results/more"
    settings = {"study": "tests/workflow/more.yaml", "cache": place.cache, "device": "cpu", "reuse": ["archive"]}
    Workflow.load(settings).start(Path("results"), Path("paper_figures"))
    plan = Plan.read(here / "plan.json")
    (batch,) = plan.batches.values()
    assert set(batch.cells) == plan.cells.keys() - first.cells.keys()
    recompute(plan, here, Session())
    for stage in ("collect", "tables", "figures"):
        for command in re.findall(rf"gradleak {stage} .*?(?= 2?> )", planned.stdout):
            ran = gradleak(*shlex.split(command)[1:])
            assert ran.code == 0, ran.err
    assert "fig4a_gallery" in ran.err

    rows, archived = (pd.read_parquet(path / "results.parquet") for path in (here, tmp_path / "first"))
    assert list(dict.fromkeys(rows["cell_id"])) == list(plan.cells)
    old = rows[rows["cell_id"].isin(first.cells)]
    pd.testing.assert_frame_equal(old.set_index("cell_id").loc[list(first.cells)].reset_index(), archived)
    shown = {path.name for path in (place.folder / "paper_figures/more").iterdir()}
    assert {"table1.csv", "table1_gallery.png", "fig4a.csv", "fig4b.png"} <= shown
    assert not any(name.startswith("fig4a_gallery") for name in shown)
    caption = (place.folder / "paper_figures/more/table1_gallery.txt").read_text()
    assert "6 of 8 cells come from an archive and have no pictures." in caption
