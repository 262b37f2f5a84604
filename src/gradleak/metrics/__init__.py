"""Metrics: how close reconstructions come to the private images."""
