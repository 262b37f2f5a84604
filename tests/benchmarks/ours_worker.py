"""Attacks one job with gradleak, set up as its command line sets a process up."""

import torch.nn.functional as F
from job import Clock, Problem, Settings, work
from torch import Tensor

from gradleak.attacks.base import RunContext, Trial
from gradleak.attacks.gia_o import GiaO
from gradleak.engine.descent import DescentConfig
from gradleak.engine.device import prepare_device
from gradleak.federated.shared_update import SharedUpdate
from gradleak.models.base import Classifier, build_model
from gradleak.priors.base import PRIORS, Moments, Prior
from gradleak.specs import ModelSpec


@PRIORS.register("tv_peer")
class PeerTotalVariation(Prior):
    """Total variation as the peer defines it, so that both sides minimise the same function.

    It differs from `tv` in three ways: it is taken on the normalised image; the last row and column also count the
    step to a border of zeros; and the mean runs over all pixels, not over pairs.
    """

    def __init__(self, updates: list[SharedUpdate]) -> None:
        super().__init__(updates)
        model = updates[0].model
        assert isinstance(model, Classifier)
        self._normalise = model.normalise

    def __call__(self, images: Tensor, moments: Moments) -> Tensor:
        """Penalty (T,)."""
        x = self._normalise(images)
        across = F.pad(x, (0, 1)).diff(dim=-1).abs()
        down = F.pad(x, (0, 0, 0, 1)).diff(dim=-2).abs()
        return (across + down).mean(dim=(1, 2, 3, 4))


def attack(settings: Settings, problem: Problem, clock: Clock) -> tuple[Tensor, float]:
    """See `job.Attack`; the images are those of the first trial."""
    prepare_device(settings.device, settings.threads, settings.precision)
    side = problem.start.shape[-1]
    mean, std = problem.mean.tolist(), problem.std.tolist()
    model = build_model(ModelSpec(name="resnet18"), problem.num_classes, side, mean, std)
    for ours, given in zip(model.network.parameters(), problem.parameters, strict=True):
        ours.data.copy_(given)
    for ours, given in zip(model.network.buffers(), problem.buffers, strict=True):
        ours.data.copy_(given)
    names = [name for name, _ in model.named_parameters()]
    update = SharedUpdate(
        update=dict(zip(names, problem.gradient, strict=True)),
        model=model,
        round=0,
        samples=settings.samples,
        image_shape=(3, side, side),
        num_classes=problem.num_classes,
        labels=problem.labels,
    )
    gia_o = GiaO(
        objective="cosine",
        priors={"tv_peer": settings.tv_weight},
        init="normal",
        descent=DescentConfig(
            iterations=settings.iterations, lr=settings.lr, schedule="step", signed=True, box=True, patience=None
        ),
    )
    seeds = [settings.seed + trial for trial in range(settings.trials)]
    context = RunContext(device=settings.device, progress=clock.tick)
    found = gia_o.run([Trial(gia_o, update, seed) for seed in seeds], context)
    return found.images[0, 0], float(found.objective[0, 0])


if __name__ == "__main__":
    work(attack)
