"""Figure 3, computed: the product of Eq. (6) over the logit, and what updates of several steps make of a photograph."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gradleak.theory.inversion import inverses
from gradleak.theory.logit import logits, product, slope
from gradleak.theory.network import random_network, with_logit
from gradleak.theory.photographs import photographs
from gradleak.theory.theorem42 import rate_unit, updates

SIDE, LOGIT, RATE, STEPS = 24, -0.5, 0.3, (1, 2, 4, 8)
WIDTHS = (SIDE**2, 600, 624)
PHOTOGRAPH = 28


@dataclass(frozen=True)
class Example:
    """One image, inverted from updates of U steps.

    points: columns `U`, `product` (the update's, Eq. 16), `mu` (the logit found), `mu_predicted` (Eq. 9), `along` and
    `across`: relative error along the image and across it. truth: image (side, side); found: those of `STEPS`.
    """

    points: pd.DataFrame
    truth: Tensor
    found: list[Tensor]


def example() -> Example:
    """Train a network of `WIDTHS` on one photograph and invert its updates."""
    x = photographs([PHOTOGRAPH], SIDE)
    generator = torch.Generator().manual_seed(1)
    network, y = with_logit(random_network(WIDTHS, 0.2, generator), x, LOGIT)
    lr = RATE / rate_unit(network, x, y)
    rows, images = [], []
    for steps, update in enumerate(updates(network, x, y, lr, max(STEPS)), start=1):
        if steps not in STEPS:
            continue
        value = float((update[-1] * network.weights[-1]).sum())
        mu = logits(value)[0]
        image = inverses(network, update, y, mu)
        along = float((image - x) @ x.T / x.square().sum())
        across = float((image - (1 + along) * x).norm() / x.norm())
        predicted = LOGIT + (value - product(LOGIT)) / slope(LOGIT)
        rows.append(
            {"U": steps, "product": value, "mu": mu, "mu_predicted": predicted, "along": along, "across": across}
        )
        images.append(image.view(SIDE, SIDE))
    return Example(pd.DataFrame(rows), x.view(SIDE, SIDE), images)


def curve(low: float = -6.0, high: float = 6.0, points: int = 241) -> pd.DataFrame:
    """G over the logit: columns `mu`, `product`."""
    mus = np.linspace(low, high, points)
    return pd.DataFrame({"mu": mus, "product": [product(float(mu)) for mu in mus]})
