"""What a module does with a parameter: role, axes and fans, the same for the modules of all frameworks."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from weightinit.fans import Fans, compute_fans
from weightinit.laws import UNKNOWN, Law
from weightinit.model import ModelTensor, Part, TensorRole
from weightinit.nn.weights import WeightSpec
from weightinit.schemes.base import Rule


@dataclass(frozen=True)
class Use:
    """The fields of a ``ModelTensor`` that depend on its module alone."""

    role: TensorRole
    in_axes: tuple[int, ...] = ()
    out_axes: tuple[int, ...] = ()
    fans: Fans | None = None
    default: Law = UNKNOWN
    groups: int = 1
    stacked: tuple[int, ...] = ()
    parts: tuple[Part, ...] = ()
    padding: int | None = None

    def tensor(self, name: str, shape: tuple[int, ...], **known: Any) -> ModelTensor:
        """Return the record of a tensor with this use; ``known``: its other fields."""
        return ModelTensor(
            name=name,
            shape=shape,
            role=self.role,
            in_axes=self.in_axes,
            out_axes=self.out_axes,
            fans=self.fans,
            default=self.default,
            groups=self.groups,
            stacked=self.stacked,
            parts=self.parts,
            padding=self.padding,
            **known,
        )


def parts(names: Iterable[str], size: int) -> tuple[Part, ...]:
    """Return parts of one size along the outputs, in order."""
    return tuple(Part(name, i * size, (i + 1) * size) for i, name in enumerate(names))


def vector(role: TensorRole, shape: tuple[int, ...], default: Law = UNKNOWN, fans: Fans | None = None) -> Use:
    """Return the use of a bias, a gain or another tensor without inputs: all its axes are outputs."""
    return Use(role, out_axes=tuple(range(len(shape))), fans=fans, default=default)


def in_parts(use: Use) -> Use:
    """A complex array as real ones: a kernel of two, real and imaginary part, so that fans are twice as large.

    A law by fans then gives each part half the variance.
    """
    fans = None if use.fans is None else Fans(2 * use.fans.fan_in, 2 * use.fans.fan_out)
    return replace(use, fans=fans, default=UNKNOWN if use.default.std else use.default)


def einsum_axes(equation: str) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return a kernel's axes of inputs, outputs and copies by its equation, ``abc,cde->abde``, the kernel second.

    Inputs are summed over, outputs come from the kernel alone, others count copies.
    """
    left, result = equation.replace(" ", "").replace("...", "").split("->")
    given, kernel = left.split(",")
    inputs = tuple(i for i, letter in enumerate(kernel) if letter in given and letter not in result)
    outputs = tuple(i for i, letter in enumerate(kernel) if letter in result and letter not in given)
    return inputs, outputs, tuple(i for i in range(len(kernel)) if i not in (*inputs, *outputs))


def law_by_fans(rule: Rule, fans: Fans) -> Law:
    """Return the law that a rule gives a hidden weight of these fans."""
    return rule.law(WeightSpec("", fans, fans, "weight", "hidden"))


def alone(name: str, shape: tuple[int, ...]) -> Use:
    """Return the use of an array of somebody's own, as its name and shape tell: inputs before outputs."""
    axes = len(shape)
    lora = re.search(r"lora_?([ab])$", name.lower())
    if lora and axes == 2:
        return Use("lora_in" if lora[1] == "a" else "lora_out", (0,), (1,), Fans(*shape))
    if "bias" in name or name == "beta":
        return vector("bias", shape)
    if axes < 2 or not math.prod(shape):
        return vector("parameter", shape)
    if "embedding" in name or "token" in name:
        return vector("position", shape)
    fans = compute_fans(shape[-2:])
    return Use("parameter", (axes - 2,), (axes - 1,), fans, stacked=tuple(range(axes - 2)))
