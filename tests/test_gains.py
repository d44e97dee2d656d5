import math

import numpy as np
import pytest

from weightinit import activations
from weightinit.activations import get
from weightinit.gains import gain
from weightinit.gaussian import expectation

# E[phi], E[phi²], gain, E[phi'²], computed elsewhere
TABLE = {
    "relu": (0.398942, 0.5, 1.414214, 0.5),
    "tanh": (0, 0.394294, 1.592537, 0.464403),
    "gelu": (0.282095, 0.425221, 1.533530, 0.455851),
    "silu": (0.206621, 0.355776, 1.676532, 0.379482),
    "selu": (0, 1, 1, 1.071575),
    "sigmoid": (0.5, 0.293379, 1.846229, 0.044836),
    "erf": (0, 0.464559, 1.467167, 0.569410),
}


@pytest.mark.parametrize("name", TABLE)
def test_gains_are_those_of_the_table(name):
    mean, second, forward, slope = TABLE[name]
    phi = get(name)
    assert expectation(phi.phi, kinks=phi.kinks) == pytest.approx(mean, abs=6e-7)
    assert gain(name) == pytest.approx(forward, abs=6e-7)
    assert gain(name) == pytest.approx(second**-0.5, rel=3e-6)
    assert gain(name, kind="backward") == pytest.approx(slope**-0.5, rel=1.2e-5)
    assert gain(name, kind="variance") == pytest.approx((second - mean**2) ** -0.5, rel=1e-5)


def test_gains_with_closed_forms_are_exact():
    assert gain("linear") == pytest.approx(1, abs=1e-12)
    assert gain("relu") == pytest.approx(math.sqrt(2), abs=1e-12)
    assert gain("selu") == pytest.approx(1, abs=1e-10)
    assert gain("relu", kind="variance") == pytest.approx((0.5 - 0.5 / math.pi) ** -0.5, abs=1e-11)
    for slope in (0.01, 0.2, -1.0, 2.0):
        exact = math.sqrt(2 / (1 + slope**2))
        assert gain(get("leaky_relu", slope=slope)) == pytest.approx(exact, abs=1e-12)
        assert gain(get("leaky_relu", slope=slope), kind="backward") == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("q", [1e-4, 0.3, 1.0, 25.0])
@pytest.mark.parametrize("name", activations.NAMES)
def test_gain_keeps_what_its_kind_says(name, q):
    phi, root = get(name), math.sqrt(q)
    z = np.random.default_rng(11).standard_normal(400_000)
    a = phi.phi(root * z)

    def kept(samples, target):
        error = samples.std() / math.sqrt(samples.size)
        assert abs(samples.mean() - target) < 5 * error + 1e-9 * target

    kept((gain(name, q=q) * a) ** 2, q)
    kept((gain(name, q=q, kind="variance") * (a - a.mean())) ** 2, q)
    kept((gain(name, q=q, kind="backward") * phi.dphi(root * z)) ** 2, 1)


@pytest.mark.parametrize("name", activations.NAMES)
def test_any_function_has_the_gain_of_the_activation_it_is(name):
    phi = get(name)
    for kind in ("second_moment", "variance", "backward"):
        assert gain(phi.phi, kind=kind) == pytest.approx(gain(name, kind=kind), rel=1e-10)


def test_a_function_of_ones_own():
    assert gain(lambda z: np.maximum(z, 0) ** 2) == pytest.approx(1.5**-0.5, abs=1e-10)
    assert gain(lambda z: np.maximum(z, 0) ** 2, kind="backward") == pytest.approx(2**-0.5, abs=1e-9)
    assert gain(np.sin, q=2.0) == pytest.approx(math.sqrt(2 * 2.0 / (1 - math.exp(-4.0))), abs=1e-10)


def test_torch_kind_is_the_table_of_pytorch():
    expected = {"linear": 1, "sigmoid": 1, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    for name, value in expected.items():
        assert gain(name, kind="torch") == pytest.approx(value, abs=1e-15)
    assert gain("leaky_relu", kind="torch") == pytest.approx(math.sqrt(2 / (1 + 0.01**2)), abs=1e-15)
    assert gain(get("leaky_relu", slope=0.5), kind="torch") == pytest.approx(math.sqrt(2 / 1.25), abs=1e-15)


@pytest.mark.parametrize(
    ("activation", "arguments", "text"),
    [
        ("relu", {"kind": "forward"}, "kind must be one of second_moment, variance, backward, torch; got 'forward'"),
        ("gelu", {"kind": "torch"}, "exists for linear, sigmoid, tanh, relu, leaky_relu, selu, .*; got 'gelu'. Pass"),
        (np.tanh, {"kind": "torch"}, "got 'custom_tanh'"),
        ("tanh", {"kind": "torch", "q": 2.0}, "q=1; got q=2.0"),
        ("relu", {"q": 0.0}, "must be positive and finite; got 0.0"),
        ("relu", {"q": math.nan}, "must be positive and finite; got nan"),
        (lambda z: 0 * z, {}, "custom_lambda has no gain of kind 'second_moment' at q=1"),
        (lambda z: np.where(z > 0, 1.0, -1.0), {"kind": "backward"}, "no gain of kind 'backward'"),
        (lambda z: 0 * z + 1, {"kind": "variance"}, "no gain of kind 'variance'"),
        ("tahn", {}, "Did you mean 'tanh'"),
    ],
)
def test_wrong_arguments_say_what_is_allowed(activation, arguments, text):
    with pytest.raises(ValueError, match=text):
        gain(activation, **arguments)
