"""Figures, and the kinds of presentation that an experiment's `show` list may name: one module each."""
