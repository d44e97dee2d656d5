"""Architectures: functions that name and connect layers."""

from weightinit.nn.architectures.mlp import autoencoder, deep_linear, mlp
from weightinit.nn.architectures.residual import residual_mlp

__all__ = ["autoencoder", "deep_linear", "mlp", "residual_mlp"]
