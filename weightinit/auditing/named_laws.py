"""Laws by name: ``he``, ``normal(std=0.02)``; and laws in the usual notation."""

from __future__ import annotations

import ast
from dataclasses import fields
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final

from weightinit.laws import Law
from weightinit.schemes.base import Rule
from weightinit.schemes.rules import (
    Constant,
    FlaxDense,
    Identity,
    KerasDense,
    Normal,
    Orthogonal,
    PyTorchLinear,
    Random,
    Siren,
    SklearnMLP,
    Sparse,
    TruncatedNormal,
    Uniform,
    VarianceScaling,
)

NAMED: Final[dict[str, tuple[type[Rule], dict[str, Any]]]] = {
    "zeros": (Constant, {"value": 0.0}),
    "ones": (Constant, {"value": 1.0}),
    "constant": (Constant, {}),
    "identity": (Identity, {}),
    "normal": (Normal, {}),
    "random": (Random, {}),
    "uniform": (Uniform, {}),
    "truncated_normal": (TruncatedNormal, {}),
    "variance_scaling": (VarianceScaling, {"scale": 1.0}),
    "xavier": (VarianceScaling, {"scale": 1.0}),
    "he": (VarianceScaling, {"scale": 2.0}),
    "he_normal": (VarianceScaling, {"scale": 2.0}),
    "he_uniform": (VarianceScaling, {"scale": 2.0, "distribution": "uniform"}),
    "glorot_normal": (VarianceScaling, {"scale": 1.0, "mode": "fan_avg"}),
    "glorot_uniform": (VarianceScaling, {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform"}),
    "lecun_normal": (VarianceScaling, {"scale": 1.0}),
    "lecun_uniform": (VarianceScaling, {"scale": 1.0, "distribution": "uniform"}),
    "orthogonal": (Orthogonal, {}),
    "sparse": (Sparse, {}),
    "siren": (Siren, {}),
    "pytorch": (PyTorchLinear, {}),
    "keras": (KerasDense, {}),
    "flax": (FlaxDense, {}),
    "sklearn": (SklearnMLP, {}),
}
"""Names of laws: the rule of each, and the options that the name fixes."""


@lru_cache(maxsize=256)
def rule(text: str) -> Rule:
    """Return the rule that ``text`` names, with options as in a call: ``he``, ``he(mode='fan_out')``.

    Raises ValueError for an unknown name or option, and whatever the rule itself raises for a value.
    """
    name, options = name_and_options(text)
    if name not in NAMED:
        nearest = (get_close_matches(name, NAMED, 1, 0.0) or ["he"])[0]
        raise ValueError(f"law must be one of {', '.join(NAMED)}; got {name!r}. Pass law={nearest!r}.")
    kind, fixed = NAMED[name]
    allowed = [field.name for field in fields(kind) if field.init]
    if unknown := sorted(options.keys() - set(allowed)):
        raise ValueError(f"law {name} takes {', '.join(allowed)}; got {', '.join(unknown)} in {text!r}")
    kept = {option: value for option, value in fixed.items() if (option, "gain" in options) != ("scale", True)}
    try:
        return kind(**{**kept, **options})
    except OverflowError:
        raise ValueError(f"law {text!r} leaves the range of float64. Pass smaller options.") from None


def name_of(source: Any) -> str:
    """Return the first name that stands for a rule, or its ``repr`` where none does."""
    return next((name for name in NAMED if rule(name) == source), repr(source))


def notation(law: Law) -> str:
    """Return a law in the usual notation: ``N(0, 0.02²)``, ``U(-1, 1)``."""
    low, high = law.support
    match law.family:
        case "normal":
            return f"N({law.mean:.4g}, {law.std:.4g}²)"
        case "uniform":
            return f"U({low:.4g}, {high:.4g})"
        case "truncated_normal":
            return f"a normal of std {law.std:.4g} cut to [{low:.4g}, {high:.4g}]"
        case "constant":
            return f"{law.mean:.4g} everywhere"
        case "delta_orthogonal":
            return f"delta_orthogonal(gain={high:.4g})"
    return f"{law.family} elements of std {law.std:.4g}"


def name_and_options(text: str) -> tuple[str, dict[str, Any]]:
    """Return a name and its options, written as in a call; raise ValueError for anything else."""
    try:
        match ast.parse(text.strip(), mode="eval").body:
            case ast.Name(name):
                return name, {}
            case ast.Call(ast.Name(name), [], keywords) if all(keyword.arg for keyword in keywords):
                return name, {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    raise ValueError(f"law must be a name, with options as in a call; got {text!r}. Pass law='normal(std=0.02)'.")
