"""Convolutional networks, plain and residual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from weightinit.activations import Activation, get
from weightinit.nn.architectures.checks import (
    check_choice,
    check_depth,
    check_number,
    check_size,
    check_sizes,
    check_trained,
    common,
    dtype_of,
)
from weightinit.nn.architectures.form import Form, Given, image
from weightinit.nn.architectures.norms import normed
from weightinit.nn.layers import (
    AveragePooling,
    Convolution,
    Dense,
    Flatten,
    GlobalPooling,
    Layer,
    MaxPooling,
    Nonlinearity,
    Sum,
)
from weightinit.nn.layers.positions import Padding
from weightinit.nn.layers.residual import Trained
from weightinit.nn.network import Network
from weightinit.nn.tree import Node, Residual

NORMS = ("none", "batch", "layer", "group")
POOLINGS = {"average": AveragePooling, "max": MaxPooling}


def cnn(
    inputs: int,
    outputs: int,
    activation: Activation | str,
    *,
    depth: int = 3,
    width: int = 16,
    widths: Sequence[int] | None = None,
    kernel: int = 3,
    padding: Padding = "same",
    norm: str = "none",
    pooling: str = "average",
    pools: int = 1,
    head: str = "flatten",
    bias: bool = True,
    dtype: str = "float32",
    form: Given = None,
) -> Network:
    """Return a convolutional network: ``depth`` convolutions of ``width`` filters, or of ``widths``; dense outputs.

    Each is followed by a norm (none, batch, layer or group) and the activation; the first ``pools`` of them by
    ``pooling`` (average or max) of 2x2. ``head``: flatten, or global for the mean over positions. Layers are named
    ``hidden/1`` to ``hidden/depth`` and ``output``. Raises ValueError for data without images and numbers out of range.
    """
    shape = image(Form.of(form, inputs), "cnn")
    check_choice("norm", norm, NORMS)
    check_choice("pooling", pooling, tuple(POOLINGS))
    check_choice("head", head, ("flatten", "global"))
    check_choice("padding", padding, ("same", "valid", "circular"))
    check_sizes(0, pools=pools)
    check_sizes(1, depth=depth, width=width, kernel=kernel)
    check_depth(depth)
    filters = [width] * depth if widths is None else list(widths)
    for size in filters:
        check_size("every width in architecture.widths", size, 1)
    phi = get(activation)
    layers: list[Node] = []
    channels = shape[-1]
    for number, units in enumerate(filters, start=1):
        name = f"hidden/{number}"
        position = "hidden" if layers else "input"
        layers.append(
            Convolution(name, channels, units, (kernel, kernel), position, padding=padding, bias=bias)  # type: ignore[arg-type]
        )
        layers += normed(norm, f"norm/{number}", units)
        layers.append(Nonlinearity(name if norm == "none" else f"norm/{number}", units, phi))
        if number <= pools:
            layers.append(POOLINGS[pooling](f"pool/{number}", (2, 2)))
        channels = units
    layers.append(GlobalPooling("pool") if head == "global" else Flatten("flatten"))
    trunk = Network(shape, tuple(layers), dtype_of(dtype), common(filters), len(filters))
    return _with_output(trunk, outputs, bias=bias)


def resnet(
    inputs: int,
    outputs: int,
    activation: Activation | str,
    *,
    depth: int = 8,
    width: int = 16,
    stages: int = 2,
    norm: str = "batch",
    placement: str = "pre",
    branch_scale: float = 1.0,
    skip_scale: float = 1.0,
    trained_scale: Trained = False,
    bias: bool = True,
    dtype: str = "float32",
    form: Given = None,
) -> Network:
    """Return a residual network of ``depth`` blocks of two 3x3 convolutions.

    The blocks are divided into ``stages``; each stage but the first halves height and width and doubles the filters,
    with a 1x1 projection on its first skip. ``norm``: batch, layer, group or none. ``placement``: pre, norm and
    activation before each convolution and after the last block (He et al. 2016, "Identity mappings"), or post, a norm
    behind each convolution and the activation behind the sum (He et al. 2016, "Deep residual learning").
    ``branch_scale``, ``skip_scale`` and ``trained_scale`` as of ``residual_mlp``. At the end stand a mean over
    positions and a dense layer. Raises ValueError for data without images and numbers out of range.
    """
    shape = image(Form.of(form, inputs), "resnet")
    check_choice("norm", norm, ("batch", "layer", "group", "none"))
    check_choice("placement", placement, ("pre", "post"))
    check_sizes(1, depth=depth, width=width, stages=stages)
    check_depth(depth)
    check_number("branch_scale", branch_scale)
    check_number("skip_scale", skip_scale)
    check_trained(trained_scale)
    if stages > depth:
        raise ValueError(
            f"architecture.stages must be at most architecture.depth={depth}; got {stages}. Pass architecture.stages=1."
        )
    phi = get(activation)

    def convolution(name: str, channels: int, filters: int, stride: int = 1, kernel: int = 3) -> Layer:
        strides = (stride, stride)
        return Convolution(name, channels, filters, (kernel, kernel), "hidden", strides, bias=bias)

    def active(name: str, units: int) -> list[Node]:
        """Return a norm, if there is one, and the activation behind it."""
        return [*normed(norm, name, units), Nonlinearity(name, units, phi)]

    def before(name: str, channels: int, filters: int, stride: int) -> list[Node]:
        branch: list[Node] = []
        for place, (entering, step) in enumerate(((channels, stride), (filters, 1)), start=1):
            without = f"{name}/conv/1" if place > 1 else f"{name}/entry"
            branch += active(f"{name}/norm/{place}" if norm != "none" else without, entering)
            branch.append(convolution(f"{name}/conv/{place}", entering, filters, step))
        return branch

    def behind(name: str, channels: int, filters: int, stride: int) -> list[Node]:
        return [
            convolution(f"{name}/conv/1", channels, filters, stride),
            *active(f"{name}/norm/1" if norm != "none" else f"{name}/conv/1", filters),
            convolution(f"{name}/conv/2", filters, filters),
            *normed(norm, f"{name}/norm/2", filters),
        ]

    def block(name: str, channels: int, filters: int, stride: int) -> list[Node]:
        branch = (before if placement == "pre" else behind)(name, channels, filters, stride)
        skip = [] if stride == 1 else [convolution(f"{name}/projection", channels, filters, stride, kernel=1)]
        end = Sum(name, filters, float(branch_scale), float(skip_scale), trained_scale)
        exit_ = [] if placement == "pre" else [Nonlinearity(f"{name}/exit", filters, phi)]
        return [Residual(end, tuple(branch), tuple(skip)), *exit_]

    layers: list[Node] = [Convolution("input", shape[-1], width, (3, 3), "input", bias=bias)]
    if placement == "post":
        layers += active("norm" if norm != "none" else "input", width)
    filters = width
    for index in range(depth):
        first = index > 0 and index * stages // depth != (index - 1) * stages // depth
        layers += block(f"block/{index + 1}", filters, 2 * filters if first else filters, 2 if first else 1)
        filters *= 2 if first else 1
    if placement == "pre":
        layers += active("norm" if norm != "none" else "exit", filters)
    layers.append(GlobalPooling("pool"))
    return _with_output(Network(shape, tuple(layers), dtype_of(dtype), width, depth), outputs, bias=bias)


def _with_output(trunk: Network, outputs: int, *, bias: bool) -> Network:
    return replace(trunk, layers=(*trunk.layers, Dense("output", trunk.outputs, outputs, "output", bias)))
