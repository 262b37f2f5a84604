"""A chain of defenses: what a client does to its update, in order. The empty chain is `none`."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, WrapSerializer

from gradleak.post_processing.base import DEFENSES, Defense, Processed

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


def _parse_step(value: object) -> Defense:
    if isinstance(value, Defense):
        return value
    if not isinstance(value, dict) or "name" not in value:
        raise ValueError(
            "must be 'none', a defense {name: ..., its settings}, or a list of them in order; known: "
            + ", ".join(DEFENSES.names())
        )
    return DEFENSES[str(value["name"])].model_validate(value)


def _dump(value: Any, handler: Any) -> Any:
    return handler(value) if value else "none"


#: The type of a configuration's key: reads `none`, one defense or a list; writes `none` or a list.
Chain = Annotated[tuple[SerializeAsAny[Defense], ...], BeforeValidator(_parse), WrapSerializer(_dump)]


def apply_chain(chain: tuple[Defense, ...], update: "Mapping[str, Tensor]", random: "torch.Generator") -> Processed:
    """Apply one defense after the other; what goes over the wire is what the last one sends.

    `random` is on the update's device. A step that sends fp32 gives up the short code of a step before it: put
    quantization and sparsification last.
    """
    sent = Processed(dict(update))
    for step in chain:
        sent = step.apply(sent.update, random)
    return sent


def expectation(chain: tuple[Defense, ...]) -> "Callable[[dict[str, Tensor], dict[str, Tensor]], dict[str, Tensor]]":
    """Return what an adaptive adversary matches (`Defense.expected`), one step after the other, as a function."""

    def expected(candidate: "dict[str, Tensor]", shared: "dict[str, Tensor]") -> "dict[str, Tensor]":
        for step in chain:
            candidate = step.expected(candidate, shared)
        return candidate

    return expected


def biased(chain: tuple[Defense, ...]) -> bool:
    """Whether an adversary that knows the chain matches anything else than the candidate's own update."""
    return any(type(step).expected is not Defense.expected for step in chain)


def technique(chain: tuple[Defense, ...]) -> str:
    """The techniques as text: `Clipping + Perturbation`, or `None`."""
    return " + ".join(step.technique for step in chain) or "None"


def strength(chain: tuple[Defense, ...]) -> str:
    """The strengths as text: `0.1 + 0.05`, or `-`."""
    return " + ".join(step.strength for step in chain) or "-"


def columns(chain: tuple[Defense, ...]) -> dict[str, Any]:
    """Names and settings for `flatten`: `{post_processing: clip + noise, post_processing_clip: {bound: 0.1}, ...}`."""
    parts = {f"post_processing_{step.name}": step.model_dump(mode="json", exclude={"name"}) for step in chain}
    return {"post_processing": " + ".join(step.name for step in chain) or "none", **parts}


def origins(chain: tuple[Defense, ...]) -> list[str]:
    """Modules of the defenses that a chain names."""
    return [type(step).__module__ for step in chain]
