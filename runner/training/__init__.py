"""Training: from the trials of one stack to the outcome of each."""
