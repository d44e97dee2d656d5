"""Labels of a run's initial state: deviation from theory, signal, audit of its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from runner.config.catalogue import choices
from runner.config.composition import Composer
from runner.records import LABELS, Outcome
from runner.training.judging import SCATTER
from runner.training.loop import train
from tests.fitting import OF_MODULES, fitting

SCHEMES = [choice.name for choice in choices("scheme") if choice.name not in ("custom", *OF_MODULES["scheme"])]
SMALL = ["architecture.depth=4", "architecture.width=64", "training.steps=0", "training.probe.size=64", "tracking=none"]


def trained(*overrides: str, each: Sequence[Sequence[str]] = ((),)) -> list[Outcome]:
    return train(Composer().trials([[*SMALL, *overrides, *more] for more in each]))


def test_each_run_has_a_label_of_its_signal_as_measured_and_by_theory() -> None:
    outcomes = trained(
        each=[["scheme=he"], ["scheme=xavier"], ["scheme=normal"], ["scheme=identity"], ["scheme=zeros"]]
    )
    predicted = [outcome.labels["predicted_fate"] for outcome in outcomes]
    assert predicted == ["stable", "decays", "grows", "unknown", "vanishes"]
    measured = [outcome.labels["measured_fate"] for outcome in outcomes]
    assert [measured[0], measured[1], measured[4]] == ["stable", "decays", "vanishes"]
    always = {"measured_fate", "predicted_fate", "audit"}
    assert all(set(outcome.labels) - {"no_theory"} == always for outcome in outcomes)
    assert outcomes[3].labels["no_theory"].endswith("is unknown: the weights are written down, not drawn")
    (linear,) = trained("architecture.depth=0")
    assert set(linear.labels) == {"audit"}


def test_deviations_are_those_of_networks_of_the_same_laws() -> None:
    for activation in ("relu", "tanh"):
        outcomes = trained(f"activation={activation}", each=[[f"seed={seed}"] for seed in range(40)])
        for name in ("init_activation_deviation", "init_gradient_deviation"):
            values = [outcome.summary[name] for outcome in outcomes]
            assert 0.5 < np.mean(values) < 2
            assert sum(value > 3 for value in values) <= 3
    (wrong,) = trained("scheme=custom", "scheme._target_=tests.schemes_for_tests.Mislabelled")
    assert wrong.summary["init_activation_deviation"] > 10
    assert wrong.labels["alarm_fault"] in ("weight_rms", "response")
    (unlawful,) = trained("scheme=custom", "scheme._target_=tests.schemes_for_tests.Unlawful")
    assert unlawful.labels["not_judged"] == "the scheme states no law that hidden/1/weight could be drawn from"
    assert not {name for name in unlawful.summary if "deviation" in name}


def test_where_networks_of_the_same_laws_lie_is_recorded() -> None:
    """A run lies as far from the recorded median as from its reference; of many, half lie above."""
    outcomes = trained("training.probe.size=128", each=[[f"seed={seed}"] for seed in range(40)])
    for quantity, scatter in SCATTER.items():
        tables = [
            [[value for _, _, value in outcome.rows.select(name)] for outcome in outcomes]
            for name in (f"init_{quantity}", f"reference_{quantity}", scatter)
        ]
        measured, median, spread = (np.array(table) for table in tables)
        assert np.allclose(spread, spread[0])
        z = (
            measured - median
            if quantity in ("activation_correlation", "jacobian_spread")
            else np.log(measured / median)
        ) / spread
        assert np.abs(z.mean(axis=0)).max() < 4 / math.sqrt(40)
        assert 0.7 < z.std() < 1.3
    growth = [math.log(of[-2][2] / of[0][2]) for of in (o.rows.select("init_activation_rms") for o in outcomes)]
    (recorded,) = {outcome.rows.select("reference_growth_scatter")[0][2] for outcome in outcomes}
    assert np.std(growth) == pytest.approx(recorded, rel=0.5)


def test_a_run_is_judged_alike_alone_and_in_a_stack() -> None:
    each = [[f"scheme={scheme}", f"seed={seed}"] for scheme in ("he", "xavier", "lsuv", "sparse") for seed in (0, 1)]
    together = trained(each=each)
    for overrides, outcome in zip(each, together, strict=True):
        (alone,) = trained(each=[overrides])
        assert alone.summary == outcome.summary
        assert alone.labels == outcome.labels
        assert alone.rows.value.tobytes() == outcome.rows.value.tobytes()


def test_an_orthogonal_network_of_tanh_that_decays_is_said_to_decay() -> None:
    setting = ["activation=tanh", "scheme=orthogonal", "architecture.depth=50", "architecture.width=8"]
    outcomes = trained(*setting, each=[[f"seed={seed}"] for seed in range(20)])
    assert sum(outcome.labels["measured_fate"] == "decays" for outcome in outcomes) >= 19


def test_the_jacobian_is_recorded_beside_its_theory() -> None:
    orthogonal, sparse = trained("activation=linear", each=[["scheme=orthogonal"], ["scheme=sparse"]])
    assert orthogonal.arrays["singular_values"].shape == (4, 10)
    summary = orthogonal.summary
    values = orthogonal.arrays["singular_values"]
    assert summary["init_jacobian_mean_s2"] == pytest.approx((values**2).mean())
    assert summary["init_jacobian_mean_s2"] == pytest.approx(summary["predicted_jacobian_mean_s2"], rel=0.05)
    assert summary["init_jacobian_spread"] == pytest.approx(summary["predicted_jacobian_spread"], abs=0.1)
    assert orthogonal.rows.select("init_jacobian_max")[0][2] == pytest.approx(values.max())
    assert "final_singular_values" in orthogonal.arrays
    assert "init_jacobian_spread" in sparse.summary
    assert "predicted_jacobian_spread" not in sparse.summary


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_draws_what_it_declares(scheme: str) -> None:
    for outcome in trained(f"scheme={scheme}", *fitting(scheme, []), each=[[f"seed={seed}"] for seed in range(4)]):
        assert outcome.labels["audit"] in ("follows", "unknown")
        assert outcome.summary.get("audit_faults", 0.0) == 0.0


def test_a_scheme_that_draws_something_else_than_it_declares_is_noticed() -> None:
    (outcome,) = trained("scheme=custom", "scheme._target_=tests.schemes_for_tests.Mislabelled")
    assert outcome.summary["audit_faults"] == 5
    found = {name: outcome.labels[name] for name in LABELS if name.startswith("audit")}
    assert found == {"audit": "differs", "audit_tensor": "hidden/1/weight", "audit_finding": "law"}
