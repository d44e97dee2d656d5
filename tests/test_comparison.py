"""Recorded runs as tables, and what may be concluded from groups of them."""

from __future__ import annotations

import io
import json
import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from runner.analysis.comparison import compare, swept
from runner.analysis.intervals import RESAMPLES, holm, intervals, p_values
from runner.analysis.signal import measured_signal
from runner.report.signals import signal_or_fate
from runner.tracking.frames import frames
from tests.recorded import run, seeds


def compared(recorded):
    return compare(*frames(recorded))


def group(comparison, label):
    (row,) = comparison.groups[comparison.groups["label"] == label].to_dict("records")
    return row


def pair(comparison, label):
    index = comparison.groups.index[comparison.groups["label"] == label]
    (row,) = comparison.pairs[comparison.pairs["group"].isin(index)].to_dict("records")
    return row


# --------------------------------------------------------------------------------------------------------- tables


def test_frames_hold_every_row_and_every_setting():
    recorded = [
        run("he", seed=0, test_accuracy=0.9, config={"architecture.widths": [128, 64]}),
        run("random", seed=1, config={"scheme.std": 0.01}, fate="diverged", step=7),
        run("zeros", seed=2, fate="failed", error="ValueError: no"),
    ]
    runs, curves = frames(recorded)
    assert list(runs["key"]) == [trial.key for trial, _ in recorded]
    assert list(runs["scheme"]) == ["he", "random", "zeros"]
    assert list(runs["seed"]) == [0, 1, 2]
    assert json.loads(runs["architecture.widths"][0]) == [128, 64]
    assert runs["network"][0] == "64-6x128-10"
    assert not any("_target_" in name for name in runs)
    assert list(runs["fate"]) == ["finished", "diverged", "failed"]
    assert runs["diverged_at_step"][1] == 7
    assert runs["error"][2] == "ValueError: no"
    assert runs["test_accuracy"][0] == 0.9
    assert runs["test_accuracy"].isna().sum() == 2
    for trial, outcome in recorded:
        own = curves[curves["key"] == trial.key]
        assert list(own["quantity"]) == list(outcome.rows.quantity)
        assert list(own["layer"]) == list(outcome.rows.layer)
        np.testing.assert_array_equal(own["step"], outcome.rows.step)
        np.testing.assert_array_equal(own["value"], outcome.rows.value)
    assert curves["step"].dtype == np.int64
    assert all(isinstance(curves[name].dtype, pd.CategoricalDtype) for name in ("key", "quantity", "layer"))


def test_frames_of_nothing_have_their_columns():
    runs, curves = frames([])
    assert {"key", "name", "fate", "error"} <= set(runs)
    assert list(curves) == ["key", "step", "quantity", "layer", "value"]
    with pytest.raises(ValueError, match="at least one run"):
        compare(runs, curves)


def test_custom_variants_go_by_their_target():
    mine, yours = (
        run("custom", config={"scheme._target_": target}, test_accuracy=0.9)
        for target in ("my.module.Mine", "my.module.Yours")
    )
    runs, _ = frames([mine, yours])
    assert list(runs["scheme"]) == ["Mine", "Yours"]
    assert swept(runs) == ["scheme"]


@pytest.mark.parametrize("value", ["auto", True, 3.5])
def test_frames_survive_parquet(value):
    recorded = [
        run("he", config={"scheme.gain": 2}),
        run("random", seed=1, config={"scheme.gain": value, "scheme.std": None}),
    ]
    for frame in frames(recorded):
        file = io.BytesIO()
        frame.to_parquet(file)
        pd.testing.assert_frame_equal(pd.read_parquet(file), frame)


def test_tables_put_end_to_end_compare_like_one_table():
    recorded = [
        *seeds(3, "he", 0.9, config={"scheme.mode": "fan_in"}),
        *seeds(3, "random", 0.5, config={"scheme.std": 0.01}),
        run("zeros", fate="diverged", step=3),
    ]
    whole = compared(recorded)
    alone = [frames([one]) for one in recorded]
    joined = compare(*(pd.concat(tables, ignore_index=True) for tables in zip(*alone, strict=True)))
    assert joined.by == whole.by == ("scheme",)
    pd.testing.assert_frame_equal(joined.groups, whole.groups, check_like=True)
    pd.testing.assert_frame_equal(joined.pairs, whole.pairs)


# -------------------------------------------------------------------------------------------------- what was swept


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([run(seed=s) for s in range(3)], []),
        ([run(s) for s in ("he", "xavier")], ["scheme"]),
        # keys that follow from the scheme
        ([run("he", config={"scheme.scale": 2.0}), run("random", config={"scheme.std": 0.01})], ["scheme"]),
        # a key that varies within one scheme
        ([run("he", config={"scheme.scale": s}) for s in (1.0, 2.0)], ["scheme.scale"]),
        (
            [run(n, config={"scheme.scale": s}) for n, s in product(("he", "xavier"), (1.0, 2.0))],
            ["scheme", "scheme.scale"],
        ),
        ([run(config={"architecture.depth": d}, depth=d) for d in (2, 10)], ["architecture.depth"]),
        ([run(config={"architecture.widths": w}) for w in ([64], [64, 32])], ["architecture.widths"]),
        # the batch that follows from the data
        (
            [run(choices={"data": d}, config={"training.batch_size": b}) for d, b in (("digits", 64), ("iris", 15))],
            ["data"],
        ),
        ([run(config={"training.batch_size": b}) for b in (16, None)], ["training.batch_size"]),
        # the order of the batches is a replicate, where results go is no setting
        ([run(config={"training.seed": s, "tracking.uri": f"u{s}", "outputs": f"o{s}"}) for s in (0, 1)], []),
    ],
)  # fmt: skip
def test_swept(runs, expected):
    assert sorted(swept(frames(runs)[0])) == sorted(expected)


# ------------------------------------------------------------------------------------------------------ statistics


@pytest.mark.parametrize("n", [3, 9, 10, 30])
def test_intervals_cover_the_mean_as_often_as_they_say(n):
    simulations = 1_500
    _, low, high = intervals(np.random.default_rng(n).normal(3.0, 2.0, (simulations, n)))
    error = math.sqrt(0.95 * 0.05 / simulations)
    # To a percentage point; without the expansion it would be 90% of the samples of 10.
    assert abs(np.mean((low <= 3.0) & (high >= 3.0)) - 0.95) < 0.01 + 4 * error


def test_intervals_agree_with_scipy():
    few, many = np.random.default_rng(0).exponential(size=(4, 5)), np.random.default_rng(1).exponential(size=(3, 100))
    theirs = stats.ttest_1samp(few, 0, axis=1).confidence_interval()
    np.testing.assert_allclose(intervals(few), [few.mean(axis=1), theirs.low, theirs.high])
    # The level that makes the bootstrap of normal data agree with Student's interval.
    tail = stats.norm.sf(stats.t.ppf(0.975, 99) * math.sqrt(100 / 99))
    theirs = stats.bootstrap(
        (many,), np.mean, axis=1, confidence_level=1 - 2 * tail, method="percentile", n_resamples=RESAMPLES,
        rng=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    error = many.std(axis=1) / 10
    # Quantiles of two independent sets of resamples.
    allowed = 5 * math.sqrt(2 * tail * (1 - tail) / RESAMPLES) / stats.norm.pdf(stats.norm.ppf(tail)) * error
    _, low, high = intervals(many)
    assert (abs(low - theirs.low) < 1.3 * allowed).all()
    assert (abs(high - theirs.high) < 1.3 * allowed).all()


def test_an_interval_depends_on_its_own_numbers_only():
    samples = np.random.default_rng(2).normal(size=(40, 12))
    samples[::2, 9:] = np.nan
    together = np.array(intervals(samples))
    for row in (0, 1, 39):
        np.testing.assert_array_equal(np.array(intervals(samples[row : row + 1]))[:, 0], together[:, row])
    centre, low, high = intervals(np.array([[0.5, np.nan, np.nan], [np.nan] * 3]))
    np.testing.assert_array_equal(centre, [0.5, np.nan])
    assert np.isnan([low, high]).all()


def test_p_values_are_students():
    one, two = np.random.default_rng(3).normal(size=(2, 6, 9))
    expected = stats.ttest_rel(one, two, axis=1).pvalue
    np.testing.assert_allclose(p_values(one - two), expected)
    gaps = one - two
    gaps[:, 5:] = np.nan
    np.testing.assert_allclose(p_values(gaps), stats.ttest_rel(one[:, :5], two[:, :5], axis=1).pvalue)


def test_pairs_that_all_differ_alike_are_judged_by_what_a_score_resolves():
    none, one_sample, much, single = p_values(np.array([[0.0] * 4, [1 / 270] * 4, [0.86] * 4, [0.3, *[np.nan] * 3]]))
    assert none == 1
    assert one_sample > 0.05
    assert much < 1e-4
    assert np.isnan(single)


def test_holm():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.5, np.nan, 0.9])), [1.0, np.nan, 1.0])
    # Closed testing with Bonferroni's test of each intersection, which Holm's steps are a short cut for.
    p = np.random.default_rng(4).uniform(0, 0.3, 5)
    subsets = [[i for i in range(5) if number >> i & 1] for number in range(1, 32)]
    closed = [max(min(1, len(s) * min(p[i] for i in s)) for s in subsets if j in s) for j in range(5)]
    np.testing.assert_allclose(holm(p), closed)


# --------------------------------------------------------------------------------------------------------- ranking


def test_equal_groups_tie():
    comparison = compared([*seeds(10, "he", 0.9), *seeds(10, "xavier", 0.9)])
    assert sorted(comparison.groups["verdict"]) == ["best", "not distinguished"]


def test_a_difference_is_found_within_seeds_that_scatter_more():
    comparison = compared([*seeds(10, "xavier", 0.86), *seeds(10, "he", 0.90)])
    found = pair(comparison, "xavier")
    assert group(comparison, "he")["verdict"] == "best"
    assert group(comparison, "xavier")["verdict"] == "worse"
    assert found["pairs"] == 10
    assert found["low"] < -0.04 < found["high"] < 0
    # Unpaired, their intervals overlap.
    assert group(comparison, "xavier")["test_high"] > group(comparison, "he")["test_low"]


def test_corrected_comparisons_rarely_find_a_difference_that_is_not_there():
    sweeps = 2_000
    made = np.random.default_rng(8).normal(size=(sweeps, 7, 5))
    false = sum(bool((holm(p_values(sweep[1:] - sweep[0])) < 0.05).any()) for sweep in made)
    assert false <= stats.binom.ppf(0.9999, sweeps, 0.05)


def test_verdicts_go_by_corrected_p_values():
    recorded = [one for gap, scheme in enumerate("abcdefgh") for one in seeds(5, scheme, 0.9 - 0.008 * gap)]
    comparison = compared(recorded)
    best = comparison.groups.index[comparison.groups["verdict"] == "best"][0]
    accuracy = comparison.runs.pivot(index="group", columns="seed", values="test_accuracy").to_numpy()
    expected = holm(p_values(accuracy[comparison.pairs["group"]] - accuracy[best]))
    np.testing.assert_allclose(comparison.pairs["p"], expected)
    called = comparison.groups["verdict"][comparison.pairs["group"]].isin(["worse", "better"])
    np.testing.assert_array_equal(called, expected < 0.05)
    assert 0 < called.sum() < len(called)


def test_only_common_seeds_are_paired():
    recorded = [*seeds(8, "he", 0.9)[:6], *seeds(8, "xavier", 0.8)[3:]]
    assert pair(compared(recorded), "xavier")["pairs"] == 3


def test_the_best_is_chosen_on_validation():
    lucky = [run("lucky", seed=s, test_accuracy=0.99, validation_accuracy=0.80) for s in range(4)]
    sound = [run("sound", seed=s, test_accuracy=0.98, validation_accuracy=0.95) for s in range(4)]
    assert group(compared(lucky + sound), "sound")["verdict"] == "best"


@pytest.mark.parametrize("diverged", [False, True])
def test_one_seed_never_ranks(diverged):
    other = (
        run("xavier", fate="diverged", step=3)
        if diverged
        else run("xavier", test_accuracy=0.1, validation_accuracy=0.1)
    )
    comparison = compared([run("he", test_accuracy=0.99, validation_accuracy=0.99), other])
    assert set(comparison.groups["verdict"]) == {""}
    assert comparison.groups["test_low"].isna().all()
    assert list(comparison.groups["place"]) == [0, 1]


def test_speed_is_a_ratio_of_pairs():
    steps = np.array([20.0, 30, 40, 50, 60, 70])
    recorded = [run("he", seed=s, test_accuracy=0.9, validation_accuracy=0.95, steps_to=v) for s, v in enumerate(steps)]
    recorded += [
        run("xavier", seed=s, test_accuracy=0.9, validation_accuracy=0.9, steps_to=v * f)
        for s, (v, f) in enumerate(zip(steps, [1.7, 1.8, 1.9, 1.7, 1.8, 1.9], strict=True))
    ]
    found = pair(compared(recorded), "xavier")
    assert found["ratio"] == pytest.approx((1.7 * 1.8 * 1.9) ** (1 / 3))
    assert 1.7 < found["ratio_low"] < found["ratio"] < found["ratio_high"] < 1.9
    assert found["speed_p"] < 0.001
    assert found["speed_pairs"] == 6


def test_runs_that_never_arrive_count():
    arrive = [run("he", seed=s, test_accuracy=0.9, steps_to=10.0 + s) for s in range(2)]
    never = [run("he", seed=s, test_accuracy=0.9) for s in (2, 3)]
    lost = run("he", seed=4, fate="diverged", step=9, steps_to=5.0)
    broken = run("he", seed=5, fate="failed", error="ValueError: no")
    row = group(compared([*arrive, *never, lost, broken]), "he")
    assert row["steps"] == math.inf
    assert (row["never"], row["seeds"], row["diverged"], row["failed"]) == (3, 5, 1, 1)
    assert group(compared([*arrive, never[0]]), "he")["steps"] == 11.0


def test_a_diverged_run_counts_as_worst():
    steady = seeds(4, "steady", 0.7)
    risky = [*seeds(4, "risky", 0.9)[:2], *(run("risky", seed=s, fate="diverged", step=5 + s) for s in (2, 3))]
    comparison = compared(risky + steady)
    assert group(comparison, "steady")["verdict"] == "best"
    assert group(comparison, "risky")["verdict"] == "diverged"
    assert signal_or_fate(group(comparison, "risky")) == "2 of 4 diverged"
    assert group(comparison, "risky")["place"] == 1


def test_regression_is_judged_by_r2_and_a_bare_loss_by_less():
    r2 = [
        run(n, seed=s, test_r2=v, validation_r2=v, test_loss=v)
        for (n, v), s in product((("he", 0.4), ("xavier", 0.2)), range(3))
    ]
    assert group(compared(r2), "he")["metric"] == "test_r2"
    assert group(compared(r2), "he")["verdict"] == "best"
    loss = [
        run(n, seed=s, test_loss=v + s / 1000, validation_loss=v)
        for (n, v), s in product((("he", 0.4), ("xavier", 0.2)), range(8))
    ]
    assert group(compared(loss), "xavier")["verdict"] == "best"
    assert group(compared(loss), "he")["verdict"] == "worse"


def test_schemes_compete_within_one_network_and_one_data_set():
    made = product(("relu", "tanh"), ("he", "xavier"), range(3))
    recorded = [
        run(n, seed=s, choices={"activation": a}, test_accuracy=0.9 - 0.3 * (a == "tanh"), validation_accuracy=0.9)
        for a, n, s in made
    ]
    comparison = compared(recorded)
    assert comparison.context == ("activation",)
    assert list(comparison.groups["verdict"]) == ["best", "not distinguished"] * 2
    depths = [
        run(seed=s, depth=d, config={"architecture.depth": d}, test_accuracy=0.9) for d in (2, 10) for s in range(3)
    ]
    assert compared(depths).context == ()
    assert len(compared(depths).pairs) == 1
    data = [run(seed=s, choices={"data": d}, test_accuracy=0.9) for d in ("digits", "iris") for s in range(3)]
    assert compared(data).pairs.empty


def test_a_run_recorded_twice_counts_once():
    recorded = seeds(3, "he", 0.9)
    assert group(compared(recorded + recorded[:2]), "he")["seeds"] == 3


def test_groups_are_described_by_geometric_means():
    row = group(compared([run(seed=0, factor=0.5, expected=0.5), run(seed=1, factor=2.0, expected=0.5)]), "he")
    assert row["rms"] == pytest.approx(1.0)
    assert row["rms_predicted"] == pytest.approx(0.125)
    assert row["growth"] == pytest.approx(1.0)
    assert row["growth_predicted"] == pytest.approx(0.5)
    assert row["kept"] == pytest.approx(0.5)
    assert row["layer"] == "hidden/6"


# ------------------------------------------------------------------------------------------------------------ fate


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([run(factor=1.0)], "stable"),
        ([run(factor=0.5)], "halves at each layer"),
        ([run(factor=2.0)], "doubles at each layer"),
        ([run(factor=1.4)], "x1.4 at each layer"),
        ([run(factor=0.003)], "vanishes, x.0030"),
        ([run(factor=32.0)], "explodes, x32"),
        ([run(factor=0.0)], "vanishes"),
        ([run(depth=1)], "stable"),
        ([run(depth=0)], "–"),
        # the scatter of one narrow network explains it, that of five doesn't
        ([run(factor=0.75, scatter=0.4)], "stable"),
        ([run(factor=0.75, scatter=0.4, seed=s) for s in range(40)], "x.75 at each layer"),
        # without a reference, the scatter between seeds; without either, nobody knows what chance does
        ([run(factor=f, scatter=None, seed=s) for s, f in enumerate((0.5, 0.8, 1.6))], "stable"),
        ([run(factor=f, scatter=None, seed=s) for s, f in enumerate((0.69, 0.70, 0.71))], "x.70 at each layer"),
        ([run(factor=0.75, scatter=None)], "–"),
        ([run(gradient=[3.0**-n for n in range(6)])], "gradient explodes"),
        ([run(gradient=[3.0**n for n in range(6)])], "gradient vanishes"),
        ([run(distinct_units=1.0, factor=0.5)], "all units equal"),
        ([run(fate="diverged", step=12, factor=9.0)], "diverged at step 12"),
        ([run(fate="diverged", step=12 + s, seed=s) for s in range(3)], "diverged by step 14"),
        ([run(seed=s, fate=f, step=n) for s, (f, n) in enumerate([("finished", None), ("diverged", 4)])],
         "1 of 2 diverged"),
        ([run(fate="failed", error="ValueError: no")], "failed"),
    ],
)  # fmt: skip
def test_signal_or_fate_in_words(runs, words):
    (group,) = compared(runs).groups.to_dict("records")
    assert signal_or_fate(group) == words


@pytest.mark.parametrize("seeds_each", [1, 25])
def test_networks_whose_mean_square_theory_keeps_level_are_called_stable(seeds_each):
    # Log-normal: E[rms²] = 1 means that log rms has mean -s², as deep narrow networks show (Hanin & Rolnick 2018).
    s, rng = 0.25, np.random.default_rng(6)
    tables = [
        pd.DataFrame({"log_growth": draws, "rms": np.exp(draws), "hidden": 50, "scatter": s, "log_gradient": 0.0})
        for draws in rng.normal(-(s**2), s, (300, seeds_each))
    ]
    alarms = sum(measured_signal(table).label != "stable" for table in tables)
    assert alarms <= stats.binom.ppf(0.9999, 300, 2 * stats.norm.sf(3))
