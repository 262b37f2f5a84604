"""A chain of defenses: what a client does to its update, in order. The empty chain is `none`."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, WrapSerializer

from gradleak.post_processing.base import DEFENSES, Defense, DefenseConfig, Processed

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def _parse(value: object) -> object:
    if value is None or value == "none":
        return ()
    steps = list(value) if isinstance(value, list | tuple) else [value]
    parsed = [_parse_step(step) for step in steps]
    names = [step.name for step in parsed]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"has '{twice}' more than once")
    return tuple(parsed)


def _parse_step(value: object) -> DefenseConfig:
    if isinstance(value, DefenseConfig):
        return value
    if not isinstance(value, dict) or "name" not in value:
        raise ValueError(
            "must be 'none', a defense {name: ..., its settings}, or a list of them in order; known: "
            + ", ".join(DEFENSES.names())
        )
    return DEFENSES[str(value["name"])].Config.model_validate(value)


def _dump(value: Any, handler: Any) -> Any:
    return handler(value) if value else "none"


#: The type of a configuration's key: reads `none`, one defense or a list; writes `none` or a list.
Chain = Annotated[tuple[SerializeAsAny[DefenseConfig], ...], BeforeValidator(_parse), WrapSerializer(_dump)]


def apply_chain(
    chain: tuple[DefenseConfig, ...], update: "Mapping[str, Tensor]", random: "torch.Generator"
) -> Processed:
    """One defense after the other; what goes over the wire is what the last one sends.

    `random` is on the update's device. A step that sends fp32 gives up the short code of a step before it: put
    quantization and sparsification last.
    """
    sent = Processed(dict(update))
    for step in chain:
        sent = DEFENSES[step.name].apply(step, sent.update, random)
    return sent


def expectation(
    chain: tuple[DefenseConfig, ...],
) -> "Callable[[dict[str, Tensor], dict[str, Tensor]], dict[str, Tensor]]":
    """What an adaptive adversary matches (see `Defense.expected`): one step after the other, as engines take it."""

    def expected(candidate: "dict[str, Tensor]", shared: "dict[str, Tensor]") -> "dict[str, Tensor]":
        for step in chain:
            candidate = DEFENSES[step.name].expected(step, candidate, shared)
        return candidate

    return expected


def biased(chain: tuple[DefenseConfig, ...]) -> bool:
    """Whether an adversary that knows the chain matches anything else than the candidate's own update."""
    plain = getattr(Defense.expected, "__func__")  # noqa: B009
    return any(getattr(DEFENSES[step.name].expected, "__func__") is not plain for step in chain)  # noqa: B009


def technique(chain: tuple[DefenseConfig, ...]) -> str:
    """The techniques as text: `Clipping + Perturbation`, or `None`."""
    return " + ".join(DEFENSES[step.name].technique for step in chain) or "None"


def strength(chain: tuple[DefenseConfig, ...]) -> str:
    """The strengths as text: `0.1 + 0.05`, or `-`."""
    return " + ".join(step.strength for step in chain) or "-"


def columns(chain: tuple[DefenseConfig, ...]) -> dict[str, Any]:
    """Names and settings for `flatten`: `{post_processing: clip + noise, post_processing_clip: {bound: 0.1}, ...}`."""
    parts = {f"post_processing_{step.name}": step.model_dump(mode="json", exclude={"name"}) for step in chain}
    return {"post_processing": " + ".join(step.name for step in chain) or "none", **parts}


def origins(chain: tuple[DefenseConfig, ...]) -> list[str]:
    """Modules of the defenses that a chain names."""
    return [DEFENSES.origin(step.name) for step in chain]
