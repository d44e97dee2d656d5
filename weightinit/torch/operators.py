"""Operators of PyTorch as writes to memory: what they draw, change or copy, and the law that follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, TypeAlias

import torch

from weightinit.initializers import truncated_moments, truncation
from weightinit.laws import UNKNOWN, Law

Effect: TypeAlias = Literal["sets", "changes", "sets some"]

LEAVES_UNWRITTEN: Final = frozenset(
    {"empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided"}
)
"""Operators that take memory and write nothing to it."""

_SETTING: Final = frozenset(
    {"normal_", "uniform_", "fill_", "zero_", "copy_", "bernoulli_", "cauchy_", "exponential_", "geometric_"}
    | {"log_normal_", "random_", "set_"}
)
_SETTING_SOME: Final = frozenset(
    {"index_put_", "_index_put_impl_", "index_fill_", "index_copy_", "masked_fill_", "masked_scatter_", "scatter_"}
)
_CARRYING: Final = frozenset({"copy_", "clone", "_to_copy", "contiguous", "detach_copy", "view_copy", "repeat"})
_CONSTANTS: Final[Mapping[str, float]] = {"zeros": 0.0, "zeros_like": 0.0, "new_zeros": 0.0, "zero_": 0.0} | {
    "ones": 1.0,
    "ones_like": 1.0,
    "new_ones": 1.0,
}
_NORMAL: Final = Law("normal", 0.0, 1.0)
_UNIFORM: Final = Law("uniform", 0.5, 1 / math.sqrt(12), (0.0, 1.0))


def written(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """Return the tensors among an operator's arguments whose memory it writes to."""
    found: list[torch.Tensor] = []
    for place, argument in enumerate(operator._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            values = value if isinstance(value, list | tuple) else [value]
            found += [each for each in values if isinstance(each, torch.Tensor)]
    return found


def name_of(operator: Any) -> str:
    """Return an operator's name without namespace and overload: ``normal_``."""
    return str(operator._schema.name).rpartition("::")[2]


def arguments_of(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of one call by name, with defaults."""
    named = {}
    for place, argument in enumerate(operator._schema.arguments):
        default = argument.default_value if argument.has_default_value() else None
        named[argument.name] = args[place] if place < len(args) else kwargs.get(argument.name, default)
    return named


def effect_of(operator: Any) -> Effect:
    """Return whether an operator replaces what it writes to, or part of it, or computes it from what was there."""
    name = name_of(operator)
    if name in _SETTING or any(argument.is_out for argument in operator._schema.arguments):
        return "sets"
    return "sets some" if name in _SETTING_SOME else "changes"


def law_after(operator: Any, arguments: Mapping[str, Any], law_of: Callable[[Any], Law]) -> Law:
    """Return the law of what one call leaves; ``law_of``: the law of a tensor, unknown where it isn't.

    Draws and constants have laws of their own; a number added or multiplied moves the law; copies carry it.
    """
    name = name_of(operator)
    if name in _CONSTANTS:
        return _constant(_CONSTANTS[name])
    source, other = arguments.get("self"), arguments.get("other")
    match name:
        case "normal_" | "normal":
            mean, std = (_number(arguments.get(key)) for key in ("mean", "std"))
            return UNKNOWN if mean is None or std is None else Law("normal", mean, std)
        case "uniform_":
            low, high = float(arguments["from"]), float(arguments["to"])
            return Law("uniform", (low + high) / 2, (high - low) / math.sqrt(12), (low, high))
        case "randn" | "randn_like":
            return _NORMAL
        case "rand" | "rand_like":
            return _UNIFORM
        case "fill_" | "full" | "full_like" | "new_full" | "fill":
            value = _number(arguments.get("value", arguments.get("fill_value")))
            return UNKNOWN if value is None else _constant(value)
        case _ if name in _CARRYING:
            return law_of(arguments.get("src", source)) if name == "copy_" else law_of(source)
    base = name.removesuffix("_")
    if base in ("mul", "div", "add", "sub", "neg") and isinstance(source, torch.Tensor):
        number = _number(other)
        alpha = _number(arguments.get("alpha", 1)) or 0.0
        if base == "neg":
            return _moved(law_of(source), -1.0, 0.0)
        if number is None:
            return UNKNOWN
        scale = {"mul": number, "div": 1 / number if number else math.nan}.get(base, 1.0)
        shift = {"add": alpha * number, "sub": -alpha * number}.get(base, 0.0)
        return _moved(law_of(source), scale, shift)
    return UNKNOWN


def law_of_call(name: str, arguments: Mapping[str, Any]) -> Law:
    """Return the law that a function of ``torch.nn.init`` leaves where its operators don't tell it."""
    if name == "trunc_normal_":
        mean, std, low, high = (float(arguments[key]) for key in ("mean", "std", "a", "b"))
        if low <= mean <= high and std > 0:
            sigma, below, above = truncation(mean, std, None, None, (low, high))
            shift, share = truncated_moments(below, above)
            return Law("truncated_normal", mean + sigma * shift, sigma * share, (low, high))
    if name == "orthogonal_":
        return Law("orthogonal")
    return UNKNOWN


def _constant(value: float) -> Law:
    return Law("constant", value, 0.0, (value, value))


def _moved(law: Law, scale: float, shift: float) -> Law:
    if not law.known or not math.isfinite(scale):
        return UNKNOWN
    low, high = sorted(edge * scale + shift if scale else shift for edge in law.support)
    moved = replace(law, mean=law.mean * scale + shift, std=law.std * abs(scale), support=(low, high))
    return moved if scale else _constant(shift)


def _number(value: Any) -> float | None:
    if isinstance(value, torch.Tensor):
        return float(value) if value.dim() == 0 and value.device.type != "meta" else None
    return float(value) if isinstance(value, int | float) else None
