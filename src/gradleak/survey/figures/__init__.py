"""Figures of the survey: one module each."""
