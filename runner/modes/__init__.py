"""Modes: commands that do something else than training."""
