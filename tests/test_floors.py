"""No import climbs: the rooms stand on floors, which docs/architecture.md lists from the ground up."""

import ast
import re
from pathlib import Path

import pytest

import gradleak

PACKAGE = Path(gradleak.__file__).parent
PAGE = PACKAGE.parents[1] / "docs" / "architecture.md"


def floors(text: str) -> list[list[str]]:
    """Rooms by floor, the ground first: the names in the first column of the table under the heading `Rooms`."""
    section = text.split("## Rooms", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
    return [re.findall(r"`(\w+)`", row) for row in rows]


FLOOR = {room: number for number, rooms in enumerate(floors(PAGE.read_text(encoding="utf-8"))) for room in rooms}


def room(module: str) -> str:
    """The first part of a module's name below the package: a folder, or a module at the root."""
    return module.split(".")[1]


def imported(source: str) -> set[str]:
    """Rooms of the package that a module's source imports, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            outer = node.module == "gradleak"
            names = [f"gradleak.{alias.name}" for alias in node.names] if outer else [node.module or ""]
        found |= {room(name) for name in names if name.startswith("gradleak.")}
    return found - {"__version__"}


def climbs(own: str, source: str, floor: dict[str, int]) -> list[str]:
    """Rooms above, or beside on the same floor, that a module of the room `own` imports."""
    return sorted(name for name in imported(source) - {own} if floor[name] >= floor[own])


FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.parts)


def test_the_page_lists_every_room_once() -> None:
    rooms = {path.parts[0].removesuffix(".py") for path in FILES} - {"__init__", "__main__", "resources"}
    listed = [name for names in floors(PAGE.read_text(encoding="utf-8")) for name in names]
    assert sorted(listed) == sorted(rooms)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_import_climbs(path: Path) -> None:
    own = path.parts[0].removesuffix(".py")
    if own in ("__init__", "__main__", "resources"):
        return
    assert not climbs(own, (PACKAGE / path).read_text(encoding="utf-8"), FLOOR)


def test_a_climbing_import_is_found_wherever_it_stands() -> None:
    floor = {"errors": 0, "data": 1, "models": 1, "study": 2}
    assert climbs("errors", "from gradleak.study.cell import Cell", floor) == ["study"]
    assert climbs("data", "if TYPE_CHECKING:\n    from gradleak.study import cell", floor) == ["study"]
    assert climbs("data", "import gradleak.models.base", floor) == ["models"]
    assert climbs("study", "from gradleak.errors import UserError\nimport torch", floor) == []
    assert climbs("errors", "def late():\n    from gradleak.study.cell import Cell", floor) == ["study"]
    assert climbs("errors", "class A:\n    from gradleak import study", floor) == ["study"]
