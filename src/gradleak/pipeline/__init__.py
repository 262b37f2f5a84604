"""How a study is run: its stages, jobs, code inputs, progress and cluster."""
