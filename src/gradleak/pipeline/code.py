"""The files of this package that a stage runs: Snakemake does not see the imports behind a command.

Rules list these files as inputs, so that editing one reruns what it computed, and nothing else. Imports are read
from the source, but for those under `if TYPE_CHECKING:`, which no job runs. Entries of registries, which nothing
imports by name, are given by the caller.
"""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import gradleak
from gradleak.files import sha256
from gradleak.frozen import digest

_ROOT = Path(gradleak.__file__).parent


def code_files(modules: Iterable[str]) -> list[str]:
    """Source files of the given modules and of all package modules that they import, sorted.

    Paths are relative to the working directory where they lie inside it.
    """
    return list(_code_files(frozenset(modules), Path.cwd()))


def code_digest(modules: Iterable[str]) -> str:
    """Hash of the content of `code_files`."""
    return digest([sha256(Path(path)) for path in code_files(modules)])


@cache  # thousands of jobs of a study run the same few sets of modules
def _code_files(modules: frozenset[str], working: Path) -> tuple[str, ...]:
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found and (path := _file(module)) is not None:
            found[module] = path
            waiting += _imports(path)
    return tuple(sorted(_shown(path, working) for path in found.values()))


def resource_files(folder: str, pattern: str = "*.csv") -> list[str]:
    """Files of a folder in `gradleak.resources`, by default all CSV files, sorted."""
    return sorted(_shown(path, Path.cwd()) for path in (_ROOT / "resources" / folder).glob(pattern))


@cache
def _imports(path: Path) -> list[str]:
    names = []
    for node in _run(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("gradleak"):
            # `from gradleak.engine import activation` names a module, `from gradleak.specs import ModelSpec` does not.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.startswith("gradleak")]
    return [name for name in names if _file(name) is not None and name != "gradleak"]


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below a node that a job may run: not those under `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield child
            yield from _run(child)


def _file(module: str) -> Path | None:
    base = _ROOT.joinpath(*module.split(".")[1:])
    if module.split(".")[0] != "gradleak":
        return None
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _shown(path: Path, working: Path) -> str:
    return str(path.relative_to(working)) if path.is_relative_to(working) else str(path)
