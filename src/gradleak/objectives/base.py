"""What an objective is: a function of three numbers per trial and layer, so that its gradient has a closed form.

Every objective in use depends on the candidate's gradient g and the shared update g* only through <g, g*>, <g, g>
and <g*, g*> of each layer. Its derivative with respect to a layer's g is then a g* + 2 b g with scalars a and b per
trial, which the engine turns into the gradient with respect to the images without differentiating through
parameter-sized tensors.
"""

from collections.abc import Callable

from torch import Tensor

from gradleak.registry import Registry

#: (inner <g, g*>, norm2 <g, g>, target_norm2 <g*, g*>), each float64 (T, L), to the objective (T,); differentiable.
#: The L columns are the matched parameters, in the model's order; a distance of whole gradients sums them first.
Objective = Callable[[Tensor, Tensor, Tensor], Tensor]

OBJECTIVES: Registry[Objective] = Registry("objective", "gradleak.objectives")
