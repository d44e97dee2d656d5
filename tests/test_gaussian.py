import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, special

from weightinit import activations
from weightinit.gaussian import expectation


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
