"""Laws that are usual for a tensor where nobody said one: its module's own default, its role's, and slips in these."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

from weightinit.auditing.expected import LawStating, Mistake
from weightinit.auditing.families import Expectation, Expectations
from weightinit.auditing.named_laws import rule
from weightinit.fans import Fans, compute_fans
from weightinit.laws import Law
from weightinit.model import ModelTensor
from weightinit.nn.weights import WeightSpec
from weightinit.schemes.base import ONE, ZERO

Of: TypeAlias = Callable[[ModelTensor, WeightSpec], tuple[Expectations, bool]]
"""Returns the laws that a tensor, or one part of it, may follow, and whether somebody said so."""

BY_FANS: Final = ("dense", "convolution", "recurrent")
"""Roles of tensors whose scale follows their fans: those that a scheme's name rules."""

PACKED: Final = "the packed matrix's "
"""Beginning of the name of a law that packed parts have together."""

OF_SINES: Final = "U(±1/fan_in), a first layer of sines"
"""Label of the law of a first layer before sines (Sitzmann et al. 2020)."""

MISCOUNTED: Final = ("he", "he_uniform", "xavier", "lecun_uniform", "glorot_normal", "glorot_uniform")
"""Rules whose fans are often counted over all groups of a convolution."""


def usual(tensor: ModelTensor, spec: WeightSpec) -> tuple[Expectations, bool]:
    """The module's own default, or what is usual for the role; nothing for what stands alone."""
    pytorch = rule("pytorch")
    label = f"{tensor.kind or 'the library'}'s own default"
    found: list[Expectation] = []
    if tensor.default.known:
        same = tensor.role in BY_FANS and tensor.default == pytorch.law(spec)
        mistakes = _slips(tensor, spec) if tensor.role in BY_FANS else ()
        found.append(Expectation(tensor.default, label, mistakes, source=pytorch if same else None))
    match tensor.role:
        case "gain":
            found.append(Expectation(ONE, "ones"))
        case "bias":
            found.insert(0, Expectation(ZERO, "zeros"))
            if tensor.fans:
                found.append(Expectation(pytorch.bias_law(spec), "PyTorch's own default"))
        case "lora_out":
            found.append(Expectation(ZERO, "zeros"))
        case "dense" | "convolution" | "recurrent" if not found:
            found.append(Expectation(pytorch.law(spec), "U(±1/sqrt(fan_in))", _slips(tensor, spec), source=pytorch))
    found += _of_kernels(tensor, spec)
    return tuple({each.law: each for each in found}.values()), False


def _of_kernels(tensor: ModelTensor, spec: WeightSpec) -> list[Expectation]:
    """Laws of special layers: Glorot's of a kernel as a matrix, of patches (He et al. 2022); the first of sines."""
    fan_in = spec.fans.fan_in
    if tensor.role == "convolution" and len(spec.shape) > 2 and tensor.groups == 1:
        law = rule("glorot_uniform").law(replace(spec, fans=Fans(fan_in, spec.shape[-1])))
        return [Expectation(law, "glorot_uniform of the kernel as a matrix")]
    if tensor.role == "dense" and spec.position == "input":
        law = Law("uniform", 0.0, 1 / fan_in / math.sqrt(3), (-1 / fan_in, 1 / fan_in))
        return [Expectation(law, OF_SINES)]
    return []


def of_source(tensor: ModelTensor, spec: WeightSpec, label: str, source: Law | LawStating) -> Expectation:
    """Return the law that a rule gives a tensor, or one part of it, with the mistakes that are made in its fans."""
    if isinstance(source, Law):
        return Expectation(source, label)
    law = source.law(spec)
    mistakes = _packed(tensor, spec, source) + _groups(tensor, spec) + _axes(tensor, spec, source)
    return Expectation(law, label, mistakes, source=source)


def _axes(tensor: ModelTensor, spec: WeightSpec, source: LawStating) -> tuple[Mistake, ...]:
    """The rule with several axes of inputs or outputs taken for those of a convolution's kernel."""
    if len(tensor.in_axes) < 2 and len(tensor.out_axes) < 2:
        return ()
    counted = compute_fans(tensor.shape)
    law = source.law(replace(spec, fans=counted))
    remark = f"its axes {tensor.shape} were read as a convolution's: fans {tuple(counted)} for {tuple(spec.fans)}"
    return () if law == source.law(spec) else (Mistake("its axes misread", law, remark),)


def _packed(tensor: ModelTensor, spec: WeightSpec, source: LawStating) -> tuple[Mistake, ...]:
    """The rule with the fans of all packed parts together."""
    if not tensor.parts or not tensor.fans:
        return ()
    together = source.law(replace(spec, fans=tensor.fans))
    if together == source.law(spec):
        return ()
    names = ", ".join(part.name for part in tensor.parts)
    remark = f"drawn as one packed matrix ({names}): its fans {tuple(tensor.fans)} in place of {tuple(spec.fans)}"
    return (Mistake(f"{PACKED}law", together, remark),)


def _groups(tensor: ModelTensor, spec: WeightSpec) -> tuple[Mistake, ...]:
    """The usual rules with a fan-out counted over all groups."""
    if tensor.groups < 2:
        return ()
    fan_in, fan_out = spec.fans
    counted = Fans(fan_in, fan_out * tensor.groups)
    remark = f"its fan-out was counted over all {tensor.groups} groups: {counted.fan_out} for {fan_out}"
    mistakes = []
    for name in MISCOUNTED:
        options = "" if "glorot" in name else "(mode='fan_out')"
        law = rule(name + options).law(replace(spec, fans=counted))
        mistakes.append(Mistake(f"{name}{options} over all groups", law, remark))
    return tuple(mistakes)


def _slips(tensor: ModelTensor, spec: WeightSpec) -> tuple[Mistake, ...]:
    """Glorot's laws of packed parts together, and the usual rules over all groups."""
    packed = [
        Mistake(f"{PACKED}{name}", *mistake[1:])
        for name in ("glorot_uniform", "glorot_normal")
        for mistake in _packed(tensor, spec, rule(name))
    ]
    return (*packed, *_groups(tensor, spec))
