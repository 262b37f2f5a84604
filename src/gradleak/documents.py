"""YAML and JSON that people write or send: read whole, within limits, and never executed."""

import json
import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from gradleak.errors import UserError

#: Most bytes of a YAML file, deepest nesting, and most values, each alias counted as what it stands for.
MOST_BYTES, DEEPEST, MOST_VALUES = 10_000_000, 100, 1_000_000

_CORE = "tag:yaml.org,2002:"
_TAGS = frozenset(_CORE + name for name in ("bool", "null", "int", "float", "str", "merge", "map", "seq"))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.1 without its traps: 1e-3 is a number; 1:30, 010 and 2020-01-31 are text, not 90, 8 and a date."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


for _tag, _pattern, _first in (
    (_CORE + "bool", r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO"),
    (_CORE + "null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    (_CORE + "int", r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)", "-+0123456789"),
    (
        _CORE + "float",
        r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)"
        r"|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    (_CORE + "merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})$"), list(_first))


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """A text file's content. Raises UserError unless it is a regular file in UTF-8 of at most so many bytes."""
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: cannot be read (it is no regular file)")
        if path.stat().st_size > most:
            raise UserError(f"{path}: cannot be read (larger than {most:,} bytes)")
        return path.read_text(encoding="utf-8-sig")
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8") from None
    except ValueError:
        raise UserError(f"{path}: cannot be read (no name of a file)") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Parse a YAML file that holds a mapping. Raises UserError if it cannot be read or is something else."""
    content = parse_yaml(read_text(path), str(path))
    if content is None:
        raise UserError(f"{path}: is empty; must hold a mapping of keys to values")
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold a mapping of keys to values, found {type(content).__name__}")
    return content


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML. A key that is there twice, and what is too deep or too large, is an error. Raises UserError."""
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            _check_depth(depth, where)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _measure(loader, node, where, {}, ())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        problem = " ".join(f"{error.context or ''} {error.problem or ''}".split())
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UserError(f"{where}: not valid YAML ({line}{problem})") from None
    except (yaml.YAMLError, ValueError, LookupError, OverflowError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{where}: not valid YAML ({' '.join(str(error).split())})") from None


def _check_depth(depth: int, where: str) -> None:
    if depth > DEEPEST:
        raise UserError(f"{where}: not valid YAML (nested more than {DEEPEST} deep)")


def _measure(
    loader: Any, node: yaml.Node, where: str, known: dict[int, tuple[int, int]], above: tuple[int, ...]
) -> tuple[int, int]:
    """How many values a node holds and how deep it is, with aliases as what they stand for; checks its keys."""
    line = f"line {node.start_mark.line + 1}"
    if node.tag not in _TAGS:
        raise UserError(
            f"{where}: not valid YAML ({line}: the tag {node.tag.replace('tag:yaml.org,2002:', '!!')} is not known)"
        )
    if isinstance(node, yaml.ScalarNode):
        return 1, 0
    if id(node) in known:
        return known[id(node)]
    if id(node) in above:
        raise UserError(f"{where}: not valid YAML ({line}: an alias stands for what it is part of)")
    children = node.value
    if isinstance(node, yaml.MappingNode):
        _check_keys(loader, node, where)
        children = [value for _, value in node.value]
    found = [_measure(loader, child, where, known, (*above, id(node))) for child in children]
    size, height = 1 + sum(size for size, _ in found), 1 + max((height for _, height in found), default=0)
    if size > MOST_VALUES:
        raise UserError(f"{where}: not valid YAML ({line}: its aliases stand for more than {MOST_VALUES:,} values)")
    _check_depth(len(above) + height, where)
    known[id(node)] = size, height
    return size, height


def _check_keys(loader: Any, node: yaml.MappingNode, where: str) -> None:
    seen: set[object] = set()
    for key, _ in node.value:
        line = f"line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise UserError(f"{where}: not valid YAML ({line}: a key must be text or a number)")
        if key.tag == _CORE + "bool" and not key.style:
            key.tag = _CORE + "str"  # the keys `on`, `no` and `y` are what they look like
        found = "<<" if key.tag.endswith(":merge") else loader.construct_object(key)
        if found in seen:
            raise UserError(f"{where}: the key {found!r} is there twice ({line}); keep one of them")
        seen.add(found)


def read_json(path: Path, most: int = 1_000_000_000) -> Any:
    """Parse a JSON file. Raises UserError as `read_text` and `parse_json` do."""
    return parse_json(read_text(path, most), str(path))


def parse_json(text: str, where: str) -> Any:
    """Parse JSON. Raises UserError for what is none, or is nested too deeply to be read."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error})") from None
    except RecursionError:
        raise UserError(f"{where}: not JSON (nested too deeply)") from None
