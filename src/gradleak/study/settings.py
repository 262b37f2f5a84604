"""Settings that a search has found (`gradleak tune`), as studies read them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradleak.errors import UserError
from gradleak.study.config import read_yaml
from gradleak.study.nested import merged


class TunedSettings:
    """The files of one folder, each read once: `NAME.yaml` holds the settings under `attack`."""

    def __init__(self, folder: Path) -> None:
        self._folder = Path(os.path.normpath(folder))
        self._read: dict[str, dict[str, Any]] = {}

    def under(self, attack: Mapping[str, Any], name: object, where: str) -> dict[str, Any]:
        """The mapping of an attack with the tuned settings `name` under its own keys, which win.

        Raises UserError naming `where` if there is no such file, or if it is for another attack.
        """
        found = self._settings(name, where)
        if attack.get("name", found["name"]) != found["name"]:
            raise UserError(
                f"{where}: attack.tuned: '{name}' holds settings of attack '{found['name']}', "
                f"but attack.name is '{attack['name']}'"
            )
        return merged(found, attack)

    def _settings(self, name: object, where: str) -> dict[str, Any]:
        known = sorted(path.stem for path in self._folder.glob("*.yaml"))
        if not isinstance(name, str) or name not in known:
            there = ", ".join(known) or f"none in {self._folder}"
            raise UserError(f"{where}: attack.tuned: unknown tuned settings {name!r}; known: {there}")
        if name not in self._read:
            path = self._folder / f"{name}.yaml"
            attack = read_yaml(path).get("attack")
            if not isinstance(attack, dict) or "name" not in attack:
                raise UserError(f"{path}: attack must be a mapping with a 'name' (found {attack!r})")
            self._read[name] = attack
        return self._read[name]
