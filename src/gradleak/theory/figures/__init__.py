"""Figures of the theory experiments: one module each, drawn from what the experiments return."""
