"""The work to be done: cells, studies and their plan. Runs no job and reads no results."""
