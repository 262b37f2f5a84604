"""Frozen settings: the base of every description of an experiment, its columns and its hash."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from gradleak.errors import UserError, first_error

Scalar = str | int | float | bool | None

#: Whole numbers beyond this are none of the columns' and of the random generators' 64 bits.
LARGEST = 2**63 - 1


class Frozen(BaseModel):
    """Base of what files say: immutable; an unknown key, NaN, an infinite number, and a truth as number are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _only_numbers(cls, content: Any) -> Any:
        """`lr: true` is not 1, and a whole number has 64 bits."""
        if isinstance(content, dict):
            for key, value in ((k, v) for k in content if k in _numeric(cls) for v in _leaves(content[k])):
                if isinstance(value, bool):
                    raise wrong(key, f"must be a number (found {str(value).lower()})")
                if isinstance(value, int) and abs(value) > LARGEST:
                    raise wrong(key, "must be below 2^63")
        return content

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields changed, not validated. What was cached of the original is not the copy's."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields:
            del copied.__dict__[name]
        return copied

    @classmethod
    def parse(cls, content: object, where: str) -> Self:
        """Validate parsed YAML or JSON. Raises UserError naming `where`, the key, the value and what is allowed."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise UserError(f"{where}: {first_error(error)}") from None


def wrong(key: str, message: str) -> PydanticCustomError:
    """What a validator of whole settings raises of one of its keys."""
    return PydanticCustomError("key", "{message}", {"message": message, "key": key})


@cache
def _numeric(model: type[BaseModel]) -> frozenset[str]:
    """The fields that take numbers, alone or in lists and mappings, and no booleans."""
    types = {name: {*_parts(field.annotation)} for name, field in model.model_fields.items()}
    return frozenset(name for name, found in types.items() if found & {int, float} and bool not in found)


def _parts(annotation: Any) -> Iterator[Any]:
    if isinstance(annotation, type):
        yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        yield value
        return
    for item in value:
        yield from _leaves(item)


def flatten(content: dict[str, Any], prefix: str = "") -> list[tuple[str, Scalar]]:
    """Nested content as pairs of column and value; keys are joined by underscores, lists are text."""
    rows: list[tuple[str, Scalar]] = []
    for key, value in content.items():
        if isinstance(value, dict):
            rows += flatten(value, f"{prefix}{key}_")
        elif isinstance(value, list):
            rows.append((prefix + key, ", ".join(str(item) for item in value)))
        else:
            rows.append((prefix + key, value))
    return rows


def digest(content: object) -> str:
    """Hash of JSON-like content: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
