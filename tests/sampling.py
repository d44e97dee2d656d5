"""Tests of a sample against the law it should follow, sized from sampling theory."""

import math

import numpy as np

from weightinit.laws import Law

ENOUGH = 65_536
LARGEST_Z = 4.5
"""Two-sided chance of a correct sampler to fail one test: 7e-6."""


def z_scores(values, law):
    """How many standard errors the mean and the variance of a sample lie off its law's.

    The error of the variance is taken from the sample itself, so that it holds for any family.
    """
    x = np.asarray(values, np.float64).ravel()
    assert x.size >= ENOUGH
    squares = (x - law.mean) ** 2
    return (
        (x.mean() - law.mean) / (law.std / math.sqrt(x.size)),
        (squares.mean() - law.std**2) / (squares.std() / math.sqrt(x.size)),
    )


def assert_follows(values, law: Law):
    """The sample's mean, variance and support are those of ``law``; a bounded continuous family fills its support."""
    x = np.asarray(values, np.float64)
    if law.std == 0:
        np.testing.assert_array_equal(x, np.asarray(law.mean, values.dtype))
        return
    low, high = law.support
    margin = np.finfo(values.dtype).eps * max(abs(low), abs(high)) if math.isfinite(high - low) else 0.0
    assert low - margin <= x.min()
    assert x.max() <= high + margin
    if law.family in ("uniform", "truncated_normal"):
        assert x.min() < low + 0.01 * (high - low)
        assert x.max() > high - 0.01 * (high - low)
    if law.family == "unknown":  # a fixed matrix: its law holds exactly
        np.testing.assert_allclose([x.mean(), x.std()], [law.mean, law.std], rtol=1e-6)
        return
    mean, variance = z_scores(x, law)
    assert max(abs(mean), abs(variance)) < LARGEST_Z, (mean, variance)


def assert_distributed(values, cdf):
    """Kolmogorov-Smirnov: the sample's distribution function is ``cdf``, at a chance of error of 1e-5."""
    x = np.sort(np.asarray(values, np.float64).ravel())
    expected, steps = cdf(x), np.arange(x.size + 1) / x.size
    distance = max((steps[1:] - expected).max(), (expected - steps[:-1]).max())
    assert distance * math.sqrt(x.size) < 2.47


def assert_uncorrelated(one, other):
    """Two samples of one size do not share their noise."""
    correlation = np.corrcoef(np.ravel(one), np.ravel(other))[0, 1]
    assert abs(correlation) * math.sqrt(one.size) < LARGEST_Z
