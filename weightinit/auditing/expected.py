"""The law that each named array should follow, by patterns of names, and its role, fans and layout."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np

from weightinit.arrays import Array
from weightinit.auditing.named_laws import name_of, notation, rule
from weightinit.fans import Fans, compute_fans
from weightinit.laws import Law
from weightinit.nn.weights import Position, Role, WeightSpec
from weightinit.schemes.base import ONE, ZERO, Rule
from weightinit.schemes.rules import Identity, Orthogonal, Sparse

AxisOrder: TypeAlias = Literal["auto", "in_out", "out_in"]

NO_FANS: Final = Fans(0, 0)
"""Fans of an array that shows none: a bias without a weight beside it."""

OF_MATRICES: Final = (Identity, Orthogonal, Sparse)
"""Rules that only a weight of two axes or more can follow."""


@runtime_checkable
class LawStating(Protocol):
    """Source of a weight's law: every rule of :mod:`weightinit.schemes`. It may have a ``bias_law`` as well."""

    def law(self, spec: WeightSpec) -> Law:
        """Return the law that a weight should follow."""


LawLike: TypeAlias = str | Law | LawStating
Laws: TypeAlias = LawLike | Mapping[str, LawLike]


WILD: Final = re.compile(r"[*?\[]")
"""Signs of a pattern that matches more than its own text."""


class Mistake(NamedTuple):
    """A law that is often met in place of the right one: its name, the law, and how that comes about."""

    name: str
    law: Law
    remark: str


@dataclass(frozen=True, eq=False)
class Expected:
    """One array, laid out ``(*kernel, fan_in, fan_out)`` (``shape`` is as it was given), and the law it should follow.

    ``law`` is None where none was given. ``fans`` are None where the array doesn't show them: those of a bias without
    a weight beside it. ``source`` is the rule behind the law, ``label`` the words for it; ``mistakes`` are the first to
    think of where the array doesn't follow it.
    """

    values: Array
    shape: tuple[int, ...]
    spec: WeightSpec
    fans: Fans | None
    law: Law | None
    label: str
    source: LawStating | None
    mistakes: tuple[Mistake, ...] = ()

    @property
    def is_weight(self) -> bool:
        """Whether the array is a matrix or a kernel with inputs and outputs, not a bias or a gain."""
        return self.spec.role == "weight" and self.values.ndim > 1


@dataclass(frozen=True)
class _Given:
    """A law as it was given. ``of_layers``: its pattern takes in weights, so that a rule settles their biases too."""

    label: str
    source: Law | LawStating
    of_layers: bool


def expect(
    arrays: Mapping[str, Any], law: Laws | None, layout: AxisOrder, specs: Iterable[WeightSpec] | None
) -> tuple[Expected, ...]:
    """Return each array with its law, in order; without a law for ``law=None``.

    Raises ValueError for a layout that isn't one, a pattern that no name matches, specs that don't fit the arrays, an
    unknown law and one that a bias can't follow; TypeError for what is no law or no real array.
    """
    if not arrays:
        raise ValueError("arrays must hold at least one named array; got none")
    if layout not in get_args(AxisOrder):
        raise ValueError(
            f"layout must be one of {', '.join(get_args(AxisOrder))}; got {layout!r}. Pass layout='in_out'."
        )
    values = {name: _real(name, x) for name, x in arrays.items()}
    shapes = {name: x.shape for name, x in values.items()}
    if specs is None:
        values = {name: _outputs_last(name, x, layout) for name, x in values.items()}
        specs = _specs({name: x.shape for name, x in values.items()})
    by_name = {spec.name: spec for spec in specs}
    for name, x in values.items():
        if name not in by_name or by_name[name].shape != x.shape:
            wanted = f"shape {by_name[name].shape}" if name in by_name else f"one of {', '.join(by_name)}"
            raise ValueError(f"arrays must match specs: {name!r} must be {wanted}; got shape {x.shape}")
    given = {} if law is None else _given_laws(law, {name: by_name[name].role for name in values})
    return tuple(
        _expected(x, by_name[name], shapes[name], next((given[p] for p in given if _matches(name, p)), None))
        for name, x in values.items()
    )


def _given_laws(law: Laws, roles: Mapping[str, Role]) -> dict[str, _Given]:
    """Laws by pattern, in order."""
    patterns = dict(law) if isinstance(law, Mapping) else {"*": law}
    given = {}
    for pattern, law_like in patterns.items():
        label, source = _source(law_like)
        matched = [role for name, role in roles.items() if _matches(name, pattern)]
        if not matched:
            raise ValueError(
                f"law's pattern {pattern!r} matches none of the arrays: {_some(list(roles))}. Mend the pattern."
            )
        of_layers = "weight" in matched and not (isinstance(source, Law) and isinstance(law, Mapping))
        given[pattern] = _Given(label, source, of_layers)
    return given


def _expected(x: Array, spec: WeightSpec, shape: tuple[int, ...], given: _Given | None) -> Expected:
    fans = None if spec.role != "weight" and spec.fans == NO_FANS else spec.fans
    expected = Expected(x, shape, spec, fans, None, "", None)
    if given is None or x.dtype.kind != "f" or x.size == 0 or (x.ndim == 0 and given.of_layers):
        return expected
    label, source = given.label, given.source
    if isinstance(source, Law) and (spec.role == "weight" or not given.of_layers):
        return replace(expected, law=None if np.isnan(source.std) else source, label=label)
    stated = None if isinstance(source, Law) else source
    if spec.role == "weight" and stated is not None:
        law: Law | None = stated.law(spec)
    elif stated is not None and not given.of_layers and not _settles_biases(stated):
        if isinstance(stated, OF_MATRICES):
            raise ValueError(
                f"law {label} is one of matrices; got it for {spec.name!r} of shape {shape}. "
                "Pass a law of single elements, such as 'uniform(low=-0.1, high=0.1)'."
            )
        law = _law_of_vector(stated.law, spec, fans)
    elif spec.role == "bias":
        bias_law = getattr(stated, "bias_law", None)
        law = ZERO if bias_law is None else _law_of_vector(bias_law, spec, fans)
        label = notation(law) if law is not None else label
    else:
        law, label = ONE, "ones"
    return replace(expected, law=law, label=label, source=stated)


def _settles_biases(source: LawStating) -> bool:
    """Whether a rule says itself what biases are, so that given to biases alone it means these and not its weights."""
    if not isinstance(source, Rule):
        return hasattr(source, "bias_law")
    [bias_std] = [field for field in fields(source) if field.name == "bias_std"]
    return not bias_std.init or source.bias_std > 0  # not an option: a library's default, which decides on biases too


def _law_of_vector(law_of: Any, spec: WeightSpec, fans: Fans | None) -> Law | None:
    """Return the law of a bias or gain; None where it follows fans that can't be told."""
    laws: list[Law] = [law_of(replace(spec, fans=each)) for each in ((fans,) if fans else (Fans(2, 3), Fans(5, 7)))]
    return laws[0] if laws[0] == laws[-1] else None


def _source(law: Any) -> tuple[str, Law | LawStating]:
    if isinstance(law, str):
        return law, rule(law)
    if isinstance(law, Law):
        return notation(law), law
    if isinstance(law, LawStating) and not isinstance(law, type):
        return name_of(law), law
    raise TypeError(
        f"law must be a name, a Law, a rule that states laws, or a mapping of patterns to these; got {law!r}. "
        "Of a scheme that states its laws with the weights, pass those by name."
    )


def _real(name: str, x: Any) -> Array:
    """``x`` as an array of float16, float32, float64 or whole numbers in this machine's byte order."""
    try:
        values = np.asarray(x)
    except (ValueError, TypeError, RuntimeError) as error:
        raise TypeError(
            f"arrays must hold arrays of real numbers; got {type(x).__name__} in {name!r}: {error}"
        ) from None
    if values.dtype.name == "bfloat16" or (values.dtype.kind == "f" and values.dtype.itemsize > 8):
        with np.errstate(all="ignore"):
            return values.astype(np.float32 if values.dtype.itemsize == 2 else np.float64)
    if values.dtype.kind not in "fiub":
        raise TypeError(
            f"arrays must hold real numbers; got {values.dtype} in {name!r}. Convert it to float32, "
            "or pass the real and the imaginary part as arrays of their own."
        )
    return values.astype(values.dtype.newbyteorder("="), copy=False)


# What names and shapes tell


def _outputs_last(name: str, x: Array, layout: AxisOrder) -> Array:
    """``x`` laid out ``(*kernel, fan_in, fan_out)``. PyTorch's names have dots and end in ``weight``."""
    out_in = layout == "out_in" or (layout == "auto" and "/" not in name and "weight" in name.rpartition(".")[2])
    return np.moveaxis(x, (0, 1), (-1, -2)) if out_in and x.ndim > 1 else x


def _specs(shapes: Mapping[str, tuple[int, ...]]) -> list[WeightSpec]:
    roles = {name: _role(name, len(shape)) for name, shape in shapes.items()}
    weights = [name for name in shapes if roles[name] == "weight"]
    places: dict[str, Position] = dict.fromkeys(weights, "hidden")
    if weights:
        places |= {weights[-1]: "output", weights[0]: "input"}
    fans = {name: compute_fans(shapes[name]) if min(shapes[name]) > 0 else NO_FANS for name in weights}
    weight_beside = {(_stem(name), shapes[name][-1]): name for name in weights}
    specs = []
    for name, shape in shapes.items():
        weight = name if name in fans else weight_beside.get((_stem(name), shape[-1] if shape else 1), "")
        specs.append(WeightSpec(name, shape, fans.get(weight, NO_FANS), roles[name], places.get(weight, "hidden")))
    return specs


def _role(name: str, axes: int) -> Role:
    last = re.split(r"[./]", name.lower())[-1]
    if re.search(r"bias|beta|^b\d*$", last):
        return "bias"
    if axes > 1:
        return "weight"
    return "gain" if re.search(r"gain|gamma|scale|weight|var", last) else "bias"


def _stem(name: str) -> str:
    """The part that names of a layer's weight and bias share: ``fc1.weight`` and ``fc1.bias``, ``W1`` and ``b1``."""
    cut = max(name.rfind("."), name.rfind("/")) + 1
    return name[:cut] + re.sub(r"weight|kernel|bias|^w|^b", "", name[cut:].lower(), count=1)


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or (WILD.search(pattern) is not None and fnmatchcase(name, pattern))


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
