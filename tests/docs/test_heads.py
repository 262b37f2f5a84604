"""Every page of docs says on top what it is for, which command belongs to it, and where the result lies."""

import re

import pytest
from pages import PROGRAMS, pages

HEAD = re.compile(
    r"# [^\n]+\n\n- For: (?P<purpose>[^\n]+)\n- Command: (?P<command>[^\n]+)\n- Result: (?P<result>[^\n]+)\n\n"
)


@pytest.mark.parametrize("page", [page for page in pages() if page.startswith("docs/")])
def test_a_page_begins_with_three_lines(page: str) -> None:
    head = HEAD.match(pages()[page])
    assert head, f"{page}: below the title come `- For: ...`, `- Command: ...`, `- Result: ...`"
    assert any(span.split()[0] in PROGRAMS for span in re.findall(r"`([^`]+)`", head["command"])), f"{page}: no command"
    assert re.search(r"`[^`]+`", head["result"]), f"{page}: no place of the result"
    assert all(line.endswith(".") for line in head.groups()), f"{page}: end the three lines with a full stop"
