"""The report as text: what is in it, the same bytes twice, and one line for every file that is missing or bad."""

import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from core_cases import Ran, gradleak
from report_world import FINGERPRINT

from gradleak.claims.report import FILES as CLAIM_FILES
from gradleak.errors import UserError
from gradleak.pipeline.code import code_files
from gradleak.report.page import Folders, render


@pytest.fixture(scope="module")
def text(folders: Folders) -> str:
    return render(folders)


@pytest.fixture
def copied(folders: Folders, tmp_path: Path) -> Folders:
    """Folders that a test may damage."""
    made = {}
    for field in dataclasses.fields(folders):
        made[field.name] = tmp_path / field.name
        shutil.copytree(getattr(folders, field.name), made[field.name])
    return Folders(**made)


def run(folders: Folders, out: Path) -> Ran:
    options = {"--theory": folders.theory, "--survey": folders.survey, "--captions": folders.captions}
    given = [part for name, folder in options.items() if folder for part in (name, folder)]
    return gradleak("report", "--study-folder", folders.study, "--figures", folders.figures, *given, "--out", out)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def words(page: str) -> str:
    """A page's text with single spaces."""
    parser = _Text()
    parser.feed(page)
    return " ".join(" ".join(parser.found).split())


def test_the_command_writes_the_page_and_the_same_bytes_again(folders: Folders, text: str, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        ran = run(folders, tmp_path / name)
        assert ran.code == 0, ran.err
        assert ran.out.strip() == str(tmp_path / name)
        assert (tmp_path / name).read_bytes() == text.encode()


def test_the_page_needs_no_other_file_and_no_network(text: str) -> None:
    addresses = re.findall(r"""(?:src|href|action|data|poster)\s*=\s*["']([^"']*)""", text)
    assert {address[0] for address in addresses if not address.startswith("data:image/png;base64,")} == {"#"}
    assert not re.search(r"@import|url\((?!#arrow)|<link|<iframe|<script [^>]*src", text)
    assert "default-src 'none'" in text


def test_text_of_the_study_is_escaped(text: str) -> None:
    assert "<h1>Small &lt;study&gt; &amp; more</h1>" in text
    assert "<script>console.error" not in text
    assert "Local updates &lt;script&gt;" in text


def test_what_a_reviewer_looks_for_first(folders: Folders, text: str) -> None:
    top = words(text[text.index("<header>") : text.index("</header>")])
    claims = pd.read_csv(folders.figures / "claims.csv")
    for word, count in claims["verdict"].value_counts().items():
        assert re.search(rf"\b{count} \S {word}", top)
    for part in (
        "cpu (1 threads)",
        "photos10 at 16 px",
        "convnet",
        "up to 20 iterations",
        "Everything is smaller, see docs .",
    ):
        assert part in top
    assert f"Of {len(claims)} claims" in top
    second = claims["strongest_verdict"].dropna()
    said = re.search(r"Of the (\d+) claims of protection, against the strongest attack: (\d+) supported", top)
    assert said is not None
    assert [*map(int, said.groups())] == [len(second), (second == "supported").sum()]
    assert "Against the strongest attack of the study" in top
    assert "2 min 00 s of jobs" in top


def test_every_number_of_a_table_is_there_beside_the_papers(folders: Folders, text: str) -> None:
    shown = words(text[text.index('id="file-table1"') : text.index('id="file-table1_gallery"')])
    table = pd.read_csv(folders.figures / "table1.csv")
    assert len(table) == 8
    for row in table.itertuples():
        assert (f"{row.value:.4f}" if row.metric == "lpips" else f"{row.value:.2f}") in shown
    published = table["published"].dropna()
    assert len(published) == 4
    assert all(f"{value:.4f}" in shown for value in published)
    assert "published (CIFAR10)" in shown
    assert "over 6 trials per entry. Bold: LPIPS above 0.1." in shown


def test_each_source_of_published_numbers_has_its_own_table_and_count(folders: Folders, text: str) -> None:
    part = text[text.index('<section id="published"') :]
    part = part[: part.index("</section>")]
    lines = pd.read_csv(folders.figures / "published.csv", keep_default_na=False)
    for source, anchor in (("the paper", "published-table"), ("Guo et al. 2025", "published-guo")):
        own = lines[lines["source"] == source]
        assert part.count(f'id="{anchor}"') == part.count(f'data-table="{anchor}"') == 1
        assert f"All {len(own)} numbers" in words(part)
        assert f"Published numbers of {source} (" in words(part)
    paper = lines[(lines["source"] == "the paper") & (lines["agrees"] != "")]
    top = words(text[text.index("<header>") : text.index("</header>")])
    assert (
        f"{(paper['agrees'] == 'yes').sum()} of {len(paper)} verdicts on single numbers agree with the paper's" in top
    )
    assert "agree with those of" not in top  # the study has none of Guo et al.'s


def test_figures_have_captions_places_and_what_differs_from_the_paper(folders: Folders, text: str) -> None:
    for name in ("fig4b", "table1_gallery"):
        caption = (folders.figures / f"{name}.txt").read_text().strip()
        assert caption.split("<")[0] in words(text)
    entry = words(text[text.index('<article id="experiment-table1"') : text.index('<article id="experiment-fig4b"')])
    for part in ("Table 1, Sec. 4.1.1", "Here: photos10 at 16 px; convnet; up to 20 iterations", "The rate is ours."):
        assert part in entry
    assert "G<sub>O</sub> + p<sub>TV</sub>" in text


def test_experiments_stand_in_the_papers_sections(text: str) -> None:
    sections = re.split(r'<section id="section-', text)[1:]
    found = {part.split('"')[0]: re.findall(r'<article id="([\w-]+)"', part) for part in sections}
    assert found["4-1"][-1] == "experiment-table1"
    assert found["4-2"] == ["theory-theorem43", "experiment-fig4b", "experiment-fig6"]
    assert found["other"] == ["experiment-latent"]
    assert found["2"] == ["survey-fig1", "survey-fig2"]
    assert found["C"] == ["survey-table7"]
    assert len(found["B"]) == 1


def test_both_verdicts_of_a_claim_of_protection(folders: Folders, text: str) -> None:
    claims = pd.read_csv(folders.figures / "claims.csv", keep_default_na=False).set_index("id")
    row = text[text.index('id="claim-updates-worse"') :]
    shown = words(row[: row.index("</tr>")])
    one = claims.loc["updates-worse"]
    assert shown.endswith(f"{one['strongest_verdict']} {float(one['strongest_effect']):.3f} (1.000 to 1.000)")
    assert f"Chosen: {one['strongest_attacks']}." in shown
    row = text[text.index('id="claim-updates-one"') :]
    assert "strongest" not in words(row[: row.index("</tr>")])


def test_claims_link_to_what_they_read(text: str) -> None:
    row = text[text.index('id="claim-updates-worse"') :]
    assert '<a href="#experiment-table1">table1</a>' in row[: row.index("</tr>")]
    row = text[text.index('id="claim-lemma-inverts"') :]
    assert '<a href="#theory-lemma41">lemma41.csv</a>' in row[: row.index("</tr>")]


def test_provenance_run_times_and_graph(text: str) -> None:
    found = words(text[text.index('id="provenance"') :])
    assert f"photos10 2000 500 {FINGERPRINT} the same in 1 results" in found
    assert "reconstruct_batch 2 2 min 00 s 100.0 % 1 min 00 s 1 min 30 s 40.0 s 700" in found
    assert "score_batch 1 0.0 s 0.0 % 0.0 s 0.0 s – –" in found, "a job too short to measure"
    assert "pretrain_auxiliary 1 job" in found
    assert "federate_training" not in found, "the study has no federated training"
    assert re.search(r"plan\.json [0-9a-f]{64} ", found)


def test_a_folder_without_records_says_so(copied: Folders, tmp_path: Path) -> None:
    for name in ("benchmarks", "data", "reconstructions", "shards", "auxiliary"):
        shutil.rmtree(copied.study / name)
    bare = Folders(copied.study, copied.figures)
    ran = run(bare, tmp_path / "bare.html")
    assert ran.code == 0, ran.err
    found = words((tmp_path / "bare.html").read_text())
    for part in ("There are no run times", "no provenance files", "no record of data sets", "as the plan asks"):
        assert part in found
    assert "Theorem 4.2" not in found


def test_an_archive_has_no_images_and_one_provenance_file(copied: Folders) -> None:
    for name in ("benchmarks", "data", "reconstructions", "shards", "auxiliary"):
        shutil.rmtree(copied.study / name)
    for path in (copied.study / "images.parquet", *copied.figures.glob("*_gallery.*"), *copied.figures.glob("aux*")):
        path.unlink()
    place = {"device": "cuda (H100)", "cpu": {"model": "EPYC"}, "python": "3.11.7", "versions": {"torch": "2.13.0"}}
    job = {"environment": 0, "seconds": 90.0, "finished": "2026-01-02T03:04:05Z", "families": {}}
    data = {"photos10": {"source": "its own", "train": 7, "test": 5, "classes": 1, "fingerprint": "abc"}}
    content = {"environments": [place], "jobs": {"attack": {"b": job, "c": job}}, "data": data}
    (copied.study / "provenance.json").write_text(json.dumps(content))
    found = words(render(copied))
    for part in ("Device cuda (H100)", "CPU model EPYC", "photos10 7 5 abc", "reconstruct_batch 2 3 min 00 s 100.0 %"):
        assert part in found
    assert "Left out, for the study's folder has no images of these cells: table1_gallery ." in found


def test_the_report_needs_no_torch() -> None:
    files = code_files(["gradleak.report.page"])
    assert any(file.endswith("report/graph.py") for file in files)
    assert not [file for file in files if re.search(r"^(?:import|from) torch", Path(file).read_text(), re.MULTILINE)]


def test_results_of_two_devices_or_other_data_are_pointed_out(copied: Folders) -> None:
    path = copied.study / "shards/one.bin.provenance.json"
    path.write_text(path.read_text().replace('"file"', '"device": "cuda", "data": {"photos10": "other"}, "file"'))
    top = words(render(copied).partition("</header>")[0])
    assert "Device: results come from 2 different ones." in top
    assert "Data set photos10: differs in 1 of 2 results." in top


@pytest.mark.parametrize(
    ("name", "made_by"),
    [
        ("study/plan.json", ""),
        ("study/results.parquet", ""),
        *((f"figures/{name}.csv", "gradleak claims") for name in ("claims", "published")),
        ("figures/table1.csv", "gradleak tables"),
        ("figures/fig6_contrast.csv", "gradleak tables"),
        ("figures/fig4b.png", "gradleak figures"),
        ("figures/fig4b.txt", "gradleak figures"),
        ("theory/lemma41.csv", "gradleak theory"),
        ("survey/table7.csv", "gradleak survey"),
        ("captions/claims.rst", ""),
    ],
)
def test_a_missing_file_is_one_line_that_names_it(copied: Folders, tmp_path: Path, name: str, made_by: str) -> None:
    (tmp_path / name).unlink()
    out = tmp_path / "out.html"
    ran = run(copied, out)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert str(tmp_path / name) in ran.err
    assert made_by in ran.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("figures/claims.csv", ",supported,", ",true,", "verdict 'true' is none of supported, not supported"),
        ("figures/claims.csv", ",strongest_verdict", ",second", "lacks the column 'strongest_verdict'"),
        ("figures/claims.csv", "id,claim", "name,claim", "lacks the column 'id'"),
        ("figures/published.csv", "0.018900", "n/a", "published 'n/a' is not a number"),
        ("figures/table1.csv", "lpips,0.", "lpips,x.", "is not a number"),
        ("study/benchmarks/reconstruct_batch/0.tsv", "90.0", "-", "s '-' is not a number of seconds"),
        ("study/data/photos10.json", "{", "[{", "not JSON"),
        ("captions/claims.rst", "snakemake.config", "snakemake.wildcards", "cannot be rendered"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(
    copied: Folders, tmp_path: Path, name: str, old: str, new: str, message: str
) -> None:
    path = tmp_path / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        render(copied)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_picture_that_is_none(copied: Folders) -> None:
    path = copied.figures / "fig4b.png"
    path.write_bytes(b"%PDF")
    with pytest.raises(UserError, match=r"fig4b\.png: not a PNG; run `gradleak figures` again"):
        render(copied)


def test_the_claims_files_are_those_of_the_claims_command(folders: Folders) -> None:
    assert {path.name for path in folders.figures.iterdir()} >= set(CLAIM_FILES)
