"""One tensor's elements as a sample, and how well independent draws from a law explain it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.special import bdtr, bdtrc, kolmogorov, ndtr, ndtri

from weightinit.arrays import Array
from weightinit.initializers import truncated_moments
from weightinit.laws import Law
from weightinit.statistics import Moments, Reading

DRAWN = ("normal", "uniform", "truncated_normal")
"""Families whose elements are independent draws: those that a sample can be tested against."""

SORTED = 1 << 18
"""Elements that the distribution function is compared at; larger tensors are thinned evenly."""

TAIL = 0.02
"""Share of a law's elements that count as its tails: a normal of the same std, but cut at two sigma, has none there."""


@dataclass(frozen=True)
class Fit:
    """How a sample lies to a law: z-scores of mean and std, chances of its shape, elements outside the support.

    ``std_z`` is equivalent to a normal deviate (Wilson & Hilferty 1931), so that small tensors are judged as strictly
    as large ones. ``shape_p`` is that of the Kolmogorov-Smirnov test, ``tail_p`` the binomial chance of so many or so
    few elements in the law's tails.
    """

    mean_z: float
    std_z: float
    shape_p: float
    tail_p: float
    outside: int

    def passes(self, alpha: float) -> bool:
        """Whether no test fails at level ``alpha``."""
        largest = largest_z(alpha)
        moments = abs(self.mean_z) <= largest and abs(self.std_z) <= largest
        return moments and self.has_shape(alpha) and not self.outside

    def has_shape(self, alpha: float) -> bool:
        """Whether neither of the tests of the distribution's shape fails at level ``alpha``."""
        return min(self.shape_p, self.tail_p) >= alpha


def largest_z(alpha: float) -> float:
    """The size that a z-score exceeds with chance ``alpha``, on both sides together."""
    return float(-ndtri(alpha / 2))


class Sample:
    """The finite elements of one tensor, flat in float64, with what several tests share computed once.

    ``spacing``: relative distance of neighbouring stored numbers, 2^-23 for float32; 2^-7 for bfloat16 and 2^-10 for
    float16 also where they were widened since. Every test allows for that rounding.
    """

    def __init__(self, values: Array, spacing: float) -> None:
        self.values, self.spacing, self.size = values.ravel(), spacing, values.size

    @cached_property
    def moments(self) -> Moments:
        """Mean, std (divided by n), rms, min, max; each of length 1."""
        return Reading(self.values[None]).moments

    @property
    def mean(self) -> float:
        """Mean of the elements."""
        return float(self.moments.mean[0])

    @property
    def std(self) -> float:
        """Standard deviation of the elements, divided by n."""
        return float(self.moments.std[0])

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest element."""
        return float(self.moments.min[0]), float(self.moments.max[0])

    @cached_property
    def zeros(self) -> int:
        """Elements that are exactly zero."""
        return int(self.size - np.count_nonzero(self.values))

    @cached_property
    def sorted(self) -> Array:
        """At most ``SORTED`` of the elements, in order."""
        return np.sort(self.values[:: -(-self.size // SORTED)])

    def outside(self, law: Law) -> int:
        """Elements beyond the law's support by more than rounding."""
        low, high = _widened(law.support, self.spacing)
        if low <= self.range[0] and self.range[1] <= high:
            return 0
        return int(np.count_nonzero((self.values < low) | (self.values > high)))

    def fit(self, law: Law) -> Fit:
        """How this sample lies to a law whose family is one of ``DRAWN``."""
        n = self.size
        mean_z = (self.mean - law.mean) / (law.std / math.sqrt(n))
        return Fit(mean_z, self._std_z(law), self._shape_p(law), self._tail_p(law), self.outside(law))

    def log_likelihood(self, law: Law) -> float:
        """Log of the density of this sample under a law whose family is one of ``DRAWN``; -inf beyond its support."""
        low, high = _widened(law.support, self.spacing)
        if self.range[0] < low or self.range[1] > high:
            return -math.inf
        if law.family == "uniform":
            return -self.size * math.log(high - low)
        mean, sigma = before_truncation(law)
        mass = float(ndtr((high - mean) / sigma) - ndtr((low - mean) / sigma))
        distance = math.hypot(self.std, self.mean - mean) / sigma
        return -self.size * (math.log(sigma) + math.log(mass * math.sqrt(2 * math.pi)) + distance * distance / 2)

    def _std_z(self, law: Law) -> float:
        """The sample variance as chi² with as many degrees of freedom as its own variance asks for."""
        if self.size < 2:
            return 0.0
        n = self.size
        freedom = 2 * n / (_kurtosis(law) - (n - 3) / (n - 1))
        ratio = self.std / law.std
        ratio *= ratio * n / (n - 1)
        return (math.cbrt(ratio) - 1 + 2 / (9 * freedom)) / math.sqrt(2 / (9 * freedom))

    def _shape_p(self, law: Law) -> float:
        """Kolmogorov-Smirnov, at the edges of the cells that are rounded to one number: there the test is exact."""
        x = self.sorted
        steps = np.arange(x.size + 1) / x.size
        if self.spacing * max(map(abs, self.range)) < 1e-5 * law.std:  # too fine to be seen among 2^18 elements
            above = below = _cdf(law, x)
        else:
            cell = self.spacing / 2 * abs(x)
            above, below = _cdf(law, x + cell), _cdf(law, x - cell)
        distance = max((steps[1:] - above).max(), (below - steps[:-1]).max())
        root = math.sqrt(x.size)
        return float(kolmogorov(max(distance, 0.0) * (root + 0.12 + 0.11 / root)))  # Stephens 1970

    def _tail_p(self, law: Law) -> float:
        low, high = _tails(law)
        few = self._beyond(low, high, -self.spacing)
        many = self._beyond(low, high, self.spacing)
        return min(1.0, 2 * min(float(bdtr(few, self.size, TAIL)), _at_least(many, self.size)))

    def _beyond(self, low: float, high: float, margin: float) -> int:
        """Elements beyond the bounds by a relative ``margin``; its sign decides on what rounding may have moved."""
        low, high = low - margin * abs(low), high + margin * abs(high)
        return int(np.count_nonzero(self.values < low) + np.count_nonzero(self.values > high))


def spacing(x: Array) -> float:
    """Relative distance of neighbouring numbers among those that ``x`` may hold, read off their last bits."""
    bits, mantissa = {2: (np.uint16, 10), 4: (np.uint32, 23), 8: (np.uint64, 52)}[x.dtype.itemsize]
    used = int(np.bitwise_or.reduce(np.ascontiguousarray(x).view(bits), axis=None))
    unused = (used & -used).bit_length() - 1 if used else mantissa
    return min(2.0 ** (unused - mantissa), 2.0**-7)


def describe(law: Law) -> str:
    """A law in the usual notation."""
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
    return f"{law.family} elements of std {law.std:.4g}"


def _at_least(count: int, size: int) -> float:
    return float(bdtrc(count - 1, size, TAIL)) if count else 1.0


def _widened(support: tuple[float, float], spacing: float) -> tuple[float, float]:
    low, high = support
    margin = spacing * max(abs(low), abs(high)) if math.isfinite(high - low) else 0.0
    return low - margin, high + margin


@lru_cache(maxsize=4096)
def before_truncation(law: Law) -> tuple[float, float]:
    """Mean and std of the normal that was cut to the law's support, by fixed-point iteration; its own if none was."""
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


def _cdf(law: Law, x: Array) -> Array:
    low, high = law.support
    if law.family == "uniform":
        return np.clip((x - low) / (high - low), 0.0, 1.0)
    mean, sigma = before_truncation(law)
    below, above = ndtr((low - mean) / sigma), ndtr((high - mean) / sigma)
    values: Array = (ndtr((np.clip(x, low, high) - mean) / sigma) - below) / (above - below)
    return values


@lru_cache(maxsize=4096)
def _tails(law: Law) -> tuple[float, float]:
    """Points that ``TAIL / 2`` of the law lie below, and above."""
    low, high = law.support
    if law.family == "uniform":
        return low + TAIL / 2 * (high - low), high - TAIL / 2 * (high - low)
    mean, sigma = before_truncation(law)
    below, above = ndtr((low - mean) / sigma), ndtr((high - mean) / sigma)
    lower, upper = ndtri(below + np.array([TAIL / 2, 1 - TAIL / 2]) * (above - below))
    return mean + sigma * float(lower), mean + sigma * float(upper)


@lru_cache(maxsize=4096)
def _kurtosis(law: Law) -> float:
    """E[(w - mean)⁴] / std⁴, by the recurrence of the moments of a truncated normal."""
    if law.family != "truncated_normal":
        return {"normal": 3.0, "uniform": 1.8}[law.family]
    mean, sigma = before_truncation(law)
    low, high = ((bound - mean) / sigma for bound in law.support)
    mass = ndtr(high) - ndtr(low)
    at_low, at_high = (math.exp(-(x**2) / 2) / (math.sqrt(2 * math.pi) * mass) for x in (low, high))
    raw = [1.0, at_low - at_high]
    for k in range(2, 5):
        raw.append((k - 1) * raw[k - 2] + low ** (k - 1) * at_low - high ** (k - 1) * at_high)
    centre = raw[1]
    fourth = raw[4] - 4 * centre * raw[3] + 6 * centre**2 * raw[2] - 3 * centre**4
    return float(fourth / (raw[2] - centre**2) ** 2)
