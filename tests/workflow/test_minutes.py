"""A run that has some minutes only: its jobs are those of the cells that are chosen."""

import re

from archive_cases import STUDY, finished_run
from test_workflow import checkout  # noqa: F401  # the fixture

from gradleak.archive.write import write_archive


def test_a_run_has_the_jobs_of_what_is_chosen_and_a_name_of_its_own(checkout, tmp_path):  # noqa: F811
    place = checkout("short")
    finished_run(tmp_path / "first", place.cache)
    write_archive(tmp_path / "first", place.folder / "results/small")
    (place.folder / "workflow/studies/small.yaml").write_text(STUDY.replace("count: 3", "count: 5"))
    settings = {"study": "small", "run": "small-more", "device": "cpu", "reuse": "results/small"}
    for minutes, count, said in ((0, 0, "0 cells chosen"), (60, 1, "6 cells chosen")):
        planned = place.snakemake("--dry-run", **settings, minutes=minutes)
        assert planned.returncode == 0, planned.stdout[-3000:]
        rules = re.findall(r"^(?:local)?rule (\w+):", planned.stdout, re.M)
        assert rules.count("reconstruct_batch") == count
        assert rules.count("collect_results") == 1
        assert "results/small-more/results.parquet" in planned.stdout
        assert f"gradleak: minutes {minutes}: {said}" in planned.stderr
