"""Arrays that repeat an earlier one, wholly or in its random numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from weightinit.arrays import Array

PREFIX: Final = 64
"""Elements at the start of two arrays that are compared: independent ones never correlate at ``SAME_NOISE``."""

SAME_NOISE: Final = 0.999
"""Correlation of these from which on two arrays share their random numbers."""


def copies(arrays: Mapping[str, Array]) -> dict[str, tuple[str, bool]]:
    """Return the copies by name: of which earlier array, and whether wholly (True) or only in their random numbers.

    Random numbers are shared where the first ones are proportional: one seed gave two layers their noise. Arrays of
    one repeated value or vector, sorted ones, and those too small to tell, are never copies.
    """
    alike: dict[tuple[tuple[int, ...], bytes], list[str]] = {}
    result: dict[str, tuple[str, bool]] = {}
    names: list[str] = []
    starts = np.empty((len(arrays), PREFIX))
    for name, x in arrays.items():
        if x.size < 8 or x.min() == x.max():
            continue
        first = x.ravel(order="K")[:PREFIX]  # as they lie in memory: the order in which they were drawn
        earlier = alike.setdefault((x.shape, first.tobytes()), [])
        original = next((other for other in earlier if np.array_equal(arrays[other], x)), None)
        earlier.append(name)
        if original is not None:
            if not _written_down(x):
                result[name] = (original, True)
        elif x.size >= PREFIX and np.count_nonzero(start := first.astype(np.float64)) == PREFIX:
            start /= np.abs(start).max()
            start -= start.mean()
            start /= np.linalg.norm(start) or 1.0
            if (same := np.flatnonzero(abs(starts[: len(names)] @ start) > SAME_NOISE)).size:
                other = arrays[names[same[0]]]
                result[name] = (names[same[0]], other.shape == x.shape[::-1] and np.array_equal(other.T, x))
            starts[len(names)] = start
            names.append(name)
    return result


def _written_down(x: Array) -> bool:
    """Whether an array repeats one vector or is sorted: rates and frequencies by a formula, the same in all layers."""
    steps = np.diff(x.reshape(-1, x.shape[-1]), axis=-1)
    if x.ndim > 1 and bool((x == x[..., :1]).all() or (x == x.reshape(-1, x.shape[-1])[0]).all()):
        return True
    return bool((steps >= 0).all() or (steps <= 0).all())
