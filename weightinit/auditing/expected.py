"""Which law each named array should follow: names of laws, patterns of names, layouts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final, Literal, Protocol, TypeAlias, cast, get_args, runtime_checkable

import numpy as np

from weightinit.arrays import Array
from weightinit.auditing.sample import describe
from weightinit.fans import Fans, compute_fans
from weightinit.laws import Law
from weightinit.nn.weights import Position, Role, WeightSpec
from weightinit.schemes.base import ONE, ZERO, Rule
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

Layout: TypeAlias = Literal["auto", "in_out", "out_in"]


@runtime_checkable
class Stating(Protocol):
    """What states the law of a weight: every rule of :mod:`weightinit.schemes`. It may have ``bias_law`` as well."""

    def law(self, spec: WeightSpec) -> Law:
        """The law that a weight should follow."""


LawLike: TypeAlias = str | Law | Stating
Laws: TypeAlias = LawLike | Mapping[str, LawLike]

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
"""Names of laws: the rule of each, and what the name fixes of it."""


@dataclass(frozen=True, eq=False)
class Expected:
    """One array, laid out ``(*kernel, fan_in, fan_out)`` (``shape`` is as it was given), and what it should be.

    ``law`` is None where none was given. ``fans`` are None where the array doesn't show them: those of a bias without
    a weight beside it. ``source`` is the rule behind the law, ``label`` the words for it.
    """

    values: Array
    shape: tuple[int, ...]
    spec: WeightSpec
    fans: Fans | None
    law: Law | None
    label: str
    source: Stating | None


@lru_cache(maxsize=256)
def rule(text: str) -> Rule:
    """The rule that ``text`` names, with options as in a call: ``he``, ``normal(std=0.02)``, ``he(mode='fan_out')``.

    Raises ValueError for an unknown name or option, and what the rule itself says of a value.
    """
    name, options = _call(text)
    if name not in NAMED:
        nearest = (get_close_matches(name, NAMED, 1, 0.0) or ["he"])[0]
        raise ValueError(f"law must be one of {', '.join(NAMED)}; got {name!r}. Pass law={nearest!r}.")
    kind, fixed = NAMED[name]
    allowed = [field.name for field in fields(kind) if field.init]
    if unknown := sorted(options.keys() - set(allowed)):
        raise ValueError(f"law {name} takes {', '.join(allowed)}; got {', '.join(unknown)} in {text!r}")
    kept = {option: value for option, value in fixed.items() if (option, "gain" in options) != ("scale", True)}
    return kind(**{**kept, **options})


def _call(text: str) -> tuple[str, dict[str, Any]]:
    try:
        match ast.parse(text.strip(), mode="eval").body:
            case ast.Name(name):
                return name, {}
            case ast.Call(ast.Name(name), [], keywords) if all(keyword.arg for keyword in keywords):
                return name, {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    raise ValueError(f"law must be a name, with options as in a call; got {text!r}. Pass law='normal(std=0.02)'.")


def expect(
    arrays: Mapping[str, Any], law: Laws, layout: Layout, specs: Iterable[WeightSpec] | None
) -> tuple[Expected, ...]:
    """Each array with its law, in order.

    Raises ValueError for a layout that isn't one, a pattern that no name matches, specs that don't fit the arrays, and
    an unknown law; TypeError for what is no law or no real array.
    """
    if not arrays:
        raise ValueError("arrays must hold at least one named array; got none")
    if layout not in get_args(Layout):
        raise ValueError(f"layout must be one of {', '.join(get_args(Layout))}; got {layout!r}. Pass layout='in_out'.")
    values = {name: _array(name, x) for name, x in arrays.items()}
    if specs is None:
        values = {name: _outputs_last(name, x, layout) for name, x in values.items()}
        specs = _specs({name: x.shape for name, x in values.items()})
    by_name = {spec.name: spec for spec in specs}
    for name, x in values.items():
        if name not in by_name or by_name[name].shape != x.shape:
            wanted = f"shape {by_name[name].shape}" if name in by_name else f"one of {', '.join(by_name)}"
            raise ValueError(f"arrays must match specs: {name!r} must be {wanted}; got shape {x.shape}")
    alone = not isinstance(law, Mapping)
    patterns = {"*": law} if alone else dict(cast(Mapping[str, LawLike], law))
    sources = {pattern: _source(each) for pattern, each in patterns.items()}
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in values):
            raise ValueError(
                f"law's pattern {pattern!r} matches none of the arrays: {_some(list(values))}. Mend the pattern."
            )
    return tuple(
        replace(
            _expected(x, by_name[name], next((sources[p] for p in patterns if _matches(name, p)), None), alone),
            shape=np.shape(arrays[name]),
        )
        for name, x in values.items()
    )


def _expected(x: Array, spec: WeightSpec, source: tuple[str, Law | Stating] | None, alone: bool) -> Expected:
    fans = None if spec.role != "weight" and spec.fans == NO_FANS else spec.fans
    if source is None or x.dtype.kind != "f" or x.size == 0 or x.ndim == 0:
        return Expected(x, x.shape, spec, fans, None, "", None)
    label, stated = source
    if isinstance(stated, Law) and (spec.role == "weight" or not alone):
        return Expected(x, x.shape, spec, fans, stated if not np.isnan(stated.std) else None, label, None)
    if spec.role == "weight" and isinstance(stated, Stating):
        law: Law | None = stated.law(spec)
    elif spec.role == "bias":
        law = _bias_law(stated, spec, fans)
        label = describe(law) if law is not None else label
    else:
        law, label = ONE, "ones"
    return Expected(x, x.shape, spec, fans, law, label, None if isinstance(stated, Law) else stated)


def _bias_law(stated: Law | Stating, spec: WeightSpec, fans: Fans | None) -> Law | None:
    bias_law = getattr(stated, "bias_law", None)
    if bias_law is None:
        return ZERO
    laws: list[Law] = [bias_law(replace(spec, fans=each)) for each in ((fans,) if fans else (Fans(2, 3), Fans(5, 7)))]
    return laws[0] if laws[0] == laws[-1] else None  # None: it follows the fans, and they can't be told


def _source(law: Any) -> tuple[str, Law | Stating]:
    if isinstance(law, str):
        return law, rule(law)
    if isinstance(law, Law):
        return describe(law), law
    if isinstance(law, Stating) and not isinstance(law, type):
        return next((name for name in NAMED if rule(name) == law), repr(law)), law
    raise TypeError(
        f"law must be a name, a Law, a rule that states laws, or a mapping of patterns to these; got {law!r}. "
        "Of a scheme that states its laws with the weights, pass those by name."
    )


def _array(name: str, x: Any) -> Array:
    values = np.asarray(x)
    if values.dtype.name == "bfloat16" or (values.dtype.kind == "f" and values.dtype.itemsize > 8):
        return values.astype(np.float32 if values.dtype.itemsize == 2 else np.float64)
    if values.dtype.kind not in "fiub":
        raise TypeError(f"arrays must hold real numbers; got {values.dtype} in {name!r}")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


# What names and shapes tell

NO_FANS: Final = Fans(0, 0)


def _outputs_last(name: str, x: Array, layout: Layout) -> Array:
    """``x`` laid out ``(*kernel, fan_in, fan_out)``. PyTorch's names have dots and end in ``weight``."""
    out_in = layout == "out_in" or (layout == "auto" and "/" not in name and "weight" in name.rpartition(".")[2])
    return np.moveaxis(x, (0, 1), (-1, -2)) if out_in and x.ndim > 1 else x


def _specs(shapes: Mapping[str, tuple[int, ...]]) -> list[WeightSpec]:
    roles = {name: _role(name, len(shape)) for name, shape in shapes.items()}
    weights = [name for name in shapes if roles[name] == "weight"]
    fans = {name: compute_fans(shapes[name]) if min(shapes[name]) > 0 else NO_FANS for name in weights}
    beside = {(_stem(name), shapes[name][-1]): fans[name] for name in weights}
    result = []
    for name, shape in shapes.items():
        position: Position = "hidden"
        if name in weights:
            position = "input" if name == weights[0] else "output" if name == weights[-1] else "hidden"
        own = fans[name] if name in weights else beside.get((_stem(name), shape[-1] if shape else 1), NO_FANS)
        result.append(WeightSpec(name, shape, own, roles[name], position))
    return result


def _role(name: str, axes: int) -> Role:
    last = re.split(r"[./]", name.lower())[-1]
    if re.search(r"bias|beta|^b\d*$", last):
        return "bias"
    if axes > 1:
        return "weight"
    return "gain" if re.search(r"gain|gamma|scale|weight|var", last) else "bias"


def _stem(name: str) -> str:
    """What the names of a layer's weight and bias share: ``fc1.weight`` and ``fc1.bias``, ``W1`` and ``b1``."""
    cut = max(name.rfind("."), name.rfind("/")) + 1
    return name[:cut] + re.sub(r"weight|kernel|bias|^w|^b", "", name[cut:].lower(), count=1)


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or (not pattern.isalnum() and fnmatchcase(name, pattern))


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
