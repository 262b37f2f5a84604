"""The paper's Lemma 4.1 and Theorems 4.2 and 4.3 as numerical experiments: float64, on a CPU, in seconds."""
