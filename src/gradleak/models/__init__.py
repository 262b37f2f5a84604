"""Models: one file per architecture family, all reachable by name."""
