"""Forecasts: what theory says of known cases, in numbers and in words, without what training needs."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

import runner.data
from runner.config.composition import Composer
from runner.data.known import KNOWN
from runner.modes.forecast import forecast
from runner.report.forecast import run_text, sweep_text
from weightinit.forecasting import Forecast, layers_words
from weightinit.statistics import STATISTICS


def of(*overrides: str) -> Forecast:
    (made,) = (forecast(config, choices) for config, choices in Composer().configurations([overrides]))
    return made


@pytest.mark.parametrize("name", KNOWN)
def test_the_stored_facts_of_the_built_in_data_are_true(name: str) -> None:
    dataset = getattr(runner.data, name)()
    x = dataset.x_train[:256]
    facts = KNOWN[name]
    assert (facts.inputs, facts.outputs) == (dataset.inputs, dataset.outputs)
    assert facts.second_moment == pytest.approx(np.mean(x**2), abs=1e-4)
    assert facts.correlation == pytest.approx(STATISTICS["activation_correlation"].function(x[None])[0], abs=1e-4)


def words(forecast: Forecast) -> str:
    return " ".join(run_text(forecast).split())


def test_he_on_relu_is_stable_at_any_depth() -> None:
    he = of("scheme=he", "architecture.depth=100")
    assert he.stability.label == "stable"
    assert he.signal.per_layer == pytest.approx(1, abs=1e-9)
    assert he.gradient.per_layer == pytest.approx(1, abs=1e-9)
    assert he.transmitted == pytest.approx(1, abs=1e-9)
    assert he.scales is not None
    assert he.scales.phase == "critical"
    text = words(he)
    assert "each layer keeps the mean square of activations: the last of 100 hidden layers has 1.00 times" in text
    assert "each layer keeps the mean square of gradients on their way back" in text
    assert "these weights are at the critical point of relu" in text
    assert "any depth can be trained" in text
    assert "Keep it" in text


def test_from_python_forecasts_and_schemes_are_tables() -> None:
    table = runner.forecast(["scheme=he,xavier", "architecture.depth=10"])
    assert table["scheme"].tolist() == ["he", "xavier"]
    assert table["forward"].tolist() == pytest.approx([1, 0.5])
    assert table["trainable_depth"].tolist() == pytest.approx([math.inf, 6 / math.log(2)])
    assert runner.schemes().loc["he", "formula"] == "W ~ N(0, 2 / fan_in)"
    with pytest.raises(ValueError, match="scheme must be one of"):
        runner.forecast(["scheme=hee"])


def test_batch_norm_explodes_gradients_in_words() -> None:
    """Yang et al. 2019; a residual network's norms stand on its branches, where they don't."""
    deep = of("architecture=cnn", "architecture.norm=batch", "architecture.depth=30")
    assert deep.depth == 30
    assert deep.gradient.per_layer**29 == pytest.approx(deep.gradient.total)
    text = words(deep)
    assert "norms batch norm keeps the signal level, and each layer's norm multiplies the gradient" in text
    assert "use fewer layers, or residual blocks" in text
    assert "norms batch norm" not in words(of("architecture=resnet", "architecture.depth=2"))


def test_attention_without_skips_makes_positions_alike_in_words() -> None:
    tree = ["{patches: 4}", "{dense: 64}", *["attention"] * 6, "global_pooling"]
    found = of("architecture=layers", f"architecture.tree=[{','.join(tree)}]", "scheme=he")
    assert "positions become alike: two of one sample correlate at .999" in words(found)
    assert not any("query" in layer.layer for layer in found.layers)


def test_xavier_on_relu_vanishes_by_a_half_at_each_layer() -> None:
    xavier = of("scheme=xavier", "architecture.depth=100")
    assert xavier.stability.label == "vanishes"
    assert xavier.transmitted == pytest.approx(2.0**-100)
    assert xavier.signal.total == pytest.approx(2.0**-99)
    assert xavier.gradient.total == pytest.approx(2.0**-99)
    text = words(xavier)
    assert "each layer halves the mean square of activations" in text
    assert "the last of 100 hidden layers has 7.9e-31 (= 2^-100) times the input's" in text
    assert "each layer halves the mean square of gradients on their way back" in text
    assert "about 8 layers can be trained" in text
    assert [layers_words(depth) for depth in (8.66, 1.9)] == ["about 8 layers", "about 1 layer"]
    assert "not one layer can be trained: 6 xi_c" in words(of("activation=sine", "scheme=normal", "scheme.std=0.5"))
    assert (
        "Not trainable as configured: the signal vanishes over 100 layers. A stable scheme is scheme=critical" in text
    )


def test_selu_keeps_its_signal_and_lets_gradients_grow() -> None:
    selu = of("scheme=lecun_normal", "activation=selu", "architecture.depth=50")
    assert selu.signal.per_layer == pytest.approx(1, abs=1e-6)
    assert selu.gradient.per_layer == pytest.approx(1.071575, abs=1e-6)
    text = words(selu)
    assert "each layer keeps the mean square of activations" in text
    assert "each layer multiplies by 1.0716 the mean square of gradients" in text
    assert "gets 29.6 times the last one's" in text
    assert "gradients explode, by a factor e in 14.5 layers (chi 1.0716)" in text
    assert of("scheme=lecun_normal", "activation=selu", "architecture.depth=100").stability.label == "gradient explodes"


def test_glorot_on_tanh_is_critical_and_fades_like_a_power_of_depth() -> None:
    glorot, same = (
        of(f"scheme={name}", "activation=tanh", "architecture.depth=30") for name in ("glorot_uniform", "xavier")
    )
    assert glorot.scales is not None
    assert glorot.scales.phase == "critical"
    assert glorot.stability.label == "decays"
    # The layers are square: q' = q - 2 q² + ..., so that q ~ 1 / (2 l) in the end.
    assert [p.moments.second_moment for p in glorot.layers[1:]] == pytest.approx(
        [p.moments.second_moment for p in same.layers[1:]], rel=0.5
    )
    assert glorot.layers[-1].moments.second_moment == pytest.approx(1 / 60, rel=0.15)
    text = words(glorot)
    assert "on average, a layer multiplies by .90" in text
    assert "these weights are at the critical point of tanh: sigma_w2 = 1, sigma_b2 = 0" in text
    assert "differences between inputs fade no faster than a power of depth" in text


def test_what_has_no_stable_critical_point_is_told_so() -> None:
    """Gelu's critical points at zero bias are ones that signals drift off; softplus has none."""
    gelu = of("scheme=he", "activation=gelu", "architecture.depth=50")
    assert gelu.stability.label == "vanishes"
    assert gelu.critical is None
    text = words(gelu)
    assert "for gelu with other biases only: sigma_w2 = 1.98306, sigma_b2 = 0.172922: scheme=critical" in text
    assert text.endswith("A stable scheme is scheme=critical")
    followed = of("scheme=critical", "activation=gelu", "architecture.depth=50")
    assert followed.stability.label == "stable"
    assert "these weights are at the critical point of gelu" in words(followed)
    assert "softplus has no critical point at which signals stay" in words(of("activation=softplus"))


@pytest.mark.parametrize(
    ("scheme", "activation", "depth"), [("he", "tanh", 100), ("pytorch", "tanh", 50), ("xavier", "silu", 40)]
)
def test_advice_that_is_followed_works(scheme: str, activation: str, depth: int) -> None:
    network = (f"activation={activation}", f"architecture.depth={depth}")
    before = of(f"scheme={scheme}", *network)
    assert before.stability.label != "stable"
    text = words(before)
    assert before.better is not None
    assert before.better.overrides in text
    followed = of(*before.better.overrides.split(), *network).stability
    assert followed.label == before.better.stability.label
    assert followed.trainable


def test_where_no_scheme_is_stable_none_is_advised() -> None:
    sigmoid = of("scheme=xavier", "activation=sigmoid", "architecture.depth=60")
    assert sigmoid.stability.label == "gradient vanishes"
    assert sigmoid.better is None
    assert "`critical` and `autoinit` do not help either: add normalization" in words(sigmoid)


def test_a_scheme_that_cannot_initialize_the_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sigmoid has no critical point .* pass scheme\.sigma_b2=0\.$"):
        of("scheme=critical", "activation=sigmoid")


def test_shallow_networks_have_forecasts_too() -> None:
    one, none = of("architecture.depth=1"), of("architecture.depth=0")
    assert "the mean square of the hidden layer's activations is 1.00 times the input's" in words(one)
    assert one.stability.label == "stable"
    assert "no hidden layers" in run_text(none)
    assert "unknown" in sweep_text([one, none])


def test_no_theory_is_said_to_be_none() -> None:
    constant = of("scheme=constant")
    assert math.isnan(constant.signal.total)
    assert "no theory" in run_text(constant)
    assert "unknown" in sweep_text([constant])


def test_a_table_has_a_row_each_and_says_what_varies() -> None:
    rows = [of(f"scheme={scheme}", f"activation={phi}") for scheme in ("xavier", "he") for phi in ("relu", "tanh")]
    lines = sweep_text(rows).splitlines()
    assert "scheme" in lines[1]
    assert "activation" in lines[1]
    assert sum("64-6x128-10" in line for line in lines) == 4
    assert max(map(len, lines)) <= 120


def test_a_readout_of_zeros_holds_gradients_back_for_a_step_only() -> None:
    fixup = of("architecture=residual_mlp", "scheme=fixup")
    assert fixup.stability.label == "stable"
    assert fixup.gradient.per_layer == pytest.approx(1)
    assert "from the second step on: the readout starts at zero" in words(fixup)
    zeros = of("scheme=zeros")
    assert zeros.gradient.total == 0
    assert not zeros.waits


def test_data_of_ones_own_is_measured() -> None:
    spirals = of("data=two_spirals")
    assert spirals.shape == "2-6x128-2"
    assert of("data=digits", "data.standardize=false").shape == "64-6x128-10"


IN_A_PROCESS = """
import runpy, sys
sys.argv = ["runner", "mode=forecast", "architecture.depth=50", "activation=gelu", "scheme=he"]
try:
    runpy.run_module("runner", run_name="__main__")
except SystemExit as ended:
    assert ended.code == 0
loaded = {"mlflow", "pandas", "sklearn", "matplotlib", "scipy.stats", "scipy.optimize"} & set(sys.modules)
assert not loaded, loaded
"""


def test_a_forecast_imports_nothing_that_trains() -> None:
    done = subprocess.run([sys.executable, "-c", IN_A_PROCESS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "advice" in done.stdout
