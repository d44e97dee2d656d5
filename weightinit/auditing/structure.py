"""What no distribution of single elements shows: singular values, equal units, tensors that share their noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from hashlib import sha256

import numpy as np
from scipy.special import pdtrc

from weightinit.arrays import Array

PREFIX = 64
"""Elements at the start of two tensors that are compared: independent ones never correlate at ``SAME_NOISE``."""

SAME_NOISE = 0.999


def largest_singular_value(matrix: Array, steps: int = 8) -> float:
    """Lower bound of the largest singular value, that within a Krylov space: close to it where it stands out."""
    vector: Array = np.random.default_rng(0).standard_normal((matrix.shape[1],))
    vectors = np.empty((min(steps, *matrix.shape), matrix.shape[1]))
    for row in vectors:
        vector /= math.sqrt(vector @ vector) or 1.0
        row[:] = vector
        vector = matrix.T @ (matrix @ vector)
    basis, _ = np.linalg.qr(vectors.T)
    return float(np.linalg.norm(matrix @ basis, 2))


def largest_singular_value_drawn(shape: tuple[int, int], alpha: float) -> float:
    """What the largest singular value of independent elements (mean 0, std 1) exceeds with chance ``alpha`` at most.

    The edge and scale are those of the Tracy-Widom limit (Johnstone 2001, eq. 1.1-1.4), its tail is bounded by
    ``exp(-2/3 x^(3/2))``. A random start lies within; training adds directions that stand out from it (Martin & Mahoney
    2021).
    """
    rows, columns = math.sqrt(max(shape[0] - 1, 1)), math.sqrt(shape[1])
    edge, scale = (rows + columns) ** 2, (rows + columns) * (1 / rows + 1 / columns) ** (1 / 3)
    return math.sqrt(edge + scale * (1.5 * math.log(1 / alpha)) ** (2 / 3))


def orthogonality(matrix: Array) -> tuple[float, float, float]:
    """Mean size of the singular values, how unequal they are, and how unequal those of independent elements would be.

    Unequal is ``|A'A v - s² v| / |s² v|`` at a few random ``v``: 0 if all singular values are ``s``, that is, if the
    shorter side of the matrix holds orthogonal vectors of one length. ``A`` is taken with at least as many rows as
    columns.
    """
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    rows, columns = tall.shape
    squared = float(np.square(tall).sum()) / columns
    probes = np.random.default_rng(0).standard_normal((columns, 4))
    residual = tall.T @ (tall @ probes) - squared * probes
    return (
        math.sqrt(squared),
        float(np.linalg.norm(residual) / (squared * np.linalg.norm(probes))),
        math.sqrt((columns + 1) / rows),
    )


def first_units(matrix: Array) -> Array:
    """Which units (columns) equal no earlier one: a mask."""
    if len(set(matrix[0].tolist())) == matrix.shape[1]:
        return np.ones(matrix.shape[1], bool)
    columns = np.ascontiguousarray(matrix.T) + 0.0  # so that -0 equals 0
    seen = {sha256(column.tobytes()).digest(): i for i, column in reversed(list(enumerate(columns)))}
    mask = np.zeros(len(columns), bool)
    mask[list(seen.values())] = True
    return mask


def chance_of_repeated_units(repeated: int, shape: tuple[int, int], spacing: float) -> float:
    """Chance that rounding alone makes as many of a matrix's columns equal, among independent draws."""
    rows, units = shape
    pairs = math.comb(units, 2) * math.exp(max(rows * math.log(8 * spacing), -700.0))
    return float(pdtrc(repeated - 1, pairs)) if repeated else 1.0


def copies(tensors: Mapping[str, Array]) -> dict[str, tuple[str, bool]]:
    """For each tensor that is an earlier one again: which, and whether wholly (True) or only in its random numbers.

    Random numbers are shared where the first ones are proportional: one seed gave two layers their noise. Tensors of
    one repeated value, and those too small to tell, are never copies.
    """
    alike: dict[tuple[tuple[int, ...], bytes], list[str]] = {}
    result: dict[str, tuple[str, bool]] = {}
    names: list[str] = []
    starts = np.empty((len(tensors), PREFIX))
    for name, x in tensors.items():
        if x.size < 8 or x.min() == x.max():
            continue
        earlier = alike.setdefault((x.shape, x.ravel()[:PREFIX].tobytes()), [])
        original = next((other for other in earlier if np.array_equal(tensors[other], x)), None)
        earlier.append(name)
        if original is not None:
            result[name] = (original, True)
        elif x.size >= PREFIX and np.count_nonzero(start := x.ravel()[:PREFIX].astype(np.float64)) == PREFIX:
            start -= start.mean()
            start /= np.linalg.norm(start) or 1.0
            if (same := np.flatnonzero(abs(starts[: len(names)] @ start) > SAME_NOISE)).size:
                result[name] = (names[same[0]], False)
            starts[len(names)] = start
            names.append(name)
    return result
