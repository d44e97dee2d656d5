"""Layers of Keras: the role, axes, fans and own law of each of their weights."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

import keras

from weightinit.fans import Fans, compute_fans
from weightinit.keras.laws import stated_law
from weightinit.laws import UNKNOWN, Law
from weightinit.model import TensorRole
from weightinit.uses import Use, alone, einsum_axes, parts, vector

layers: Final = keras.layers

NORMS: Final = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.RMSNormalization,
)


def uses(layer: Any, shapes: dict[str, tuple[int, ...]]) -> dict[str, Use]:
    """Return the use of each of a layer's own weights, by its name in the layer."""
    found = _known(layer, shapes)
    return {name: found.get(name) or alone(name, shape) for name, shape in shapes.items()}


def _known(layer: Any, shapes: dict[str, tuple[int, ...]]) -> dict[str, Use]:
    if isinstance(layer, NORMS):
        return {
            "gamma": vector("gain", shapes.get("gamma", ()), _law(layer, "gamma", shapes)),
            "scale": vector("gain", shapes.get("scale", ()), _law(layer, "gamma", shapes)),
            "beta": vector("bias", shapes.get("beta", ()), _law(layer, "beta", shapes)),
        }
    if isinstance(layer, layers.PReLU):
        return {"alpha": vector("gain", shapes["alpha"], _law(layer, "alpha", shapes))}
    if isinstance(layer, layers.Embedding):
        rows = shapes.get("embeddings", (1, 1))
        use = Use("embedding", (0,), (1,), Fans(1, rows[1]))
        law = stated_law(layer.embeddings_initializer, rows, compute_fans(rows))
        return {"embeddings": replace(use, default=law)}
    kernel = _kernel(layer, shapes)
    if kernel is None:
        return {}
    found = {"kernel": kernel}
    for name in ("bias", "pointwise_kernel", "depthwise_kernel"):
        if name in shapes:
            found[name] = _beside(layer, name, shapes, kernel)
    if "recurrent_kernel" in shapes:
        found |= _recurrent(layer, shapes)
    for name, role in (("lora_kernel_a", "lora_in"), ("lora_kernel_b", "lora_out")):
        if name in shapes:
            found[name] = _low_rank(role, shapes[name])
    return found


def _kernel(layer: Any, shapes: dict[str, tuple[int, ...]]) -> Use | None:
    """Use of ``kernel``: of one of several kernels that of the layer's inputs."""
    shape = shapes.get("kernel") or shapes.get("pointwise_kernel")
    if shape is None or len(shape) < 2:
        return None
    if isinstance(layer, layers.EinsumDense):
        return _einsum(layer, shape)
    axes = len(shape)
    kind = type(layer).__name__
    role: TensorRole = "convolution" if "Conv" in kind else "dense"
    if "Transpose" in kind:
        fans = compute_fans(shape, in_axis=-1, out_axis=-2)
        return Use(role, (axes - 1,), (axes - 2,), fans, _counted(layer, "kernel", shape))
    if "Depthwise" in kind:
        return _depthwise(layer, "depthwise", shape)
    groups = int(getattr(layer, "groups", 1) or 1)
    fans = compute_fans(shape, groups=groups)
    name = "pointwise" if "kernel" not in shapes else "kernel"
    return Use(role, (axes - 2,), (axes - 1,), fans, _counted(layer, name, shape), groups)


def _einsum(layer: Any, shape: tuple[int, ...]) -> Use:
    """Axes of a kernel by its equation."""
    inputs, outputs, copies = einsum_axes(layer.equation)
    fans = Fans(math.prod(shape[i] for i in inputs), math.prod(shape[i] for i in outputs))
    law = stated_law(layer.kernel_initializer, shape, fans)
    return Use("dense", inputs, outputs, fans, law, stacked=copies)


def _depthwise(layer: Any, name: str, shape: tuple[int, ...]) -> Use:
    """A kernel ``(*kernel, channels, multiplier)``, each of whose channels is a group of its own."""
    axes, channels = len(shape), shape[-2]
    taps = math.prod(shape[:-2])
    fans = Fans(taps, taps * shape[-1])
    return Use("convolution", (), (axes - 2, axes - 1), fans, _counted(layer, name, shape), channels)


def _beside(layer: Any, name: str, shapes: dict[str, tuple[int, ...]], kernel: Use) -> Use:
    if name == "bias":
        return vector("bias", shapes["bias"], _law(layer, "bias", shapes), kernel.fans)
    if name == "depthwise_kernel":
        return _depthwise(layer, "depthwise", shapes[name])
    return kernel


def _recurrent(layer: Any, shapes: dict[str, tuple[int, ...]]) -> dict[str, Use]:
    shape = shapes["recurrent_kernel"]
    fans = Fans(*shape)
    law = stated_law(layer.recurrent_initializer, shape, fans)
    found = {"recurrent_kernel": Use("recurrent", (0,), (1,), fans, law)}
    if "bias" in shapes:
        bias = vector("bias", shapes["bias"], _law(layer, "bias", shapes), fans)
        if getattr(layer, "unit_forget_bias", False):  # 1 for the gate that forgets, the initializer's law for others
            bias = replace(bias, default=UNKNOWN, parts=parts("ifco", shape[0]))
        found["bias"] = bias
    return found


def _low_rank(role: Any, shape: tuple[int, ...]) -> Use:
    axes = len(shape)
    fans = Fans(math.prod(shape[:-1]), shape[-1])
    return Use(role, tuple(range(axes - 1)), (axes - 1,), fans)


def _law(layer: Any, name: str, shapes: dict[str, tuple[int, ...]]) -> Law:
    """The law that a layer's initializer of this name states for a weight without inputs."""
    initializer = getattr(layer, f"{name}_initializer", None)
    return UNKNOWN if initializer is None else stated_law(initializer, shapes.get(name, (1,)), Fans(1, 1))


def _counted(layer: Any, name: str, shape: tuple[int, ...]) -> Law:
    """The law of a kernel by the fans that Keras counts, of all groups and with outputs last."""
    initializer = getattr(layer, f"{name}_initializer", None)
    return UNKNOWN if initializer is None else stated_law(initializer, shape, compute_fans(shape))
