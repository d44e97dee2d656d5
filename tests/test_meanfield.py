import math
import time

import numpy as np
import pytest

from weightinit.activations import get
from weightinit.gains import gain
from weightinit.gaussian import expectation
from weightinit.meanfield import chi, q_map, second_moment, slope_second_moment

CLOSED = [
    "linear",
    "relu",
    get("leaky_relu", slope=0.2),
    get("leaky_relu", slope=-1.0),
    "erf",
    get("sine", frequency=2.0),
]


@pytest.mark.parametrize("q", [1e-12, 0.1, 1.0, 50.0])
@pytest.mark.parametrize("activation", CLOSED)
def test_closed_forms_agree_with_quadrature(activation, q):
    phi = get(activation)
    second = expectation(lambda z: phi.phi(z) ** 2, q=q, kinks=phi.kinks)
    slope = expectation(lambda z: phi.dphi(z) ** 2, q=q, kinks=phi.kinks)
    assert second_moment(q, phi) == pytest.approx(second, rel=1e-10)
    assert slope_second_moment(q, phi) == pytest.approx(slope, rel=1e-10)


@pytest.mark.parametrize(
    ("name", "growth"),
    [
        ("relu", 1),
        ("tanh", 1.177807),
        ("gelu", 1.072032),
        ("silu", 1.066634),
        ("selu", 1.071575),
        ("sigmoid", 0.152827),
    ],
)
def test_chi_at_the_gain_that_holds_the_forward_second_moment(name, growth):
    sigma_w2 = gain(name) ** 2
    assert q_map(1.0, name, sigma_w2) == pytest.approx(1, abs=1e-10)
    assert chi(1.0, name, sigma_w2) == pytest.approx(growth, abs=6e-7)


@pytest.mark.parametrize(
    ("sigma_w2", "sigma_b2", "q_star", "slope", "digits"),
    [(1.760955, 0.05, 0.570048, 1, 1e-6), (1.3, 0.05, 0.3153, 0.8802, 6e-5), (2.0, 0.05, 0.7218, 1.0477, 6e-5)],
)
def test_tanh_has_its_known_fixed_points(sigma_w2, sigma_b2, q_star, slope, digits):
    q = 1.0
    for _ in range(400):
        q = q_map(q, "tanh", sigma_w2, sigma_b2)
    assert q == pytest.approx(q_star, abs=digits)
    assert chi(q, "tanh", sigma_w2) == pytest.approx(slope, abs=digits)


def test_the_slope_of_the_q_map_is_its_derivative():
    # d/dq E[phi(sqrt(q) z)²] = E[(phi phi')'(sqrt(q) z)], here for tanh: (phi phi')' = phi'² + phi phi''
    q, step = 0.8, 1e-4
    slope = (q_map(q + step, "tanh", 1.5, 0.1) - q_map(q - step, "tanh", 1.5, 0.1)) / (2 * step)
    exact = expectation(lambda z: (1 - np.tanh(z) ** 2) ** 2 - 2 * np.tanh(z) ** 2 * (1 - np.tanh(z) ** 2), q=q)
    assert slope == pytest.approx(1.5 * exact, rel=1e-7)


def test_erf_is_critical_at_zero():
    assert chi(0.0, "erf", math.pi / 4) == pytest.approx(1, abs=1e-15)
    assert chi(0.0, "tanh", 1.0) == pytest.approx(1, abs=1e-12)


def test_maps_agree_with_wide_random_layers():
    # 128 layers of 512 units: forward from pre-activations of moment q, backward from gradients of moment 1.
    rng, q, sigma_w2, sigma_b2, nets, width = np.random.default_rng(3), 1.7, 1.4, 0.3, 128, 512
    names = ["relu", "tanh", "silu", "hardtanh", "elu"]
    forward, backward = np.empty((2, len(names), nets))
    for net in range(nets):
        weight = rng.standard_normal((width, width)) * math.sqrt(sigma_w2 / width)
        bias, d_next = rng.standard_normal(width) * math.sqrt(sigma_b2), rng.standard_normal(width)
        z = rng.standard_normal(width) * math.sqrt(q)
        for row, name in enumerate(names):
            phi = get(name)
            forward[row, net] = ((phi.phi(z) @ weight + bias) ** 2).mean()
            backward[row, net] = ((weight @ d_next * phi.dphi(z)) ** 2).mean()

    for row, name in enumerate(names):
        for moments, theory in (
            (forward[row], q_map(q, name, sigma_w2, sigma_b2)),
            (backward[row], chi(q, name, sigma_w2)),
        ):
            error = moments.std(ddof=1) / math.sqrt(nets)
            assert error < 0.02 * theory
            assert abs(moments.mean() - theory) < 4 * error, name


def test_arrays_give_the_bits_of_each_run_alone():
    q = np.geomspace(1e-3, 1e3, 7).reshape(7, 1)
    sigma_w2 = np.linspace(0.5, 3, 7).reshape(7, 1)
    for name in ("relu", "erf", "tanh", "hardtanh"):
        alone = [q_map(float(a), name, float(w), 0.1) for a, w in zip(q.flat, sigma_w2.flat, strict=True)]
        slopes = [chi(float(a), name, float(w)) for a, w in zip(q.flat, sigma_w2.flat, strict=True)]
        assert q_map(q, name, sigma_w2, 0.1).shape == chi(q, name, sigma_w2).shape == q.shape
        np.testing.assert_array_equal(q_map(q, name, sigma_w2, 0.1).ravel(), alone)
        np.testing.assert_array_equal(chi(q, name, sigma_w2).ravel(), slopes)


def test_a_function_of_ones_own_is_not_taken_for_one_that_bears_its_name():
    def relu(z):
        return np.maximum(z, 0) ** 2

    assert q_map(1.0, relu, 1.0) == pytest.approx(1.5, abs=1e-10)


@pytest.mark.parametrize("name", ["relu", "tanh"])
@pytest.mark.parametrize("q", [-0.1, math.nan])
def test_q_must_be_a_second_moment(name, q):
    for function in (second_moment, slope_second_moment):
        with pytest.raises(ValueError, match="q, a second moment, must be zero or positive"):
            function(q, name)


def test_a_hundred_layers_are_forecast_in_milliseconds():
    q, best = np.full(8, 1.0), math.inf
    for _ in range(3):
        start = time.process_time()
        for _ in range(100):
            q = q_map(q, "tanh", 1.5, 0.1)
            chi(q, "tanh", 1.5)
        best = min(best, time.process_time() - start)
    assert best < 0.25  # 0.03 s measured, for eight schemes at once
