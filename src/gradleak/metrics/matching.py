"""Which reconstruction belongs to which private image: a batch comes back in any order."""

from scipy.optimize import linear_sum_assignment
from torch import Tensor, as_tensor

from gradleak.metrics.base import check_pair


def match(truth: Tensor, reconstructed: Tensor) -> Tensor:
    """The permutation (n,), int64, for which `reconstructed[perm[i]]` belongs to `truth[i]`.

    Both are (n, 3, h, w) in [0, 1]. It minimises the total MSE over all assignments (scipy's
    linear_sum_assignment). Raises ValueError for other shapes or values.
    """
    check_pair(truth, reconstructed)
    a, b = (images.detach().double().cpu().flatten(1) for images in (truth, reconstructed))
    # Row by row: all pairs at once would need n^2 images of memory.
    cost = [(row - b).square().mean(dim=1).numpy() for row in a]
    return as_tensor(linear_sum_assignment(cost)[1])
