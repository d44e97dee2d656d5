import math

import numpy as np
import pytest

from weightinit.meanfield import log_norm

WIDTH, DEPTH = 50, 50


def log_growths(name, nets, rng):
    """log of the growth of the mean square by each layer, (nets, DEPTH), of networks in one stack."""
    x = rng.standard_normal((nets, 1, WIDTH), np.float32)
    scale = math.sqrt((2 if name == "relu" else 1) / WIDTH)
    logs = np.empty((nets, DEPTH))
    before = np.log((x.astype(np.float64) ** 2).mean((1, 2)))
    for layer in range(DEPTH):
        x = x @ (rng.standard_normal((nets, WIDTH, WIDTH), np.float32) * np.float32(scale))
        x = np.maximum(x, 0) if name == "relu" else x
        after = np.log((x.astype(np.float64) ** 2).mean((1, 2)))
        logs[:, layer], before = after - before, after
    return logs


@pytest.mark.parametrize(("name", "nets"), [("relu", 1024), ("linear", 400)])
def test_a_stack_of_narrow_deep_networks_has_the_moments_of_theory(name, nets):
    theory = log_norm(name, [WIDTH] * DEPTH, 2.0 if name == "relu" else 1.0)
    logs = log_growths(name, nets, np.random.default_rng(5))
    total = logs.sum(1)
    assert abs(total.mean() - theory.mean) < 4 * math.sqrt(theory.variance / nets)
    assert total.var(ddof=1) == pytest.approx(theory.variance, rel=4 * math.sqrt(2 / nets))
    # Layers stray apart from each other, so all of them may serve to measure the variance of one: to 5%, at 6 sigma.
    assert logs.var(ddof=1) * DEPTH == pytest.approx(theory.variance, rel=0.05)


@pytest.mark.slow
def test_mean_and_variance_are_within_five_percent_of_thirteen_thousand_networks():
    theory, rng = log_norm("relu", [WIDTH] * DEPTH, 2.0), np.random.default_rng(6)
    total = np.concatenate([log_growths("relu", 1300, rng).sum(1) for _ in range(10)])  # 5% is 6 and 4 sigma
    assert total.mean() == pytest.approx(theory.mean, rel=0.05)
    assert total.var(ddof=1) == pytest.approx(theory.variance, rel=0.05)


def test_the_known_numbers_of_fifty_layers_of_fifty_units():
    theory = log_norm("relu", [50] * 50, 2.0)
    assert theory.mean == pytest.approx(-2.587, abs=6e-4)
    assert theory.variance == pytest.approx(5.41, abs=6e-3)
    assert theory.alive == pytest.approx(1, abs=1e-12)


def test_one_unit_has_its_closed_form():
    euler = 0.5772156649015329
    linear = log_norm("linear", [1], 3.0)  # log of a squared standard normal
    assert linear.mean == pytest.approx(math.log(3) - euler - math.log(2), rel=1e-12)
    assert linear.variance == pytest.approx(math.pi**2 / 2, rel=1e-12)
    relu = log_norm("relu", [1], 3.0)  # the same, given that it fires
    assert (relu.mean, relu.variance, relu.alive) == pytest.approx((linear.mean, linear.variance, 0.5), rel=1e-12)


def test_wide_layers_have_the_moments_of_first_order():
    n = 20_000
    for name, sigma_w2, share in (("relu", 2.0, 5), ("linear", 1.0, 2)):
        theory = log_norm(name, [n, n, 2 * n], sigma_w2)
        assert theory.variance == pytest.approx(2.5 * share / n, rel=1e-3)
        assert theory.mean == pytest.approx(-1.25 * share / n, rel=1e-3)


def test_layers_add_up_and_may_die():
    one, two, both = log_norm("relu", [3], 2.0), log_norm("relu", [7], 2.0), log_norm("relu", [3, 7], 2.0)
    assert (both.mean, both.variance) == pytest.approx((one.mean + two.mean, one.variance + two.variance))
    assert both.alive == pytest.approx((1 - 2**-3) * (1 - 2**-7))
    assert log_norm("relu", [3], 4.0).mean == pytest.approx(one.mean + math.log(2))


def test_what_has_no_exact_moments_is_refused():
    with pytest.raises(ValueError, match=r"known for relu and linear; got 'tanh'\. Network\.expect"):
        log_norm("tanh", [50], 1.0)
    for widths in ([], [10, 0]):
        with pytest.raises(ValueError, match="widths must be one or more positive numbers"):
            log_norm("relu", widths, 2.0)
    with pytest.raises(ValueError, match="sigma_w2, a variance, must be positive"):
        log_norm("relu", [5], 0.0)
