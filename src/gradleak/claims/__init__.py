"""The paper's claims, each with a statistic that tests it and a verdict that is computed from a study's results."""
