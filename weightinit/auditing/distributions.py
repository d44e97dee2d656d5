"""Distribution functions of the laws whose elements are independent draws."""

from __future__ import annotations

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
    """Return mean and std of the normal that was cut to a law's support, by fixed-point iteration; a normal's own."""
    mean, sigma = law.mean, law.std
    if law.family == "truncated_normal":
        low, high = law.support
        for _ in range(1000):
            shift, std = truncated_moments((low - mean) / sigma, (high - mean) / sigma)
            off, factor = law.mean - (mean + sigma * shift), law.std / (sigma * std)
            mean, sigma = mean + off, sigma * factor
            if abs(off) < 1e-9 * law.std and abs(factor - 1) < 1e-9:
                break
    return mean, sigma


def distribution_function(law: Law, x: Array) -> Array:
    """Return the chance that an element of a law (of a family in ``DRAWN``) is at most ``x``."""
    low, high = law.support
    if law.family == "uniform":
        return np.clip((x - low) / (high - low), 0.0, 1.0)
    mean, sigma = before_truncation(law)
    below, above = ndtr((low - mean) / sigma), ndtr((high - mean) / sigma)
    chances: Array = (ndtr((np.clip(x, low, high) - mean) / sigma) - below) / (above - below)
    return chances
