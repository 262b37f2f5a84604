"""Metrics: how close reconstructions come to the private images."""

from gradleak.metrics.base import METRICS, Column, Metric, Scorer, one_column, score

__all__ = ["METRICS", "Column", "Metric", "Scorer", "one_column", "score"]
