"""QSGD (Alistarh et al. 2017; Appx. C.III): stochastic quantization to a few levels, unbiased."""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from gradleak.post_processing.base import DEFENSES, FLOAT_BITS, Defense, Processed
from gradleak.post_processing.vectors import flat, shaped


@DEFENSES.register("qsgd")
class Qsgd(Defense):
    """Rounds |v| s / scale at random to one of the two whole numbers around it, up with its fraction as probability.

    The server decodes sign(v) scale level / s, which is v in expectation. Sent: one signed level per number,
    entropy-coded over the whole update, and one fp32 scale per bucket.

    `bits` b gives s = 2^b - 1 levels of magnitude above zero; a sign comes on top. The update as one vector is cut into
    buckets of `bucket` numbers (None: one bucket), each with a scale of its own: its Euclidean norm (`norm: l2`, the
    paper's Definition 3.1) or its largest magnitude (`max`, its practical variant).
    """

    technique = "Quantization"

    name: Literal["qsgd"] = "qsgd"
    bits: int = Field(2, ge=1, le=16)
    bucket: int | None = Field(512, ge=1)
    norm: Literal["l2", "max"] = "l2"

    @property
    def strength(self) -> str:
        """`2-bit`."""
        return f"{self.bits}-bit"

    def apply(self, update: Mapping[str, Tensor], random: torch.Generator) -> Processed:
        """See `Defense.apply`."""
        vector = flat(update)
        size = self.bucket or len(vector)
        buckets = torch.nn.functional.pad(vector, (0, -len(vector) % size)).view(-1, size)
        scale = buckets.norm(dim=1, keepdim=True) if self.norm == "l2" else buckets.abs().amax(dim=1, keepdim=True)
        steps = 2**self.bits - 1
        unit = torch.where(scale > 0, scale, 1.0) / steps
        draws = torch.rand(buckets.shape, generator=random, device=buckets.device, dtype=buckets.dtype)
        # A magnitude that is the whole scale can exceed it by rounding: no level is beyond s.
        levels = (buckets.abs() / unit + draws).floor().clamp(max=steps) * buckets.sign()
        decoded = (levels * unit).flatten()[: len(vector)]
        symbols = levels.flatten()[: len(vector)].int()
        return Processed(shaped(decoded, update), symbols, FLOAT_BITS * len(buckets))
