"""The Makefile with programs that only say how they were called: where it works, what it removes, what it passes on."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SAYS = r"""#!/bin/sh
# {0}/.venv/bin/python
for word in "${{0##*/}}" "$@"; do printf "%s\n" "$word"; done | paste -sd "|" >> calls
"""


class Place:
    """A folder with the Makefile and an environment of its own, whose programs write their calls to a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("Makefile", "pyproject.toml", "envs/requirements.txt"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        for name in ("results", "paper_figures"):
            (folder / name).mkdir()
            (folder / name / ".gitkeep").touch()
        for name in ("gradleak", "snakemake", "python"):
            self.program(name, SAYS.format(folder.resolve()))
        (folder / ".venv/.ready").touch()

    def program(self, name: str, text: str) -> None:
        path = self.folder / ".venv/bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        around = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of `make test`
        return subprocess.run(
            ["make", *arguments],
            cwd=self.folder,
            env=around | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self) -> list[list[str]]:
        """What was called since the last look, by program and arguments."""
        found = self.folder / "calls"
        lines = found.read_text().splitlines() if found.exists() else []
        found.unlink(missing_ok=True)
        return [line.split("|") for line in lines]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "a place")


def test_an_environment_that_is_ready_is_used_as_it_is(place):
    assert place.make().returncode == 0
    assert [call[:2] for call in place.calls()] == [["snakemake", "--profile"], ["gradleak", "summary"]]


def test_after_a_run_that_failed_there_is_no_summary(place):
    place.program("snakemake", "#!/bin/sh\nexit 1\n")
    assert place.make().returncode != 0
    assert not place.calls()


@pytest.mark.parametrize("way", ["copied", "moved"])
def test_in_another_place_the_environment_is_made_anew(place, tmp_path, way):
    other = tmp_path / "other"
    (shutil.copytree if way == "copied" else shutil.move)(place.folder, other)
    place.folder = other
    assert place.make("PYTHON=.venv/bin/python").returncode == 0
    assert [call for call in place.calls() if call[1] != "-c"] == [
        ["python", "-m", "venv", "--clear", ".venv"],
        ["python", "-m", "pip", "install", "--quiet", "--requirement", "envs/requirements.txt"],
        ["python", "-m", "pip", "install", "--quiet", "--no-deps", "--editable", "."],
        # All that a run needs from the network, once.
        ["python", "-m", "gradleak", "data", "fetch", "lpips", "--config", "config.yaml"],
        ["snakemake", "--profile", "workflow/profiles/default", "--cores", "all"],
        ["gradleak", "summary"],
    ]


def test_an_environment_of_another_place_that_is_linked_stays_as_it_is(place, tmp_path):
    (tmp_path / "other").mkdir()
    shutil.move(place.folder / ".venv", tmp_path / "other/.venv")
    for name in ("gradleak", "snakemake"):
        path = tmp_path / "other/.venv/bin" / name
        path.write_text(SAYS.format(tmp_path / "other"))
    (place.folder / ".venv").symlink_to(tmp_path / "other/.venv")
    assert place.make().returncode == 0
    assert [call[0] for call in place.calls()] == ["snakemake", "gradleak"]


def test_other_requirements_are_installed_into_the_environment_that_is_there(place):
    os.utime(place.folder / "envs/requirements.txt", (2**31, 2**31))
    assert place.make("PYTHON=.venv/bin/python").returncode == 0
    assert ["python", "-m", "venv", ".venv"] in place.calls()


@pytest.mark.parametrize(
    ("reference", "drawn"),
    [
        ("results/reference", "reference"),
        ("results/other", "other"),
        ("results/other/", "other"),
        ("results/it's $$HOME; 2", "it's $HOME; 2"),
        ("{}/archives/ä b", "ä b"),
    ],
)
def test_figures_of_an_archive_lie_in_a_folder_of_its_name(place, tmp_path, reference, drawn):
    reference = reference.format(tmp_path)
    folder = place.folder / reference.replace("$$", "$")
    folder.mkdir(parents=True)
    done = place.make("figures", f"REFERENCE={reference}")
    assert done.returncode == 0, done.stderr
    calls = {call[1]: shlex.join(call) for call in place.calls()}
    assert set(calls) == {"verify", "theory", "claims", "survey", "tables", "figures", "report"}
    asked = reference.replace("$$", "$")
    for name in ("claims", "tables", "figures"):
        assert shlex.join(["--plan", f"{asked}/plan.json", "--results", f"{asked}/results.parquet"]) in calls[name]
        assert shlex.join(["--out", f"paper_figures/{drawn}"]) in calls[name]
    assert shlex.join(["--out", f"paper_figures/{drawn}/report.html"]) in calls["report"]


def test_pictures_of_verified_cells_lie_beside_the_figures(place):
    (place.folder / "results/an archive").mkdir(parents=True)
    assert place.make("verify", "REFERENCE=results/an archive").returncode == 0
    assert place.calls() == [
        ["gradleak", "verify", "results/an archive", "--gallery", "paper_figures/an archive/verified"]
    ]


@pytest.mark.parametrize("name", ["theory", "survey", "quick", "reference"])
def test_figures_of_an_archive_do_not_replace_those_of_something_else(place, tmp_path, name):
    (place.folder / "results/quick").mkdir()
    (place.folder / "results/reference").mkdir()
    (tmp_path / name).mkdir()
    done = place.make("figures", f"REFERENCE={tmp_path / name}")
    assert done.returncode != 0
    line = done.stderr.splitlines()[0]
    assert line == f"make: paper_figures/{name} is not this archive's; give the archive's folder another name"
    assert [call[1] for call in place.calls()] == ["verify"]


@pytest.mark.parametrize("cores", ["0", "-1", "", "1.5", "two", "1; touch y"])
def test_a_number_of_cores_that_is_none_is_one_line(place, cores):
    done = place.make(f"CORES={cores}")
    assert done.returncode != 0
    line = done.stderr.splitlines()[0]
    assert line == f"make: CORES is '{cores}'; allowed: all, or a whole number from 1 up"
    assert not place.calls()
    assert not (place.folder / "y").exists()


@pytest.mark.parametrize("target", ["study", "report"])
def test_a_lock_that_is_left_names_what_releases_it(place, target):
    place.program("snakemake", "#!/bin/sh\nexit 7\n")
    assert "unlock" not in place.make(target).stderr
    place.program("snakemake", "#!/bin/sh\nmkdir -p .snakemake/locks\ntouch .snakemake/locks/0.input.lock\nexit 7\n")
    done = place.make(target)
    assert done.returncode != 0
    assert "'make unlock' releases it" in done.stderr.splitlines()[0]
    assert "Error 7" in done.stderr


def test_clean_keeps_archives_and_links_and_removes_what_lies_behind_them(place, tmp_path):
    scratch = {name: tmp_path / "scratch" / name for name in ("results", "paper_figures", "linked")}
    for name in ("results", "paper_figures"):
        shutil.move(place.folder / name, scratch[name])
        (place.folder / name).symlink_to(scratch[name])
    for name in ("quick/deep", "reference", "an archive"):
        (scratch["results"] / name).mkdir(parents=True)
        (scratch["results"] / name / "file").touch()
    for name in ("reference", "an archive"):
        (scratch["results"] / name / "SHA256SUMS").touch()
    scratch["linked"].mkdir()
    (scratch["linked"] / "file").touch()
    (scratch["results"] / "far").symlink_to(scratch["linked"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data/image").touch()
    (scratch["results"] / "quick/data").symlink_to(tmp_path / "data")
    (scratch["paper_figures"] / "quick").mkdir()
    assert place.make("clean").returncode == 0
    assert sorted(os.listdir(place.folder / "results")) == [".gitkeep", "an archive", "far", "reference"]
    assert os.listdir(place.folder / "paper_figures") == [".gitkeep"]
    assert (place.folder / "results").is_symlink()
    assert (scratch["results"] / "far").is_symlink()
    assert os.listdir(scratch["linked"]) == []
    assert (tmp_path / "data/image").exists()
    assert (scratch["results"] / "an archive/file").exists()


def test_benches_pass_on_what_they_compare_with_and_where_they_write(place):
    assert place.make("bench-engine", "BASE=abc123").returncode == 0
    assert place.make("bench-gpu", "OUT=a folder").returncode == 0
    assert place.calls() == [
        ["python", "tests/benchmarks/engine.py", "--base", "abc123"],
        ["python", "tests/benchmarks/gpu.py", "--out", "a folder", "--minutes", "8"],
    ]


@pytest.mark.parametrize("home", ["", "/proc/nosuch"])
def test_a_home_that_cannot_be_written_has_a_stand_in(place, home):
    place.program("snakemake", '#!/bin/sh\nprintf "%s|%s\\n" "$HOME" "$XDG_CACHE_HOME" > calls\n')
    around = {"HOME": home, "XDG_CACHE_HOME": f"{home}/.cache" if home else ""}
    assert place.make(**around).returncode == 0
    assert place.calls()[:1] == [[f"{place.folder}/.cache/home", f"{place.folder}/.cache/home/.cache"]]


def test_a_home_that_can_be_written_is_used(place, tmp_path):
    place.program("snakemake", '#!/bin/sh\nprintf "%s\\n" "$HOME" > calls\n')
    assert place.make(HOME=str(tmp_path), XDG_CACHE_HOME="").returncode == 0
    assert place.calls()[:1] == [[str(tmp_path)]]


#: Has something to choose in the first two parts; what it is called with is written down.
CHOOSES = """#!/bin/sh
# {0}/.venv/bin/python
for word in "${{0##*/}}" "$@"; do printf "%s\\n" "$word"; done | paste -sd "|" >> calls
[ "$1" != plan ] || [ "$(grep -c archive calls)" -ge 2 ] || echo a cell
"""


def test_an_archive_is_extended_part_by_part_until_nothing_is_left(place):
    place.program("gradleak", CHOOSES.format(place.folder.resolve()))
    done = place.make("extend", "PART=30", "CORES=1", "REFERENCE=results/my own")
    assert done.returncode == 0, done.stderr
    asked = ["gradleak", "plan", "--study", "my own", "--reuse", "results/my own", "--minutes", "30", "--list"]
    profile = ["--profile", "workflow/profiles/default", "--cores", "1"]
    settings = ["study=my own", "run=my own-more", "reuse=results/my own", "minutes=30"]
    computed = ["snakemake", *profile, "--config", *settings]
    kept = ["gradleak", "archive", "results/my own-more", "--out", "results/my own"]
    assert place.calls() == [*[asked, computed, kept] * 2, asked]


def test_what_failed_is_not_archived(place):
    place.program("gradleak", CHOOSES.format(place.folder.resolve()))
    place.program("snakemake", "#!/bin/sh\nexit 1\n")
    assert place.make("extend", "STUDY=other").returncode != 0
    assert [call[1:4] for call in place.calls()] == [["plan", "--study", "other"]]


@pytest.mark.parametrize("minutes", ["0", "", "1.5", "x; touch y"])
def test_minutes_that_are_no_whole_number_are_one_line(place, minutes):
    done = place.make("extend", f"MINUTES={minutes}")
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == f"make: MINUTES is '{minutes}'; allowed: a whole number from 1 up"
    assert not place.calls()
