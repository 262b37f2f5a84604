"""Frozen settings: the base of every description of an experiment, its columns and its hash."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from gradleak.errors import UserError, first_error

Scalar = str | int | float | bool | None


class Frozen(BaseModel):
    """Base of what files say: immutable; an unknown key, NaN and an infinite number are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

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
