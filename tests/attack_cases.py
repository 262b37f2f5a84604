"""Shared updates of photographs and small generators: what tests of attacks with auxiliary models share."""

import torch
from auxiliary_cases import SIZE
from core_cases import CLASSES

from gradleak.attacks.base import RunContext, Trial
from gradleak.auxiliary.base import parse_auxiliary
from gradleak.federated.client import batch_statistics, local_update
from gradleak.federated.shared_update import LocalTraining, SharedUpdate
from gradleak.models.base import build_model
from gradleak.specs import ClientSpec, ModelSpec

TINY = {"channels": 4, "stages": 1, "layers": 1, "norm": True}
DATASET = {"name": "photos10", "resolution": SIZE}


def share(photos, victims, resolution=SIZE, **client):
    """The update of a client with these test images."""
    return share_images(photos, photos.images("test", victims), photos.labels("test", victims), resolution, **client)


def share_images(photos, images, labels, resolution=SIZE, **client):
    model = build_model(ModelSpec(name="convnet", options=TINY), CLASSES, resolution, photos.mean, photos.std).eval()
    spec = ClientSpec(samples=len(images), **client)
    return SharedUpdate(
        local_update(model, images, labels, spec),
        model,
        0,
        len(images),
        (3, resolution, resolution),
        CLASSES,
        labels,
        LocalTraining.of(spec),
        batch_statistics(model, images),
    )


def trained(name, seed=0, **settings):
    """A configuration and its model with every weight a little off: as after some training, for no cost."""
    config = parse_auxiliary({"name": name, **{"dataset": DATASET, **settings}})
    model = config.build(CLASSES)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=random)
    return config, model


def context_of(model, **settings):
    """A context that gives an attack this model, whichever it asks for."""
    return RunContext(auxiliary=lambda config: model, **settings)


def attack(given, updates, context, seeds=None):
    """Run one attack on all updates, or one each."""
    attacks = given if isinstance(given, list) else [given] * len(updates)
    seeds = seeds or range(1, len(updates) + 1)
    trials = [Trial(*parts) for parts in zip(attacks, updates, seeds, strict=True)]
    return attacks[0].run(trials, context)
