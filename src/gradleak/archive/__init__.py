"""Archives: what of a finished run is kept and committed, and whether a rerun finds the same."""
