"""Priors: what the adversary believes of natural images, added to the objective. One file per prior."""
