"""Attacks one job with breaching, in the peer's own environment; gradleak is not installed there.

The peer keeps its published configuration `invertinggradients`; only the number of iterations, the step size and
the weight of the total variation are set. Its model is torchvision's ResNet-18 with the stem exchanged.
"""

import contextlib
import importlib.util
import io
import warnings
from pathlib import Path
from types import SimpleNamespace

import torch
from job import Clock, Problem, Settings, work
from torch import Tensor, nn


def _torchvision_operators() -> torch.library.Library | None:
    """Let `import torchvision` succeed where its compiled extension does not load beside this torch.

    The import looks two operators up and never calls them; declaring them is enough.
    """
    found = importlib.util.find_spec("torchvision")
    assert found is not None
    assert found.origin is not None
    try:
        for extension in Path(found.origin).parent.glob("_C*.so"):
            torch.ops.load_library(str(extension))
        return None
    except OSError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library


# Kept alive: the declarations vanish with it.
_OPERATORS = _torchvision_operators()

import breaching  # noqa: E402
from torchvision.models import resnet18  # noqa: E402


def _model(num_classes: int) -> nn.Module:
    model = resnet18(num_classes=num_classes)
    model.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model.eval()


def _configuration(settings: Settings) -> object:
    overrides = [
        f"optim.max_iterations={settings.iterations}",
        f"optim.step_size={settings.lr}",
        f"regularization.total_variation.scale={settings.tv_weight}",
    ]
    # It reports on stdout, which belongs to the measurement, and calls hydra without naming a version.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return breaching.get_attack_config("invertinggradients", overrides=overrides)


def attack(settings: Settings, problem: Problem, clock: Clock) -> tuple[Tensor, float]:
    """See `job.Attack`. An iteration begins with the model's forward pass; scoring the result ends the last one."""
    if settings.trials != 1:
        raise ValueError(f"trials is {settings.trials}; the peer attacks one trial at a time")
    torch.set_num_threads(settings.threads)
    # Full float32 on a GPU, as on our side, and the peer's own choice of tuned convolutions.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    device = torch.device(settings.device)
    model = _model(problem.num_classes)
    for name, tensors, given in (
        ("parameters", list(model.parameters()), problem.parameters),
        ("buffers", list(model.buffers()), problem.buffers),
    ):
        if [t.shape for t in tensors] != [g.shape for g in given]:
            raise ValueError(f"the job's {name} do not fit torchvision's ResNet-18")
    # A function of its own: the peer copies the model, and a bound method would take a copy of the clock along.
    model.register_forward_pre_hook(lambda *_: clock.tick())
    setup = {"dtype": torch.float, "device": device}
    attacker = breaching.attacks.prepare_attack(model, nn.CrossEntropyLoss(), _configuration(settings), setup)
    metadata = SimpleNamespace(
        shape=tuple(problem.start.shape[1:]), mean=problem.mean.tolist(), std=problem.std.tolist(), modality="vision"
    )
    payload = {"parameters": problem.parameters, "buffers": problem.buffers, "metadata": metadata}
    shared = {
        "gradients": [gradient.to(device) for gradient in problem.gradient],
        "buffers": None,
        "metadata": {
            "num_data_points": settings.samples,
            "labels": problem.labels.to(device),
            "local_hyperparams": None,
        },
    }
    found, statistics = attacker.reconstruct([payload], [shared], {}, initial_data=problem.start.to(device))
    mean, std = problem.mean.view(-1, 1, 1), problem.std.view(-1, 1, 1)
    images = (found["data"].detach().cpu() * std + mean).clamp(0, 1)
    return images, min(statistics["Trial_0_Val"])


if __name__ == "__main__":
    work(attack)
