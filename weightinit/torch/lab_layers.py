"""Modules of PyTorch as layers of the lab, with their weights in the lab's layout and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import nn

from weightinit.activations import Activation
from weightinit.nn import Dense, Layer, LayerNorm, Nonlinearity, Shape
from weightinit.nn.layers import (
    Attention,
    AveragePooling,
    BatchNorm,
    Convolution,
    Embedding,
    Flatten,
    GlobalPooling,
    GroupNorm,
    MaxPooling,
)
from weightinit.nn.layers.positions import Padding
from weightinit.nn.weights import Position

EPSILON: Final = 1e-5  # of all norms of the lab


class Untold(ValueError):
    """A part of a model that the lab has no layer for; the text says which."""


@dataclass(frozen=True)
class Tensor:
    """A weight of the lab as a function of a module's parameter: ``read`` makes it, ``write`` its inverse."""

    parameter: str
    read: Callable[[torch.Tensor], torch.Tensor]
    write: Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Translated:
    """A layer of the lab for one module; ``tensors``: its weights by name, from the module's parameters."""

    layer: Layer
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


def _row(parameter: str) -> Tensor:
    return Tensor(parameter, lambda p: p.reshape(1, -1), lambda w: w.reshape(-1))


def dense(module: nn.Linear, name: str, position: Position, flattened: Shape | None, tied: str) -> Translated:
    """Return a dense layer.

    ``flattened``: the shape with channels last that was flattened before it, else None; ``tied``: the embedding whose
    weight it has, else empty.
    """

    def read(weight: torch.Tensor) -> torch.Tensor:
        if flattened is None:
            return weight.T
        return weight.reshape(-1, flattened[-1], *flattened[:-1]).movedim(1, -1).flatten(1).T

    def write(w: torch.Tensor) -> torch.Tensor:
        if flattened is None:
            return w.T
        return w.T.reshape(-1, *flattened).movedim(-1, 1).flatten(1)

    biased = module.bias is not None
    layer = Dense(name, module.in_features, module.out_features, position, biased, tied, bool(tied))
    tensors = {} if tied else {f"{name}/weight": Tensor("weight", read, write)}
    if module.bias is not None:
        tensors[f"{name}/bias"] = _row("bias")
    return Translated(layer, tensors)


def convolution(module: Any, name: str, position: Position) -> Translated:
    """Return a convolution; raise Untold for one that is transposed, or padded in a way of its own."""
    if module.transposed:
        raise Untold(f"{name}: transposed convolution")
    axes = len(module.kernel_size)
    last, first = (*range(2, axes + 2), 1, 0), (axes + 1, axes, *range(axes))
    layer = Convolution(
        name,
        module.in_channels,
        module.out_channels,
        tuple(module.kernel_size),
        position,
        tuple(module.stride),
        _padding(module, name),
        module.groups,
        tuple(module.dilation),
        module.bias is not None,
    )
    tensors = {f"{name}/weight": Tensor("weight", lambda p: p.permute(last), lambda w: w.permute(first))}
    if module.bias is not None:
        tensors[f"{name}/bias"] = _row("bias")
    return Translated(layer, tensors)


def _padding(module: Any, name: str) -> Padding:
    given = module.padding
    if given == "valid" or (not isinstance(given, str) and not any(given)):
        return "valid"
    same = tuple(d * (k - 1) / 2 for d, k in zip(module.dilation, module.kernel_size, strict=True))
    if given != "same" and tuple(given) != same:
        raise Untold(f"{name}: padding of {given} around a kernel of {module.kernel_size}")
    if module.padding_mode not in ("zeros", "circular"):
        raise Untold(f"{name}: padding_mode {module.padding_mode}")
    return "circular" if module.padding_mode == "circular" else "same"


def norm(module: nn.Module, name: str, units: int) -> Translated:
    """Return a norm; raise Untold for one that the lab has none like."""
    match module:
        case nn.LayerNorm() if len(module.normalized_shape) == 1:
            layer: Layer = LayerNorm(name, units, trained=module.weight is not None)
        case nn.RMSNorm() if len(module.normalized_shape) == 1:
            layer = LayerNorm(name, units, centred=False, trained=module.weight is not None)
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            layer = BatchNorm(name, units, trained=module.weight is not None)
        case nn.GroupNorm():
            layer = GroupNorm(name, units, module.num_groups, trained=module.weight is not None)
        case _:
            raise Untold(f"{name}: {type(module).__name__}")
    kept = {"gain": "weight", "bias": "bias"}
    tensors = {f"{name}/{ours}": _row(own) for ours, own in kept.items() if getattr(module, own, None) is not None}
    return Translated(layer, tensors)


def attention(module: nn.MultiheadAttention, name: str, causal: bool) -> Translated:
    """Return self-attention; raise Untold for one with sizes or biases of its own for keys and values."""
    if not module._qkv_same_embed_dim or module.bias_k is not None or module.add_zero_attn:
        raise Untold(f"{name}: attention with keys or values of their own size")
    units = module.embed_dim
    biased = module.in_proj_bias is not None
    tensors = {}
    for place, part in enumerate(("query", "key", "value")):
        tensors[f"{name}/{part}/weight"] = _packed("in_proj_weight", place, units, lambda p: p.T)
        if biased:
            tensors[f"{name}/{part}/bias"] = _packed("in_proj_bias", place, units, lambda p: p.reshape(1, -1))
    tensors[f"{name}/out/weight"] = Tensor("out_proj.weight", lambda p: p.T, lambda w: w.T)
    if biased:
        tensors[f"{name}/out/bias"] = _row("out_proj.bias")
    return Translated(Attention(name, units, module.num_heads, causal=causal, bias=biased), tensors)


def _packed(parameter: str, place: int, units: int, laid_out: Callable[[torch.Tensor], torch.Tensor]) -> Tensor:
    return Tensor(
        f"{parameter}[{place * units}:{(place + 1) * units}]",
        lambda p: laid_out(p[place * units : (place + 1) * units]),
        lambda w: w.T if parameter == "in_proj_weight" else w.reshape(-1),
    )


def embedding(module: nn.Embedding, name: str) -> Translated:
    """Return an embedding."""
    layer = Embedding(name, module.num_embeddings, module.embedding_dim)
    return Translated(layer, {f"{name}/weight": Tensor("weight", lambda p: p, lambda w: w)})


def pooling(module: nn.Module, name: str) -> Translated | None:
    """Return a pooling layer; None for a module that is none; raise Untold for windows that overlap."""
    match module:
        case nn.AdaptiveAvgPool1d() | nn.AdaptiveAvgPool2d():
            sizes = module.output_size
            if sizes != 1 and sizes != (1,) and sizes != (1, 1):
                raise Untold(f"{name}: pooling to {sizes}")
            return Translated(GlobalPooling(name))
        case nn.MaxPool1d() | nn.MaxPool2d() | nn.AvgPool1d() | nn.AvgPool2d():
            axes = 1 if type(module).__name__.endswith("1d") else 2
            size, stride = (_by_axis(value, axes) for value in (module.kernel_size, module.stride))
            if size != stride or any(_by_axis(module.padding, axes)):
                raise Untold(f"{name}: windows of {size} every {stride}")
            kind = MaxPooling if "Max" in type(module).__name__ else AveragePooling
            return Translated(kind(name, size))
    return None


def flatten(name: str) -> Translated:
    """Return a layer that makes one axis of all."""
    return Translated(Flatten(name))


def nonlinearity(name: str, units: int, phi: Activation) -> Translated:
    """Return an activation."""
    return Translated(Nonlinearity(name, units, phi))


def _by_axis(value: Any, axes: int) -> Shape:
    return tuple(int(each) for each in value) if isinstance(value, tuple | list) else (int(value),) * axes
