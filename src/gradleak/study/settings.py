"""Settings of attacks that studies name: published ones, and those that a search has found (`gradleak tune`)."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradleak.documents import read_yaml
from gradleak.errors import UserError
from gradleak.study.nested import merged

#: By the key under `attack` that names a file, the folder that it lies in. A later key's settings win.
FOLDERS = {"published": "attacks", "tuned": "tuned"}


class AttackSettings:
    """The files in `folder`/attacks and `folder`/tuned, each read once; a file holds the settings under `attack`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, dict[str, Any]] = {}

    def named(self, attack: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The settings that `attack` names by `published` and `tuned`; empty if it names none.

        Tuned settings win key by key over published ones, but their `priors` replace the published ones as a whole: a
        search finds priors that belong together. Raises UserError naming `where` if there is no such file, or if it is
        for another attack than `attack` or the other file.
        """
        settings: dict[str, Any] = {}
        name = attack.get("name")
        for key in FOLDERS:
            if attack.get(key) is None:
                continue
            found = self._file(key, attack[key], where)
            if name is not None and name != found["name"]:
                raise UserError(
                    f"{where}: attack.{key}: '{attack[key]}' holds settings of attack '{found['name']}', "
                    f"but attack.name is '{name}'"
                )
            name = found["name"]
            if "priors" in found:
                settings.pop("priors", None)
            settings = merged(settings, found)
        return settings

    def _file(self, key: str, name: object, where: str) -> dict[str, Any]:
        folder = Path(os.path.normpath(self._folder / FOLDERS[key]))
        known = sorted(path.stem for path in folder.glob("*.yaml"))
        if not isinstance(name, str) or name not in known:
            there = ", ".join(known) or f"none in {folder}"
            raise UserError(f"{where}: attack.{key}: unknown {key} settings {name!r}; known: {there}")
        path = folder / f"{name}.yaml"
        if path not in self._read:
            attack = read_yaml(path).get("attack")
            if not isinstance(attack, dict) or "name" not in attack:
                raise UserError(f"{path}: attack must be a mapping with a 'name' (found {attack!r})")
            self._read[path] = attack
        return self._read[path]
