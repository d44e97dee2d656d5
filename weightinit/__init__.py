"""Weight initialization of neural networks: what to draw, what theory expects of it, what it does."""

from weightinit import activations, initializers
from weightinit.fans import Fans, compute_fans
from weightinit.gains import gain
from weightinit.parameters import initialize_parameters

__version__ = "0.1.0"

__all__ = ["Fans", "activations", "compute_fans", "gain", "initialize_parameters", "initializers"]
