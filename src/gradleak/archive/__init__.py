"""Archives: the part of a finished run that is committed, and the check that a rerun finds the same."""
