"""The audit's level: in plain simulation, by importance sampling down to one in a million, and test by test."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import gammaincinv, ndtr, ndtri
from scipy.stats import binom, chi2, kstwo

from weightinit import audit
from weightinit.auditing.distributions import distribution_function
from weightinit.auditing.elements import elements_of
from weightinit.auditing.examination import TESTS
from weightinit.auditing.named_laws import rule
from weightinit.auditing.tests_of_law import TAIL, fit
from weightinit.fans import compute_fans
from weightinit.nn.weights import WeightSpec

LAWS = {
    "uniform": "uniform(low=-0.05, high=0.15)",
    "normal": "normal(std=0.3)",
    "truncated": "truncated_normal(std_before=0.02)",
    "half": "truncated_normal(std_before=0.02, absolute_bounds=(0.0, 10.0))",
}


def values(law, z):
    """Elements of a law, from normal deviates by its inverse distribution function."""
    match law:
        case "normal":
            return 0.3 * z
        case "uniform":
            return 0.2 * ndtr(z) - 0.05
        case "truncated":
            return 0.02 * ndtri(ndtr(-2) + ndtr(z) * (ndtr(2) - ndtr(-2)))
    return 0.02 * ndtri(0.5 + ndtr(z) / 2)


# Importance sampling: proposals that put normal deviates where one of the tests fails.


class Proposal(NamedTuple):
    draw: object  # (rng) -> normal deviates (n,)
    log_ratio: object  # (deviates) -> log of its density over that of independent normal deviates


def moved(n, distance):
    return Proposal(
        lambda rng: rng.standard_normal(n) + distance, lambda z: distance * z.sum() - n * distance * distance / 2
    )


def spread(n, factor):
    """Deviations from the mean times a factor; the mean as it is."""

    def draw(rng):
        z = rng.standard_normal(n)
        return z.mean() + factor * (z - z.mean())

    def log_ratio(z):
        return -(n - 1) * math.log(factor) - np.square(z - z.mean()).sum() / 2 * (1 / factor**2 - 1)

    return Proposal(draw, log_ratio)


def clustered(n, width):
    """All elements within a window of probability ``width``, anywhere."""

    def draw(rng):
        return ndtri(rng.uniform(width / 2, 1 - width / 2) + width * (rng.random(n) - 0.5))

    def log_ratio(z):
        u = ndtr(z)
        low, high = max(u.max() - width / 2, width / 2), min(u.min() + width / 2, 1 - width / 2)
        return math.log((high - low) / (1 - width)) - n * math.log(width) if high > low else -1e9

    return Proposal(draw, log_ratio)


def unbalanced(n, place, share):
    """A share of elements below the quantile ``place`` that isn't ``place``."""

    def draw(rng):
        u = rng.random(n)
        return ndtri(np.where(rng.random(n) < share, u * place, place + u * (1 - place)))

    def log_ratio(z):
        below = np.count_nonzero(z < ndtri(place))
        return below * math.log(share / place) + (n - below) * math.log((1 - share) / (1 - place))

    return Proposal(draw, log_ratio)


def tailed(n, share):
    """A share of elements in the tails that isn't ``TAIL``."""

    def draw(rng):
        u, sign = rng.random(n), rng.choice([-1.0, 1.0], n)
        return np.where(rng.random(n) < share, -sign * ndtri(u * TAIL / 2), ndtri(TAIL / 2 + u * (1 - TAIL)))

    def log_ratio(z):
        beyond = np.count_nonzero(abs(z) > -ndtri(TAIL / 2))
        return beyond * math.log(share / TAIL) + (n - beyond) * math.log((1 - share) / (1 - TAIL))

    return Proposal(draw, log_ratio)


def proposals(n, alpha):
    largest, distance = -ndtri(alpha / 2), kstwo.isf(alpha, n)
    yield moved(n, 0.0)
    for factor in (0.9, 1.0, 1.3):
        yield moved(n, factor * largest / math.sqrt(n))
        yield moved(n, -factor * largest / math.sqrt(n))
    for chance in (alpha / 2, 3 * alpha):
        yield spread(n, math.sqrt(2 * gammaincinv((n - 1) / 2, chance / 2) / (n - 1)))
        yield spread(n, math.sqrt(chi2.isf(chance / 2, n - 1) / (n - 1)))
    for width in (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6):
        yield clustered(n, width)
    for place in (0.02, 0.2, 0.5, 0.8, 0.98):
        for sign in (1, -1):
            share = min(max(place + sign * distance, 1e-3), 1 - 1e-3)
            if abs(share - place) > distance / 2:
                yield unbalanced(n, place, share)
    yield tailed(n, min(binom.isf(alpha / 2, n, TAIL) + 1, 0.98 * n) / n)


def false_alarms(law, shape, level, samples, rng, dtype=np.float64):
    """Rate of false alarms of an audit, in units of its level, with the standard error."""
    n = math.prod(shape)
    mixture = list(proposals(n, level / TESTS))
    weights = np.zeros(samples)
    for i in range(samples):
        z = mixture[i % len(mixture)].draw(rng)
        x = values(law, z).astype(dtype).reshape(shape)
        if not audit({"w": x}, LAWS[law], level=level).ok:
            logs = np.array([proposal.log_ratio(z) for proposal in mixture])
            weights[i] = math.exp(-logs.max()) / np.exp(logs - logs.max()).mean()
    return weights.mean() / level, weights.std() / math.sqrt(samples) / level


@pytest.mark.parametrize("shape", [(4, 2), (4, 3), (4, 4)])
def test_the_level_holds_for_few_uniform_elements(shape):
    rate, error = false_alarms("uniform", shape, 1e-6, 1000, np.random.default_rng(5))
    assert 0.15 < rate < 1  # some tests are left out for so few elements, so that not the whole level is used
    assert error < 0.15


SIZES = [(2, 1), (1, 3), (2, 2), (5, 1), (3, 2), (4, 2), (4, 3), (4, 4), (8, 8), (32, 32)]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float16])
@pytest.mark.parametrize("level", [1e-3, 1e-6])
@pytest.mark.parametrize("law", LAWS)
def test_the_level_holds_for_every_law_and_size(law, level, dtype):
    for shape in SIZES:
        samples = 1000 if math.prod(shape) < 1000 else 400
        rate, error = false_alarms(law, shape, level, samples, np.random.default_rng(6), dtype)
        assert rate - 3 * error < 1, (shape, rate, error)
        assert rate < 1.5, (shape, rate, error)


NAMED = [
    *LAWS.values(),
    "orthogonal",
    "orthogonal(gain=2.0, preserve='rms')",
    "sparse(nonzero=2)",
    "sparse",
    "identity",
]


def alarms(law, shape, level, draws, rng, dtype):
    spec = WeightSpec("w", shape, compute_fans(shape), "weight", "hidden")
    return sum(not audit({"w": rule(law).draw(spec, rng).astype(dtype)}, law, level=level).ok for _ in range(draws))


@pytest.mark.parametrize("law", NAMED)
def test_the_level_holds_in_plain_simulation(law):
    rng = np.random.default_rng(7)
    level, draws = 0.05, 60
    sizes = [(1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (4, 4), (8, 8)]
    count = sum(alarms(law, shape, level, draws, rng, np.float32) for shape in sizes)
    assert binom.sf(count - 1, draws * len(sizes), level) > 1e-3, count


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("law", NAMED)
def test_the_level_holds_in_long_plain_simulation(law, dtype):
    rng = np.random.default_rng(8)
    for shape in [(1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (2, 8), (4, 4), (8, 8), (32, 32)]:
        for level, draws in ((1e-2, 1500), (1e-3, 1500)):
            count = alarms(law, shape, level, draws, rng, dtype)
            assert binom.sf(count - 1, draws, level) > 1e-4, (shape, level, count)


# The tests one by one: each chance is the exact one.


def fitted(z, law="normal"):
    x = values(law, np.asarray(z, float))
    spec = WeightSpec("w", (x.size, 1), compute_fans((x.size, 1)), "weight", "hidden")
    return fit(elements_of(x), rule(LAWS[law]).law(spec)), rule(LAWS[law]).law(spec)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [1, 2, 6, 16, 64, 1024])
def test_each_test_has_its_exact_chance(law, n):
    rng = np.random.default_rng(9)
    for scale in (0.05, 0.5, 1.0, 1.5):
        z = rng.standard_normal(n) * scale
        found, exact_law = fitted(z, law)
        assert found.mean_z == pytest.approx(z.sum() / math.sqrt(n), rel=1e-6, abs=1e-6)
        if n > 1:
            squares = np.square(z - z.mean()).sum()
            chance = min(chi2.cdf(squares, n - 1), chi2.sf(squares, n - 1))
            if chance > 1e-250:
                assert ndtr(-abs(found.std_z)) == pytest.approx(chance, rel=1e-4)
        u = np.sort(distribution_function(exact_law, values(law, z)))
        steps = np.arange(n + 1) / n
        distance = max((steps[1:] - u).max(), (u - steps[:-1]).max())
        exact = kstwo.sf(distance, n)
        assert exact <= found.shape_p * (1 + 1e-9)  # never too small
        if 1e-12 < exact < 1e-2:
            assert found.shape_p <= 1.4 * exact
        beyond = np.count_nonzero(abs(u - 0.5) > (1 - TAIL) / 2)
        few, many = binom.cdf(beyond, n, TAIL), binom.sf(beyond - 1, n, TAIL)
        assert found.tail_p == pytest.approx(min(1.0, 2 * min(few, many)), rel=1e-9)


def test_z_scores_stay_numbers_where_chances_leave_float64():
    small, _ = fitted(np.linspace(-1, 1, 5000) * 1e-3)
    large, _ = fitted(np.linspace(-1, 1, 5000) * 1e3)
    assert -1e9 < small.std_z <= -37
    assert 37 <= large.std_z < 1e9
