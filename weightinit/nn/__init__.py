"""Networks of layers with three faces, on a stack of runs: ``forward``, ``backward`` and ``expect``."""

from weightinit.nn.architectures import autoencoder, deep_linear, mlp, residual_mlp
from weightinit.nn.layers import Dense, Layer, LayerNorm, Nonlinearity, Sum
from weightinit.nn.losses import LOSSES, CrossEntropy, Loss, MeanSquaredError
from weightinit.nn.moments import Gradient, Moments, Prediction
from weightinit.nn.network import Network
from weightinit.nn.outline import trunk
from weightinit.nn.sites import Site
from weightinit.nn.tape import Params, Phase, Shape, Slot, State, Tape
from weightinit.nn.tree import Residual, Serial, Step
from weightinit.nn.weights import Branch, ConstantSpec, StatisticSpec, WeightSpec

__all__ = [
    "LOSSES",
    "Branch",
    "ConstantSpec",
    "CrossEntropy",
    "Dense",
    "Gradient",
    "Layer",
    "LayerNorm",
    "Loss",
    "MeanSquaredError",
    "Moments",
    "Network",
    "Nonlinearity",
    "Params",
    "Phase",
    "Prediction",
    "Residual",
    "Serial",
    "Shape",
    "Site",
    "Slot",
    "State",
    "StatisticSpec",
    "Step",
    "Sum",
    "Tape",
    "WeightSpec",
    "autoencoder",
    "deep_linear",
    "mlp",
    "residual_mlp",
    "trunk",
]
