"""Layers: leaves of a network's tree, a module for each family."""

from weightinit.nn.layers.base import Layer
from weightinit.nn.layers.dense import Dense
from weightinit.nn.layers.nonlinearity import Nonlinearity
from weightinit.nn.layers.residual import Sum

__all__ = ["Dense", "Layer", "Nonlinearity", "Sum"]
