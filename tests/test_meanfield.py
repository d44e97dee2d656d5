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


@pytest.mark.parametrize("name", ["relu", "tanh", "silu", "hardtanh", "elu"])
def test_maps_agree_with_wide_random_layers(name):
    # 64 layers of 1,024 units: forward from pre-activations of moment q, backward from gradients of moment 1.
    rng, phi = np.random.default_rng(3), get(name)
    q, sigma_w2, sigma_b2, nets, width = 1.7, 1.4, 0.3, 64, 1024
    z = math.sqrt(q) * rng.standard_normal((nets, 1, width))
    d_next = rng.standard_normal((nets, 1, width))
    after, back = np.empty_like(z), np.empty_like(z)
    for net in range(nets):
        weight = rng.standard_normal((width, width)) * math.sqrt(sigma_w2 / width)
        after[net] = phi.phi(z[net]) @ weight + rng.standard_normal(width) * math.sqrt(sigma_b2)
        back[net] = (d_next[net] @ weight.T) * phi.dphi(z[net])

    def agrees(moments, theory):
        error = moments.std(ddof=1) / math.sqrt(nets)  # of the mean over independent nets
        assert error < 0.03 * theory
        assert abs(moments.mean() - theory) < 4 * error

    agrees((after**2).mean((1, 2)), q_map(q, name, sigma_w2, sigma_b2))
    agrees((back**2).mean((1, 2)) / (d_next**2).mean((1, 2)), chi(q, name, sigma_w2))


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
        start = time.perf_counter()
        for _ in range(100):
            q = q_map(q, "tanh", 1.5, 0.1)
            chi(q, "tanh", 1.5)
        best = min(best, time.perf_counter() - start)
    assert best < 0.25  # 0.05 s measured for eight schemes at once; the rest is room for a busy machine
