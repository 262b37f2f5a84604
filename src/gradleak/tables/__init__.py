"""Tables: specs of what an experiment shows, aggregation of results, CSV and LaTeX."""
