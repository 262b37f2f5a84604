"""The commands, links and file names of README and docs."""

import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: A line of a code block, or text between backticks, that begins with one of these is a command.
PROGRAMS = (
    "gradleak",
    "snakemake",
    "make",
    "python",
    "pip",
    "eval",
    "apt-get",
    "sha256sum",
    "cp",
    "cmp",
    "podman",
    "docker",
)
#: Languages of code blocks that hold commands; what is none of a shell's is marked `text`.
SHELL = ("", "console", "sh", "bash")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Command:
    """A command as it stands on a page, without its comment."""

    page: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


@cache
def pages() -> dict[str, str]:
    """README and docs, by path."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def commands() -> list[Command]:
    """Every command on every page, in their order, each once a page."""
    found = [
        Command(page, command)
        for page, text in pages().items()
        for command in [*(line for fence in FENCE.findall(text) for line in lines(*fence)), *spans(prose(text))]
    ]
    return list(dict.fromkeys(found))


def lines(language: str, block: str) -> list[str]:
    """The commands of a code block: lines behind a `$`, or all lines if the first one is a command."""
    if language not in SHELL:
        return []
    block = re.sub(r"\\\n\s*", "", block)
    typed = re.findall(r"^\$ (.*)$", block, re.MULTILINE)
    if not typed and block.split(maxsplit=1)[0] in PROGRAMS:
        typed = block.splitlines()
    return [text for line in typed if (text := uncommented(line))]


def spans(text: str) -> list[str]:
    """Commands between backticks; `gradleak NAME` alone names a command, and `make` the tool."""
    found = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]
    return [span for span in found if span.split(maxsplit=1)[:1] and span.split()[0] in PROGRAMS and " " in span]


def prose(text: str) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", text)


def uncommented(line: str) -> str:
    """A line without a comment at its end, quotes respected."""
    for end in (match.start() for match in re.finditer(r"(?:^|\s)#", line)):
        if line[:end].count("'") % 2 == 0 and line[:end].count('"') % 2 == 0:
            return line[:end].strip()
    return line.strip()


def words(text: str) -> list[str]:
    """A command as the shell takes it; `...` stands for what the reader adds."""
    return [word for word in shlex.split(text) if word != "..."]


def headings(text: str) -> set[str]:
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
