"""Optimizers: the hyperparameters of one run, and the update of a stack."""

from runner.optimizers.rules import SGD, Adam, AdamW, Optimizer, Updater

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "Updater"]
