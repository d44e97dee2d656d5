"""Intervals and tests for samples of a few to many seeds: Student's for scores and steps, exact ones for counts."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from scipy import special

from weightinit.arrays import Array

CONFIDENCE = 0.95
FEWEST = 3  # seeds; of two, chance makes the scatter as small as it likes
OPEN = 5.0  # factor between a ratio and an end of its interval from which on the end is left open
# The share of one sample in the smallest test set that is reckoned with, where scores that are alike hide the true one.
COARSEST = 0.02


def intervals(
    samples: Array, *, resolution: float | Array = 0.0, choices: float | Array = 1.0
) -> tuple[Array, Array, Array]:
    """Return mean and 95% interval by Student, each (k,), of the rows of ``samples`` (k, n); NaN: a missing number.

    ``resolution`` and ``choices``, each one number or (k,): see ``p_values``; the interval leaves zero out where the
    p-value is below .05. Of fewer than ``FEWEST`` numbers there is no interval: NaN.
    """
    n, centre, std = _moments(samples, resolution)
    half = _half(n, std, choices)
    return centre, centre - half, centre + half


def p_values(differences: Array, *, resolution: float | Array = 0.0, choices: float | Array = 1.0) -> Array:
    """Return two-sided p-values (k,) that the mean of each row of ``differences`` (k, n) is zero, by Student's test.

    ``resolution``: the standard deviation counts as so much at least. Accuracies are counts out of a test set; seeds
    that happen to differ by the same one sample prove nothing. ``choices``: factor for the choice of what is tested.
    NaN of fewer than ``FEWEST`` numbers; NaN marks a missing number.
    """
    n, centre, std = _moments(differences, resolution)
    return _p(n, centre, std, choices)


def ratios(above: Array, below: Array, *, choices: float | Array = 1.0) -> tuple[Array, Array, Array, Array]:
    """Return the ratio of the means of paired rows of steps, its 95% interval and the p-value that it is 1, each (k,).

    ``above`` and ``below`` (k, n) are positive and paired by column; NaN: a missing number. The interval holds the
    ratios r for which Student's test finds no mean of ``above - r below`` (Fieller 1954), whose standard deviation
    counts as a step at least. An end that is more than a factor ``OPEN`` from the ratio is left open: infinite above,
    zero below. So is one where a mean is not known to be above zero. ``choices`` as in ``p_values``.
    """
    missing = np.isnan(above) | np.isnan(below)
    above, below = (np.where(missing, math.nan, side) for side in (above, below))
    n, y, std_y = _moments(above, 0.0)
    _, x, std_x = _moments(below, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        together = np.nansum((above - y[:, None]) * (below - x[:, None]), axis=1) / (n - 1)
        half = _half(n, np.ones(len(n)), choices)
        # (y - r x)² = half² (std_y² - 2 r together + r² std_x²), a quadratic in r.
        a, b, c = x**2 - (half * std_x) ** 2, x * y - half**2 * together, y**2 - (half * std_y) ** 2
        root = np.sqrt(np.maximum(b**2 - a * c, 0))
        bounded = a > 0
        low = np.where(bounded, (b - root) / a, np.where(c > 0, (b - root) / a, 0.0))
        low = np.minimum(np.maximum(low, 0.0), (y - half) / x)
        high = np.where(bounded, np.maximum((b + root) / a, (y + half) / x), math.inf)
        ratio = y / x
        low, high = np.where(low < ratio / OPEN, 0.0, low), np.where(high > OPEN * ratio, math.inf, high)
    enough = n >= FEWEST
    return ratio, np.where(enough, low, math.nan), np.where(enough, high, math.nan), p_values(
        above - below, resolution=1.0, choices=choices
    )  # fmt: skip


@cache
def p_more_often(events: int, among: int, other_events: int, other_among: int) -> float:
    """Return the two-sided p-value that two events are equally frequent: Boschloo 1970, the exact test of SciPy.

    NaN where nothing happened, or with fewer than ``FEWEST`` trials on a side. Pairs that share a cause are more alike
    than the independent trials of the test, which makes it careful.
    """
    if min(among, other_among) < FEWEST or events + other_events == 0:
        return math.nan
    from scipy import stats  # takes half a second, which few commands need

    table = [[events, other_events], [among - events, other_among - other_events]]
    return float(stats.boschloo_exact(table).pvalue)


def resolution(accuracies: Array) -> float:
    """Return the share of one sample in the test set, as far as accuracies (any shape) out of this set show it.

    It is their smallest difference, ``COARSEST`` at most, which is also returned where all samples are right.
    """
    steps = np.diff(np.unique(np.append(accuracies[~np.isnan(accuracies)], 1.0).round(9)))
    return float(steps.min(initial=COARSEST))


def mean(samples: Array) -> Array:
    """Mean of each row (k,) of ``samples`` (k, n) without its NaNs; NaN of a row that has nothing else."""
    known = ~np.isnan(samples)
    with np.errstate(invalid="ignore"):
        average: Array = np.where(known, samples, 0.0).sum(axis=1) / known.sum(axis=1)
    return average


def log(values: Any) -> Any:
    """Natural logarithm of an array or table; -inf of zero."""
    with np.errstate(divide="ignore"):
        return np.log(values)


def smallest_shown(pairs: int, tests: float = 1) -> float:
    """Return the mean difference, in units of its std over seeds, that so many pairs just show as significant.

    Corrected for so many tests, as Holm corrects the smallest p-value. Infinite for fewer than ``FEWEST`` pairs.
    """
    return float(_half(np.array([pairs]), np.ones(1), tests)[0]) if pairs >= FEWEST else math.inf


def holm(p: Array) -> Array:
    """p-values (k,) corrected for their number by Holm 1979; NaN, a comparison not made, stays and doesn't count."""
    corrected = np.full(len(p), math.nan)
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order]))
    return corrected


def _moments(samples: Array, resolution: float | Array) -> tuple[Array, Array, Array]:
    """Count, mean and standard deviation, ``resolution`` at least, of each row without its NaNs."""
    n = (~np.isnan(samples)).sum(axis=1)
    centre = mean(samples)
    with np.errstate(invalid="ignore", divide="ignore"):
        std = np.sqrt(np.nansum((samples - centre[:, None]) ** 2, axis=1) / (n - 1))
    return n, centre, np.maximum(std, resolution)


def _half(n: Array, std: Array, choices: float | Array) -> Array:
    """Half the width of Student's interval; NaN for fewer than ``FEWEST`` numbers."""
    enough = np.maximum(n, FEWEST)
    half = special.stdtrit(enough - 1, 1 - (1 - CONFIDENCE) / 2 / choices) * std / np.sqrt(enough)
    return np.where(n >= FEWEST, half, math.nan)


def _p(n: Array, centre: Array, std: Array, choices: float | Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.where(centre == 0, 0.0, np.abs(centre) * np.sqrt(n) / std)
    p = 2 * special.stdtr(np.maximum(n, FEWEST) - 1, -size) * choices
    return np.where(n >= FEWEST, np.minimum(p, 1.0), math.nan)
