"""Architectures: functions that name and connect layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weightinit.activations import Activation, get
from weightinit.nn.layers import Dense, Layer, Nonlinearity
from weightinit.nn.network import Network
from weightinit.nn.weights import Position

DTYPES = ("float32", "float64")
DEEPEST = 100_000


def mlp(
    inputs: int,
    outputs: int,
    activation: Activation | str,
    *,
    depth: int = 6,
    width: int = 128,
    widths: Sequence[int] | None = None,
    bias: bool = True,
    dtype: str = "float32",
) -> Network:
    """Return a multilayer perceptron: ``depth`` hidden layers of ``width`` units, or hidden layers of ``widths``.

    The layers are named ``hidden/1`` to ``hidden/depth`` and ``output``; the output has no nonlinearity. ``depth=0``
    is a linear model. Raises ValueError for sizes below 1, empty widths, more than ``DEEPEST`` layers and an unknown
    dtype.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}. Pass training.dtype=float32.")
    for name, size in (("inputs", inputs), ("outputs", outputs)):
        _check_size(name, size, 1)
    if widths is None:
        _check_size("architecture.depth", depth, 0)
        _check_size("architecture.width", width, 1)
        _check_depth(depth)
        widths = [width] * depth
    elif isinstance(widths, str) or not isinstance(widths, Sequence):
        raise TypeError(
            f"architecture.widths must be a list of whole numbers; got {widths!r}. Pass architecture.widths=[128,128], "
            "or the same width for all as architecture.width=128."
        )
    elif len(widths) == 0:
        raise ValueError(
            "architecture.widths must name at least one hidden layer; got []. "
            "Pass architecture.widths=[128,128], or architecture.depth=0 for a linear model."
        )
    _check_depth(len(widths))
    for size in widths:
        _check_size("every width in architecture.widths", size, 1)
    phi = get(activation)
    layers: list[Layer] = []
    fan_in = inputs
    for number, units in enumerate(widths, start=1):
        position: Position = "hidden" if layers else "input"
        layers += [
            Dense(f"hidden/{number}", fan_in, units, position, bias),
            Nonlinearity(f"hidden/{number}", units, phi),
        ]
        fan_in = units
    layers.append(Dense("output", fan_in, outputs, "output", bias))
    return Network(inputs, tuple(layers), np.dtype(dtype))


def _check_depth(depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError(f"architecture.depth must be at most {DEEPEST:,}; got {depth:,}. Pass architecture.depth=100.")


def _check_size(name: str, size: int, least: int) -> None:
    if isinstance(size, bool) or not isinstance(size, int | np.integer):
        raise TypeError(f"{name} must be a whole number; got {size!r}")
    if size < least:
        raise ValueError(f"{name} must be at least {least}; got {size}. Pass a larger one.")
