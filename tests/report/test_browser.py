"""The report in a real browser: nothing goes wrong, every figure shows, tables sort and filter."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Page, browser, program

from gradleak.claims.ledger import read_ledger
from gradleak.claims.verdict import VERDICTS
from gradleak.report.page import Folders, render

CLAIMS = "document.querySelector('#claims-table')"
SHOWN = f"Array.from({CLAIMS}.tBodies[0].rows).filter((row) => row.checkVisibility())"
IDS = f"{SHOWN}.map((row) => row.id.slice('claim-'.length))"
EFFECTS = f"{SHOWN}.map((row) => row.cells[4].dataset.value ?? '')"
VERDICT = f"{SHOWN}.map((row) => row.dataset.verdict)"
SEARCH = "form[data-table=claims-table] input[type=search]"


@pytest.fixture(scope="module")
def report(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(folders), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if program() is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with browser(tmp_path_factory.mktemp("browser") / "profile") as page:
        yield page


@pytest.fixture
def page(chromium: Page, report: Path) -> Iterator[Page]:
    """The report, loaded afresh; whatever a test does in it must not cause an error or a warning."""
    chromium.open(report)
    yield chromium
    assert chromium.problems() == []
    assert set(chromium.requests()) == {report.as_uri()}


def head(column: int) -> str:
    return f"#claims-table thead th:nth-child({column}) button"


def box(verdict: str) -> str:
    return f"form[data-table=claims-table] input[value='{verdict}']"


def test_every_figure_shows(page: Page, folders: Folders) -> None:
    figures = page.evaluate(
        "Array.from(document.images, (image) => [image.complete, image.naturalWidth, image.naturalHeight,"
        " image.checkVisibility(), image.getBoundingClientRect().width, image.alt, image.closest('figure').id])"
    )
    assert all(complete and shown and min(wide, high, width) > 0 for complete, wide, high, shown, width, *_ in figures)
    assert all(alt for *_, alt, _ in figures)
    places = [folder for folder in (folders.figures, folders.theory, folders.survey) if folder]
    drawn = {f"file-{path.stem}" for folder in places for path in folder.glob("*.png")}
    assert {figure for *_, figure in figures} == drawn
    assert len(figures) == len(drawn)


def test_headers_sort_numbers_as_numbers_in_both_directions(page: Page) -> None:
    assert page.evaluate(IDS) == [claim.id for claim in read_ledger()]
    page.click(head(5))
    rising = page.evaluate(EFFECTS)
    numbers = [float(value) for value in rising if value]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 3
    assert len({number for number in numbers if number < 0}) > 1, "text sorts negative numbers the wrong way round"
    assert rising[len(numbers) :] == [""] * (len(rising) - len(numbers)), "what has no effect comes last"
    assert page.evaluate(f"{CLAIMS}.tHead.rows[0].cells[4].ariaSort") == "ascending"
    page.click(head(5))
    falling = page.evaluate(EFFECTS)
    assert falling[: len(numbers)] == rising[len(numbers) - 1 :: -1]
    assert set(falling[len(numbers) :]) == {""}
    page.click(head(1))
    assert page.evaluate(IDS) == sorted(claim.id for claim in read_ledger())
    assert page.evaluate(f"{CLAIMS}.tHead.rows[0].cells[4].ariaSort") == "none"
    page.click(head(1))
    assert page.evaluate(IDS) == sorted((claim.id for claim in read_ledger()), reverse=True)
    page.click(head(4))
    order = [VERDICTS.index(word) for word in page.evaluate(VERDICT)]
    assert order == sorted(order)
    assert set(order) == set(range(4)), "the invented study must have every verdict"
    page.click(head(8))
    second = page.evaluate(f"{SHOWN}.map((row) => row.cells[7].dataset.value ?? '')")
    ranks = [int(value) for value in second if value]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) > 1
    assert second[len(ranks) :] == [""] * sum(claim.strongest is None for claim in read_ledger())


def test_text_filters_claims(page: Page) -> None:
    every = page.evaluate(IDS)
    page.type(SEARCH, "local STEP")
    found = page.evaluate(IDS)
    assert 0 < len(found) < len(every)
    assert set(found) == {
        claim.id
        for claim in read_ledger()
        if all(
            word in page.evaluate(f"document.getElementById('claim-{claim.id}').textContent").lower()
            for word in ("local", "step")
        )
    }
    assert page.evaluate("document.querySelector('form[data-table=claims-table] output').textContent") == (
        f"{len(found)} of {len(every)} shown"
    )
    page.type(SEARCH, " no such text")
    assert page.evaluate(IDS) == []
    page.click("form[data-table=claims-table] button[type=reset]")
    assert page.evaluate(IDS) == every


def test_verdicts_filter_claims(page: Page) -> None:
    every = page.evaluate(VERDICT)
    page.click(box("undecided"))
    page.click(box("not tested"))
    assert page.evaluate(VERDICT) == [word for word in every if word in ("supported", "not supported")]
    page.type(SEARCH, "updates-worse")
    assert page.evaluate(IDS) == ["updates-worse"]
    page.click(".tile[data-verdict='not supported']")
    assert page.evaluate(VERDICT) == ["not supported"] * every.count("not supported")
    assert page.evaluate("location.hash") == "#claims"


def test_a_link_to_a_claim_that_is_filtered_out_shows_it(page: Page) -> None:
    page.type(SEARCH, "no such text")
    page.click("#experiment-table1 a[href='#claim-updates-worse']")
    assert page.evaluate("document.getElementById('claim-updates-worse').checkVisibility()")


def test_links_inside_the_page_lead_somewhere(page: Page) -> None:
    lost = "Array.from(document.querySelectorAll('a[href]'), (a) => a.getAttribute('href'))"
    lost += ".filter((to) => !to.startsWith('#') || !document.getElementById(to.slice(1)))"
    assert page.evaluate(lost) == []
    ids = page.evaluate("Array.from(document.querySelectorAll('[id]'), (element) => element.id)")
    assert len(ids) == len(set(ids))


def test_a_figure_is_enlarged_and_closed(page: Page) -> None:
    page.click("#file-fig4b .enlarge")
    shown = "document.querySelector('dialog[open] img')"
    assert page.evaluate(f"{shown}.decode().then(() => {shown}.naturalWidth)") > 0
    assert page.evaluate(f"{shown}.width > document.querySelector('#file-fig4b img').width")
    page.click("dialog button")
    assert page.evaluate(f"{shown} === null")


def test_text_of_studies_is_text(page: Page) -> None:
    assert "<script>console.error" in page.evaluate("document.querySelector('#experiment-table1 h3').textContent")
    assert page.evaluate("document.scripts.length") == 1


def test_the_page_is_as_wide_as_a_phone(page: Page) -> None:
    page.resize(400, 800)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.resize(1280, 1000)
