"""README and docs: links lead somewhere, named files exist, and blocks without a language are commands."""

import importlib.util
import re
from pathlib import Path

import pytest
from pages import FENCE, ROOT, SHELL, Command, commands, headings, lines, pages, prose

from gradleak.claims.report import FILES as CLAIMS
from gradleak.data.base import DATASETS
from gradleak.presentations.read import parse_experiment
from gradleak.presentations.write import stage_files
from gradleak.study.expand import load_study
from gradleak.survey.outputs import FILES as SURVEY
from gradleak.theory.outputs import FILES as THEORY

PACKAGE = ROOT / "src/gradleak"
ENDINGS = "py|yaml|yml|md|csv|json|parquet|safetensors|txt|toml|png|pdf|tex|smk"
#: What a run writes or a reader adds: there is no such file in a checkout.
MADE = (
    r"results/.*|paper_figures/.*|\.\./(theory|survey)/|\.cache/.*|\.venv/.*",
    r"(images|results|plan|provenance|auxiliary|\w+_summary|result)\.(parquet|json|csv)",
    r"(checkpoints|trainings|auxiliary|updates|reconstructions|smoothness|shards|images)/.*|<\w+>.*|auxiliary_.*",
    r"config\.json",  # beside BigGAN's weights
    r"my_model\.py|train\.py|(audit|table)\.(html|csv|parquet)|runs/",  # of an audit
    r"(cell|mine|tuned|audit)\.yaml|.*\.provenance\.json|.*\.state(/|\.json)?",
)


def outputs() -> set[str]:
    """Names of the files that the studies `quick` and `reference`, the theory, the survey and the claims write."""
    studies = [load_study(ROOT / f"workflow/studies/{name}.yaml") for name in ("quick", "reference")]
    found = {*SURVEY, *THEORY, *CLAIMS}
    for name, own in (item for study in studies for item in study.experiments.items()):
        cells = [{"cell_id": cell.id, "labels": labels} for cell, labels in own.cells]
        experiment = parse_experiment(name, {"title": own.title, "show": own.show, "cells": cells}, "quick")
        found |= {file for stage in ("tables", "figures") for file in stage_files(stage, experiment)}
    return found


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(pages()[page])):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        there = (ROOT / page).parent / path if path else ROOT / page
        assert there.exists(), f"{page}: no {target}"
        if anchor:
            assert anchor in headings(there.read_text(encoding="utf-8")), f"{page}: no heading for {target}"


@pytest.fixture(scope="module")
def written() -> set[str]:
    return outputs()


@pytest.mark.parametrize("page", pages())
def test_named_files_and_modules_exist(page: str, written: set[str]) -> None:
    text = pages()[page]
    added = set(
        re.findall(r"`((?:src|workflow)/[a-z_/]+\.(?:py|yaml))`[^\n]*:\n\n```", text)
    )  # the page has its content
    stem = ""
    for span in re.findall(r"`([^`\n]+)`", prose(text)):
        if re.fullmatch(rf"\.({ENDINGS})", span):  # `.tex` behind `table1.csv` is table1.tex
            assert not stem or stem + span in written, f"{page}: no {stem}{span}"
        elif re.fullmatch(rf"[\w.*<>/-]+\.({ENDINGS})|[\w.*<>-]+/[\w.*<>/-]*", span):
            found = exists(span, written) or span in added or any(re.fullmatch(made, span) for made in MADE)
            stem = span.rpartition(".")[0] if span in written else ""
            assert found or foreign(span), f"{page}: there is no {span}"
        elif re.fullmatch(r"gradleak(\.\w+)+", span):
            name, _, attribute = span.rpartition(".")
            assert importlib.util.find_spec(name), f"{page}: no module {span}"
            assert known(name, attribute), f"{page}: no {span}"


def exists(span: str, written: set[str]) -> bool:
    """A path from the root, inside the package or among outputs; `<name>` and `*` stand for anything."""
    pattern = re.sub(r"<\w+>", "*", span).rstrip("/")
    names = {name.rpartition("/")[2] for name in written}
    in_outputs = re.compile(re.escape(pattern).replace(r"\*", ".*"))
    return any(
        [*ROOT.glob(pattern), *PACKAGE.glob(pattern), *PACKAGE.glob(f"resources/{pattern}")]
        + [name for name in names | written if in_outputs.fullmatch(name)]
    )


def foreign(span: str) -> bool:
    """Not a file of ours: a repository on a hub, or a ratio."""
    return "/" in span and not Path(span).suffix and not (ROOT / span.partition("/")[0]).exists()


def known(module: str, attribute: str) -> bool:
    if hasattr(importlib.import_module(module), attribute):
        return True
    return (PACKAGE.parent / f"{module}.{attribute}".replace(".", "/")).with_suffix(".py").exists()


def test_blocks_without_a_language_hold_commands() -> None:
    for page, text in pages().items():
        for language, block in FENCE.findall(text):
            assert language not in SHELL or lines(language, block), f"{page}: mark this block as text:\n{block}"


def test_commands_are_found() -> None:
    assert lines("", "make          # sets up\ngradleak plan \\\n  --out x\n") == ["make", "gradleak plan --out x"]
    assert lines("", "$ gradleak plan     # all\nsome output\n") == ["gradleak plan"]
    assert lines("sh", "snakemake --config 'a={b: \"#1\"}'") == ["snakemake --config 'a={b: \"#1\"}'"]
    assert lines("yaml", "make: 1") == []
    found = commands()
    assert Command("README.md", "gradleak metrics ref.png rec.png") in found
    assert Command("docs/cluster.md", "make unlock") in found


def test_the_data_sets_that_the_config_names_are_registered() -> None:
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"^#   (\w+): +\{source", text, re.MULTILINE)) <= set(DATASETS)
