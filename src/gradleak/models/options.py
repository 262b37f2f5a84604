"""Options of models: checked against what the architecture's own parameters say that they are."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, get_args

from gradleak.errors import UserError

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_GIVEN = ("num_classes", "resolution", "width")


def check_options(model: str, factory: Callable[..., Any], options: Mapping[str, object]) -> None:
    """Raise UserError for an option that the factory does not know, or of another type than its parameter.

    Numbers are finite. A parameter of a type that is none of YAML's takes anything.
    """
    parameters = inspect.signature(factory, eval_str=True).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = [name for name in parameters if name not in _GIVEN]
    for name, value in options.items():
        if name not in known:
            there = ", ".join(known) or "none"
            raise UserError(f"model '{model}': options {dict(options)} do not fit: unknown '{name}'; known: {there}")
        annotation = parameters[name].annotation
        types = [*get_args(annotation)] or [annotation]
        if not any(kind not in (*_WORDS, type(None)) for kind in types) and not any(_is(value, one) for one in types):
            allowed = " or ".join("null" if one is type(None) else _WORDS[one] for one in types)
            raise UserError(f"model '{model}': option {name} must be {allowed} (found {value!r})")


def check_range(model: str, **bounds: tuple[int, int, int]) -> None:
    """Raise UserError for the first option whose value is not between its least and its most."""
    for name, (value, least, most) in bounds.items():
        if not least <= value <= most:
            raise UserError(f"model '{model}': option {name} must be {least} to {most} (found {value})")


def _is(value: object, kind: type) -> bool:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return type(value) is kind
    numbers = (int, float) if kind is float else int
    return kind in (int, float) and isinstance(value, numbers) and math.isfinite(value)
