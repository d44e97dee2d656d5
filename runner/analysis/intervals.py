"""Intervals and tests for samples of a few to many seeds; no global generator takes part."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special

from weightinit.arrays import Array

CONFIDENCE = 0.95
RESAMPLES = 9_999
# What scores of a few hundred samples, and logarithms of a few hundred steps, resolve.
RESOLUTION = 0.005
# Resamples of fewer numbers are too coarse: of 6 normal ones their interval covers the mean in 93% of all cases.
FEWEST_TO_RESAMPLE = 10


def intervals(samples: Array) -> tuple[Array, Array, Array]:
    """Return mean and 95% interval, each (k,), of the rows of ``samples`` (k, n); NaN marks a missing number.

    From 10 numbers on the percentile bootstrap, expanded for small samples (Hesterberg 2014, What teachers should know
    about the bootstrap, arXiv:1411.5279); below, Student's interval; of one number, NaN.
    A row's result does not depend on the other rows.
    """
    counts = (~np.isnan(samples)).sum(axis=1)
    centre, low, high = mean(samples), np.full(len(samples), math.nan), np.full(len(samples), math.nan)
    tail = (1 - CONFIDENCE) / 2
    for n in np.unique(counts[counts > 1]):
        rows = np.flatnonzero(counts == n)
        values = samples[rows][~np.isnan(samples[rows])].reshape(-1, n)
        quantile = special.stdtrit(n - 1, 1 - tail)
        if n < FEWEST_TO_RESAMPLE:
            half = quantile * values.std(axis=1, ddof=1) / math.sqrt(n)
            low[rows], high[rows] = centre[rows] - half, centre[rows] + half
            continue
        expanded = special.ndtr(-quantile * math.sqrt(n / (n - 1)))
        drawn = np.random.default_rng(0).integers(n, size=(RESAMPLES, n)) + n * np.arange(RESAMPLES)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=RESAMPLES * n).reshape(RESAMPLES, n) / n
        for row, value in zip(rows, values, strict=True):
            low[row], high[row] = np.quantile(weights @ value, (expanded, 1 - expanded))
    return centre, low, high


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


def p_values(differences: Array) -> Array:
    """Two-sided p-values (k,) that the mean of each row of ``differences`` (k, n) is zero, by Student's test.

    NaN marks a missing pair; a row with fewer than two has p NaN. The standard deviation counts as ``RESOLUTION`` at
    least: two seeds that happen to differ by the same one sample of the test set prove nothing.
    """
    n = (~np.isnan(differences)).sum(axis=1)
    centre = mean(differences)
    with np.errstate(invalid="ignore", divide="ignore"):
        std = np.sqrt(np.nansum((differences - centre[:, None]) ** 2, axis=1) / (n - 1))
        std = np.maximum(std, RESOLUTION)
        p = 2 * special.stdtr(n - 1, -np.abs(centre) * np.sqrt(n) / std)
    return np.where(n > 1, p, math.nan)


def smallest_shown(pairs: int, comparisons: int = 1) -> float:
    """Return the mean difference, in units of its std over seeds, that so many pairs just show as significant.

    With Holm's correction for so many comparisons, as the smallest p-value gets it. Infinite for fewer than two pairs.
    """
    if pairs < 2:
        return math.inf
    return float(special.stdtrit(pairs - 1, 1 - (1 - CONFIDENCE) / 2 / comparisons)) / math.sqrt(pairs)


def holm(p: Array) -> Array:
    """p-values (k,) corrected for their number by Holm 1979; NaN, a comparison not made, stays and doesn't count."""
    corrected = np.full(len(p), math.nan)
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order]))
    return corrected
