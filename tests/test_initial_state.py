"""Labels of a run's initial state: deviation from theory, signal, audit of its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from runner.config.catalogue import choices
from runner.config.composition import Composer
from runner.records import LABELS, Outcome
from runner.training.initial_state import deviation
from runner.training.loop import train

SMALL = ["architecture.depth=4", "architecture.width=64", "training.steps=0", "training.probe.size=64", "tracking=none"]


def trained(*overrides: str, each: Sequence[Sequence[str]] = ((),)) -> list[Outcome]:
    return train(Composer().trials([[*SMALL, *overrides, *more] for more in each]))


def test_a_deviation_counts_in_units_of_the_scatter() -> None:
    assert deviation(1.2, 1.0, 0.1) == pytest.approx(math.log(1.2) / 0.1)
    assert deviation(math.exp(-(0.3**2)), 1.0, 0.3, level_mean=True) == pytest.approx(0.0)
    assert deviation(1.01, 1.0, 0.0) == pytest.approx(math.log(1.01) / 0.01)
    assert np.isnan(deviation([1.0, 0.0, 1.0], [math.nan, 1.0, 1.0], [0.1, 0.1, math.nan])).all()


def test_each_run_has_a_label_of_its_signal_as_measured_and_by_theory() -> None:
    outcomes = trained(
        each=[["scheme=he"], ["scheme=xavier"], ["scheme=normal"], ["scheme=identity"], ["scheme=zeros"]]
    )
    predicted = [outcome.labels["predicted_fate"] for outcome in outcomes]
    assert predicted == ["stable", "decays", "grows", "unknown", "vanishes"]
    measured = [outcome.labels["measured_fate"] for outcome in outcomes]
    assert [measured[0], measured[1], measured[4]] == ["stable", "decays", "vanishes"]
    assert all(set(outcome.labels) == set(LABELS[:3]) for outcome in outcomes)
    (linear,) = trained("architecture.depth=0")
    assert set(linear.labels) == {"audit"}


def test_deviations_of_many_networks_are_as_small_as_their_scatter_allows() -> None:
    """The scatter is an upper bound: it takes all samples as one. Gradients of relu deviate by .1 in the mean."""
    for activation in ("relu", "tanh"):
        outcomes = trained(f"activation={activation}", each=[[f"seed={seed}"] for seed in range(40)])
        for name in ("init_activation_deviation", "init_gradient_deviation"):
            values = [outcome.summary[name] for outcome in outcomes]
            assert 0.3 < np.mean(values) < 2
            assert max(values) < 4.5
    (wrong,) = trained("scheme=custom", "scheme._target_=tests.schemes_for_tests.Mislabelled")
    assert wrong.summary["init_activation_deviation"] > 3


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


@pytest.mark.parametrize("scheme", [choice.name for choice in choices("scheme") if choice.name != "custom"])
def test_every_scheme_draws_what_it_declares(scheme: str) -> None:
    for outcome in trained(f"scheme={scheme}", each=[[f"seed={seed}"] for seed in range(4)]):
        assert outcome.labels["audit"] in ("follows", "unknown")
        assert outcome.summary.get("audit_faults", 0.0) == 0.0


def test_a_scheme_that_draws_something_else_than_it_declares_is_noticed() -> None:
    (outcome,) = trained("scheme=custom", "scheme._target_=tests.schemes_for_tests.Mislabelled")
    assert outcome.summary["audit_faults"] == 5
    found = {name: outcome.labels[name] for name in LABELS if name.startswith("audit")}
    assert found == {"audit": "differs", "audit_tensor": "hidden/1/weight", "audit_finding": "law"}
