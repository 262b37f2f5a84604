"""Numbers behind tables, figures and claims, without a look."""
