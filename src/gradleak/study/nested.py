"""Nested mappings as YAML has them: set a value by its dotted path, look one up, merge, copy."""

from collections.abc import Mapping
from typing import Any

from gradleak.errors import UserError


def assign(content: dict[str, Any], settings: Mapping[str, Any], where: str) -> None:
    """Set values by dotted paths, in place. Mappings on the way are made where they are missing.

    Raises UserError naming `where` for a path that goes through something else than a mapping.
    """
    for path, value in settings.items():
        *parents, leaf = path.split(".")
        node = content
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise UserError(f"{where}: key '{path}' goes through '{parent}', which is not a mapping")
        node[leaf] = copied(value)


def find(content: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path. Raises KeyError where there is none."""
    node: Any = content
    for key in path.split("."):
        if not isinstance(node, Mapping):
            raise KeyError(path)
        node = node[key]
    return node


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A new mapping with the keys of both, where `over` wins. Nested mappings are merged likewise.

    An empty mapping in `over` stays empty: it says that there is nothing, not that nothing is said.
    """
    result = copied(dict(under))
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(below, dict) and isinstance(value, dict) and value
        result[key] = merged(below, value) if both else copied(value)
    return result


def copied(value: Any) -> Any:
    """A copy of nested mappings and lists in which no two are one, as aliases of YAML are."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value
