"""Optimizers: hyperparameters and rule of a run, and the updater of a stack."""

from runner.optimizers.rules import SGD, Adam, AdamW, Block, Optimizer, Signature
from runner.optimizers.updater import Scale, Updater

__all__ = ["SGD", "Adam", "AdamW", "Block", "Optimizer", "Scale", "Signature", "Updater"]
