import importlib
import inspect
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.fitting import FITTING, OF_MODULES
from tests.sampling import assert_follows, assert_uncorrelated
from weightinit import initializers, schemes
from weightinit.arrays import stream
from weightinit.fans import Fans
from weightinit.laws import UNKNOWN, Law
from weightinit.nn.architectures import mlp
from weightinit.nn.network import Network
from weightinit.nn.weights import WeightSpec
from weightinit.schemes import Initialized, Rule, merge

FILES = {path.stem: path for path in sorted((Path(__file__).parents[1] / "conf" / "scheme").glob("*.yaml"))}
GROUPS = ("basic", "library default", "research", "residual network", "transformer", "parametrization", "custom")
CUT = 0.8796256610342398  # std of N(0, 1) between -2 and 2

# By hand: mean, std and largest value of the weights of a layer after the first.
LAWS = {
    "zeros": lambda i, o: (0, 0, 0),
    "constant": lambda i, o: (0.01, 0, 0.01),
    "random": lambda i, o: (0, 0.01, math.inf),
    "normal": lambda i, o: (0, 1, math.inf),
    "uniform": lambda i, o: (0, 1 / math.sqrt(3), 1),
    "truncated_normal": lambda i, o: (0, CUT, 2),
    "variance_scaling": lambda i, o: (0, math.sqrt(1 / i), math.inf),
    "xavier": lambda i, o: (0, math.sqrt(1 / i), math.inf),
    "he": lambda i, o: (0, math.sqrt(2 / i), math.inf),
    "he_uniform": lambda i, o: (0, math.sqrt(2 / i), math.sqrt(6 / i)),
    "glorot_normal": lambda i, o: (0, math.sqrt(2 / (i + o)), math.inf),
    "glorot_uniform": lambda i, o: (0, math.sqrt(2 / (i + o)), math.sqrt(6 / (i + o))),
    "lecun_normal": lambda i, o: (0, math.sqrt(1 / i), math.inf),
    "lecun_uniform": lambda i, o: (0, math.sqrt(1 / i), math.sqrt(3 / i)),
    "orthogonal": lambda i, o: (0, math.sqrt(1 / max(i, o)), 1),
    "identity": lambda i, o: (1 / max(i, o), math.sqrt(1 / max(i, o) - 1 / max(i, o) ** 2), 1),
    "sparse": lambda i, o: (0, math.sqrt(15 / i), math.inf),
    "siren": lambda i, o: (0, math.sqrt(2 / i) / 30, math.sqrt(6 / i) / 30),
    "pytorch": lambda i, o: (0, math.sqrt(1 / (3 * i)), 1 / math.sqrt(i)),
    "keras": lambda i, o: (0, math.sqrt(2 / (i + o)), math.sqrt(6 / (i + o))),
    "sklearn": lambda i, o: (0, math.sqrt(2 / (i + o)), math.sqrt(6 / (i + o))),
    "flax": lambda i, o: (0, math.sqrt(1 / i), 2 / CUT * math.sqrt(1 / i)),
}
FIXED = ("zeros", "constant", "identity")
RANDOM = sorted(set(LAWS) - set(FIXED))


def instantiate(name, **overrides):
    """The scheme of a YAML file, without Hydra."""
    options = yaml.safe_load(FILES[name].read_text()) | overrides
    module, _, attribute = options.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), attribute)(**options)


def network(*widths, activation="relu", dtype="float32"):
    return mlp(widths[0], widths[-1], activation, widths=widths[1:-1], dtype=dtype)


WIDE = network(256, 320, 288, 4)  # no layer is square, so that swapped fans show
SMALL = network(5, 6, 6, 3)


# The laws


def test_every_file_of_a_rule_has_its_row_here():
    targets = {
        name: yaml.safe_load(path.read_text()).get("_target_", "").rpartition(".") for name, path in FILES.items()
    }
    rules = {
        name
        for name, (module, _, target) in targets.items()
        if module == "weightinit.schemes" and getattr(schemes, target).__module__ == "weightinit.schemes.rules"
    }
    assert rules == set(LAWS)


@pytest.mark.parametrize("name", LAWS)
def test_weights_follow_the_law_of_the_scheme_and_that_of_the_paper(name):
    initialized = instantiate(name)(WIDE, [3, 4])
    spec = next(spec for spec in WIDE.weights if spec.name == "hidden/2/weight")
    mean, std, largest = LAWS[name](*spec.fans)
    law = initialized.laws[spec.name][0]
    assert (law.mean, law.std, law.support[1]) == pytest.approx((mean, std, largest), rel=1e-12)
    for run in range(2):
        assert_follows(initialized.params[spec.name][run], initialized.laws[spec.name][run])
        assert_follows(initialized.params["hidden/1/weight"][run], initialized.laws["hidden/1/weight"][run])


@pytest.mark.parametrize(
    ("name", "options", "scale"),
    [
        ("xavier", {"scale": 2.0}, 2 / 320),
        ("xavier", {"scale": 2}, 2 / 320),
        ("he", {"scale": None, "gain": 3.0}, 9 / 320),
        ("he", {"mode": "fan_out"}, 2 / 288),
        ("xavier", {"mode": "fan_geo_avg"}, 1 / math.sqrt(320 * 288)),
        ("he", {"distribution": "truncated_normal"}, 2 / 320),
        ("random", {"std": 1.0}, 1.0),
        ("normal", {"std": 0.05, "mean": 0.02}, 0.05**2),
        ("uniform", {"low": 0.0, "high": 0.1}, 0.01 / 12),
        ("truncated_normal", {"std_before": None, "std_after": 0.05}, 0.05**2),
        ("truncated_normal", {"sigma_bounds": None, "absolute_bounds": [-2, 2]}, CUT**2),
        ("truncated_normal", {"mean": 0.5, "sigma_bounds": [-1, 3]}, initializers.truncated_moments(-1, 3)[1] ** 2),
        ("orthogonal", {"gain": 2.0}, 4 / 320),
        ("sparse", {"nonzero": 100, "std": 0.1}, 0.01 * 100 / 320),
        ("siren", {"omega": 1.0}, 2 / 320),
    ],
)
def test_options(name, options, scale):
    initialized = instantiate(name, **options)(WIDE, [5])
    law = initialized.laws["hidden/2/weight"][0]
    assert law.std**2 == pytest.approx(scale, rel=1e-9)
    assert_follows(initialized.params["hidden/2/weight"][0], law)


def test_orthogonal_schemes():
    """hidden/1 is wider than its input: an isometry shrinks its units, rms keeps them."""
    for preserve, squared in (("isometry", 1.0), ("rms", 320 / 256)):
        initialized = instantiate("orthogonal", preserve=preserve)(WIDE, [6])
        wide = initialized.params["hidden/1/weight"][0].astype(np.float64)
        np.testing.assert_allclose(wide @ wide.T, squared * np.eye(256), atol=1e-6)
        assert initialized.laws["hidden/1/weight"][0].std ** 2 == pytest.approx(squared / 320)
        tall = initialized.params["hidden/2/weight"][0].astype(np.float64)
        np.testing.assert_allclose(tall.T @ tall, np.eye(288), atol=1e-6)


def test_siren_has_a_law_for_the_first_layer():
    initialized = instantiate("siren")(WIDE, [7])
    bounds = [initialized.laws[f"{layer}/weight"][0].support[1] for layer in ("hidden/1", "hidden/2", "output")]
    np.testing.assert_allclose(bounds, [1 / 256, math.sqrt(6 / 320) / 30, math.sqrt(6 / 288) / 30])


def test_sparse_takes_all_inputs_of_a_narrow_layer():
    initialized = instantiate("sparse")(SMALL, [8])
    assert np.all(initialized.params["hidden/1/weight"] != 0)
    assert initialized.laws["hidden/1/weight"][0].std == 1.0


# Biases


@pytest.mark.parametrize("name", sorted(set(LAWS) - {"pytorch", "sklearn"}))
def test_biases_are_zeros(name):
    initialized = instantiate(name)(SMALL, [0, 1])
    for layer in ("hidden/1", "output"):
        assert not initialized.params[f"{layer}/bias"].any()
        assert initialized.laws[f"{layer}/bias"][0].second_moment == 0


@pytest.mark.parametrize(
    ("name", "activation", "bound"),
    [
        ("pytorch", "relu", 1 / math.sqrt(20)),
        ("pytorch", "sigmoid", 1 / math.sqrt(20)),
        ("sklearn", "relu", math.sqrt(6 / 340)),
        ("sklearn", "sigmoid", math.sqrt(2 / 340)),
    ],
)
def test_libraries_that_draw_biases(name, activation, bound):
    initialized = instantiate(name)(network(20, 320, 2, activation=activation), range(210))
    for part in ("weight", "bias"):
        law = initialized.laws[f"hidden/1/{part}"][0]
        assert law.support == pytest.approx((-bound, bound))
        assert law.std == pytest.approx(bound / math.sqrt(3))
        assert_follows(initialized.params[f"hidden/1/{part}"], law)
    assert_uncorrelated(initialized.params["hidden/1/bias"][:, 0], initialized.params["hidden/1/weight"][:, 0])


def test_scikit_learn_itself_draws_what_the_scheme_says():
    from sklearn.neural_network import MLPClassifier

    for activation, ours in (("relu", "relu"), ("logistic", "sigmoid")):
        model = MLPClassifier(activation=activation)
        model._random_state = np.random.RandomState(0)
        coefficients, intercepts = model._init_coef(256, 320, np.float64)
        laws = instantiate("sklearn")(network(256, 320, 2, activation=ours), [0]).laws
        assert_follows(coefficients, laws["hidden/1/weight"][0])
        assert np.abs(intercepts).max() <= laws["hidden/1/bias"][0].support[1]


@pytest.mark.parametrize("name", ["he", "orthogonal", "sparse"])
def test_mean_field_biases(name):
    plain = instantiate(name)(network(4, 320, 2), range(210))
    initialized = instantiate(name, bias_std=0.3)(network(4, 320, 2), range(210))
    law = initialized.laws["hidden/1/bias"][0]
    assert law == Law("normal", 0.0, 0.3)
    assert_follows(initialized.params["hidden/1/bias"], law)
    np.testing.assert_array_equal(initialized.params["hidden/1/weight"], plain.params["hidden/1/weight"])


# Streams, stacks and types


@pytest.mark.parametrize("name", LAWS)
def test_a_run_alone_and_in_a_stack_has_the_same_bits(name):
    scheme = instantiate(name)
    stack = scheme(SMALL, [3, 1, 4, 1, 5])
    assert stack.notes == ((),) * 5
    assert stack.constants == {}
    assert stack.learning_rate_scale == {}
    for run, seed in enumerate([3, 1, 4, 1, 5]):
        alone = scheme(SMALL, [seed])
        assert set(alone.params) == {spec.name for spec in SMALL.weights}
        for spec in SMALL.weights:
            assert stack.params[spec.name].shape == (5, *spec.shape)
            np.testing.assert_array_equal(stack.params[spec.name][run], alone.params[spec.name][0])
            assert stack.laws[spec.name][run] == alone.laws[spec.name][0]


@pytest.mark.parametrize("name", RANDOM)
def test_weights_and_seeds_are_independent(name):
    square = network(260, 260, 260, 260)
    params = instantiate(name)(square, [0, 1]).params
    assert_uncorrelated(params["hidden/1/weight"], params["hidden/2/weight"])
    assert_uncorrelated(params["hidden/2/weight"], params["output/weight"])
    for layer in ("hidden/1", "output"):
        assert_uncorrelated(*params[f"{layer}/weight"])


@pytest.mark.parametrize("name", LAWS)
def test_more_layers_move_no_other_weights(name):
    scheme = instantiate(name)
    shallow, deep = (scheme(network(6, *[8] * depth, 3), [2]).params for depth in (2, 5))
    for weight in shallow:
        np.testing.assert_array_equal(shallow[weight], deep[weight])


@pytest.mark.parametrize("name", LAWS)
def test_dtype_changes_rounding_never_noise(name):
    exact = instantiate(name)(network(5, 7, 3, dtype="float64"), [6]).params
    rounded = instantiate(name)(network(5, 7, 3, dtype="float32"), [6]).params
    half = instantiate(name)(Network(5, network(5, 7, 3).layers, np.dtype(np.float16)), [6]).params
    for weight, values in exact.items():
        assert values.dtype == np.float64
        assert rounded[weight].dtype == np.float32
        np.testing.assert_array_equal(rounded[weight], values.astype(np.float32))
        np.testing.assert_array_equal(half[weight], values.astype(np.float16))


@pytest.mark.parametrize(
    "family",
    [
        ("normal", "random", "xavier", "he", "glorot_normal", "lecun_normal", "variance_scaling"),
        ("uniform", "he_uniform", "glorot_uniform", "lecun_uniform", "siren", "pytorch", "keras", "sklearn"),
        ("truncated_normal", "flax"),
    ],
)
def test_a_family_shares_its_noise(family):
    net = network(30, 40, 3, dtype="float64")
    noise = [instantiate(name)(net, [9]).params["hidden/1/weight"] for name in family]
    for values in noise[1:]:
        np.testing.assert_allclose(values / values.std(), noise[0] / noise[0].std(), rtol=1e-12)


def test_a_weight_is_the_initializers_draw_from_the_stream_of_its_name():
    params = instantiate("he")(network(5, 7, 3, dtype="float64"), [11]).params
    expected = stream(11, "hidden/1/weight").standard_normal((5, 7)) * np.sqrt(2 / 5)
    np.testing.assert_array_equal(params["hidden/1/weight"][0], expected)


# Rules of one's own, and stacks of several schemes


@dataclass(frozen=True)
class Positive(Rule):
    high: float = 0.5

    def draw(self, spec, rng):
        return rng.uniform(0.0, self.high, spec.shape)

    def law(self, spec):
        return Law("uniform", self.high / 2, self.high / math.sqrt(12), (0.0, self.high))


@dataclass(frozen=True)
class Named:
    """A network of weights alone."""

    weights: tuple[WeightSpec, ...]
    dtype: type = np.float32
    layers: tuple = ()


def test_a_rule_needs_only_a_draw_and_a_law():
    initialized = Positive(0.2, bias_std=0.1)(WIDE, [0])
    assert_follows(initialized.params["hidden/1/weight"], initialized.laws["hidden/1/weight"][0])
    assert initialized.params["hidden/1/bias"].any()
    with pytest.raises(TypeError, match="abstract"):
        Rule()


def test_gains_and_scales_start_at_one():
    specs = [WeightSpec(f"norm/{role}", (1, 6), Fans(6, 6), role, "hidden") for role in ("gain", "scale")]
    initialized = instantiate("he")(Named(tuple(specs)), [0, 1])
    for spec in specs:
        np.testing.assert_array_equal(initialized.params[spec.name], np.ones((2, 1, 6), np.float32))
        assert initialized.laws[spec.name][1] == Law("constant", 1.0, 0.0, (1.0, 1.0))


def test_merge():
    he, orthogonal = instantiate("he"), instantiate("orthogonal")
    whole = merge([((3, 0), he(SMALL, [5, 6])), ((1, 2), orthogonal(SMALL, [5, 7]))], 4)
    for place, (scheme, seed) in enumerate([(he, 6), (orthogonal, 5), (orthogonal, 7), (he, 5)]):
        alone = scheme(SMALL, [seed])
        for spec in SMALL.weights:
            assert whole.params[spec.name].dtype == np.float32
            np.testing.assert_array_equal(whole.params[spec.name][place], alone.params[spec.name][0])
            assert whole.laws[spec.name][place] == alone.laws[spec.name][0]


def test_merge_of_constants_and_notes():
    def part(runs, constants, scales, notes):
        return Initialized({"w": np.zeros((runs, 2))}, {"w": (UNKNOWN,) * runs}, constants, scales, notes)

    whole = merge(
        [
            ((2,), part(1, {"branch": np.array([0.5])}, {}, (("slow",),))),
            ((0, 1), part(2, {}, {"w": np.array([2.0, 3.0])}, ((), ("fast", "wide")))),
        ],
        3,
    )
    np.testing.assert_array_equal(whole.constants["branch"], [1, 1, 0.5])
    np.testing.assert_array_equal(whole.learning_rate_scale["w"], [2, 3, 1])
    assert whole.notes == ((), ("fast", "wide"), ("slow",))


@pytest.mark.parametrize("places", [((0,), (0,)), ((0,), (2,)), ((0,), ())])
def test_merge_fills_each_place_once(places):
    he = instantiate("he")
    with pytest.raises(ValueError, match="each of 2 places once"):
        merge([(own, he(SMALL, range(len(own)))) for own in places], 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"learning_rate_scale": {"output/bias": np.ones(2)}}, None),
        (
            {"constants": {"output_multiplier": np.ones(2)}},
            "constants must name constants of the network; got 'output_multiplier'. .* is 'output/multiplier'",
        ),
        ({"learning_rate_scale": {"output": np.ones(2)}}, "learning_rate_scale must name weights"),
        ({"learning_rate_scale": {"output/bias": np.ones(1)}}, r"output/bias must have the shape \(2,\)"),
        ({"laws": {}}, "a law for each of 2 runs; got 0"),
        ({"params": {}}, r"the shape \(2, .* got nothing"),
        ({"notes": ()}, "notes for each of 2 runs; got 0"),
    ],
)
def test_check_of_an_initial_state(change, message):
    initialized = replace(instantiate("he")(SMALL, [0, 1]), **change)
    if message is None:
        initialized.check(SMALL, 2)
    else:
        with pytest.raises(ValueError, match=message):
            initialized.check(SMALL, 2)


@pytest.mark.parametrize("name", sorted(set(FILES) - {"custom", *OF_MODULES["scheme"]} - set(FITTING)))
def test_every_scheme_passes_its_check(name):
    rng = np.random.default_rng(0)
    instantiate(name)(SMALL, [0, 1], rng.normal(size=(1, 8, SMALL.inputs)).astype(np.float32)).check(SMALL, 2)


# Files and errors


@pytest.mark.parametrize("name", FILES)
def test_header(name):
    """Title, then lines of a key and what it says; group first, formula for what the lab ships."""
    title, *lines = [line for line in FILES[name].read_text().splitlines() if line.startswith("#")]
    assert title.startswith("# ")
    assert len(title) > 10
    entries = {line[4:13].strip(): line[13:] for line in lines if line.startswith("#   ")}
    keys = ["group", "formula", "paper", "for", "needs", "sklearn", "pytorch", "keras", "jax", "note"]
    assert [key for key in keys if key in entries] == list(entries)
    assert entries["group"] in GROUPS
    assert all(entries.values())
    assert {"formula", "for"} <= entries.keys() or name == "custom"


@pytest.mark.parametrize("name", LAWS)
def test_keys_are_those_of_the_target(name):
    options = yaml.safe_load(FILES[name].read_text())
    target = getattr(schemes, options.pop("_target_").rpartition(".")[2])
    assert set(options) <= set(inspect.signature(target).parameters)
    assert set(options) >= {field.name for field in fields(target) if field.init} - {"bias_std", "logistic"}
    assert target.__name__ in schemes.__all__
    assert target.__doc__


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("xavier", {"gain": 2.0}, ValueError, "got scale=1.0 and gain=2.0. To use gain=2.0, pass scale=null"),
        ("he", {"mode": "fanin"}, ValueError, "mode must be one of"),
        ("he", {"distribution": "gauss"}, ValueError, "distribution must be one of"),
        ("he", {"scale": "large"}, TypeError, "scale must be a number; got 'large'"),
        ("he", {"bias_std": -0.1}, ValueError, "bias_std must be a finite number, zero or positive; got -0.1"),
        ("he", {"bias_std": math.nan}, ValueError, "bias_std must be a finite number"),
        ("random", {"std": -1}, ValueError, "std must be positive"),
        ("uniform", {"low": 2.0}, ValueError, "must rise"),
        ("truncated_normal", {"std_after": 0.1}, ValueError, "pass std_before=null"),
        ("orthogonal", {"preserve": "norm"}, ValueError, "preserve must be one of isometry, rms"),
        ("sparse", {"nonzero": 2.5}, TypeError, "nonzero must be a whole number"),
        ("siren", {"omega": 0}, ValueError, "omega must be positive"),
        ("constant", {"value": math.inf}, ValueError, "value must be finite"),
        ("pytorch", {"bias_std": 0.1}, TypeError, "bias_std"),
    ],
)
def test_options_are_checked_when_a_scheme_is_made(name, options, error, message):
    with pytest.raises(error, match=message):
        instantiate(name, **options)
