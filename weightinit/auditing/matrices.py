"""Structure that no distribution of single elements shows: singular values, and rows or columns that repeat."""

from __future__ import annotations

import math
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

import numpy as np
from scipy.special import pdtrc

from weightinit.arrays import Array

SMALL: Final = 32
"""Length of a matrix's shorter side up to which all singular values are found sooner than a few steps are made."""


def largest_singular_value(matrix: Array, steps: int = 8) -> float:
    """Return the largest singular value of a small matrix; of a large one a lower bound, that within a Krylov space.

    The bound is close to a value that stands out.
    """
    if min(matrix.shape) <= SMALL:
        gram = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
        return math.sqrt(max(float(np.linalg.eigvalsh(gram)[-1]), 0.0))
    vector: Array = np.random.default_rng(0).standard_normal((matrix.shape[1],))
    vectors = np.empty((min(steps, *matrix.shape), matrix.shape[1]))
    for row in vectors:
        vector /= math.sqrt(vector @ vector) or 1.0
        row[:] = vector
        vector = matrix.T @ (matrix @ vector)
    basis, _ = np.linalg.qr(vectors.T)
    return float(np.linalg.norm(matrix @ basis, 2))


def largest_singular_value_drawn(shape: tuple[int, int], alpha: float) -> float:
    """Return what the largest singular value of independent elements (mean 0, std 1) exceeds with chance <= ``alpha``.

    The edge and scale are those of the Tracy-Widom limit (Johnstone 2001, eq. 1.1-1.4), its tail is bounded by
    ``exp(-2/3 x^(3/2))``. A random start lies within; training adds directions that stand out from it (Martin & Mahoney
    2021).
    """
    rows, columns = math.sqrt(max(shape[0] - 1, 1)), math.sqrt(shape[1])
    edge, scale = (rows + columns) ** 2, (rows + columns) * (1 / rows + 1 / columns) ** (1 / 3)
    return math.sqrt(edge + scale * (1.5 * math.log(1 / alpha)) ** (2 / 3))


def orthogonality(matrix: Array) -> tuple[float, float, float]:
    """Return the singular values' mean size, how unequal they are, and how unequal those of independent elements are.

    Unequal is ``|A'A v - s² v| / |s² v|`` at a few random ``v``: 0 if all singular values are ``s``, that is, if the
    shorter side of the matrix holds orthogonal vectors of one length. ``A`` is taken with at least as many rows as
    columns.
    """
    scaled, unit = in_units_of_its_largest(matrix)
    tall = scaled if scaled.shape[0] >= scaled.shape[1] else scaled.T
    rows, columns = tall.shape
    squared = float(np.square(tall).sum()) / columns
    probes = _probes(columns)
    residual = tall.T @ (tall @ probes) - squared * probes
    return (
        math.sqrt(squared) * unit,
        float(np.linalg.norm(residual) / (squared * np.linalg.norm(probes))),
        math.sqrt((columns + 1) / rows),
    )


@lru_cache(maxsize=32)
def _probes(columns: int) -> Array:
    """Return random vectors (columns, 4), the same each time."""
    return np.random.default_rng(0).standard_normal((columns, 4))


def in_units_of_its_largest(matrix: Array) -> tuple[Array, float]:
    """Return a matrix divided by a power of 2 near its largest element, and that power, so that no square overflows."""
    exponent = min(max(int(np.frexp(np.abs(matrix).max())[1]), -1000), 1000)
    return np.ldexp(matrix, -exponent), math.ldexp(1.0, exponent)


class Repeats(NamedTuple):
    """Vectors that repeat an earlier one. ``first``: mask of those that don't; zero vectors count as such.

    ``equal`` is the number of vectors that equal an earlier one, ``negated`` of those that are the negative of one.
    ``nonzero`` is the smallest number of nonzero elements of a vector that repeats.
    """

    first: Array
    equal: int
    negated: int
    nonzero: int

    def chance(self, chance_of_equality: float) -> float:
        """Return an upper bound of the chance that rounding alone makes as many independent draws repeat."""
        repeated = self.equal + self.negated
        if not repeated:
            return 1.0
        pairs = 2 * math.comb(self.first.size, 2)
        return float(pdtrc(repeated - 1, pairs * math.exp(max(self.nonzero * math.log(chance_of_equality), -700.0))))


def repeats(vectors: Array) -> Repeats:
    """Return which of the vectors ``(count, length)`` equal an earlier one or its negative."""
    first = np.ones(len(vectors), bool)
    starts = np.sort(np.abs(vectors[:, 0]))
    if (starts[1:] != starts[:-1]).all():
        return Repeats(first, 0, 0, 0)
    _, place, count = np.unique(np.abs(vectors[:, 0]), return_inverse=True, return_counts=True)
    suspects = np.flatnonzero(count[place] > 1)
    seen: dict[bytes, set[float]] = {}
    equal = negated = 0
    nonzero = vectors.shape[1]
    for i in suspects:
        vector = vectors[i]
        if not (filled := np.flatnonzero(vector)).size:
            continue
        sign = math.copysign(1.0, vector[filled[0]])
        signs = seen.setdefault(sha256((vector * sign + 0.0).tobytes()).digest(), set())  # so that -0 equals 0
        if signs:
            first[i] = False
            nonzero = min(nonzero, filled.size)
            equal, negated = (equal + 1, negated) if sign in signs else (equal, negated + 1)
        signs.add(sign)
    return Repeats(first, equal, negated, nonzero)


def in_order(values: Array) -> bool:
    """Return whether values rise or fall throughout: a formula's, not drawn ones."""
    steps = np.diff(values.ravel())
    return bool((steps >= 0).all() or (steps <= 0).all())
