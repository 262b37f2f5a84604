"""Registries: how a data set, model, objective, prior, attack or metric becomes known by name."""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from gradleak.errors import UserError
from gradleak.names import check_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to entries of one kind. The entries live in the modules of one package.

    A new entry is one new file in that package with one decorated class or function. The package's modules are
    imported on the first look-up, so nothing else has to be edited.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, T] = {}
        self._origins: dict[str, str] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that adds an entry under `name`.

        Raises ValueError if the name is taken, or cannot be part of a file's (`names.check_name`).
        """
        check_name(name, self.kind)
        origin = sys._getframe(1).f_globals["__name__"]

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self._entries[name] = entry
            self._origins[name] = origin
            return entry

        return add

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")

    def __getitem__(self, name: str) -> T:
        """Look an entry up. Raises UserError that lists the known names."""
        self._discover()
        if name not in self._entries:
            raise UserError(f"unknown {self.kind} '{name}'; known: {', '.join(self.names())}")
        return self._entries[name]

    def origin(self, name: str) -> str:
        """Name of the module that registered an entry. Raises UserError for an unknown one."""
        self[name]
        return self._origins[name]

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._discover()
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())
