"""Tests of a law on the elements of one array: exact for any number of elements, however few.

Each works on the elements' probability transform: under the law, ``F(w)`` is uniform on (0, 1), and its normal score
``Phi^-1(F(w))`` is N(0, 1), whatever the law (Rosenblatt 1952). So means, chi², counts and Kolmogorov-Smirnov distances
have one exact distribution each. Moments of a few bounded elements themselves are far from normal in the tails that
small levels ask for. Where numbers are stored coarsely, each stands for its cell of numbers, and its transform is drawn
evenly from that cell: of the rounded draws of a law it is uniform again (Brockwell 2007).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import bdtr, bdtrc, chdtr, chdtrc, ndtr, ndtri, smirnov

from weightinit.arrays import Array
from weightinit.auditing.distributions import distribution_function
from weightinit.auditing.elements import SORTED, Elements
from weightinit.laws import Law

TAIL: Final = 0.02
"""Share of a law's elements that count as its tails: a normal of the same std, but cut at two sigma, has none there."""

VISIBLE: Final = 1e-5
"""Rounding, in stds of the law, from which on cells are taken into account; less is not seen in ``SORTED`` elements."""

FEW: Final = 100
"""Elements up to which the Kolmogorov-Smirnov distance has its exact tail."""


@dataclass(frozen=True)
class Fit:
    """Distance of elements from a law: z-scores of mean and std, chances of the shape, elements outside the support.

    ``mean_z`` and ``std_z`` are those of the elements' normal scores, which for a normal law are the elements
    themselves in standard units: normal deviates under the law. ``shape_p`` is the chance of so large a
    Kolmogorov-Smirnov distance, ``tail_p`` that of so many or so few elements in the law's tails.
    """

    mean_z: float
    std_z: float
    shape_p: float
    tail_p: float
    outside: int

    def passes(self, alpha: float) -> bool:
        """Whether no test fails at level ``alpha``."""
        largest = largest_z(alpha)
        return abs(self.mean_z) <= largest and abs(self.std_z) <= largest and self.has_shape(alpha) and not self.outside

    def has_shape(self, alpha: float) -> bool:
        """Whether neither test of the distribution's shape fails at level ``alpha``."""
        return min(self.shape_p, self.tail_p) >= alpha


def fit(elements: Elements, law: Law) -> Fit:
    """Return how the elements lie to a law of a family in ``distributions.DRAWN``."""
    n = elements.size
    coarse = elements.grid_bits is not None or elements.spacing * max(map(abs, elements.range)) >= VISIBLE * law.std
    if law.family == "normal" and not coarse:
        mean, std = (elements.mean - law.mean) / law.std, elements.std / law.std
        chances = ndtr((elements.sorted - law.mean) / law.std)
        tails = _tails(elements.values, law)
    else:
        transformed = _evenly_in_cells(elements, law) if coarse else distribution_function(law, elements.values)
        margin = max(elements.spacing / 8 if not coarse else 0.0, 2.0**-53)
        moments = Elements(ndtri(np.clip(transformed, margin, 1 - margin)), elements.spacing)
        mean, std = moments.mean, moments.std
        chances = np.sort(transformed[:: -(-n // SORTED)])
        tails = int(np.count_nonzero(abs(transformed - 0.5) > (1 - TAIL) / 2))
    return Fit(mean * math.sqrt(n), _std_z(std, n), _shape_p(chances), _tail_p(tails, n), elements.outside(law))


def largest_z(alpha: float) -> float:
    """Return the size that a normal deviate exceeds with chance ``alpha``, on both sides together."""
    return float(-ndtri(alpha / 2))


def _evenly_in_cells(elements: Elements, law: Law) -> Array:
    """The probability transform of elements that were stored coarsely, or made from random numbers of few bits."""
    if (bits := elements.grid_bits) is not None:
        grid = np.unique(elements.sorted)
        numbers = _random_numbers(distribution_function(law, grid) * 2**bits, bits)
        low = numbers[np.minimum(np.searchsorted(grid, elements.values), grid.size - 1)] / 2**bits
        high = low + 2.0**-bits
    else:
        low, high = (distribution_function(law, ends) for ends in elements.cells())
    even: Array = low + np.random.default_rng(0).random(elements.size) * (high - low)
    return even


def _random_numbers(steps: Array, bits: int) -> Array:
    """The random numbers, 0 to 2^bits - 1, that a generator made the values of a grid from.

    ``steps``: the values' probability transform times 2^bits, rising. A generator puts each number at one place of its
    step (0, or 1/4 in JAX's normal); rounding of the values and of their std moves them about that. Where all numbers
    are there, their order says which is which, if that moves none by a whole step.
    """
    place = (np.angle(np.exp(2j * np.pi * steps).mean()) / (2 * np.pi) + 0.25) % 1 - 0.25
    in_order = np.arange(steps.size)
    if steps.size == 2**bits and abs(steps - place - in_order).max() < 0.75:
        return in_order
    nearest: Array = np.clip(np.rint(steps - place), 0, 2**bits - 1)
    return nearest


def _tails(values: Array, law: Law) -> int:
    reach = -float(ndtri(TAIL / 2)) * law.std
    return int(np.count_nonzero(abs(values - law.mean) > reach))


def _std_z(std: float, n: int) -> float:
    """The normal deviate that is as unlikely as the std (divided by n) of n normal deviates, from chi²."""
    if n < 2:
        return 0.0
    freedom = n - 1
    chi2 = n * std * std
    small, large = float(chdtr(freedom, chi2)), float(chdtrc(freedom, chi2))
    if min(small, large) > 1e-300:
        return float(ndtri(small) if small < large else -ndtri(large))
    spread = 2 / (9 * freedom)  # beyond what float64 holds: Wilson & Hilferty 1931
    z = float((np.cbrt(chi2 / freedom) - 1 + spread) / math.sqrt(spread))
    return min(z, -37.0) if chi2 < freedom else max(z, 37.0)


def _shape_p(transformed: Array) -> float:
    """Chance of so large a Kolmogorov-Smirnov distance, never too small.

    The two one-sided chances are added up (exact where it is small); each is exact for few elements (Birnbaum & Tingey
    1951) and that of Maag & Dicaire 1971 beyond, which errs to the safe side (by 20% at 1e-6).
    """
    n = transformed.size
    steps = np.arange(n + 1) / n
    distance = float(max((steps[1:] - transformed).max(), (transformed - steps[:-1]).max()))
    if math.isnan(distance):
        return 0.0
    one_sided = (
        float(smirnov(n, min(distance, 1.0))) if n <= FEW else math.exp(-((6 * n * distance + 1) ** 2) / (18 * n))
    )
    return min(1.0, 2 * one_sided)


def _tail_p(count: int, n: int) -> float:
    few, many = float(bdtr(count, n, TAIL)), float(bdtrc(count - 1, n, TAIL)) if count else 1.0
    return min(1.0, 2 * min(few, many))
