"""An audit's numbers in plain words."""

import math
from collections.abc import Sequence

from gradleak.audit.spec import AuditAttack, AuditSpec
from gradleak.audit.table import Entry, Verdict
from gradleak.errors import listed
from gradleak.metrics.rates import TAU_LPIPS
from gradleak.specs import ClientSpec

#: What the adversary of a knowledge level has (Sec. 2.2), each in addition to the basic information of level 0.
LEVELS = {
    0: "the update, the model and its weights, the image size and the number of images N: every server has that",
    1: "what photographs have in common, here that they are smooth (total variation): anyone has that",
    2: "images like the client's, to train a generator on: a strong assumption",
    3: "how the client trains (B, E, learning rate, optimizer) and what it does to its update: a strong assumption",
    4: "the BN statistics of the client's batch, uploaded beside the update: a strong assumption",
    5: "a model or protocol that the server has manipulated",
}


def assumption(attack: AuditAttack) -> str:
    """What an attack's numbers assume: the knowledge of its level, and the labels."""
    known = LEVELS[attack.level]
    if attack.level > 0:
        known = f"the basic information of level 0, and {known}"
    if attack.level > 1:
        known += "; with that, what photographs have in common"
    labels = "the labels" if attack.config.labels == "known" else "no labels: it infers them from the update"
    return f"{known}. Besides it is given the client's BN mode and {labels}."


def client_words(spec: AuditSpec) -> str:
    """The client's setup in one line."""
    client = spec.client
    shares = "shares one gradient (FedSGD)"
    if client.updates > 1:
        shares = f"shares {client.updates} local steps of {_steps_words(client)} (FedAvg)"
    return (
        f"N = {client.samples}, B = {client.minibatch}, E = {client.epochs}, learning rate {client.lr:g}, "
        f"BN in mode {client.bn_mode}; {shares}"
    )


def _steps_words(client: ClientSpec) -> str:
    """`SGD with momentum 0.9 on shuffled mini-batches`."""
    settings = [("momentum", client.momentum), ("weight decay", client.weight_decay)]
    more = " and ".join(f"{name} {value:g}" for name, value in settings if value)
    text = {"sgd": "SGD", "adam": "Adam"}[client.optimizer] + (f" with {more}" if more else "")
    return text + (" on shuffled mini-batches" if client.shuffle else "")


def number(value: float) -> str:
    """An LPIPS with three decimals."""
    return f"{value:.3f}"


def interval(low: float, high: float, sign: str = "") -> str:
    """`[0.012, 0.034]`. Empty where there is none."""
    return "" if math.isnan(low) else f"[{low:{sign}.3f}, {high:{sign}.3f}]"


def verdict_words(verdict: Verdict) -> str:
    """The verdict's reason in one or two sentences."""
    best, worst = verdict.best, verdict.worst
    if verdict.outcome == "not attacked":
        return f"There was nothing to attack: {best.reasons} ({_advice(best.reasons)})."
    text = f"Best: {_where(best)}: {_measured(best.lpips, best.low, best.high)}, "
    text += f"{best.recognised} of {best.images} images below {TAU_LPIPS:g}."
    if verdict.outcome != "leaks":
        beside = "" if worst is best else f" ({_where(worst)})"
        text += f" Closest image {number(worst.worst)}{beside}."
    if not math.isnan(verdict.gain[0]):
        text += f" Against no defense {_measured(*verdict.gain, sign='+')}."
    if verdict.outcome == "no leak found":
        text += " This is no proof."
    return " ".join([text, *(left_out(entry) for entry in verdict.left_out)])


def left_out(entry: Entry) -> str:
    """Of whom an entry's numbers are not."""
    return f"Not attacked: {entry.unattacked} of {entry.clients} clients of {_where(entry)} ({entry.reasons})."


def zeros_words(zeros: Sequence[str], rounds: Sequence[str]) -> str:
    """A note on parameters whose gradient was zero although not all were."""
    names = [name.removeprefix("network.") for name in zeros]
    return (
        f"round {', '.join(rounds)}: the update of {listed(names)} is all zero for some client, so nothing is learnt "
        "from it; look for layers that run under no_grad, are unused, or have died"
    )


def _advice(reasons: str) -> str:
    advice = {
        "is zero": "the model answers without any loss, or the defense removes all; audit an earlier round",
        "not finite": "lower client.lr, or look at the weights",
        "no derivative": "forward cuts the way from images to loss, e.g. by no_grad or rounding; audit it without",
    }
    return "; ".join(text for reason, text in advice.items() if reason in reasons)


def bytes_words(value: float) -> str:
    """A size with a unit: `12.3 kB`."""
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def _where(entry: Entry) -> str:
    return f"{entry.attack} (level {entry.level}), round {entry.round}"


def _measured(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{value:{sign}.3f} {interval(low, high, sign)}".rstrip()
