"""The finished rounds of a federated training on disk: what a killed or a longer training goes on from."""

import json
import os
import shutil
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from gradleak.federated.training import Accuracy
from gradleak.files import atomic, write_text
from gradleak.resume import own_folder
from gradleak.stages.common import save_weights


class Rounds:
    """A folder with the weights of rounds, as checkpoints hold them, and the accuracies up to the last round.

    It belongs to one training, computed by one version of the code on one version of the data: `identity`. A folder
    of another is emptied.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder = own_folder(folder, identity)

    def start(self, needed: Collection[int]) -> int:
        """The last round from which training can go on without missing a needed one. 0 is the initialisation."""
        kept = [
            number for number in self._numbers() if self._readable(number) and len(self.accuracies(number)) > number
        ]
        return max((r for r in kept if all(n in kept for n in needed if n <= r)), default=0)

    def load(self, number: int, model: nn.Module) -> None:
        """Put the weights of a kept round into the model."""
        model.load_state_dict(load_file(self._path(number)))

    def accuracies(self, number: int) -> list[Accuracy]:
        """The accuracies of the rounds up to `number`, as far as they are known, round 0 first."""
        try:
            rows = json.loads((self._folder / "accuracy.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            return []
        return [Accuracy(**row) for row in rows if row["round"] <= number]

    def save(self, number: int, model: nn.Module, accuracies: list[Accuracy], keep: Collection[int]) -> None:
        """Save a finished round and forget the one before, unless it is one to keep.

        The weights come last: a round whose weights are there has its accuracy.
        """
        write_text(self._folder / "accuracy.json", json.dumps([asdict(row) for row in accuracies]))
        save_weights(model, self._path(number))
        if number - 1 not in keep:
            self._path(number - 1).unlink(missing_ok=True)

    def publish(self, number: int, out: Path) -> None:
        """Make a kept round a checkpoint file: a second name for the same bytes, or a copy where that is impossible."""
        with atomic(out) as temporary:
            temporary.unlink()
            try:
                os.link(self._path(number), temporary)
            except OSError:
                shutil.copyfile(self._path(number), temporary)
            os.utime(temporary)  # Snakemake compares ages

    def _path(self, number: int) -> Path:
        return self._folder / f"round_{number}.safetensors"

    def _numbers(self) -> list[int]:
        return [int(path.stem.removeprefix("round_")) for path in self._folder.glob("round_*.safetensors")]

    def _readable(self, number: int) -> bool:
        try:
            with safe_open(self._path(number), framework="pt"):
                return True
        except (OSError, SafetensorError):
            return False
