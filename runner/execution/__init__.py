"""Execution: the stages in their order, and what a command trains with."""
