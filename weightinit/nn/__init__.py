"""Networks of layers with three faces, on a stack of runs: ``forward``, ``backward`` and ``expect``."""

from weightinit.nn.architectures import mlp
from weightinit.nn.layers import Dense, Nonlinearity
from weightinit.nn.losses import LOSSES, CrossEntropy, Loss, MeanSquaredError
from weightinit.nn.moments import Gradient, Moments, Prediction
from weightinit.nn.network import Network
from weightinit.nn.tape import Params, State, Tape
from weightinit.nn.weights import WeightSpec

__all__ = [
    "LOSSES",
    "CrossEntropy",
    "Dense",
    "Gradient",
    "Loss",
    "MeanSquaredError",
    "Moments",
    "Network",
    "Nonlinearity",
    "Params",
    "Prediction",
    "State",
    "Tape",
    "WeightSpec",
    "mlp",
]
