import math

import numpy as np
import pytest

from runner.training.measurement import singular_values
from weightinit.activations import get
from weightinit.laws import UNKNOWN
from weightinit.meanfield import SingularValues, chi, critical_point, jacobian_moments, q_map
from weightinit.nn import Moments, mlp
from weightinit.schemes import Orthogonal, VarianceScaling
from weightinit.statistics import measure

WIDTH, DEPTH, NETS = 400, 10, 12
TANH = critical_point("tanh", sigma_b2=0.05)


def jacobians(weights, rng):
    """Mean and relative variance of the squared singular values of relu and tanh networks, (2, 2, NETS)."""
    settings = {"relu": (2.0, 0.0, 1.0), "tanh": (TANH.sigma_w2, TANH.sigma_b2, TANH.q_star.value)}
    moments = np.empty((2, 2, NETS))
    for net in range(NETS):
        unit = rng.standard_normal((WIDTH, 1))
        z = {name: unit * math.sqrt(q) for name, (_, _, q) in settings.items()}
        jacobian = {name: get(name).dphi(z[name]) * np.eye(WIDTH) for name in settings}
        for _ in range(DEPTH - 1):
            draw = rng.standard_normal((WIDTH, WIDTH))
            if weights == "orthogonal":
                draw, upper = np.linalg.qr(draw)
                draw = draw * np.sign(np.diag(upper)) * math.sqrt(WIDTH)
            bias = rng.standard_normal((WIDTH, 1))
            for name, (sigma_w2, sigma_b2, _) in settings.items():
                weight = draw * math.sqrt(sigma_w2 / WIDTH)
                z[name] = weight @ get(name).phi(z[name]) + bias * math.sqrt(sigma_b2)
                jacobian[name] = get(name).dphi(z[name]) * (weight @ jacobian[name])
        for row, (name, (sigma_w2, _, _)) in enumerate(settings.items()):
            first = rng.standard_normal((WIDTH, WIDTH)) / math.sqrt(WIDTH)
            if weights == "orthogonal":
                first, _ = np.linalg.qr(first)
            gram = jacobian[name] @ (first * math.sqrt(sigma_w2))
            gram = gram @ gram.T
            mean = np.trace(gram) / WIDTH
            moments[row, :, net] = mean, (gram**2).sum() / WIDTH / mean**2 - 1
    return moments


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_jacobians_of_wide_networks_have_the_moments_of_theory(weights):
    measured = jacobians(weights, np.random.default_rng(17))
    for row, (name, sigma_w2, q) in enumerate((("relu", 2.0, 1.0), ("tanh", TANH.sigma_w2, TANH.q_star.value))):
        theory = jacobian_moments(name, sigma_w2, q, depth=DEPTH, weights=weights)
        error = measured[row].std(1, ddof=1) / math.sqrt(NETS)
        assert abs(measured[row, 0].mean() - theory.mean) < 4 * error[0]
        assert error[1] < 0.04 * theory.relative_variance
        correction = theory.relative_variance * DEPTH / WIDTH  # theory is that of infinite width
        assert abs(measured[row, 1].mean() - theory.relative_variance) < 4 * error[1] + correction


def test_relu_spreads_by_two_or_one_a_layer():
    for depth in (1, 10, 64):
        gaussian = jacobian_moments("relu", 2.0, 1.0, depth=depth)
        orthogonal = jacobian_moments("relu", 2.0, 1.0, depth=depth, weights="orthogonal")
        assert (gaussian.mean, gaussian.relative_variance) == pytest.approx((1, 2 * depth))
        assert (orthogonal.mean, orthogonal.relative_variance) == pytest.approx((1, depth))


def test_orthogonal_linear_networks_are_isometries_and_gaussian_ones_are_not():
    orthogonal = jacobian_moments("linear", 1.0, 1.0, depth=20, weights="orthogonal")
    assert (orthogonal.mean, orthogonal.relative_variance) == pytest.approx((1, 0), abs=1e-12)
    # The product of L Gaussian matrices: Fuss-Catalan, second moment L + 1
    assert jacobian_moments("linear", 1.0, 1.0, depth=20).relative_variance == pytest.approx(20)


def test_orthogonal_tanh_networks_come_near_isometry_and_relu_ones_do_not():
    # Pennington et al. 2017: at small q* the spread of critical tanh networks goes to zero.
    for q in (0.01, 0.001):
        point = critical_point("tanh", q=q)
        moments = jacobian_moments("tanh", point.sigma_w2, q, depth=50, weights="orthogonal")
        assert moments.mean == pytest.approx(1, abs=1e-9)
        assert moments.relative_variance == pytest.approx(50 * 8 * q**2, rel=10 * q)  # phi'² = 1 - 2 x² + ...


def test_layers_may_have_second_moments_of_their_own():
    q = [1.0]
    for _ in range(4):
        q.append(q_map(q[-1], "tanh", 1.3, 0.05))
    whole = jacobian_moments("tanh", 1.3, q)
    assert whole.mean == pytest.approx(math.prod(chi(one, "tanh", 1.3) for one in q))
    parts = [jacobian_moments("tanh", 1.3, one, depth=1).relative_variance for one in q]
    assert whole.relative_variance == pytest.approx(sum(parts))
    assert jacobian_moments("tanh", 1.3, q, depth=5) == whole


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="weights must be one of gaussian, orthogonal; got 'normal'"):
        jacobian_moments("relu", 2.0, 1.0, depth=3, weights="normal")
    with pytest.raises(ValueError, match="Pass depth"):
        jacobian_moments("relu", 2.0, 1.0)
    for q, depth in (([1.0, 1.0], 3), (1.0, 0)):
        with pytest.raises(ValueError, match="depth must be positive, and q one number or depth many"):
            jacobian_moments("relu", 2.0, q, depth=depth)


SHAPES = [(64, 10, [128, 128, 128]), (20, 40, [100, 60]), (30, 5, [60, 20, 90]), (60, 60, [60] * 5), (12, 1, [40])]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scheme", [VarianceScaling(scale=2.0), Orthogonal()], ids=["he", "orthogonal"])
@pytest.mark.parametrize("name", ["relu", "tanh", "linear"])
def test_a_networks_jacobian_has_the_moments_that_it_expects_whatever_its_shape(name, scheme, shape):
    inputs, outputs, widths = shape
    network, nets = mlp(inputs, outputs, name, widths=widths), 60
    initialized = scheme(network, range(nets))
    x = np.random.default_rng(0).standard_normal((1, 2, inputs))
    x /= np.sqrt((x**2).mean(-1, keepdims=True))
    values = singular_values(network, initialized.params, network.state(nets), x)
    assert values.shape == (nets, 2 if outputs < 40 else 1, min(inputs, outputs))
    measured = measure({"singular_values": values}, ends=True)
    laws = {weight: own[0] for weight, own in initialized.laws.items()}
    theory = network.expect_jacobian(network.expect(Moments(1.0), laws), laws)
    for got, expected in (
        (measured["jacobian_mean_s2"], theory.mean),
        (measured["jacobian_spread"], theory.relative_variance),
    ):
        error = got.std(ddof=1) / math.sqrt(nets)
        # theory is that of wide layers: it leaves out terms of order depth / width
        assert abs(got.mean() - expected) < 4 * error + 2 * len(widths) / min(widths) * expected / 2 + 1e-9


def test_linear_orthogonal_networks_have_one_singular_value():
    network = mlp(24, 24, "linear", widths=[24] * 6)
    values = singular_values(network, Orthogonal()(network, range(3)).params, network.state(3), np.ones((1, 9, 24)))
    np.testing.assert_allclose(values, 1.0, atol=1e-6)  # float32 weights
    assert values.shape == (3, 2, 24)


def test_theory_of_the_jacobian_is_silent_where_it_has_nothing_to_say():
    network = mlp(8, 3, "relu", widths=[9])
    laws = {name: own[0] for name, own in VarianceScaling(scale=2.0)(network, [0]).laws.items()}
    assert not math.isnan(network.expect_jacobian(network.expect(Moments(1.0), laws), laws).mean)
    laws["output/weight"] = UNKNOWN
    values = network.expect_jacobian(network.expect(Moments(1.0), laws), laws)
    assert np.isnan([values.mean, values.relative_variance]).all()


def test_values_among_a_share_leave_out_zeros():
    values = np.array([3.0, 1.0, 0.0, 0.0])
    whole = SingularValues(values.mean(), values.var() / values.mean() ** 2)
    half = whole.among(0.5)
    assert (half.mean, half.relative_variance) == pytest.approx((2.0, 0.25))
