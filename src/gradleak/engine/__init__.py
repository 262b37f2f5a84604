"""The batched engine: T independent trials of one cell family in one vectorised optimisation."""
