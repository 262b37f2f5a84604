"""Bad studies, settings and cells: each gets one line from the command that reads it, before anything is computed."""

from pathlib import Path

import pytest
from core_cases import gradleak

STUDY = """
title: Small
defaults:
  dataset: {name: photos10, resolution: 16}
  model: {name: convnet, options: {channels: 4, stages: 1, layers: 1}}
  attack: {name: gia-o, descent: {iterations: 3}}
trials: {count: 2}
experiments:
  fig1:
    title: One
    paper: none
    cells: [{labels: {kind: x}, axes: [{client.epochs: [1, 2]}]}]
    show: [{kind: table, rows: [kind], columns: client_steps}]
"""
NAME = (
    "becomes the name of a file, so it must be 1 to 64 letters (a to z, A to Z), digits, '.', '_' or '-', and not "
    "begin with '.' or '-'; rename it"
)

# What the user's study says: a text of STUDY, what stands there instead, and the line; `...`: more follows.
ROWS = [
    ("kind: table", "kind: tabel", "study 'small': experiment 'fig1': show[0]: unknown kind 'tabel'; known: bars, ..."),
    (
        "client_steps",
        "steps",
        "study 'small': experiments.fig1.show[0]: experiment 'fig1': unknown column 'steps'; ...",
    ),
    (
        "rows: [kind]",
        "rows: [colour]",
        "study 'small': experiments.fig1.show[0]: experiment 'fig1': unknown column ...",
    ),
    (
        "columns: client_steps",
        "columns: client_steps, values: [igsa]",
        "study 'small': experiments.fig1.show[0]: experiment 'fig1': unknown column 'igsa'; ...",
    ),
    (
        "columns: client_steps",
        "columns: client_steps, values: [client_loss_before, client_loss_after, client_loss]",
        "study 'small': experiments.fig1.show[0]: experiment 'fig1': unknown column 'client_loss'; ...",
    ),
    (
        "{kind: table, rows: [kind], columns: client_steps}",
        "{kind: curve, colour: kind, marker: client_steps, y: surrogate_alpha}",
        "study 'small': experiments.fig1.show[0]: experiment 'fig1': unknown column 'surrogate_alpha'; ...",
    ),
    (
        "{kind: table, rows: [kind], columns: client_steps}",
        "{kind: contrast, between: {label: kind, baseline: x, against: y}}",
        "study 'small': experiments.fig1.show[0]: experiment 'fig1': no image has kind 'y'; they have: x",
    ),
    (
        "channels: 4",
        "channels: -4",
        "study 'small': experiments.fig1: model 'convnet': option channels must be 1 to 4096 (found -4)",
    ),
    (
        "channels: 4",
        "channels: true",
        "study 'small': experiments.fig1: model 'convnet': option channels must be a whole number (found True)",
    ),
    (
        "resolution: 16",
        "resolution: true",
        "{path}: experiments.fig1 ({{'kind': 'x'}}): dataset.resolution: must be a ...",
    ),
    (
        "iterations: 3",
        "lr: true",
        "{path}: experiments.fig1 ({{'kind': 'x'}}): attack.descent.lr: must be a number (found true)",
    ),
    (
        "name: gia-o",
        "name: gia-o, priors: {tv: true}",
        "{path}: experiments.fig1 ({{'kind': 'x'}}): attack.priors: must be a number (found true)",
    ),
    *(
        (
            "iterations: 3}",
            f"iterations: 3}}, whitening: {{{key}: {value}}}",
            "{path}: experiments.fig1 ({{'kind': 'x'}}): " + line,
        )
        for key, value, line in (
            ("power", 0, "attack.whitening.power: Input should be greater than 0 (found 0)"),
            ("power", 1, "attack.whitening.power: Input should be less than or equal to 0.25 (found 1)"),
            ("damping", 0, "attack.whitening.damping: Input should be greater than 0 (found 0)"),
            ("strength", 1, "attack.whitening.strength: unknown key"),
        )
    ),
    (
        "{name: convnet",
        "{init_seed: 9223372036854775808, name: convnet",
        "{path}: experiments.fig1 ({{'kind': 'x'}}): model.init_seed: must be below 2^63",
    ),
    (
        "count: 2",
        "count: 500_000_000_000",
        "{path}: has 1,000,000,000,000 cells, 1,000,000,000,000 of them in experiments.fig1; at most 100,000: cut "
        "axes or trials, or make several studies of it",
    ),
    (
        "axes: [",
        "set: {client.samples: 1_000_000_000}, axes: [",
        "{path}: experiments.fig1: its cells attack more than 1,000,000 images (client.samples is 1000000000)",
    ),
    ("  fig1:", "  ../../fig1:", "{path}: experiment '../../fig1': " + NAME),
    ("  fig1:", "  $(touch y):", "{path}: experiment '$(touch y)': " + NAME),
    (
        "  fig1:",
        "  Claims:",
        "{path}: experiment 'Claims': the pipeline has files of its own under this name; rename it",
    ),
    ("title: One", "title: One\n    title: Two", "{path}: the key 'title' is there twice (line 11); keep one of them"),
    (
        "title: One",
        'title: "\\e[2J"',
        "{path}: study.experiments.fig1.title: holds the control character '\\x1b'; leave ...",
    ),
    (
        "title: One",
        "title: $\\input{x}$",
        "study 'small': experiments.fig1.title: $\\input{{x}}$ cannot be set as ...",
    ),
    ("paper: none", "paper: &a [*a]", "{path}: not valid YAML (line 11: an alias stands for what it is part of)"),
    (
        "paper: none",
        "paper: !!python/name:os.system x",
        "{path}: not valid YAML (line 11: the tag !!python/name:os.system ...",
    ),
    ("paper: none", "paper: " + "[" * 5000, "{path}: not valid YAML (nested more than 100 deep)"),
    ("paper: none", "paper: none\n    yes: 1", "{path}: experiments.fig1.yes: unknown key"),
    ("title: Small", "title: 2020-01-31\n1: 2", "{path}: 1: Keys should be strings (found 1)"),
]


def one_line(ran, line: str) -> None:
    """The command ended with code 2 and exactly this line; nothing on standard output."""
    assert (ran.code, ran.out) == (2, ""), ran.err
    assert ran.err.count("\n") == 1
    found = ran.err.removeprefix("gradleak: ").rstrip("\n")
    assert found.startswith(line.removesuffix("...")) if line.endswith("...") else found == line


@pytest.mark.parametrize(("there", "instead", "line"), ROWS, ids=[line[:60] for _, _, line in ROWS])
def test_a_bad_study_is_one_line(tmp_path: Path, there: str, instead: str, line: str) -> None:
    path = tmp_path / "small.yaml"
    assert there in STUDY
    path.write_text(STUDY.replace(there, instead, 1))
    one_line(gradleak("plan", "--config", config(tmp_path), "--study", path), line.format(path=path))


def config(folder: Path) -> Path:
    path = folder / "config.yaml"
    path.write_text("device: cpu\n")
    return path


# What is in the file that is given as a study.
FILES = {
    "empty": (b"", "{path}: is empty; must hold a mapping of keys to values"),
    "a list": (b"- 1\n", "{path}: must hold a mapping of keys to values, found list"),
    "UTF-16": ("title: a".encode("utf-16"), "{path}: not a text file in UTF-8"),
    "a tab": (b"title:\n\t- a\n", "{path}: not valid YAML (line 2, column 1: ..."),
    "a bomb": (
        b"a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
        + b"".join(b"b%d: &b%d [%s]\n" % (i, i, b",".join([b"*b%d" % (i - 1) if i else b"*a"] * 10)) for i in range(9)),
        "{path}: not valid YAML (line 6: its aliases stand for more than 1,000,000 values)",
    ),
    "a number without end": (b"title: " + b"9" * 5000, "{path}: not valid YAML (Exceeds the limit ..."),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_is_no_study_is_one_line(tmp_path: Path, what: str) -> None:
    content, line = FILES[what]
    path = tmp_path / "small.yaml"
    path.write_bytes(content)
    one_line(gradleak("plan", "--config", config(tmp_path), "--study", path), line.format(path=path))


def test_what_is_no_file_does_not_hang(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "small.yaml")
    for path in (tmp_path / "small.yaml", Path("/dev/zero")):
        ran = gradleak("plan", "--config", path)
        one_line(ran, f"{path}: cannot be read (it is no regular file)")


@pytest.mark.parametrize("name", ["a b.yaml", ".x.yaml", "theory.yaml", "$(touch y).yaml"])
def test_a_study_has_a_name_for_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(STUDY)
    ran = gradleak("plan", "--config", config(tmp_path), "--study", tmp_path / name)
    what = "the pipeline has files of its own under this name; rename it" if name == "theory.yaml" else NAME
    one_line(ran, f"{tmp_path / name}: study '{name.removesuffix('.yaml')}': {what}")


def test_numbers_and_words_of_yaml_mean_what_they_look_like(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text("\ufeff" + STUDY.replace("iterations: 3", "lr: 1e-1, signed: no, iterations: 1_0").lstrip())
    ran = gradleak("plan", "--config", config(tmp_path), "--study", path)
    assert ran.code == 0, ran.err


def test_two_experiments_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    first = STUDY.replace("columns: client_steps}", "columns: client_steps, suffix: b}")
    path.write_text(first + STUDY[STUDY.index("  fig1:") :].replace("fig1", "fig1_b"))
    ran = gradleak("plan", "--config", config(tmp_path), "--study", path)
    one_line(ran, "study 'small': experiments 'fig1' and 'fig1_b' both write fig1_b.csv; rename one of them")
