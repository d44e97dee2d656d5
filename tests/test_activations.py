import importlib
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import special

from weightinit import activations
from weightinit.activations import Activation, find_kinks, get

CONF = Path(__file__).parent.parent / "conf" / "activation"

# name, parameters, the formula written once more without regard to speed
FORMULAS = [
    ("linear", {}, lambda z: z),
    ("relu", {}, lambda z: np.where(z > 0, z, 0)),
    ("leaky_relu", {}, lambda z: np.where(z > 0, z, 0.01 * z)),
    ("leaky_relu", {"slope": 1.5}, lambda z: np.where(z > 0, z, 1.5 * z)),
    ("leaky_relu", {"slope": -1.0}, np.abs),
    ("tanh", {}, lambda z: 1 - 2 / (1 + np.exp(2 * z))),
    ("scaled_tanh", {}, lambda z: 1.7159 * np.tanh(2 * z / 3)),
    ("sigmoid", {}, special.expit),
    ("softplus", {}, lambda z: np.logaddexp(z, 0)),
    ("softsign", {}, lambda z: z / (1 + np.abs(z))),
    ("elu", {}, lambda z: np.where(z > 0, z, np.exp(np.minimum(z, 0)) - 1)),
    ("elu", {"alpha": 0.3}, lambda z: np.where(z > 0, z, 0.3 * (np.exp(np.minimum(z, 0)) - 1))),
    (
        "selu",
        {},
        lambda z: 1.05070098735548 * np.where(z > 0, z, 1.67326324235438 * (np.exp(np.minimum(z, 0)) - 1)),
    ),
    ("gelu", {}, lambda z: z / 2 * (1 + special.erf(z / math.sqrt(2)))),
    ("gelu_tanh", {}, lambda z: z / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))),
    ("silu", {}, lambda z: z * special.expit(z)),
    ("mish", {}, lambda z: z * np.tanh(np.logaddexp(z, 0))),
    ("hardtanh", {}, lambda z: np.minimum(np.maximum(z, -1), 1)),
    ("erf", {}, special.erf),
    ("sine", {}, lambda z: np.sin(30 * z)),
    ("sine", {"frequency": 1.0}, np.sin),
]
every = pytest.mark.parametrize(
    "phi", [pytest.param(get(name, **p), id="-".join([name, *map(str, p.values())])) for name, p, _ in FORMULAS]
)


def inputs(dtype=np.float64, shape=(3, 16, 37)):
    z = (np.random.default_rng(5).standard_normal(shape) * 2).astype(dtype)
    z.flat[:4] = 0, -0.0, 1, -1
    return z


def bits(x):
    return np.ascontiguousarray(x).view(f"u{x.itemsize}")


def test_every_name_has_a_formula_here():
    assert {name for name, _, _ in FORMULAS} == set(activations.NAMES)


@pytest.mark.parametrize(("name", "parameters", "formula"), FORMULAS)
def test_value_is_the_formula(name, parameters, formula):
    z = np.linspace(-8, 8, 4001)
    np.testing.assert_allclose(get(name, **parameters).phi(z), formula(z), rtol=1e-13, atol=2e-14)


@every
def test_derivative_agrees_with_finite_differences(phi):
    z, step = np.linspace(-8, 8, 4001) + 1e-4, 1e-5
    difference = (phi.phi(z + step) - phi.phi(z - step)) / (2 * step)
    np.testing.assert_allclose(phi.dphi(z), difference, rtol=1e-6, atol=1e-8)


@every
def test_derivative_at_a_kink_is_that_of_one_side(phi):
    for kink in phi.kinks:
        sides = phi.dphi(np.array([kink - 1e-9, kink + 1e-9]))
        assert np.abs(sides - phi.dphi(np.array(kink))).min() < 1e-8


@every
@pytest.mark.parametrize("target", ["own", "d_a", "z", "a"])
def test_backward_is_d_a_times_derivative_wherever_it_writes(phi, target):
    z = inputs()
    d_a = np.random.default_rng(6).standard_normal(z.shape)
    expected = d_a * phi.dphi(z)
    arrays = {"z": z, "a": phi.phi(z), "d_a": d_a, "own": np.full_like(z, np.nan)}
    result = phi.backward(arrays["z"], arrays["a"], arrays["d_a"], arrays[target])
    assert result is arrays[target]
    np.testing.assert_array_equal(result, expected)


@every
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtype_is_kept_and_out_may_be_the_input(phi, dtype):
    z = inputs(dtype)
    for function in (phi.phi, phi.dphi):
        fresh = function(z)
        assert fresh.dtype == dtype
        assert fresh.shape == z.shape
        assert not np.shares_memory(fresh, z)
        own = np.full_like(z, np.nan)
        assert function(z, own) is own
        same = z.copy()
        assert function(same, same) is same
        np.testing.assert_array_equal(bits(own), bits(fresh))
        np.testing.assert_array_equal(bits(same), bits(fresh))
    out = np.empty_like(z)
    assert phi.backward(z, phi.phi(z), np.ones_like(z), out).dtype == dtype


@every
def test_float32_is_as_near_to_float64_as_float32_allows(phi):
    z = np.random.default_rng(7).uniform(-5, 5, 20_000).astype(np.float32)
    slope = np.abs(phi.dphi(z.astype(np.float64))).max()
    for low, high in ((phi.phi(z), phi.phi(z.astype(np.float64))), (phi.dphi(z), phi.dphi(z.astype(np.float64)))):
        # 64: gelu_tanh multiplies the rounding of 1 - gate by 35, sine that of 30 z by 30 and its slope
        assert np.abs(low - high).max() < 64 * np.finfo(np.float32).eps * max(1, slope) ** 2


@every
@pytest.mark.parametrize(("dtype", "largest"), [(np.float16, 1e3), (np.float32, 1e4), (np.float64, 1e4)])
def test_large_inputs_neither_warn_nor_overflow(phi, dtype, largest):
    sizes = np.geomspace(1e-3, largest, 400)
    z = np.concatenate([-sizes, sizes]).astype(dtype)
    a, slope = phi.phi(z), phi.dphi(z)
    assert np.isfinite(a).all()
    assert np.isfinite(slope).all()
    steepest = phi.parameters.get("frequency", max(1.76, abs(phi.parameters.get("slope", 0))))
    assert np.abs(slope).max() <= steepest * (1 + 1e-3)
    assert (np.abs(a) <= steepest * np.abs(z.astype(float)) * (1 + 1e-3) + 1).all()


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_of_an_element_do_not_depend_on_its_array(phi, dtype):
    z = inputs(dtype)
    a, slope = phi.phi(z), phi.dphi(z)
    for run in range(len(z)):
        np.testing.assert_array_equal(bits(phi.phi(z[run : run + 1])), bits(a[run : run + 1]))
        np.testing.assert_array_equal(bits(phi.dphi(z[run : run + 1])), bits(slope[run : run + 1]))
    for size in (1, 3, 8, 17):
        pieces = range(0, 170, size)
        flat = np.concatenate([phi.phi(z.ravel()[start : start + size]) for start in pieces])
        np.testing.assert_array_equal(bits(flat), bits(a.ravel()[: flat.size]))
    np.testing.assert_array_equal(bits(phi.phi(z[:, ::2, 1::3])), bits(a[:, ::2, 1::3]))
    np.testing.assert_array_equal(bits(phi.dphi(z.swapaxes(1, 2))), bits(slope.swapaxes(1, 2)))


@every
def test_scalars_and_integers_are_accepted(phi):
    assert phi.phi(1).shape == ()
    assert phi.dphi(np.array([-1, 0, 2])).dtype == np.float64
    assert phi.phi(np.float32(0.5)).dtype == np.float32


@every
def test_activations_pickle_compare_and_hash(phi):
    again = pickle.loads(pickle.dumps(phi))
    assert again == phi
    assert hash(again) == hash(phi)
    assert get(phi) is phi


def test_parameters_tell_activations_apart():
    assert get("leaky_relu", slope=0.1) != get("leaky_relu")
    assert get("leaky_relu", slope=0.01) == get("leaky_relu")


@every
def test_kinks_are_those_found_numerically(phi):
    found = {*find_kinks(phi.phi), *find_kinks(phi.dphi)}
    assert sorted(found) == list(phi.kinks)


def test_tails_keep_their_relative_precision():
    z = np.array([-30.0, -20.0, -5.0])
    for name in ("sigmoid", "softplus"):
        np.testing.assert_allclose(
            get(name).phi(z), np.exp(z) * (1 - np.exp(z) / (1 if name == "sigmoid" else 2)), 1e-4
        )
        np.testing.assert_allclose(
            get(name).dphi(z), special.expit(z) * special.expit(-z) ** (name == "sigmoid"), 1e-12
        )
    np.testing.assert_allclose(get("gelu").phi(z), z * special.ndtr(z), 1e-14)


def test_gelu_in_single_precision_rounds_about_once_and_is_the_same_in_any_block():
    z = np.concatenate([np.linspace(-20, 20, 40_001), [0.0, np.inf, -np.inf]]).astype(np.float32)
    a = get("gelu").phi(z)
    with np.errstate(invalid="ignore"):
        exact = np.where(np.isneginf(z), 0, z * special.ndtr(z.astype(np.float64)))
    finite = np.isfinite(z)
    error = np.abs(a[finite] - exact[finite])
    assert (error <= np.finfo(np.float32).eps * np.maximum(np.abs(z[finite]), 1)).all()
    assert (a[~finite] == exact[~finite]).all()
    left = (z > -5) & (z < 0)
    np.testing.assert_allclose(a[left], exact[left], rtol=1e-6)  # the tail is no difference of large numbers

    slope = get("gelu").backward(z[finite], a[finite], np.ones_like(z[finite]), np.empty_like(z[finite]))
    for start in (0, 1, 30_000, 32_767, 32_768):  # 32,768 numbers are a block
        np.testing.assert_array_equal(get("gelu").phi(z[start : start + 5]), a[start : start + 5])
        np.testing.assert_array_equal(get("gelu").dphi(z[start : start + 5]), slope[start : start + 5])


def test_slopes_at_zero_are_exact():
    for name, slope in (
        ("gelu", 0.5),
        ("gelu_tanh", 0.5),
        ("silu", 0.5),
        ("softplus", 0.5),
        ("sigmoid", 0.25),
        ("mish", 0.6),
    ):
        assert get(name).dphi(np.zeros(1)) == pytest.approx(slope, abs=1e-15)


def test_relu_passes_no_gradient_at_zero():
    np.testing.assert_array_equal(get("relu").dphi(np.array([-0.0, 0.0, 1e-300])), [0, 0, 1])


def test_a_nan_is_not_hidden():
    for name in activations.NAMES:
        assert np.isnan(get(name).phi(np.array([np.nan, 1.0]))[0])


# Kinks of functions that nobody described


@pytest.mark.parametrize("where", [0, -1, 0.3, 6, math.sqrt(2), -2.718281828, 1.00007])
def test_kinks_and_jumps_are_found_where_they_are(where):
    for function, error in (
        (lambda z: np.abs(z - where), 1e-10),
        (lambda z: np.where(z > where, 1.0, -1.0), 1e-11),
        (lambda z: np.maximum(z - where, 0) ** 2, 1e-4),  # only the second derivative jumps
    ):
        (found,) = find_kinks(function)
        assert abs(found - where) < error


def test_a_kink_is_found_wherever_the_panels_end():
    for where in np.random.default_rng(1).uniform(-8, 8, 100):
        (found,) = find_kinks(lambda z, where=where: np.abs(z - where))
        assert abs(found - where) < 1e-9


def test_smooth_functions_have_no_kinks_and_stairs_have_many():
    for smooth in (
        np.tanh,
        np.exp,
        lambda z: np.tanh(50 * z),
        lambda z: np.sin(300 * z),
        lambda z: 0 * z,
        lambda z: 2.0,
    ):
        assert find_kinks(smooth) == ()
    assert find_kinks(lambda z: np.clip(z, 0, 6)) == (0, 6)
    assert find_kinks(lambda z: np.floor(z.clip(-3, 3))) == (-2, -1, 0, 1, 2, 3)


# get


def test_a_function_gets_a_derivative_and_kinks():
    phi = get(lambda z: np.where(z > 0.5, z, 0.1 * np.sin(z)))
    assert phi.kinks == (0.5,)
    z = np.concatenate([np.linspace(-4, 4, 999), 0.5 + np.array([-1e-4, 1e-4, -1e-6, 1e-6])])
    np.testing.assert_allclose(phi.dphi(z), np.where(z > 0.5, 1, 0.1 * np.cos(z)), rtol=1e-8)
    assert phi.phi(z.astype(np.float32)).dtype == phi.dphi(z.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("name", ["tanh", "relu", "elu", "hardtanh", "gelu", "softsign"])
def test_a_function_behaves_as_the_activation_it_is(name):
    known = get(name)
    phi = get(known.phi)
    z = inputs() + 1e-3
    np.testing.assert_allclose(phi.dphi(z), known.dphi(z), rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(phi.phi(z), known.phi(z))
    np.testing.assert_allclose(phi.backward(z, phi.phi(z), z, z.copy()), z * known.dphi(z), rtol=1e-11, atol=1e-11)


def test_a_given_derivative_is_used_and_its_kinks_too():
    phi = get(lambda z: z * np.abs(z) / 2, derivative=np.abs)
    assert phi.kinks == (0,)
    np.testing.assert_array_equal(phi.dphi(inputs()), np.abs(inputs()))


def test_a_function_called_relu_is_not_taken_for_relu():
    def relu(z):
        return np.maximum(z, 0) ** 2

    assert get(relu).name == "custom_relu"
    assert get(lambda z: z).name == "custom_lambda"
    assert not any(name.startswith("custom_") for name in activations.NAMES)


@pytest.mark.parametrize(
    ("arguments", "parameters", "error", "text"),
    [
        (
            ("rleu",),
            {},
            ValueError,
            r"activation must be one of linear, relu, .*, sine; got 'rleu'. Did you mean 'relu'\?",
        ),
        (("ReLU",), {}, ValueError, r"Did you mean 'relu'\?"),
        (("zzzzzz",), {}, ValueError, r"got 'zzzzzz'\.$"),
        (("relu",), {"slope": 1}, TypeError, "relu takes no parameters; got 'slope'"),
        (("leaky_relu",), {"alpha": 1}, TypeError, "leaky_relu takes slope; got 'alpha'"),
        (("leaky_relu",), {"slope": math.nan}, ValueError, "slope must be a finite number; got nan"),
        (("leaky_relu",), {"slope": "big"}, TypeError, "slope must be a finite number; got 'big'"),
        (("leaky_relu",), {"slope": True}, TypeError, "slope must be a finite number; got True"),
        (("elu",), {"alpha": 0}, ValueError, "alpha must be a finite number above 0; got 0"),
        (("sine",), {"frequency": -1}, ValueError, "frequency must be a finite number above 0; got -1"),
        ((get("elu"),), {"alpha": 2}, TypeError, r"takes no parameters; got alpha. Pass the name: get\('elu', ...\)"),
        ((3,), {}, TypeError, "a name, an Activation or a function of arrays; got int. Names: linear, relu"),
        ((np.tanh,), {"slope": 2}, TypeError, "no parameter but derivative; got slope"),
        ((math.tanh,), {}, TypeError, "numpy.tanh, not math.tanh"),
        ((lambda z: z if z > 0 else 0,), {}, TypeError, "numpy.where, not if"),
        ((np.sum,), {"derivative": np.atleast_3d}, TypeError, "an array of its shape"),
        ((np.log,), {}, ValueError, "must be finite from -16 to 16; got nan at -"),
        ((lambda z: np.random.default_rng(0).random(z.shape),), {}, ValueError, "nowhere smooth"),
    ],
)
def test_wrong_arguments_say_what_is_allowed(arguments, parameters, error, text):
    with pytest.raises(error, match=text):
        get(*arguments, **parameters)


# conf/activation


def test_every_activation_has_its_yaml_and_no_yaml_is_left_over():
    assert {path.stem for path in CONF.glob("*.yaml")} == {*activations.NAMES, "custom"}


@pytest.mark.parametrize("path", [CONF / f"{name}.yaml" for name in activations.NAMES], ids=lambda path: path.stem)
def test_yaml_makes_the_activation_with_its_defaults(path):
    config = yaml.safe_load(path.read_text())
    module, _, name = config.pop("_target_").rpartition(".")
    assert (module, name) == ("weightinit.activations", path.stem)
    made = getattr(importlib.import_module(module), name)(**config)
    assert isinstance(made, Activation)
    assert made == get(path.stem)
    assert made.parameters == config
    assert path.read_text().startswith("# φ(z) = ")
