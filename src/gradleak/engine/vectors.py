"""The parameters that are vectors, such as biases, paired with their targets as one."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gradleak.engine.base import Targets
from gradleak.engine.layers import Tapped, TappedBatchNorm


class Vectors:
    """All parameters that are vectors, such as biases, as one: few operations, however many there are.

    First come the weights of batch normalisations, then their biases, then all others.
    """

    def __init__(self, layers: Sequence[tuple[str, Tapped]], targets: Targets) -> None:
        norms = [(i, path, layer) for i, (path, layer) in enumerate(layers) if isinstance(layer, TappedBatchNorm)]
        others = [(i, path) for i, (path, layer) in enumerate(layers) if layer.matrix is not None and layer.vectors]
        self.names = [f"{path}{kind}" for kind in ("weight", "bias") for _, path, _ in norms]
        self.names += [f"{path}bias" for _, path in others]
        # Of each vector: its layer, and its place among the layer's.
        self._places = [(i, place) for place in (0, 1) for i, *_ in norms] + [(i, 0) for i, _ in others]
        self._layers = len(layers)
        parts = [targets.update[name] for name in self.names]
        like = next(iter(targets.update.values()))
        self._target = torch.cat(parts, dim=1) if parts else like.new_zeros(len(like), 0)
        self._sizes = [part.shape[1] for part in parts]
        sizes = torch.tensor(self._sizes, dtype=torch.int64)
        self._owner = torch.repeat_interleave(torch.arange(len(parts)), sizes).to(like.device)
        # Sums the entries of each parameter, in float64 whatever the precision of products.
        self._sum = F.one_hot(self._owner, len(parts)).double() if parts else like.new_zeros(0, 0).double()
        self._normalised = sum(self._sizes[: len(norms)])
        if norms:
            self._inverse_std = torch.cat([layer.inverse_std for *_, layer in norms], dim=1)
            self._mean = torch.cat([layer.mean for *_, layer in norms], dim=1)

    def pair(self, gradients: list[list[Tensor]]) -> tuple[Tensor, Tensor]:
        """<g, g*> and <g, g> of every vector, each float64 (T, number of vectors)."""
        found = [gradients[i][place] for i, place in self._places]
        self._gradient = torch.cat(found, dim=1) if found else self._target
        inner, norm2 = self._gradient * self._target, self._gradient * self._gradient
        return torch.mm(inner.double(), self._sum), torch.mm(norm2.double(), self._sum)

    def cotangents(self, a: Tensor, b2: Tensor) -> list[list[Tensor]]:
        """The objective's derivatives a g* + 2 b g with respect to every vector's gradient, by layer.

        Those of a batch normalisation are scale and shift of what they add to its backward signal.
        """
        found: list[list[Tensor]] = [[] for _ in range(self._layers)]
        if not self._sizes:
            return found
        v = (self._gradient * b2[:, self._owner]).addcmul_(self._target, a[:, self._owner])
        del self._gradient
        if count := self._normalised:
            scale = v[:, :count] * self._inverse_std
            v = torch.cat([scale, v[:, count : 2 * count] - self._mean * scale, v[:, 2 * count :]], dim=1)
        for (i, _), part in zip(self._places, v.split(self._sizes, dim=1), strict=True):
            found[i].append(part)
        return found
