"""Residual networks of dense layers."""

from __future__ import annotations

from weightinit.activations import Activation, get
from weightinit.nn.architectures.checks import (
    check_choice,
    check_depth,
    check_number,
    check_sizes,
    check_trained,
    dtype_of,
)
from weightinit.nn.architectures.norms import normed
from weightinit.nn.layers import Dense, Nonlinearity, Sum
from weightinit.nn.layers.residual import Trained
from weightinit.nn.network import Network
from weightinit.nn.tree import Node, Residual

NORMS = ("none", "layer", "rms")


def residual_mlp(
    inputs: int,
    outputs: int,
    activation: Activation | str,
    *,
    depth: int = 8,
    width: int = 64,
    branch_layers: int = 2,
    norm: str = "none",
    branch_scale: float = 1.0,
    skip_scale: float = 1.0,
    trained_scale: Trained = False,
    bias: bool = True,
    dtype: str = "float32",
) -> Network:
    """Return a residual network: a dense layer to ``width``, ``depth`` blocks, a dense layer to the outputs.

    A block adds ``branch_scale`` times a branch to ``skip_scale`` times what enters it. The branch is pre-activation
    (He et al. 2016): ``branch_layers`` times norm, activation, dense. ``norm``: none, layer or rms; with one, a norm
    stands before the output too. ``trained_scale``: each branch has a trained factor (true), or one of each unit
    (unit), 1 at the start unless a scheme says otherwise. Raises ValueError for numbers out of range.
    """
    check_sizes(1, depth=depth, width=width, branch_layers=branch_layers)
    check_depth(depth)
    check_choice("norm", norm, NORMS)
    check_number("branch_scale", branch_scale)
    check_number("skip_scale", skip_scale)
    check_trained(trained_scale)
    phi = get(activation)

    def block(name: str) -> Residual:
        branch: list[Node] = []
        for place in range(1, branch_layers + 1):
            before = f"{name}/norm/{place}" if norm != "none" else f"{name}/dense/{place - 1}" if place > 1 else ""
            branch += normed(norm, f"{name}/norm/{place}", width)
            branch.append(Nonlinearity(before or f"{name}/entry", width, phi))
            branch.append(Dense(f"{name}/dense/{place}", width, width, "hidden", bias))
        return Residual(Sum(name, width, float(branch_scale), float(skip_scale), trained_scale), tuple(branch))

    layers: list[Node] = [Dense("input", inputs, width, "input", bias)]
    layers += [block(f"block/{number}") for number in range(1, depth + 1)]
    layers += normed(norm, "norm", width)
    layers.append(Dense("output", width, outputs, "output", bias))
    return Network(inputs, tuple(layers), dtype_of(dtype), width, depth)
