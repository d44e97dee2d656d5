"""Two ways of building a model, compared over seeds: whether they draw every tensor from the same law."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from textwrap import fill
from typing import Any, Final, Literal, TypeAlias
from warnings import catch_warnings, simplefilter

import numpy as np
from scipy import stats

from weightinit.arrays import Array
from weightinit.model import INDEX, Model
from weightinit.tables import Tabled

Kind: TypeAlias = Literal[
    "missing", "shape", "dtype", "drawn", "fixed", "value", "zeros", "mean", "std", "law", "tails", "spectrum", "units",
    "clones",
]  # fmt: skip
LEAST_SEEDS: Final = 4
LARGEST: Final = 1 << 18
"""Elements of one tensor that are looked at; a larger one is thinned evenly."""
WIDE: Final = 256
"""Rows and columns of a matrix whose largest singular value is taken."""
WIDTH: Final = 100


@dataclass(frozen=True)
class Difference:
    """A difference between two ways of building: its kind, the tensors that show it, and a sentence."""

    kind: Kind
    tensors: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class SameLaw(Tabled):
    """Comparison of two ways of building a model over ``seeds`` seeds, of ``tensors`` tensors, those of either.

    ``level``: the chance that equal laws raise any difference. ``notes``: what is worth knowing and no difference.
    """

    differences: tuple[Difference, ...]
    tensors: int
    seeds: int
    level: float
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no difference was found."""
        return not self.differences

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.ok:
            return (
                f"The same laws: {self.tensors} tensors over {self.seeds} seeds; equal laws fail with a chance of "
                f"{self.level:g}."
            )
        count = len({name for difference in self.differences for name in difference.tensors})
        return f"Not the same laws: {count} of {self.tensors} tensors differ, over {self.seeds} seeds."

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {"tensor": name, "kind": each.kind, "sentence": each.sentence}
            for each in self.differences
            for name in each.tensors
        ]

    def _shown(self) -> tuple[list[tuple[str, ...]], list[str]]:
        table: list[tuple[str, ...]] = [("kind", "tensors", "difference")]
        table += [(each.kind, ", ".join(each.tensors), each.sentence) for each in self.differences]
        return table, [self.sentence, *self.notes]

    def __str__(self) -> str:
        lines = [fill(each.sentence, WIDTH, subsequent_indent="  ") for each in self.differences]
        return "\n".join([*lines, *(fill(note, WIDTH) for note in self.notes), self.sentence])


Values: TypeAlias = Mapping[str, Array]
"""Tensors of one build by name, as the library lays them out."""


def values_of(model: Model) -> dict[str, Array]:
    """Return a model's tensors by name, as the library lays them out; those without values are left out."""
    return {tensor.name: tensor.to_layout(tensor.read()) for tensor in model if tensor.read is not None}


def compare(
    build_a: Callable[[int], Values],
    build_b: Callable[[int], Values],
    seeds: Sequence[int],
    *,
    names: Mapping[str, str] | None = None,
    level: float = 1e-3,
) -> SameLaw:
    """Return the comparison of two functions that build a model's tensors from a seed.

    Tensors go by their names, those of b as ``names`` translates them; where the two share none, by their order.
    Each seed gives a few numbers for each tensor: mean, std, shape, largest element, zeros, largest singular value,
    units that repeat. Those of a and b are compared by Welch's t-test over seeds, so that elements of one tensor need
    not be independent. What never varies (constants, clones) must be equal.

    Raises ValueError for fewer than 4 seeds, and for a level outside (0, 1).
    """
    if len(seeds) < LEAST_SEEDS:
        raise ValueError(f"seeds must be at least {LEAST_SEEDS}; got {len(seeds)}. Pass seeds=8.")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level}. Pass level=0.001.")
    a = [_summary(build_a(seed)) for seed in seeds]
    b = [_summary(build_b(seed)) for seed in seeds]
    theirs, notes = _matched(list(a[0]), list(b[0]), a[0], b[0], names or {})
    found: list[tuple[Kind, str, str]] = [
        *(("missing", name, "is in the first alone") for name in a[0] if name not in theirs),
        *(("missing", name, "is in the second alone") for name in b[0] if name not in theirs.values()),
    ]
    alpha = level / (len(_TESTS) * max(len(theirs), 1))
    for name, other in theirs.items():
        found += [
            (kind, name, words) for kind, words in _differences([s[name] for s in a], [s[other] for s in b], alpha)
        ]
    tensors = len({*a[0], *(name for kind, name, _ in found if kind == "missing")})
    found += _clones(a[0], b[0], theirs)
    return SameLaw(tuple(_grouped(found)), tensors, len(seeds), level, notes)


@dataclass(frozen=True)
class _Numbers:
    """What one seed gives of one tensor: numbers by test, the shape, the type, and a digest of the bytes."""

    shape: tuple[int, ...]
    dtype: str
    digest: int
    constant: bool
    value: float
    by_test: Mapping[str, float]


_TESTS: Final[Mapping[str, tuple[Kind, str]]] = {
    "mean": ("mean", "mean"),
    "std": ("std", "std"),
    "shape": ("law", "E|x|/std"),
    "largest": ("tails", "largest element in stds"),
    "zeros": ("zeros", "share of zeros"),
    "spectrum": ("spectrum", "largest singular value over that of independent elements"),
    "units": ("units", "units that repeat"),
}


def _summary(values: Values) -> dict[str, _Numbers]:
    return {name: _numbers(np.asarray(x)) for name, x in values.items()}


def _numbers(x: Array) -> _Numbers:
    flat = x.reshape(-1).astype(np.float64)
    digest = hash(np.ascontiguousarray(x).tobytes())
    shape, dtype = tuple(x.shape), x.dtype.name
    if not flat.size or not np.isfinite(flat).all():
        return _Numbers(shape, dtype, digest, True, math.nan, {})
    if flat.min() == flat.max():
        return _Numbers(shape, dtype, digest, True, float(flat[0]), {})
    sample = flat[:: -(-flat.size // LARGEST)]
    mean, std = float(sample.mean()), float(sample.std())
    numbers = {
        "mean": mean,
        "std": math.log(std) if std else -math.inf,
        "zeros": float(np.mean(sample == 0)),
        "units": _repeating(x),
    }
    if std and flat.size > 8:
        centred = np.abs(sample - mean) / std
        numbers |= {"shape": float(centred.mean()), "largest": math.log(float(centred.max()))}
    if x.ndim > 1 and min(x.reshape(-1, x.shape[-1]).shape) > 3:
        matrix = x.reshape(-1, x.shape[-1])[:WIDE, :WIDE].astype(np.float64)
        independent = math.sqrt(np.mean(matrix**2)) * (math.sqrt(len(matrix)) + math.sqrt(matrix.shape[1]))
        if independent:
            numbers["spectrum"] = math.log(float(np.linalg.norm(matrix, 2)) / independent)
    return _Numbers(shape, dtype, digest, False, math.nan, numbers)


def _repeating(x: Array) -> float:
    """Number of units whose weights equal an earlier one's."""
    if x.ndim < 2 or x[..., 0].size < 2:
        return 0.0
    units = np.ascontiguousarray(np.moveaxis(x, -1, 0).reshape(x.shape[-1], -1))
    return float(len(units) - len({unit.tobytes() for unit in units}))


def _differences(a: Sequence[_Numbers], b: Sequence[_Numbers], alpha: float) -> Iterator[tuple[Kind, str]]:
    one, other = a[0], b[0]
    if one.shape != other.shape:
        yield "shape", f"has the shape {one.shape} in the first and {other.shape} in the second"
        return
    if one.dtype != other.dtype:
        yield "dtype", f"is {one.dtype} in the first and {other.dtype} in the second"
    constant = [all(each.constant for each in side) for side in (a, b)]
    if constant[0] != constant[1]:
        first, second = ("is constant", "is drawn") if constant[0] else ("is drawn", "is constant")
        yield "drawn", f"{first} in the first and {second} in the second"
        return
    fixed = [len({each.digest for each in side}) == 1 for side in (a, b)]
    if all(constant):
        values = [[each.value for each in side] for side in (a, b)]
        if not np.array_equal(np.sort(values[0]), np.sort(values[1]), equal_nan=True):
            yield "value", f"is {values[0][0]:.4g} everywhere in the first and {values[1][0]:.4g} in the second"
        return
    if fixed[0] != fixed[1]:
        which = "first" if fixed[0] else "second"
        yield "fixed", f"is the same for every seed in the {which} alone"
        return
    if all(fixed):
        if one.digest != other.digest:
            yield "value", "doesn't depend on the seed and has other values in the second"
        return
    for test, (kind, words) in _TESTS.items():
        sides = [[each.by_test[test] for each in side if test in each.by_test] for side in (a, b)]
        if min(map(len, sides)) < LEAST_SEEDS or not _apart(sides[0], sides[1], alpha):
            continue
        numbers = [_shown(test, side) for side in sides]
        if kind == "std":
            ratio = math.exp(float(np.mean(sides[1]) - np.mean(sides[0])))
            yield kind, f"{words} {numbers[0]} in the first, {numbers[1]} in the second ({ratio:.3g} times)"
        else:
            yield kind, f"{words} {numbers[0]} in the first, {numbers[1]} in the second"


def _apart(first: Sequence[float], second: Sequence[float], alpha: float) -> bool:
    """Whether the means of two samples differ: by Welch's t-test, or at all where neither varies."""
    x, y = np.asarray(first), np.asarray(second)
    if np.ptp(x) == 0 and np.ptp(y) == 0:
        return bool(x[0] != y[0])
    with np.errstate(all="ignore"), catch_warnings():
        simplefilter("ignore", RuntimeWarning)  # of numbers that hardly vary
        return bool(stats.ttest_ind(x, y, equal_var=False).pvalue < alpha)


def _shown(test: str, values: Sequence[float]) -> str:
    mean = float(np.mean(values))
    return f"{math.exp(mean):.4g}" if test in ("std", "largest", "spectrum") else f"{mean:.4g}"


def _matched(
    a: Sequence[str], b: Sequence[str], first: Mapping[str, Any], second: Mapping[str, Any], names: Mapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the name in b of each tensor of a that has one, and what was assumed for it."""
    inverse = {names.get(other, other): other for other in b}
    common = {name: inverse[name] for name in a if name in inverse}
    if common or len(a) != len(b):
        return common, ()
    if [first[name].shape for name in a] != [second[name].shape for name in b]:
        return common, ()
    return dict(zip(a, b, strict=True)), (
        f"The two share no names: {a[0]} is held against {b[0]}, and so on in order.",
    )


def _clones(
    a: Mapping[str, _Numbers], b: Mapping[str, _Numbers], theirs: Mapping[str, str]
) -> list[tuple[Kind, str, str]]:
    """Tensors that equal an earlier one in one of the two alone."""
    found: list[tuple[Kind, str, str]] = []
    seen: tuple[dict[int, str], dict[int, str]] = ({}, {})
    for name, other in theirs.items():
        clones = [
            seen[side].setdefault(numbers.digest, name)
            for side, numbers in enumerate((a[name], b[other]))
            if not numbers.constant
        ]
        if len(clones) == 2 and (clones[0] == name) != (clones[1] == name):
            side = "first" if clones[0] != name else "second"
            found.append(("clones", name, f"is a copy of {min(clones, key=lambda n: n == name)} in the {side} alone"))
    return found


def _grouped(found: Sequence[tuple[Kind, str, str]]) -> Iterator[Difference]:
    """Yield differences of one kind, of tensors whose names differ in numbers of layers alone, as one."""
    groups: dict[tuple[Kind, str], list[tuple[str, str]]] = {}
    for kind, name, words in found:
        groups.setdefault((kind, INDEX.sub("*", name)), []).append((name, words))
    for (kind, pattern), members in groups.items():
        name = f"{pattern} ({len(members)})" if len(members) > 1 else members[0][0]
        yield Difference(kind, tuple(name for name, _ in members), f"{name}: {members[0][1]}.")


def first_seeds(seeds: int | Sequence[int]) -> list[int]:
    """Return a number of seeds as that many from 0, a sequence as a list."""
    if isinstance(seeds, bool) or not isinstance(seeds, int | Sequence):
        raise TypeError(f"seeds must be a number or a sequence of seeds; got {seeds!r}. Pass seeds=8.")
    return list(range(seeds)) if isinstance(seeds, int) else list(islice(seeds, None))
