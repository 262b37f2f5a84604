"""Input-Gradient Smoothness Analysis, IGSA (Sec. 5.1, Eq. 10): how smoothly gradients follow the images.

`igsa` is the paper's estimator by finite differences, `forward` a faster one by forward-mode differentiation.
"""
