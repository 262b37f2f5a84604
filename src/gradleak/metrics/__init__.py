"""Metrics: how close reconstructions come to the private images."""

from gradleak.metrics.base import METRICS, Metric, Scorer, score

__all__ = ["METRICS", "Metric", "Scorer", "score"]
