"""The report: one HTML file with a study's claims, figures, tables, provenance, graph of rules and run times."""
