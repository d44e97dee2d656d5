"""Layers: leaves of a network's tree, a module for each family."""

from weightinit.nn.layers.attention import Attention
from weightinit.nn.layers.base import Layer
from weightinit.nn.layers.batch import BatchNorm
from weightinit.nn.layers.convolution import Convolution
from weightinit.nn.layers.dense import Dense
from weightinit.nn.layers.gated import Gated
from weightinit.nn.layers.group import GroupNorm
from weightinit.nn.layers.noise import NOISE, Dropout
from weightinit.nn.layers.nonlinearity import Nonlinearity
from weightinit.nn.layers.norm import LayerNorm
from weightinit.nn.layers.pooling import AveragePooling, GlobalPooling, MaxPooling
from weightinit.nn.layers.residual import Sum
from weightinit.nn.layers.shape import Flatten, Patches
from weightinit.nn.layers.tokens import Embedding, Positions

__all__ = [
    "NOISE",
    "Attention",
    "AveragePooling",
    "BatchNorm",
    "Convolution",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "Gated",
    "GlobalPooling",
    "GroupNorm",
    "Layer",
    "LayerNorm",
    "MaxPooling",
    "Nonlinearity",
    "Patches",
    "Positions",
    "Sum",
]
