"""Optimizers: the hyperparameters of one run, and the update of a stack."""

from runner.optimizers.rules import SGD, Adam, AdamW, Block, Optimizer, Updater

__all__ = ["SGD", "Adam", "AdamW", "Block", "Optimizer", "Updater"]
