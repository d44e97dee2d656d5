import math

import numpy as np
import pytest

from weightinit.activations import get
from weightinit.meanfield import chi, critical_point, jacobian_moments, q_map

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
