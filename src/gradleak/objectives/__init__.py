"""Objectives: how far the candidate's gradient is from the shared update. One file per objective."""
