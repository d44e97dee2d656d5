"""Networks as written: a tree of layers in a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from weightinit.activations import Activation, get
from weightinit.nn.architectures.checks import dtype_of
from weightinit.nn.architectures.form import Form, Given
from weightinit.nn.layers import (
    Attention,
    AveragePooling,
    BatchNorm,
    Convolution,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Gated,
    GlobalPooling,
    GroupNorm,
    Layer,
    LayerNorm,
    MaxPooling,
    Nonlinearity,
    Patches,
    Positions,
    Sum,
)
from weightinit.nn.network import Network
from weightinit.nn.tape import Shape
from weightinit.nn.tree import Node, Residual, steps


def layers(
    inputs: int,
    outputs: int,
    activation: Activation | str,
    *,
    tree: Sequence[Any],
    dtype: str = "float32",
    form: Given = None,
) -> Network:
    """Return the network that ``tree`` writes down, with a dense layer to the outputs behind it.

    Each entry is the name of a layer, or a name with a number or options: ``dense: 64``, ``activation``, ``convolution:
    {filters: 16, kernel: 3}``, ``residual: {branch: [...], scale: 0.5}``. KINDS has all of them. Sizes that enter are
    taken from the layers before. A layer of your own goes by its address, and is called as ``Mine(name, units,
    **options)`` with the size of the last axis that enters. Raises ValueError for an entry that can't be read and for
    shapes that don't fit.
    """
    if isinstance(tree, str) or not isinstance(tree, Sequence) or not tree:
        raise ValueError(f"architecture.tree must be a list of layers; got {tree!r}. Pass architecture.tree=[dense].")
    data = Form.of(form, inputs)
    shape = data.shape
    builder = _Builder(get(activation), data)
    nodes = builder.serial(tree, "", shape)
    leaving = steps(nodes, shape)[-1].leaving
    if len(leaving) > 1 and not data.per_token:
        nodes = [*nodes, Flatten("flatten")]
        leaving = steps(nodes, shape)[-1].leaving
    nodes = [*nodes, Dense("output", leaving[-1], outputs, "output")]
    return Network(shape, tuple(nodes), dtype_of(dtype))


@dataclass
class _Builder:
    """Reads entries one after the other; ``counts``: how many layers of a kind have been named, by prefix."""

    phi: Activation
    form: Form
    counts: dict[str, int] = field(default_factory=dict)
    weighted: bool = False

    def serial(self, entries: Sequence[Any], prefix: str, shape: Shape) -> list[Node]:
        nodes: list[Node] = []
        last = ""
        for entry in entries:
            kind, options = _read(entry)
            node = self._node(kind, options, prefix, shape, last)
            nodes.append(node)
            shape = steps((node,), shape)[-1].leaving
            named = kind in ("dense", "convolution", "layer_norm", "rms_norm", "batch_norm", "group_norm")
            last = node.name if named and not isinstance(node, Residual) and isinstance(node, Layer) else ""
        return nodes

    def _node(self, kind: str, options: dict[str, Any], prefix: str, shape: Shape, last: str) -> Node:
        if kind == "activation":
            return Nonlinearity(last or self._name("activation", prefix), shape[-1], self.phi)
        if kind == "residual":
            name = self._name("block", prefix)
            branch = self.serial(_taken(options, kind, "branch"), f"{name}/", shape)
            skip = self.serial(options.pop("skip", ()), f"{name}/skip/", shape)
            leaving = steps(branch, shape)[-1].leaving
            scale, skip_scale = (float(options.pop(key, 1.0)) for key in ("scale", "skip_scale"))
            end = Sum(name, leaving[-1], scale, skip_scale, bool(options.pop("trained", False)))
            _none_left(options, kind)
            return Residual(end, tuple(branch), tuple(skip))
        if "." in kind:
            return _own(kind, self._name(kind.rpartition(".")[2].lower(), prefix), shape[-1], options)
        made = KINDS[kind](self, self._name(kind, prefix), shape, options)
        _none_left(options, kind)
        return made

    def _name(self, kind: str, prefix: str) -> str:
        key = f"{prefix}{kind}"
        self.counts[key] = self.counts.get(key, 0) + 1
        return f"{key}/{self.counts[key]}"

    def position(self) -> Any:
        first, self.weighted = not self.weighted, True
        return "input" if first else "hidden"


def _read(entry: Any) -> tuple[str, dict[str, Any]]:
    kind: Any = entry if isinstance(entry, str) else None
    options: Any = {}
    if isinstance(entry, Mapping) and len(entry) == 1:
        ((kind, options),) = entry.items()
    known = sorted({*KINDS, "activation", "residual"})
    if kind not in known and "." not in str(kind):
        raise ValueError(
            f"each entry of architecture.tree must be one of {', '.join(known)}, by name or as name: options; "
            f"got {entry!r}."
        )
    if options is None:
        options = {}
    if not isinstance(options, Mapping):
        options = {_FIRST.get(str(kind), "size"): options}
    return str(kind), dict(options)


def _own(address: str, name: str, units: int, options: dict[str, Any]) -> Layer:
    """Return a layer of the class at an address; raise ValueError where there is none."""
    module, _, kind = address.rpartition(".")
    try:
        made = getattr(import_module(module), kind)(name, units, **options)
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(
            f"architecture.tree: {address} must be the address of a layer, called as {kind}(name, units, ...): {error}."
        ) from error
    if not isinstance(made, Layer):
        raise ValueError(f"architecture.tree: {address} must make a weightinit.nn.Layer; got {type(made).__name__}.")
    return made


# The option that a plain value after a layer's name means.
_FIRST = {
    "dense": "units", "convolution": "filters", "dropout": "rate", "group_norm": "groups", "attention": "heads",
    "gated": "units", "embedding": "units", "residual": "branch",
}  # fmt: skip


def _taken(options: dict[str, Any], kind: str, key: str) -> Any:
    if key not in options:
        raise ValueError(f"architecture.tree: {kind} needs {key}. Write {kind}: {{{key}: ...}}.")
    return options.pop(key)


def _none_left(options: dict[str, Any], kind: str) -> None:
    if options:
        raise ValueError(f"architecture.tree: {kind} takes no {next(iter(options))}.")


def _by_axis(value: Any, axes: int) -> Shape:
    return tuple(int(size) for size in value) if isinstance(value, Sequence) else (int(value),) * axes


def _convolution(builder: _Builder, name: str, shape: Shape, options: dict[str, Any]) -> Node:
    axes = len(shape) - 1
    if builder.form.ahead:
        raise ValueError("architecture.tree: a convolution sees the tokens that follow, which are the targets.")
    filters, kernel = int(_taken(options, "convolution", "filters")), _by_axis(options.pop("kernel", 3), axes)
    rest: dict[str, Any] = {key: _by_axis(options.pop(key), axes) for key in ("stride", "dilation") if key in options}
    rest |= {key: options.pop(key) for key in ("padding", "groups", "bias") if key in options}
    return Convolution(name, shape[-1], filters, kernel, builder.position(), **rest)


def _pooling(kind: type[AveragePooling]) -> Callable[..., Node]:
    return lambda builder, name, shape, options: kind(name, _by_axis(options.pop("size", 2), len(shape) - 1))


def _embedding(builder: _Builder, name: str, shape: Shape, options: dict[str, Any]) -> Node:
    if builder.form.vocabulary is None:
        raise ValueError("architecture.tree: embedding needs data of tokens. Pass data=copying.")
    return Embedding(name, builder.form.vocabulary, int(_taken(options, "embedding", "units")))


def _gated(builder: _Builder, name: str, shape: Shape, options: dict[str, Any]) -> Node:
    return Gated(name, shape[-1], int(_taken(options, "gated", "units")), builder.phi)


def _attention(builder: _Builder, name: str, shape: Shape, options: dict[str, Any]) -> Node:
    rest = {key: options.pop(key) for key in ("causal", "scale", "bias") if key in options}
    if builder.form.ahead and not rest.get("causal", False):
        raise ValueError(
            "architecture.tree: attention must be causal where the target of a token is the one that follows. "
            "Write attention: {causal: true}."
        )
    return Attention(name, shape[-1], int(options.pop("heads", 1)), **rest)


def _trained(options: dict[str, Any]) -> dict[str, bool]:
    return {"trained": bool(options.pop("trained", True))}


def _dense(builder: _Builder, name: str, shape: Shape, options: dict[str, Any]) -> Node:
    units = int(options.pop("units", shape[-1]))
    return Dense(name, shape[-1], units, builder.position(), bool(options.pop("bias", True)))


KINDS: Mapping[str, Callable[[_Builder, str, Shape, dict[str, Any]], Node]] = {
    "attention": _attention,
    "average_pooling": _pooling(AveragePooling),
    "batch_norm": lambda builder, name, shape, options: BatchNorm(name, shape[-1], **_trained(options)),
    "convolution": _convolution,
    "dense": _dense,
    "dropout": lambda builder, name, shape, options: Dropout(name, float(_taken(options, "dropout", "rate"))),
    "embedding": _embedding,
    "flatten": lambda builder, name, shape, options: Flatten(name),
    "gated": _gated,
    "global_pooling": lambda builder, name, shape, options: GlobalPooling(name),
    "group_norm": lambda builder, name, shape, options: GroupNorm(
        name, shape[-1], int(options.pop("groups", 1)), **_trained(options)
    ),
    "layer_norm": lambda builder, name, shape, options: LayerNorm(name, shape[-1], **_trained(options)),
    "max_pooling": _pooling(MaxPooling),
    "patches": lambda builder, name, shape, options: Patches(name, _by_axis(options.pop("size", 2), 2)),  # type: ignore[arg-type]
    "positions": lambda builder, name, shape, options: Positions(name, shape[0], shape[-1]),
    "rms_norm": lambda builder, name, shape, options: LayerNorm(name, shape[-1], centred=False, **_trained(options)),
}
