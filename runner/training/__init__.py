"""Training: the trials of a stack in, the outcome of each out."""
