"""Modules of PyTorch: the role, axes, fans and own law of each of their parameters."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

import torch
from torch import nn

from weightinit.fans import Fans, compute_fans
from weightinit.laws import UNKNOWN, Law
from weightinit.model import TensorRole
from weightinit.nn.weights import WeightSpec
from weightinit.schemes.base import ONE, ZERO
from weightinit.schemes.rules import Normal, PyTorchLinear, VarianceScaling
from weightinit.uses import Use, law_by_fans, parts

TOKENS: Final = re.compile(
    r"pos(ition(al)?)?_?(emb|enc|bias)|(^|_)pos(itions?)?$|_tokens?$|^tokens?$|quer(y|ies)|latents|class_embed|prompt"
)
"""Names of learned positions and tokens that stand alone in a module."""

PACKED: Final = re.compile(
    r"(c_attn|\b(to_)?qkv(_proj|_lin(ear)?)?|in_proj_qkv|query_key_value|Wqkv|att(n|ention)\.(in_proj|c_attn))$"
)
"""Paths of dense layers that hold queries, keys and values one after another."""

LORA: Final = re.compile(r"lora[._](?:embedding_)?(a|b|down|up)\b")
"""Paths of the two factors of a low-rank branch."""

NORMS: Final = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
FORWARDS: Final = {
    norm.forward for norm in (nn.modules.batchnorm._BatchNorm, nn.SyncBatchNorm, nn.InstanceNorm1d, *NORMS[1:])
}
"""Forward passes of the framework's norms; a class that inherits from one may multiply by 1 + gain."""

GAINS: Final = ("weight", "gamma", "scale", "gain", "g")
"""Names of a norm's factor."""

_ANY: Final = WeightSpec("", (1, 1), Fans(1, 1), "weight", "hidden")
STANDARD_NORMAL: Final = Normal().law(_ANY)
DEFAULT: Final = PyTorchLinear()
GLOROT: Final = VarianceScaling(scale=1.0, mode="fan_avg", distribution="uniform")


def uses(module: nn.Module, parameters: dict[str, torch.Tensor], path: str) -> dict[str, Use]:
    """Return the use of each of a module's own parameters, by its name in the module; ``path`` is the module's."""
    found = _known(module, parameters)
    if PACKED.search(path) and "weight" in found:
        found |= {name: _packed(use) for name, use in found.items()}
    if (lora := LORA.search(path.lower())) and "weight" in found:
        found["weight"] = _low_rank(found["weight"], lora[1])
    found = {name: found.get(name) or _alone(module, name, parameter) for name, parameter in parameters.items()}
    return {name: _beside(use, parameters[name], parameters) for name, use in found.items()}


def _beside(use: Use, parameter: torch.Tensor, parameters: dict[str, torch.Tensor]) -> Use:
    """A bias of one's own module with the fans of the weight ``(out, in)`` beside it."""
    if use.role != "bias" or use.fans or parameter.dim() != 1:
        return use
    weight = next((p for p in parameters.values() if p.dim() == 2 and p.shape[0] == parameter.numel()), None)
    return use if weight is None else replace(use, fans=Fans(int(weight.shape[1]), int(weight.shape[0])))


def _known(module: nn.Module, parameters: dict[str, torch.Tensor]) -> dict[str, Use]:
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    kind = type(module).__name__
    match module:
        case nn.MultiheadAttention():
            return _attention(shapes)
        case nn.RNNBase() | nn.RNNCellBase():
            return _recurrent(module, shapes)
        case nn.modules.conv._ConvNd():
            return _convolution(module, shapes)
        case nn.Bilinear():
            return _bilinear(shapes)
        case nn.Embedding() | nn.EmbeddingBag():
            embedding = Use("embedding", (0,), (1,), Fans(1, shapes["weight"][1]), STANDARD_NORMAL)
            return {"weight": replace(embedding, padding=module.padding_idx)}
        case nn.PReLU():
            return {"weight": Use("gain", default=_constant(module.init))}
        case nn.modules.linear.NonDynamicallyQuantizableLinear():  # the way out of MultiheadAttention
            found = dense(shapes)
            return found | {"bias": replace(found["bias"], default=ZERO)}
        case nn.Linear():
            return dense(shapes)
    if isinstance(module, NORMS) or "norm" in kind.lower():
        return _norm(shapes, ONE if type(module).forward in FORWARDS else UNKNOWN)
    if kind == "Conv1D" and len(shapes.get("weight", ())) == 2:  # of transformers: a dense layer, (in, out)
        fans = Fans(*shapes["weight"])
        weight = Use("dense", (0,), (1,), fans, Normal(std=0.02).law(_ANY))
        return {"weight": weight, "bias": Use("bias", out_axes=(0,), fans=fans, default=ZERO)}
    if kind.endswith("Linear") and len(shapes.get("weight", ())) == 2:
        return {name: replace(use, default=UNKNOWN) for name, use in dense(shapes).items()}
    return {}


def dense(shapes: dict[str, tuple[int, ...]]) -> dict[str, Use]:
    """Return the uses of ``Linear``: weight ``(out, in)`` and bias."""
    outputs, inputs = shapes["weight"]
    fans = Fans(inputs, outputs)
    return _with_bias(Use("dense", (1,), (0,), fans, default_law(fans)), default_law(fans))


def default_law(fans: Fans) -> Law:
    """Return PyTorch's law of dense layers and convolutions, U(±1/sqrt(fan_in)); zeros without inputs."""
    return law_by_fans(DEFAULT, fans) if fans.fan_in else ZERO


def _packed(use: Use) -> Use:
    """Queries, keys and values of one size, one after another along the outputs."""
    if use.fans and use.fans.fan_out == 3 * use.fans.fan_in:
        return replace(use, parts=parts("qkv", use.fans.fan_in))
    return use


def _low_rank(use: Use, side: str) -> Use:
    side = {"down": "a", "up": "b"}.get(side, side)
    role: TensorRole = "lora_in" if side == "a" else "lora_out"
    embedding = use.role == "embedding"  # there the branch starts with zeros in the first factor, not in the second
    law = STANDARD_NORMAL if embedding else use.default
    return replace(use, role=role, default=law if (side == "a") != embedding else ZERO)


def _convolution(module: nn.modules.conv._ConvNd, shapes: dict[str, tuple[int, ...]]) -> dict[str, Use]:
    """Weight ``(out, in / groups, *kernel)``; transposed ``(in, out / groups, *kernel)``.

    PyTorch counts the fan-in of a transposed kernel by its second axis, which holds its outputs. The default follows
    that; the fans here are the true ones.
    """
    shape, groups = shapes["weight"], module.groups
    if min(shape) < 1:
        return {}
    counted = compute_fans(shape, groups=groups, in_axis=1, out_axis=0)
    law = default_law(counted)
    if module.transposed:
        return _with_bias(Use("convolution", (0,), (1,), Fans(*reversed(counted)), law, groups), law)
    return _with_bias(Use("convolution", (1,), (0,), counted, law, groups), law)


def _bilinear(shapes: dict[str, tuple[int, ...]]) -> dict[str, Use]:
    outputs, first, second = shapes["weight"]
    law = default_law(Fans(first, outputs))
    return _with_bias(Use("dense", (1, 2), (0,), Fans(first * second, outputs), law), law)


def _with_bias(weight: Use, law: Law) -> dict[str, Use]:
    return {"weight": weight, "bias": Use("bias", out_axes=(0,), fans=weight.fans, default=law)}


def _norm(shapes: dict[str, tuple[int, ...]], gain: Law) -> dict[str, Use]:
    result = {}
    for name, shape in shapes.items():
        axes = tuple(range(len(shape)))
        if "bias" in name or "beta" in name:
            result[name] = Use("bias", out_axes=axes, default=ZERO)
        elif name in GAINS:
            result[name] = Use("gain", out_axes=axes, default=gain)
    return result


def _attention(shapes: dict[str, tuple[int, ...]]) -> dict[str, Use]:
    """Queries, keys and values packed into one ``(3 units, units)``, or apart where their sizes differ.

    The module draws the packed one by Glorot's law of its whole: half the variance that each of the three has apart.
    """
    result: dict[str, Use] = {}
    for name, shape in shapes.items():
        if name == "in_proj_weight":
            units = shape[1]
            law = law_by_fans(GLOROT, Fans(units, 3 * units))
            result[name] = Use("dense", (1,), (0,), Fans(units, 3 * units), law, parts=parts("qkv", units))
        elif name == "in_proj_bias":
            result[name] = Use("bias", out_axes=(0,), default=ZERO, parts=parts("qkv", shape[0] // 3))
        elif name.endswith("_proj_weight"):
            fans = Fans(shape[1], shape[0])
            result[name] = Use("dense", (1,), (0,), fans, law_by_fans(GLOROT, fans))
        elif name in ("bias_k", "bias_v"):
            glorot = VarianceScaling(scale=1.0, mode="fan_avg")
            counted = compute_fans(shape, in_axis=1, out_axis=0)
            result[name] = Use("bias", out_axes=(0, 1, 2), default=law_by_fans(glorot, counted))
    return result


def _recurrent(module: nn.Module, shapes: dict[str, tuple[int, ...]]) -> dict[str, Use]:
    """Weights ``(gates x units, in)``; the module draws everything from U(±1/sqrt(units))."""
    units = int(module.hidden_size)
    law = default_law(Fans(units, units))
    result = {}
    for name, shape in shapes.items():
        if not re.match(r"(weight|bias)_([ih]h|hr)", name):
            continue
        gates = parts({4: "ifgo", 3: "rzn"}.get(shape[0] // max(units, 1), ""), units)
        if len(shape) == 1:
            result[name] = Use("bias", out_axes=(0,), default=law, parts=gates)
        else:
            result[name] = Use("recurrent", (1,), (0,), Fans(shape[1], shape[0]), law, parts=gates)
    return result


def _alone(module: nn.Module, name: str, parameter: torch.Tensor) -> Use:
    """The use of a parameter that no module of PyTorch's holds, as its name and shape tell."""
    axes, lowered = parameter.ndim, name.lower()
    lora = re.search(r"lora_?([ab])", lowered)
    if lora and axes == 2:
        return Use("lora_in" if lora[1] == "a" else "lora_out", (1,), (0,), Fans(*reversed(parameter.shape)))
    if TOKENS.search(lowered):
        return Use("position", (), tuple(range(axes)))
    if re.search(r"bias|beta$|^b$", lowered) and axes == 1:
        return Use("bias", out_axes=(0,))
    if axes < 2:
        return Use("parameter", out_axes=tuple(range(axes)))
    stacked = tuple(range(axes - 2))
    fans = Fans(int(parameter.shape[-1]), int(parameter.shape[-2]))
    return Use("parameter", (axes - 1,), (axes - 2,), fans, stacked=stacked)


def _constant(value: Any) -> Law:
    return Law("constant", float(value), 0.0, (float(value), float(value)))
