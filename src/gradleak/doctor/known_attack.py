"""A small attack whose numbers are known: it shows that this machine computes what others do.

To renew the stored numbers: `python -m gradleak.doctor.known_attack > src/gradleak/resources/doctor/attack.json`.
"""

import json
from importlib import resources

import torch

from gradleak.attacks.base import RunContext, Trial
from gradleak.attacks.gia_o import GiaO
from gradleak.data.opening import open_dataset
from gradleak.doctor.base import Finding, Place
from gradleak.engine.device import prepare_device
from gradleak.errors import UserError
from gradleak.federated.client import local_update
from gradleak.federated.shared_update import SharedUpdate
from gradleak.models.base import build_model
from gradleak.specs import ClientSpec, ModelSpec

_RESOLUTION, _VICTIMS = 16, (0, 100, 200, 300)
# Smooth and from grey, so that the descent does not magnify the last bits, in which kinds of CPUs differ.
_MODEL = ModelSpec(name="convnet", options={"channels": 16, "stages": 2, "layers": 1, "activation": "sigmoid"})
_ATTACK = {"init": "grey", "priors": {"tv": 1e-3}, "descent": {"iterations": 200, "lr": 0.05, "signed": True}}
#: What numbers may be off by. A start moved by 1e-5, a hundred times what rounding does, moves the PSNR by 0.01 and not
#: the update. A convolution off by 1 % moves the update by 0.006, one shifted by a pixel the PSNR by 7.
_TOLERANCE = {"update": 0.005, "objective": 0.001, "psnr": 1.0}


def attack(place: Place) -> Finding:
    """Whether the attack's numbers are the stored ones, within the tolerance that is stored with each."""
    text = resources.files("gradleak.resources.doctor").joinpath("attack.json").read_text(encoding="utf-8")
    known: dict[str, float] = json.loads(text)
    try:
        found = measure()
    except UserError as error:
        return Finding("fault", f"attack: {error}")
    # Asked this way round, a number that is nan is off.
    off = [name for name, value in found.items() if not abs(value - known[name]) <= _TOLERANCE[name]]
    shown = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
    if not off:
        return Finding(f"{shown}: as known")
    wrong = ", ".join(f"{name} is {found[name]:.6g}, must be {known[name]:.6g}" for name in off)
    return Finding(
        shown, f"attack: this machine computes other numbers ({wrong}); remove .venv, run `make`, then `make test`"
    )


def measure() -> dict[str, float]:
    """Norm of the first client's update, mean final objective and mean PSNR (dB) of four attacks on one image each."""
    threads = torch.get_num_threads()
    prepare_device("cpu", threads=1, precision="float32")
    dataset = open_dataset("photos10", _RESOLUTION, {})
    model = build_model(_MODEL, dataset.num_classes, _RESOLUTION, dataset.mean, dataset.std)
    images, labels = dataset.images("test", _VICTIMS), dataset.labels("test", _VICTIMS)
    config = GiaO.model_validate(_ATTACK)
    trials = []
    for index in range(len(_VICTIMS)):
        one, label = images[index : index + 1], labels[index : index + 1]
        update = local_update(model, one, label, ClientSpec())
        shape = (3, _RESOLUTION, _RESOLUTION)
        trials.append(Trial(config, SharedUpdate(update, model, 0, 1, shape, dataset.num_classes, label), index))
    found = config.run(trials, RunContext())
    torch.set_num_threads(threads)
    squares = [value.double().square().sum() for value in trials[0].update.update.values()]
    errors = (found.images[:, 0, 0] - images).double().square().mean(dim=(1, 2, 3))
    return {
        "update": float(torch.stack(squares).sum().sqrt()),
        "objective": float(found.objective.mean()),
        "psnr": float((-10 * errors.log10()).mean()),
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
