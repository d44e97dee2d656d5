"""Forecasts: what theory says of known cases, in numbers and in words, without what training needs."""

from __future__ import annotations

import math

import numpy as np
import pytest

import runner.data
from runner.composition import Composer
from runner.data.known import KNOWN
from runner.forecast import Forecast, forecast, run_text, sweep_text
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


def test_he_on_relu_is_stable_at_any_depth() -> None:
    he = of("scheme=he", "architecture.depth=100")
    assert he.fate == "stable"
    assert he.forward == pytest.approx(1, abs=1e-9)
    assert he.backward == pytest.approx(1, abs=1e-9)
    assert he.scales is not None
    assert he.scales.phase == "critical"
    assert "Keep it" in run_text(he)
    assert "critical point of relu already" in " ".join(run_text(he).split())


def test_xavier_on_relu_vanishes_by_a_half_at_each_layer() -> None:
    xavier = of("scheme=xavier", "architecture.depth=100")
    assert xavier.fate == "vanishes"
    assert xavier.reach == pytest.approx(2.0 ** (-99 / 2))
    assert xavier.gradient == pytest.approx(2.0 ** (-99 / 2))
    text = " ".join(run_text(xavier).split())
    assert "multiplied by .50000 from layer to layer" in text
    assert "Don't train it so: the signal vanishes over 100 layers." in text
    assert "scheme=variance_scaling scheme.scale=2" in text


def test_selu_keeps_its_signal_and_lets_gradients_grow() -> None:
    selu = of("scheme=lecun_normal", "activation=selu", "architecture.depth=50")
    assert selu.forward == pytest.approx(1, abs=1e-6)
    assert selu.backward == pytest.approx(1.071575, abs=1e-5)
    assert "multiplied by 1.0716" in run_text(selu)
    assert of("scheme=lecun_normal", "activation=selu", "architecture.depth=100").fate == "gradient explodes"


def test_glorot_on_tanh_is_critical() -> None:
    glorot = of("scheme=glorot_uniform", "activation=tanh", "architecture.depth=20")
    assert glorot.scales is not None
    assert glorot.scales.phase == "critical"
    assert glorot.fate == "stable"


def test_what_has_no_stable_critical_point_is_told_so() -> None:
    """Gelu's critical points are ones that signals drift off; softplus has none."""
    gelu = of("scheme=he", "activation=gelu", "architecture.depth=50")
    assert gelu.fate == "vanishes"
    assert gelu.critical is None
    text = " ".join(run_text(gelu).split())
    assert "With biases it has: scheme=variance_scaling scheme.scale=1.98306 scheme.bias_std=0.4158" in text
    advised = text.partition("it has: ")[2].split()
    assert of(*advised, "activation=gelu", "architecture.depth=50").fate == "stable"
    assert "Nor has it one with biases" in " ".join(run_text(of("activation=softplus")).split())


def test_advice_that_is_followed_works() -> None:
    before = of("scheme=he", "activation=tanh", "architecture.depth=60")
    assert before.fate == "gradient explodes"
    text = " ".join(run_text(before).split())
    advised = text.partition("sigma_w2 = 1: ")[2].split()
    assert advised == ["scheme=variance_scaling", "scheme.scale=1"]
    assert of(*advised, "activation=tanh", "architecture.depth=60").fate == "stable"


def test_no_theory_is_said_to_be_none() -> None:
    constant = of("scheme=constant")
    assert math.isnan(constant.reach)
    assert "no theory" in run_text(constant)
    assert "unknown" in sweep_text([constant])


def test_a_table_has_a_row_each_and_says_what_varies() -> None:
    rows = [of(f"scheme={scheme}", f"activation={phi}") for scheme in ("xavier", "he") for phi in ("relu", "tanh")]
    lines = sweep_text(rows).splitlines()
    assert "scheme" in lines[1]
    assert "activation" in lines[1]
    assert sum("64-6x128-10" in line for line in lines) == 4
    assert max(map(len, lines)) <= 120


def test_data_of_ones_own_is_measured() -> None:
    spirals = of("data=two_spirals")
    assert spirals.shape == "2-6x128-2"
    assert of("data=digits", "data.standardize=false").shape == "64-6x128-10"
