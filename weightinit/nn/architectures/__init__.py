"""Architectures: functions that name and connect layers."""

from weightinit.nn.architectures.convolutional import cnn, resnet
from weightinit.nn.architectures.custom import layers
from weightinit.nn.architectures.form import Form
from weightinit.nn.architectures.mlp import autoencoder, deep_linear, mlp
from weightinit.nn.architectures.residual import residual_mlp
from weightinit.nn.architectures.transformer import transformer

__all__ = ["Form", "autoencoder", "cnn", "deep_linear", "layers", "mlp", "residual_mlp", "resnet", "transformer"]
