"""Intervals and tests for samples of a few to many seeds; no global generator takes part."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special

from weightinit.arrays import Array

CONFIDENCE = 0.95
RESAMPLES = 9_999
# The mean of a resample stays within the sample, which misses the true mean with probability 2^(1-n): 6% of 5 seeds.
FEWEST_TO_RESAMPLE = 6


def intervals(samples: Array) -> tuple[Array, Array, Array]:
    """Mean and 95% interval, each (k,), of the rows of ``samples`` (k, n); NaN marks a missing number.

    From 6 numbers on the percentile bootstrap, expanded for small samples (Hesterberg 2014, What teachers should know
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

    NaN marks a missing pair; a row with fewer than two has p NaN. Where all pairs differ by the same amount there is no
    spread to judge by, and the sign test answers: 2^(1-n), or 1 where they don't differ at all.
    """
    n = (~np.isnan(differences)).sum(axis=1)
    centre = mean(differences)
    with np.errstate(invalid="ignore", divide="ignore"):
        std = np.sqrt(np.nansum((differences - centre[:, None]) ** 2, axis=1) / (n - 1))
        p = 2 * special.stdtr(n - 1, -np.abs(centre) * np.sqrt(n) / std)
    same = std <= 1e-12 * np.abs(centre)
    p = np.where(same, np.where(centre == 0, 1.0, np.exp2(1.0 - n)), p)
    return np.where(n > 1, p, math.nan)


def holm(p: Array) -> Array:
    """p-values (k,) corrected for their number by Holm 1979; NaN, a comparison not made, stays and doesn't count."""
    corrected = np.full(len(p), math.nan)
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order]))
    return corrected
