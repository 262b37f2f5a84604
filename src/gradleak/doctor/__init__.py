"""Is this machine ready? One check per question, each a line and, for a fault, what to do."""
