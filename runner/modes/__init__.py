"""Modes: what a command may do instead of training."""
