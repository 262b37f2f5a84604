"""The state of a long computation in a file, so that a killed job goes on where it was and gives the same bytes."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from gradleak.files import write_text
from gradleak.stopping import Stopped, never
from gradleak.tensors import write_tensors


def own_folder(folder: Path, identity: str) -> Path:
    """Make a folder the place of one computation's states. What another `identity` left there is removed."""
    mark = folder / "identity"
    if not mark.is_file() or mark.read_text(encoding="utf-8", errors="replace") != identity:
        shutil.rmtree(folder, ignore_errors=True)
        write_text(mark, identity)
    return folder


class StateFile:
    """Where a loop keeps its tensors.

    `identity` names what the state belongs to, with the precision that it is computed in; a file with another identity
    is ignored, and so is one that was computed with other CPU threads or on another kind of device. `stop` tells
    whether the process is asked to end.
    """

    def __init__(self, path: Path, identity: str, every_s: float, stop: Callable[[], bool] = never) -> None:
        self._path, self._identity, self._every_s, self._stop = path, identity, every_s, stop
        self._saved = time.monotonic()

    def load(self, tensors: dict[str, Tensor]) -> int:
        """Fill the tensors from the file and return its iteration, or leave them and return 0.

        A file that cannot be read, or is no state, is ignored: what it held can be computed again.
        """
        try:
            stream = safe_open(self._path, framework="pt")
        except (OSError, SafetensorError):
            return 0
        with stream:
            facts = json.loads((stream.metadata() or {}).get("gradleak", "{}"))
            if facts.get("identity") != self._identity_of(tensors):
                return 0
            for name, value in tensors.items():
                value.copy_(stream.get_tensor(name))
        return int(facts["iteration"])

    def stop_if_asked(self, tensors: dict[str, Tensor], iteration: int) -> None:
        """Save and raise Stopped if the process is asked to end."""
        if self._stop():
            self.save(tensors, iteration)
            raise Stopped(f"{self._path}: saved at iteration {iteration}")

    def save_if_due(self, tensors: dict[str, Tensor], iteration: int) -> None:
        """Save if the last save is longer ago than the interval. See also `stop_if_asked`."""
        self.stop_if_asked(tensors, iteration)
        if time.monotonic() - self._saved >= self._every_s:
            self.save(tensors, iteration)

    def save(self, tensors: dict[str, Tensor], iteration: int) -> None:
        """Save atomically."""
        facts = json.dumps({"identity": self._identity_of(tensors), "iteration": iteration})
        write_tensors(tensors, self._path, {"gradleak": facts})
        self._saved = time.monotonic()

    def _identity_of(self, tensors: dict[str, Tensor]) -> str:
        devices = ",".join(sorted({value.device.type for value in tensors.values()}))
        return f"{self._identity} {devices} {torch.get_num_threads()}"


def training_tensors(modules: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Adam]) -> dict[str, Tensor]:
    """All tensors that a training loop needs to go on: parameters and buffers, and Adam's moments, by name.

    They are the live tensors: `StateFile.load` fills them in place. Creates Adam's state where it is not there yet.
    """
    found: dict[str, Tensor] = {}
    for name, module in modules.items():
        found |= {f"{name}/{key}": value for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for index, parameter in enumerate(parameters):
            state = optimizer.state[parameter]
            if not state:
                state["step"] = torch.zeros(())
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
            found |= {f"{name}/{index}/{key}": value for key, value in state.items()}
    return found
