"""Multilayer perceptrons: dense layers one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from weightinit.activations import Activation, get
from weightinit.nn.architectures.checks import check_depth, check_size, check_sizes, common, dtype_of
from weightinit.nn.layers import Dense, Layer, Nonlinearity
from weightinit.nn.network import Network
from weightinit.nn.weights import Position


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
    is a linear model. Raises ValueError for sizes below 1, empty widths, more than 100,000 layers and an unknown
    dtype.
    """
    check_sizes(1, inputs=inputs, outputs=outputs)
    if widths is None:
        check_sizes(0, depth=depth)
        check_sizes(1, width=width)
        check_depth(depth)
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
    check_depth(len(widths))
    for size in widths:
        check_size("every width in architecture.widths", size, 1)
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
    return Network(inputs, tuple(layers), dtype_of(dtype), common(widths), len(widths))


def deep_linear(
    inputs: int,
    outputs: int,
    activation: Activation | str,
    *,
    depth: int = 6,
    width: int = 128,
    bias: bool = False,
    dtype: str = "float32",
) -> Network:
    """Return dense layers without a nonlinearity between them: a linear map that learns as deep networks do.

    ``activation`` has no effect. Source: Saxe et al. 2014. Raises as ``mlp``.
    """
    return mlp(inputs, outputs, "linear", depth=depth, width=width, bias=bias, dtype=dtype)


def autoencoder(
    inputs: int,
    outputs: int,
    activation: Activation | str,
    *,
    depth: int = 3,
    width: int = 128,
    code: int = 16,
    bias: bool = True,
    dtype: str = "float32",
) -> Network:
    """Return an autoencoder of ``depth`` layers down to ``code`` units and as many up again to the outputs.

    Widths fall from ``width`` to ``code`` by one factor a layer, and rise likewise (Hinton & Salakhutdinov 2006). It
    takes data whose targets are their inputs. Raises as ``mlp``.
    """
    check_sizes(1, depth=depth, width=width, code=code)
    down = [round(width * (code / width) ** (layer / depth)) for layer in range(depth)]
    return mlp(inputs, outputs, activation, widths=[*down, code, *down[::-1]], bias=bias, dtype=dtype)
