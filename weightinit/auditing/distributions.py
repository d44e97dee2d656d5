"""Distribution functions of the laws whose elements are independent draws."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
from scipy.special import ndtr

from weightinit.arrays import Array
from weightinit.initializers import truncated_moments
from weightinit.laws import Law

DRAWN: Final = ("normal", "uniform", "truncated_normal")
"""Families whose elements are independent draws: those that elements can be tested against."""


@lru_cache(maxsize=4096)
def before_truncation(law: Law) -> tuple[float, float]:
    """Return mean and std of the normal that was cut to a law's support, by fixed-point iteration; a normal's own.

    Where the support leaves out the mean the iteration creeps, and Newton's method takes over.
    """
    mean, sigma = law.mean, law.std
    if law.family == "truncated_normal":
        low, high = law.support
        for _ in range(1000):
            shift, std = truncated_moments((low - mean) / sigma, (high - mean) / sigma)
            off, factor = law.mean - (mean + sigma * shift), law.std / (sigma * std)
            mean, sigma = mean + off, sigma * factor
            if abs(off) < 1e-9 * law.std and abs(factor - 1) < 1e-9:
                break
        else:
            mean, sigma = _solved(law, mean, sigma)
    return mean, sigma


def _solved(law: Law, mean: float, sigma: float) -> tuple[float, float]:
    """The same from a start nearby, by the hybrid method of Powell; the start where it doesn't converge."""
    from scipy.optimize import root  # takes a tenth of a second, which few laws need

    low, high = law.support

    def misses(given: Array) -> tuple[float, float]:
        mean, sigma = law.mean + law.std * float(given[0]), law.std * math.exp(float(given[1]))
        shift, std = truncated_moments((low - mean) / sigma, (high - mean) / sigma)
        return (mean + sigma * shift - law.mean) / law.std, math.log(sigma * std / law.std)

    found = root(misses, [(mean - law.mean) / law.std, math.log(sigma / law.std)], tol=1e-10)
    if max(map(abs, misses(found.x))) > 1e-6:
        return mean, sigma
    return law.mean + law.std * float(found.x[0]), law.std * math.exp(float(found.x[1]))


def distribution_function(law: Law, x: Array) -> Array:
    """Return the chance that an element of a law (of a family in ``DRAWN``) is at most ``x``."""
    low, high = law.support
    if law.family == "uniform":
        return np.clip((x - low) / (high - low), 0.0, 1.0)
    mean, sigma = before_truncation(law)
    side = -1.0 if low > mean else 1.0  # beyond the mean by the upper tail, which keeps its digits
    below, above = ndtr(side * (low - mean) / sigma), ndtr(side * (high - mean) / sigma)
    chances: Array = (ndtr(side * (np.clip(x, low, high) - mean) / sigma) - below) / (above - below)
    return chances
