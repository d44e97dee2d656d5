"""The elements of one array, with all that rounding and coarse generators did to them."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Final

import numpy as np
from scipy.special import ndtr

from weightinit.arrays import Array
from weightinit.auditing.distributions import before_truncation
from weightinit.laws import Law
from weightinit.statistics import Reading, Summary

SORTED: Final = 1 << 18
"""Elements that the distribution function is compared at; larger arrays are thinned evenly."""

SMALLEST: Final = 2.0**-24
"""Smallest positive float16: smaller numbers may have been rounded to zero."""

GRIDS: Final = range(7, 12)
"""Bits of the random numbers that generators for half precision start from (see :attr:`Elements.grid_bits`)."""


class Elements:
    """Finite elements of one array, flat in float64, with what several tests share computed once.

    ``spacing``: relative distance of neighbouring stored numbers, 2^-23 for float32; 2^-7 for bfloat16 and 2^-10 for
    float16 also where they were widened since. ``smallest``: distance of neighbouring stored numbers at zero.
    """

    def __init__(self, values: Array, spacing: float, smallest: float = 0.0) -> None:
        self.values, self.spacing, self.smallest, self.size = values.ravel(), spacing, smallest, values.size

    def part(self, values: Array) -> Elements:
        """Return some of these elements, stored alike."""
        return Elements(values, self.spacing, self.smallest)

    @cached_property
    def summary(self) -> Summary:
        """Mean, std (divided by n), rms, min, max; each of length 1."""
        return Reading(self.values[None]).summary

    @property
    def mean(self) -> float:
        """Mean of the elements."""
        return float(self.summary.mean[0])

    @property
    def std(self) -> float:
        """Standard deviation of the elements, divided by n."""
        return float(self.summary.std[0])

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest element."""
        return float(self.summary.min[0]), float(self.summary.max[0])

    @cached_property
    def zeros(self) -> int:
        """Number of elements that are exactly zero."""
        return int(self.size - np.count_nonzero(self.values))

    @cached_property
    def sorted(self) -> Array:
        """At most ``SORTED`` of the elements, in order."""
        return np.sort(self.values[:: -(-self.size // SORTED)])

    @cached_property
    def grid_bits(self) -> int | None:
        """Bits of the uniform random numbers that the elements were made from, if they are so few that it shows.

        In half precision JAX draws uniform numbers k/2^7 (bfloat16) or k/2^10 (float16) and sends them through the
        inverse of the distribution function; TensorFlow's and PyTorch's uniform numbers have 8 to 11 bits there.
        Rounding alone leaves more distinct values among that many elements. Zeros don't count: sparse laws have many.
        """
        drawn = self.sorted[self.sorted != 0]
        distinct = 1 + int(np.count_nonzero(np.diff(drawn)))
        bits = next((bits for bits in GRIDS if distinct <= 1 << bits), None)
        return bits if bits is not None and drawn.size > 2 << bits else None

    @property
    def grid_in_words(self) -> str:
        """The coarseness of the random numbers in words; empty where it doesn't show."""
        if self.grid_bits is None:
            return ""
        return (
            f"Drawn in half precision, from random numbers of {self.grid_bits} bits: {len(np.unique(self.sorted))} "
            "distinct values, which is allowed for."
        )

    @property
    def chance_of_equality(self) -> float:
        """Upper bound of the chance that two elements drawn independently are stored as one number."""
        return max(8 * self.spacing, 2.0 ** (1 - self.grid_bits) if self.grid_bits else 0.0)

    def chance_of_zero(self, std: float) -> float:
        """Upper bound of the chance that an element of a continuous law of this std is stored as zero.

        Small numbers may have been rounded to zero in float16, and generators that multiply k/2^m give zeros where one
        k is the middle of the law.
        """
        grid = 2.0 ** (1 - self.grid_bits) if self.grid_bits else 0.0
        return min(1.0, max(SMALLEST / std, 2 * self.spacing, grid))

    def outside(self, law: Law) -> int:
        """Return the number of elements beyond the law's support by more than rounding."""
        low, high = self._widened(law.support)
        if low <= self.range[0] and self.range[1] <= high:
            return 0
        return int(np.count_nonzero((self.values < low) | (self.values > high)))

    def cells(self) -> tuple[Array, Array]:
        """Return the numbers that rounding to nearest stores as each element: from, to."""
        mantissa, exponent = np.frexp(np.abs(self.values))
        away = np.maximum(np.ldexp(self.spacing / 2, exponent - 1), self.smallest / 2)
        away[self.values == 0] = self.smallest / 2
        inward = np.maximum(np.where(mantissa == 0.5, away / 2, away), self.smallest / 2)
        negative = self.values < 0
        return self.values - np.where(negative, away, inward), self.values + np.where(negative, inward, away)

    def log_likelihood(self, law: Law) -> float:
        """Return the log of the elements' density under a law of a family in ``DRAWN``; -inf beyond its support."""
        low, high = self._widened(law.support)
        if self.range[0] < low or self.range[1] > high:
            return -math.inf
        if law.family == "uniform":
            return -self.size * math.log(high - low)
        mean, sigma = before_truncation(law)
        mass = float(ndtr((high - mean) / sigma) - ndtr((low - mean) / sigma))
        distance = math.hypot(self.std, self.mean - mean) / sigma
        return -self.size * (math.log(sigma) + math.log(mass * math.sqrt(2 * math.pi)) + distance * distance / 2)

    def _widened(self, support: tuple[float, float]) -> tuple[float, float]:
        low, high = support
        margin = self.spacing * max(abs(low), abs(high)) if math.isfinite(high - low) else 0.0
        return low - margin, high + margin


def elements_of(x: Array) -> Elements:
    """Return the finite elements of an array of floating-point numbers; a single NaN where it has none."""
    finite = x if not x.size or np.isfinite(x).all() else x[np.isfinite(x)]
    if not finite.size:
        return NOTHING
    spacing = spacing_of(finite)
    return Elements(finite.astype(np.float64), spacing, SMALLEST if x.dtype.itemsize == 2 else 0.0)


NOTHING: Final = Elements(np.full(1, np.nan), 1.0)


def spacing_of(x: Array) -> float:
    """Return the relative distance of neighbouring numbers that ``x`` may hold, read off the last bits of its own."""
    bits, mantissa = {2: (np.uint16, 10), 4: (np.uint32, 23), 8: (np.uint64, 52)}[x.dtype.itemsize]
    used = int(np.bitwise_or.reduce(np.ascontiguousarray(x).view(bits), axis=None))
    unused = (used & -used).bit_length() - 1 if used else mantissa
    return min(2.0 ** (unused - mantissa), 2.0**-7)
