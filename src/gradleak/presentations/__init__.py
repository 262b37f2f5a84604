"""Kinds of tables and figures: numbers with a look. One file per kind."""
