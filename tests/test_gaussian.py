import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.polynomial import hermite_e, legendre
from scipy import integrate, special

from weightinit import activations
from weightinit.gaussian import correlated_expectation, expectation

ACTIVATIONS = [activations.get(name, **({"frequency": 2.0} if name == "sine" else {})) for name in activations.NAMES]


def mean_of_product(phi, **arguments):
    return correlated_expectation(phi.phi, kinks=phi.kinks, **arguments)


def density(z):
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


@pytest.mark.parametrize("power", range(9))
def test_powers_have_the_moments_of_a_gaussian(power):
    for q in (1e-6, 1.0, 7.0):
        exact = 0.0 if power % 2 else math.prod(range(1, power, 2)) * q ** (power / 2)
        assert expectation(lambda z: z**power, q=q) == pytest.approx(exact, rel=1e-13, abs=1e-13 * q ** (power / 2))


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("q", [0.04, 1.0, 9.0, 1e6])
@pytest.mark.parametrize("kink", [0.0, 0.5, -1.3, 2.0, 1.0000001])
def test_kinks_and_jumps_are_exact_named_or_not(kink, q, named):
    kinks = (kink,) if named else None
    k = kink / math.sqrt(q)
    if k > 8:
        pytest.skip("more than eight standard deviations away")
    folded = math.sqrt(q) * (2 * density(k) + k * (2 * special.ndtr(k) - 1))
    assert expectation(lambda z: np.abs(z - kink), q=q, kinks=kinks) == pytest.approx(folded, rel=1e-11)
    assert expectation(lambda z: z > kink, q=q, kinks=kinks) == pytest.approx(special.ndtr(-k), rel=1e-10)


def test_smooth_functions_have_their_closed_forms():
    for a in (0.1, 1.0, 3.0):
        assert expectation(lambda z, a=a: np.exp(a * z)) == pytest.approx(math.exp(a * a / 2), rel=1e-12)
    for w in (1.0, 5.0, 100.0):
        assert expectation(lambda z, w=w: np.cos(w * z) ** 2) == pytest.approx(
            (1 + math.exp(-2 * w * w)) / 2, rel=1e-10
        )
    assert expectation(lambda z: np.sqrt(np.abs(z))) == pytest.approx(2**0.25 * math.gamma(0.75) / math.sqrt(math.pi))


@pytest.mark.parametrize("q", [0.3, 1.0, 20.0])
@pytest.mark.parametrize("name", activations.NAMES)
def test_activations_agree_with_another_quadrature(name, q):
    phi = activations.get(name, **({"frequency": 2.0} if name == "sine" else {}))
    functions = (phi.phi, lambda z: phi.phi(z) ** 2, phi.dphi, lambda z: phi.dphi(z) ** 2)
    borders = sorted({-10.0, 0.0, 10.0, *(kink / math.sqrt(q) for kink in phi.kinks)})
    for f in functions:
        other = sum(
            integrate.quad(
                lambda z, f=f: float(f(np.array(math.sqrt(q) * z))) * density(z), a, b, epsabs=1e-13, limit=99
            )[0]
            for a, b in pairwise(borders)
        )
        mean = expectation(f, q=q, kinks=phi.kinks)
        assert mean == pytest.approx(other, rel=1e-10, abs=1e-10)
        assert expectation(f, q=q) == pytest.approx(mean, rel=1e-10, abs=1e-12)
        assert expectation(f, q=q, kinks=()) == pytest.approx(mean, rel=1e-9, abs=1e-12)


def test_an_array_of_q_gives_the_bits_of_each_alone():
    q = np.concatenate([[0.0], np.geomspace(1e-8, 1e8, 23)]).reshape(2, 12)
    for name in ("tanh", "hardtanh", "gelu", "erf"):
        phi = activations.get(name)
        together = expectation(lambda z, phi=phi: phi.phi(z) ** 2, q=q, kinks=phi.kinks)
        alone = [expectation(lambda z, phi=phi: phi.phi(z) ** 2, q=float(one), kinks=phi.kinks) for one in q.flat]
        assert together.shape == q.shape
        assert isinstance(alone[0], float)
        np.testing.assert_array_equal(together.ravel(), alone)


def test_without_spread_the_expectation_is_the_value_at_zero():
    assert expectation(np.cos, q=0.0, kinks=(-1.0, 0.0, 1.0)) == pytest.approx(1.0, abs=1e-14)


def test_a_constant_and_a_zero_are_themselves():
    assert expectation(lambda z: 3.0) == pytest.approx(3.0, abs=1e-14)
    assert expectation(lambda z: 0 * z) == 0.0


def test_relative_precision_does_not_depend_on_the_size_of_the_function():
    for size in (1e-30, 1e30):
        assert expectation(lambda z, size=size: size * np.abs(z - 0.7)) == pytest.approx(
            size * (2 * density(0.7) + 0.7 * (2 * special.ndtr(0.7) - 1)), rel=1e-11
        )


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda z: 1 / z, "did not converge near .* pole"),
        (lambda z: 1 / (z - 1), "(near|at) 1 standard deviations"),
        (lambda z: np.abs(z) ** -0.95, "did not converge"),
        (lambda z: np.log(z), "finite from -16 to 16; got nan at -"),
        (lambda z: np.exp(z * z / 2), "outgrows the Gaussian"),
        (lambda z: np.exp(z * z), "outgrows the Gaussian"),
        (lambda z: np.exp(z**4), "finite from -16 to 16; got inf"),
        (lambda z: np.random.default_rng(0).random(z.shape), "nowhere smooth"),
    ],
)
def test_what_has_no_expectation_is_refused(f, text):
    with pytest.raises(ValueError, match=text):
        expectation(f)


@pytest.mark.parametrize("pole", [0, 0.3, 0.5, 1, -2, 4.75, 3.7123])
def test_a_pole_is_not_taken_for_its_principal_value(pole):
    with pytest.raises(ValueError, match=r"did not converge|infinity"):
        expectation(lambda z: 1 / (z - pole), kinks=())


def test_what_goes_wrong_without_a_search_for_kinks_is_seen_too():
    with pytest.raises(ValueError, match="no expectation: it gives NaN or infinity at 8"):
        expectation(lambda z: np.where(z > 20, np.inf, z), q=6.0, kinks=())
    with pytest.raises(ValueError, match=r"did not converge near .*noise"):
        expectation(lambda z: np.random.default_rng(0).random(z.shape), kinks=())


@pytest.mark.parametrize("q", [-1.0, math.nan, math.inf])
def test_q_must_be_a_second_moment(q):
    with pytest.raises(ValueError, match="must be zero or positive, and finite"):
        expectation(np.tanh, q=q)
    with pytest.raises(ValueError, match="must be zero or positive, and finite"):
        expectation(np.tanh, q=np.array([1.0, q]))


def test_a_function_that_is_not_elementwise_is_refused():
    with pytest.raises(TypeError, match="elementwise"):
        expectation(lambda z: z.sum(0))
    with pytest.raises(TypeError, match="must map arrays elementwise"):
        expectation(lambda z: z.sum(0), kinks=())


@pytest.mark.parametrize("q", [1e4, 1e7, 1e10, 1e14])
def test_what_a_function_does_near_zero_is_seen_from_far_away(q):
    # exp(-x²) at sqrt(q) z has the expectation 1 / sqrt(1 + 2 q): a bump of 1e-7 standard deviations at the last q
    assert expectation(lambda x: np.exp(-x * x), q=q, kinks=()) == pytest.approx(1 / math.sqrt(1 + 2 * q), rel=1e-10)
    together = expectation(lambda x: np.exp(-x * x), q=np.array([1.0, q, 100.0, 1e5]), kinks=())
    assert together[1] == expectation(lambda x: np.exp(-x * x), q=q, kinks=())


def test_the_error_is_bounded_by_its_estimate():
    functions = {
        "smooth": (lambda z: np.exp(z), math.exp(0.5)),
        "kink": (lambda z: np.abs(z - 0.7), 2 * density(0.7) + 0.7 * (2 * special.ndtr(0.7) - 1)),
        "jump": (lambda z: z > 0.3, special.ndtr(-0.3)),
        "cusp": (lambda z: np.sqrt(np.abs(z)), 2**0.25 * math.gamma(0.75) / math.sqrt(math.pi)),
    }
    for f, exact in functions.values():
        mean, error = expectation(f, kinks=(), return_error=True)
        assert abs(mean - exact) <= error < 1e-10
    means, errors = expectation(np.abs, q=np.array([1.0, 4.0]), kinks=(0.0,), return_error=True)
    np.testing.assert_array_less(np.abs(means - np.array([1, 2]) * math.sqrt(2 / math.pi)), errors)
    mean, error = correlated_expectation(np.abs, c=0.6, kinks=(0.0,), return_error=True)
    assert abs(mean - 2 / math.pi * (0.8 + 0.6 * math.asin(0.6))) <= error < 1e-10


@pytest.mark.parametrize("c", [-1.0, -0.99999, -0.7, 0.0, 1e-9, 0.3, 0.95, 1 - 1e-9, 1.0])
def test_products_have_their_closed_forms_at_every_correlation(c):
    q, r = 1.7, 0.4
    p = c * math.sqrt(q * r)
    assert correlated_expectation(lambda x: x**2, c=c, q=q, q_other=r, kinks=()) == pytest.approx(q * r + 2 * p * p)
    product = correlated_expectation(
        lambda x: np.exp(0.5 * x), lambda y: np.exp(2 * y), c=c, q=q, q_other=r, kinks=(), kinks_other=()
    )
    assert product == pytest.approx(math.exp(q / 8 + 2 * r + p), rel=1e-12)
    assert correlated_expectation(np.exp, c=c, q=q, q_other=r, kinks=()) == pytest.approx(math.exp((q + r) / 2 + p))
    angle = math.acos(c)
    both = correlated_expectation(lambda x: x > 0, c=c, q=q, q_other=r)
    assert both == pytest.approx((math.pi - angle) / (2 * math.pi), abs=1e-12)
    arc_cosine = math.sqrt(q * r) * (math.sin(angle) + (math.pi - angle) * c) / (2 * math.pi)
    assert correlated_expectation(lambda x: x.clip(0), c=c, q=q, q_other=r) == pytest.approx(arc_cosine, abs=1e-12)
    # E[x; y > 0] = c sqrt(q) E|z| / 2
    mixed = correlated_expectation(lambda x: x, lambda y: y > 0, c=c, q=q, q_other=r)
    assert mixed == pytest.approx(c * math.sqrt(q / (2 * math.pi)), abs=1e-12)


@pytest.mark.parametrize("phi", ACTIVATIONS, ids=activations.NAMES)
def test_activations_agree_with_their_hermite_series(phi):
    # E[f(x) f(y)] = sum c^k E[f h_k]² (Mehler): another road, that of one variable
    q, terms = 2.0, 50
    norms = [math.sqrt(math.factorial(k)) for k in range(terms)]
    coefficients = [
        expectation(
            lambda x, k=k: phi.phi(x) * hermite_e.hermeval(x / math.sqrt(q), np.eye(terms)[k]) / norms[k],
            q=q,
            kinks=phi.kinks,
        )
        for k in range(terms)
    ]
    size = expectation(lambda x: phi.phi(x) ** 2, q=q, kinks=phi.kinks)
    for c in (-0.6, 0.2, 0.6):
        series = sum(a * a * c**k for k, a in enumerate(coefficients))
        assert mean_of_product(phi, c=c, q=q) == pytest.approx(series, abs=1e-10 * size)


@pytest.mark.parametrize("phi", ACTIVATIONS, ids=activations.NAMES)
def test_activations_follow_prices_theorem_up_to_full_correlation(phi):
    # d/dc E[f(x) f(y)] = q E[f'(x) f'(y)]; in the angle, where c = cos(angle), both are smooth, kinks or not
    q, widest = 1.3, 0.9
    nodes, weights = legendre.leggauss(40)
    angles = widest * (nodes + 1) / 2
    slopes = correlated_expectation(phi.dphi, c=np.cos(angles), q=q, kinks=phi.kinks)
    gained = q * (weights * slopes * np.sin(angles)).sum() * widest / 2
    square = expectation(lambda x: phi.phi(x) ** 2, q=q, kinks=phi.kinks)
    assert mean_of_product(phi, c=1.0, q=q) == pytest.approx(square, rel=1e-12)
    assert square - mean_of_product(phi, c=math.cos(widest), q=q) == pytest.approx(gained, abs=1e-10 * square)


def test_kinks_of_both_functions_are_found():
    def hinge(x):
        return np.abs(x - 0.4)

    def step(y):
        return np.where(y > -1.1, 2.0, y)

    named = correlated_expectation(hinge, step, c=0.8, kinks=(0.4,), kinks_other=(-1.1,))
    assert correlated_expectation(hinge, step, c=0.8) == pytest.approx(named, rel=1e-10)
    assert correlated_expectation(step, hinge, c=0.8) == pytest.approx(named, rel=1e-10)


def test_arrays_of_correlations_give_the_bits_of_each_alone():
    c = np.array([-1.0, -0.3, 0.0, 0.2, 0.7, 0.999999, 1.0] * 3).reshape(3, 7)
    q = np.array([[1e-6], [2.0], [1e5]])
    for name in ("tanh", "selu"):
        phi = activations.get(name)
        together = mean_of_product(phi, c=c, q=q, q_other=2 * q)
        assert together.shape == c.shape
        same = mean_of_product(phi, c=c, q=q)
        for row in range(3):
            for column in range(7):
                one, scale = float(c[row, column]), float(q[row, 0])
                assert together[row, column] == mean_of_product(phi, c=one, q=scale, q_other=2 * scale)
                assert same[row, column] == mean_of_product(phi, c=one, q=scale)


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda z: 1 / z, "did not converge near .* pole"),
        (lambda z: np.exp(z * z / 4), "outgrows the Gaussian"),
        (lambda z: np.where(z > 3, np.nan, z), "NaN or infinity at"),
    ],
)
def test_products_without_an_expectation_are_refused(f, text):
    with pytest.raises(ValueError, match=text):
        correlated_expectation(f, c=0.5, kinks=())
    with pytest.raises(ValueError, match=text):
        correlated_expectation(np.tanh, f, c=0.5, kinks=(), kinks_other=())


def test_what_is_no_correlation_is_refused():
    for c in (1.0000001, -2.0, math.nan):
        with pytest.raises(ValueError, match="c, a correlation, must lie between -1 and 1; got"):
            correlated_expectation(np.tanh, c=c, kinks=())
    with pytest.raises(ValueError, match="q, a second moment"):
        correlated_expectation(np.tanh, c=0.5, q_other=-1.0, kinks=())
    with pytest.raises(TypeError, match="elementwise"):
        correlated_expectation(lambda z: z.sum(0), c=0.5, kinks=())
