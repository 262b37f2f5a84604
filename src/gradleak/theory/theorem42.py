"""Theorem 4.2: the closed form applied to an update of several steps, measured beside Eqs. (8) and (9)."""

from collections.abc import Iterator

import pandas as pd
import torch
from torch import Tensor

from gradleak.theory.inversion import ROUTES
from gradleak.theory.logit import LEAST, logits, product, sensitivity
from gradleak.theory.network import Network, aligned, orthogonal_network, random_network, with_logit

SIZE, HIDDEN, LEAK = 32, (40, 48), 0.2
STEPS = (1, 2, 3, 4, 6, 8, 12, 16)
LOGITS = (-2.0, -0.5, 0.05)
RATES = (0.01, 0.3, 3.0)
STARTS = (0.02, 0.04, 0.07, 0.14, 0.3, 0.6)
TRIALS, MOST = 4, 32
NETWORKS = ("aligned", "widening")
ADVERSARIES = ("sum", "mean")


def measure(trials: int = TRIALS) -> pd.DataFrame:
    """Train U full-batch steps on one image and invert the update.

    One row per network, logit, rate, trial, U and adversary.

    `network`: `aligned` meets the conditions of Eq. (8) (see `inversion.printed`, the route that is taken there),
    `widening` is generic (route `inverses`). `mu`: the true logit. `rate`: learning rate times |d mu / d W|^2 at W^0,
    so that the first step raises the logit by about rate / (1 + e^mu). `adversary`: `sum` takes the whole update for
    one gradient, as the theorem does, `mean` knows U and divides by it.

    Measured: `product` (what Eq. 16 has on its right), `solvable` (whether any logit satisfies Eq. 16), and where one
    does, `mu_found` (the solution nearest to the truth, as a lucky adversary would choose), `error` of the image
    relative to its length, and the parts of this error `along` the image (signed: brightness) and `across` it
    (content). Predicted: `mu_predicted` by Eq. (9), `error_eq8` by Eq. (8) with the logit found, `error_eq9` by Eqs.
    (8) and (9).
    """
    rows = []
    for name in NETWORKS:
        # The length of the aligned network's last layer is fixed, so its logit is set by the image's length.
        for mu in LOGITS:
            for rate in RATES:
                for trial in range(trials):
                    network, x, y = _case(name, mu, trial)
                    lr = rate / rate_unit(network, x, y)
                    keys = {"network": name, "mu": mu, "rate": rate, "trial": trial}
                    rows += [{**keys, **row} for row in _follow(network, x, y, lr, mu)]
    return pd.DataFrame(rows)


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Medians over trials of what was measured and predicted, from `measure`, and the share of trials with a solution.

    Where some trial has no solution, what was measured is NaN: no average runs over survivors.
    """
    keys, found = ["network", "mu", "rate", "adversary", "U"], ["error_eq8", "error", "along", "across"]
    groups = frame.groupby(keys, sort=False)
    table = groups[["error_eq9", *found]].median()
    share = groups["solvable"].mean()
    table[found] = table[found].where(share == 1)
    return table.assign(solvable=share).reset_index()


def limits(trials: int = TRIALS) -> pd.DataFrame:
    """Up to which U Eq. (16) has a solution, by logit and rate; one row per `mu`, `rate` and `trial`.

    `steps`: the greatest U (at most `MOST`) up to which the summed product stays at or above the least value of
    Eq. (6). `steps_slow`: the same in the limit of a rate of 0, where every step has the same gradient.
    """
    rows = []
    for mu in STARTS:
        slow = min(MOST, int(LEAST / product(mu)))
        for rate in RATES[:2]:
            for trial in range(trials):
                network, x, y = _case("widening", mu, trial)
                lr = rate / rate_unit(network, x, y)
                steps = 0
                for update in updates(network, x, y, lr, MOST):
                    if _product(network, update) < LEAST:
                        break
                    steps += 1
                rows.append({"mu": mu, "rate": rate, "trial": trial, "steps": steps, "steps_slow": slow})
    return pd.DataFrame(rows)


def _case(name: str, mu: float, trial: int) -> tuple[Network, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(trial)
    x = torch.rand(1, SIZE, generator=generator, dtype=torch.float64)
    if name == "widening":
        network, y = with_logit(random_network((SIZE, *HIDDEN), LEAK, generator), x, mu)
        return network, x, y
    network = orthogonal_network(SIZE, 3, LEAK, generator)
    x = x * (abs(mu) / network.features(x)[-1].norm())
    return aligned(network, x), x, torch.full((1,), 1.0 if mu > 0 else -1.0, dtype=torch.float64)


def rate_unit(network: Network, x: Tensor, y: Tensor) -> float:
    """|d mu / d W|^2 over all layers: the gradient's, divided by dl/dmu."""
    slope = torch.sigmoid(-network.logit(x, y))
    return float(sum((gradient / slope).square().sum() for gradient in network.gradients(x, y)))


def updates(network: Network, x: Tensor, y: Tensor, lr: float, steps: int) -> Iterator[tuple[Tensor, ...]]:
    """(W^0 - W^U) / lr, the sum of the gradients of U steps, for U = 1, 2, ... (the paper has the other sign)."""
    local, update = network, tuple(torch.zeros_like(weight) for weight in network.weights)
    for _ in range(steps):
        gradients = local.gradients(x, y)
        local = local.stepped(gradients, lr)
        update = tuple(total + gradient for total, gradient in zip(update, gradients, strict=True))
        yield update


def _product(network: Network, update: tuple[Tensor, ...]) -> float:
    return float((update[-1] * network.weights[-1]).sum())


def _follow(network: Network, x: Tensor, y: Tensor, lr: float, mu: float) -> Iterator[dict[str, object]]:
    invert = ROUTES["printed" if network.weights[0].shape[0] == network.weights[0].shape[1] else "inverses"]
    for steps, update in enumerate(updates(network, x, y, lr, max(STEPS)), start=1):
        if steps not in STEPS:
            continue
        for adversary in ADVERSARIES:
            given = update if adversary == "sum" else tuple(part / steps for part in update)
            value = _product(network, given)
            predicted = mu + sensitivity(mu, value - product(mu))
            row: dict[str, object] = {
                "U": steps,
                "adversary": adversary,
                "product": value,
                "solvable": value >= LEAST,
                "mu_predicted": predicted,
                "error_eq9": abs(predicted / mu - 1),
            }
            if value >= LEAST:
                found = min(logits(value), key=lambda candidate: abs(candidate - mu))
                row |= {
                    "mu_found": found,
                    "error_eq8": abs(found / mu - 1),
                    **_errors(invert(network, given, y, found), x),
                }
            yield row


def _errors(image: Tensor, x: Tensor) -> dict[str, float]:
    error = (image - x).squeeze(0)
    unit = x.squeeze(0) / x.norm()
    along = float(error @ unit)
    across = float((error - along * unit).norm())
    scale = float(x.norm())
    return {"error": float(error.norm()) / scale, "along": along / scale, "across": across / scale}
