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

from runner.analysis.best_rates import RATE, at_best_rates
from runner.analysis.comparison import compare, swept
from runner.analysis.intervals import COARSEST, holm, intervals, p_more_often, p_values, ratios, resolution
from runner.analysis.signal import measured_signal
from runner.report.ranking import ratio_cell
from runner.report.sentences import times_faster
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


def test_intervals_and_p_values_are_students():
    one, two = np.random.default_rng(3).normal(size=(2, 6, 9))
    gaps = one - two
    gaps[:3, 5:] = np.nan
    for rows, n in ((slice(0, 3), 5), (slice(3, 6), 9)):
        theirs = stats.ttest_rel(one[rows, :n], two[rows, :n], axis=1)
        np.testing.assert_allclose(p_values(gaps)[rows], theirs.pvalue)
        limits = theirs.confidence_interval()
        np.testing.assert_allclose(np.array(intervals(gaps))[1:, rows], [limits.low, limits.high])


def test_of_two_seeds_nothing_is_known():
    two = np.array([[0.9, 0.91, np.nan], [0.1, 0.9, 0.5]])
    assert np.isnan(np.array(intervals(two))[1:, 0]).all()
    assert np.isnan(p_values(two)[0])
    assert np.isnan(np.array(ratios(two, two[::-1]))[1:]).all()
    assert np.isnan(p_more_often(2, 2, 0, 2))
    assert np.isfinite(np.array(intervals(two))[:, 1]).all()


def test_the_choice_of_the_best_counts_like_so_many_tests():
    gaps = np.random.default_rng(4).normal(0.5, 1, (300, 6))
    plain, chosen = p_values(gaps), p_values(gaps, choices=4)
    np.testing.assert_allclose(chosen, np.minimum(4 * plain, 1))
    _, low, high = intervals(gaps, choices=4)
    np.testing.assert_array_equal(low * high > 0, chosen < 0.05)


def test_an_interval_depends_on_its_own_numbers_only():
    samples = np.random.default_rng(2).normal(size=(40, 12))
    samples[::2, 9:] = np.nan
    together = np.array(intervals(samples))
    for row in (0, 1, 39):
        np.testing.assert_array_equal(np.array(intervals(samples[row : row + 1]))[:, 0], together[:, row])
    centre, low, high = intervals(np.array([[0.5, np.nan, np.nan], [np.nan] * 3]))
    np.testing.assert_array_equal(centre, [0.5, np.nan])
    assert np.isnan([low, high]).all()


def test_scores_that_are_all_alike_are_judged_by_what_a_test_set_resolves():
    rows = np.array([[0.0] * 4, [1 / 270] * 4, [0.86] * 4, [1.0] * 4])
    none, one_sample, much, _ = p_values(rows, resolution=1 / 270)
    assert none == 1
    assert one_sample > 0.05
    assert much < 1e-4
    _, low, high = intervals(rows, resolution=1 / 270)
    np.testing.assert_allclose(high - low, 2 * stats.t.ppf(0.975, 3) / 270 / 2)


@pytest.mark.parametrize(
    ("accuracies", "one_sample"),
    [([0.9, 0.95, 0.94], 0.01), ([1.0, 269 / 270, np.nan], 1 / 270), ([1.0, 1.0], COARSEST), ([0.1], COARSEST)],
)
def test_the_size_of_a_test_set_shows_in_its_accuracies(accuracies, one_sample):
    assert resolution(np.array(accuracies)) == pytest.approx(one_sample)


def test_a_ratio_is_the_same_from_both_sides():
    above, below = np.random.default_rng(5).lognormal(5, 0.3, (2, 20, 7)).round()
    ratio, low, high, p = ratios(above, below)
    np.testing.assert_allclose(ratio, above.mean(axis=1) / below.mean(axis=1))
    other = ratios(below, above)
    np.testing.assert_allclose([1 / other[0], 1 / other[2], 1 / other[1], other[3]], [ratio, low, high, p])
    np.testing.assert_array_equal((low > 1) | (high < 1), p < 0.05)
    _, low, high, p = ratios(
        np.full((1, 5), 17.0), np.full((1, 5), 16.0)
    )  # of steps that never vary, one proves little
    assert low < 1 < high
    assert p > 0.05


def test_an_end_that_the_data_do_not_know_is_open():
    above, below = np.array([[400.0, 410, 390, 420, 400]]), np.array([[10.0, 2, 30, 5, 9]])
    ratio, low, high, p = ratios(above, below)
    assert (high, p < 0.05) == (math.inf, True)
    assert 1 < low < ratio
    turned = ratios(below, above)
    assert (turned[1], turned[2]) == (0.0, pytest.approx(1 / low))
    clear = np.array([[10.0, 8, 14, 5, 9]])
    assert ratios(above, clear)[2] < 5 * ratios(above, clear)[0]


@pytest.mark.parametrize(
    ("ends", "said", "cell"),
    [
        ((4.0, 1.5, math.inf), "at least 1.5x faster", "at least 1.5"),
        ((0.25, 0.0, 0.8), "at least 1.2x faster", "at most .80"),
        ((0.25, 0.2, 0.4), "4.0x faster [2.5, 5.0]", ".25 [.20, .40]"),
        ((4.0, 1.01, math.inf), "faster", "at least 1.0"),
    ],
)
def test_an_open_ratio_is_said_as_a_bound(ends, said, cell):
    pair = dict(zip(("ratio", "ratio_low", "ratio_high"), ends, strict=True))
    assert times_faster(pair) == said
    assert ratio_cell(pair) == cell


def test_divergence_is_tested_exactly():
    assert p_more_often(4, 4, 0, 4) == pytest.approx(2 * 0.5**8)  # worst where half of all runs diverge
    assert p_more_often(0, 4, 4, 4) == p_more_often(4, 4, 0, 4)
    assert p_more_often(1, 5, 0, 5) > 0.5
    assert np.isnan(p_more_often(0, 5, 0, 5))


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


def test_verdicts_go_by_p_values_corrected_together():
    recorded = [one for gap, scheme in enumerate("abcdefgh") for one in seeds(5, scheme, 0.9 - 0.008 * gap)]
    comparison = compared(recorded)
    best = comparison.groups.index[comparison.groups["verdict"] == "best"][0]
    others = comparison.pairs["group"]
    accuracy, steps = (
        comparison.runs.pivot(index="group", columns="seed", values=name).to_numpy(float)
        for name in ("test_accuracy", "steps_to_loss_0.5")
    )
    # The best of eight is chosen with data that know of the result: each pair stands for 28 / 7.
    score = p_values(accuracy[others] - accuracy[best], resolution=resolution(accuracy), choices=4)
    speed = ratios(steps[others], np.tile(steps[best], (7, 1)), choices=4)[3]
    expected = holm(np.concatenate([score, speed]))
    assert comparison.tests == 14
    np.testing.assert_allclose([*comparison.pairs["p"], *comparison.pairs["speed_p"]], expected)
    called = comparison.groups["verdict"][others].isin(["worse", "better"])
    np.testing.assert_array_equal(called, comparison.pairs["p"] < 0.05)


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


def test_speed_is_a_ratio_of_mean_steps_within_the_budget():
    steps = np.array([20.0, 30, 40, 50, 60, 70])
    recorded = [run("he", seed=s, test_accuracy=0.9, validation_accuracy=0.95, steps_to=v) for s, v in enumerate(steps)]
    slow = [1.7, 1.8, 1.9, 1.7, None, 1.9]
    recorded += [
        run("xavier", seed=s, test_accuracy=0.9, validation_accuracy=0.9, **({"steps_to": v * f} if f else {}))
        for s, (v, f) in enumerate(zip(steps, slow, strict=True))
    ]
    comparison = compared(recorded)
    found = pair(comparison, "xavier")
    assert set(comparison.groups["budget"]) == {420}
    assert found["ratio"] == pytest.approx((steps @ [f or 7 for f in slow]) / steps.sum())  # 420 = 7 · 60
    assert 0 <= found["ratio_low"] < found["ratio"] < found["ratio_high"]
    assert found["speed_pairs"] == 6
    assert group(comparison, "xavier")["never"] == 1


def test_of_two_that_never_arrive_none_is_faster():
    comparison = compared([run(name, seed=s, test_accuracy=0.1) for name in ("he", "random") for s in range(5)])
    assert np.isnan(pair(comparison, "random")["speed_p"])
    assert comparison.tests == 1


def test_runs_that_never_arrive_count():
    arrive = [run("he", seed=s, test_accuracy=0.9, steps_to=10.0 + s) for s in range(2)]
    never = [run("he", seed=s, test_accuracy=0.9) for s in (2, 3)]
    lost = run("he", seed=4, fate="diverged", step=9, steps_to=5.0)
    broken = run("he", seed=5, fate="failed", error="ValueError: no")
    row = group(compared([*arrive, *never, lost, broken]), "he")
    assert row["steps"] == math.inf
    assert (row["never"], row["seeds"], row["diverged"], row["failed"]) == (3, 5, 1, 1)
    assert group(compared([*arrive, never[0]]), "he")["steps"] == 11.0


@pytest.mark.parametrize(("lost", "verdict"), [(8, "diverged"), (7, "diverged"), (2, "better")])
def test_a_diverged_run_counts_as_worst_and_diverging_is_tested(lost, verdict):
    steady = seeds(8, "steady", 0.8)
    risky = [*seeds(8, "risky", 0.9)[lost:], *(run("risky", seed=s, fate="diverged", step=5 + s) for s in range(lost))]
    comparison = compared(risky + steady)
    assert group(comparison, "steady")["verdict"] == "best"
    assert group(comparison, "risky")["verdict"] == verdict
    factor = 1 if lost > 5 else 3  # tests: of score and speed where three pairs are left, of divergence
    assert comparison.tests == factor
    assert pair(comparison, "risky")["diverged_p"] <= factor * p_more_often(lost, 8, 0, 8)
    assert group(comparison, "risky")["place"] == (0 if verdict == "better" else 1)


def test_a_group_that_diverged_in_a_few_seeds_is_neither_ranked_nor_ahead():
    lost = [run("risky", seed=s, fate="diverged", step=5) for s in range(3)]
    comparison = compared([*seeds(3, "steady", 0.9, noise=0.001), *seeds(3, "other", 0.9, noise=0.001), *lost])
    assert group(comparison, "risky")["verdict"] == ""
    assert group(comparison, "risky")["place"] == 2


def test_networks_that_were_not_trained_have_no_score():
    runs, curves = frames([one for name in ("he", "xavier") for one in seeds(5, name, 0.1 + 0.1 * (name == "he"))])
    comparison = compare(runs, curves[curves["step"] == 0])
    assert comparison.untrained
    assert set(comparison.groups["verdict"]) == {""}
    assert comparison.groups[["test", "test_low", "steps", "validation"]].isna().all(axis=None)
    assert comparison.tests == 0


def test_validation_data_can_tell_groups_apart():
    rng = np.random.default_rng(9)
    made = [
        run(n, seed=s, test_accuracy=t + rng.normal(0, 0.01), validation_accuracy=v + rng.normal(0, 0.01))
        for (n, t, v), s in product((("he", 0.8, 0.9), ("xavier", 0.9, 0.8)), range(6))
    ]
    assert group(compared(made), "xavier")["verdict"] == "better"
    decided = compare(*frames(made), part="validation")
    assert group(decided, "xavier")["verdict"] == "worse"
    assert group(decided, "xavier")["test"] == group(compared(made), "xavier")["test"]


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


def test_the_best_rate_is_that_of_the_score_then_of_the_loss_and_never_one_that_fails():
    groups = pd.DataFrame(
        [
            *[("he", 0.1, 0, 0.9, 0.5), ("he", 0.2, 0, 0.9, 0.4), ("he", 0.3, 1, 0.99, 0.1), ("he", 0.4, 0, 0.8, 0.1)],
            *[("xavier", 0.1, 0, math.nan, math.nan), ("xavier", 0.2, 0, 0.0, math.nan), ("xavier", 0.3, 0, 0.1, 0.9)],
        ],
        columns=["scheme", RATE, "failed", "validation", "validation_loss"],
    )
    chosen = at_best_rates(groups, ["scheme"])
    assert dict(zip(chosen["scheme"], chosen[RATE], strict=True)) == {"he": 0.2, "xavier": 0.3}
