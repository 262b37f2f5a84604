"""Kinds of statistic that a claim of the ledger may name: one module each."""
