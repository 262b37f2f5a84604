"""How training images are split among clients: every image goes to exactly one client, each client has at least one."""

import numpy as np
from numpy.typing import NDArray

from gradleak.errors import UserError
from gradleak.specs import FederatedSpec

Indices = NDArray[np.int64]


def split_images(labels: Indices, spec: FederatedSpec, random: np.random.Generator) -> list[Indices]:
    """Indices of each client's images, ascending, for images with labels (n,). Raises UserError for too few images."""
    if len(labels) < spec.clients:
        raise UserError(f"model.training.clients is {spec.clients}, but there are only {len(labels)} training images")
    if spec.victim_images is None:
        return _among(labels, spec.clients, spec, random)
    if len(labels) - spec.victim_images < spec.clients - 1:
        raise UserError(
            f"model.training.victim_images is {spec.victim_images}, but of the {len(labels)} training images each of "
            f"the other {spec.clients - 1} clients needs one"
        )
    order = random.permutation(len(labels))
    victim, others = np.sort(order[: spec.victim_images]), np.sort(order[spec.victim_images :])
    return [victim, *(others[part] for part in _among(labels[others], spec.clients - 1, spec, random))]


def _among(labels: Indices, clients: int, spec: FederatedSpec, random: np.random.Generator) -> list[Indices]:
    if spec.split == "iid":
        return iid(len(labels), clients, random)
    assert spec.alpha is not None
    return dirichlet(labels, clients, spec.alpha, random)


def iid(images: int, clients: int, random: np.random.Generator) -> list[Indices]:
    """A random partition into parts whose sizes differ by at most one."""
    return [np.sort(part) for part in np.array_split(random.permutation(images), clients)]


def dirichlet(labels: Indices, clients: int, alpha: float, random: np.random.Generator) -> list[Indices]:
    """Each class is divided in proportions drawn from a symmetric Dirichlet distribution (Hsu et al. 2019).

    A small `alpha` gives clients with few classes. A client that would get nothing takes one image of the client
    that has the most.
    """
    parts: list[list[int]] = [[] for _ in range(clients)]
    for label in np.unique(labels):
        own = random.permutation(np.flatnonzero(labels == label))
        shares = random.dirichlet(np.full(clients, alpha))
        cuts = np.floor(np.cumsum(shares)[:-1] * len(own) + 0.5).astype(int)
        for part, chosen in zip(parts, np.split(own, cuts), strict=True):
            part.extend(chosen.tolist())
    for part in parts:
        if not part:
            part.append(max(parts, key=len).pop())
    return [np.sort(np.array(part, dtype=np.int64)) for part in parts]
