"""Auxiliary models: what an adversary learns from public images before it attacks. One file per kind."""
