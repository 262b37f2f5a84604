"""What is to be computed: cells, studies and their plan. Runs no job and reads no results."""
