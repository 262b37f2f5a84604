"""Attacks: what the adversary does with a shared update. One file per attack, objective or prior family."""
