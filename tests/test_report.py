"""What the terminal says of runs and sweeps, and of how far a command is."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.analysis.comparison import compare
from runner.execution import progress
from runner.execution.progress import Progress
from runner.records import Rows
from runner.report.judgements import FAULTS
from runner.report.ranking import markdown
from runner.report.sentences import answer
from runner.report.terminal import SHOWN, WIDTH, compare_line, run_text, sweep_text
from runner.text import number, setting
from runner.tracking.frames import frames
from tests.recorded import run, seeds


def text_of(recorded, *, report=None, **settings):
    """``report``: an experiment's words, as the table of runs records them."""
    runs, curves = frames(recorded)
    words = {f"report.{name}": json.dumps(v) if isinstance(v, list) else v for name, v in (report or {}).items()}
    return sweep_text(compare(runs.assign(**words), curves), **settings)


def flat(text):
    return " ".join(text.split())


def row_of(text, start):
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return line


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.14, "1.14"), (0.98, ".980"), (0.0125, ".0125"), (-0.5, "-.500"), (12.345, "12.3"), (1234.0, "1234"),
        (2.0**-15, "3.1e-5"), (4e-34, "4e-34"), (2.5e7, "2.5e7"), (0.99999, "1.00"), (0.0, "0"), (np.nan, "–"),
        (np.inf, "inf"),
    ],
)  # fmt: skip
def test_number(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.03, ".03"), (10.0, "10"), (True, "True"), ("cosine", "cosine"), (None, "")]
)
def test_setting(value, text):
    assert setting(value) == text


# ---------------------------------------------------------------------------------------------------------- one run


def test_a_run_is_told():
    recorded = run("he", test_accuracy=0.96, validation_accuracy=0.95, steps_to=27.0, notes=["clipped once"])
    text = run_text(*recorded, directory=Path("outputs/runs/one"), viewer="make ui")
    head, table, signal, theory, judged, training, *rest = text.splitlines()
    assert head.split("  ")[0] == "he · relu · 64-6x128-10 · digits · seed 0"
    assert head.endswith("420 steps, 0.4 s")
    assert table.split() == ["at", "initialization", "layer", "1", "2", "3", "4", "5", "6", "output"]
    assert signal.split() == ["activation", "rms", *["1.00"] * 7]
    assert theory.split() == ["theory", *["1.00"] * 7]
    assert len({len(line) for line in (table, signal, theory)}) == 1
    assert judged.strip() == "signal stable; each layer within the range of networks of these laws"
    assert training.split("   ") == ["training", "loss < .5 at step 27", "validation .950", "test .960"]
    assert rest == [
        "note:     clipped once",
        "compare:  python -m runner scheme=xavier,he seed='range(0,5)' -m",
        "look:     make ui",
        "files:    outputs/runs/one",
    ]


def test_a_sweep_tells_each_note_once_and_of_which_runs_it_is():
    shared, own = "cells are imputed in 'age' (3)", "LSUV stopped early"
    recorded = [
        run(name, seed=s, notes=[shared, own] if name == "lsuv" else [shared])
        for name in ("he", "lsuv")
        for s in (0, 1)
    ]
    text = text_of(recorded)
    assert text.count(shared) == 1
    assert re.search(rf"^note:     {re.escape(shared)}$", text, re.MULTILINE)
    assert f"{own} (2 of 4 runs: lsuv" in text
    many = text_of([run("he", seed=s, notes=[f"note {n}" for n in range(8)]) for s in (0, 1)])
    assert "note 4" in many
    assert "note 5" not in many
    assert "3 more notes are in the column notes of runs.parquet" in many


def test_a_run_that_diverged_or_failed_says_so():
    text = run_text(*run("normal", fate="diverged", step=12, factor=32.0, expected=32.0))
    assert "diverged at step 12" in text
    assert "signal explodes, x32" in text
    assert "12 steps" in text
    text = run_text(*run("mine", fate="failed", error="ValueError: " + "long " * 40))
    assert "failed" in text
    assert "ValueError: long" in text
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "training" not in text


def test_a_run_is_judged_by_what_is_recorded_of_it():
    def judged(**recorded: Any) -> str:
        return " ".join(run_text(*run(**recorded)).split())

    large = {"alarm_layer": "hidden/3", "alarm_fault": "activation_rms"}
    text = judged(factor=1.4, expected=1.0, labels=large, init_activation_deviation=5.0)
    assert "layer 3 has another rms than networks of these laws, x1.66" in text
    assert "within the range" not in text
    for fault, words in FAULTS.items():
        if fault not in ("activation_rms", "gradient_std"):
            labels = {"alarm_layer": "output", "alarm_fault": fault}
            assert f"; {words.format('output')} training" in judged(labels=labels, init_activation_deviation=math.inf)
    assert "layers are zero or infinite, as in 10% of networks of these laws" in judged(expected_deaths=0.1)
    unjudged = judged(scatter=None, expected=None, labels={"not_judged": "no time", "no_theory": "no law"})
    assert "signal stable; not judged: no time; no theory: no law training" in unjudged
    assert "the range" not in unjudged
    assert "not judged: too few" in judged(scatter=None)


def test_a_run_says_how_far_theory_lies_from_networks_of_its_width():
    trial, outcome = run(expected=1.0)
    near = " ".join(run_text(trial, outcome).split())
    assert "theory;" not in near
    value = outcome.rows.value.copy()
    value[[quantity == "reference_activation_rms" for quantity in outcome.rows.quantity]] = 0.5
    far = replace(outcome, rows=replace(outcome.rows, value=value))
    assert "at this width layer 1 usually has .50 times the rms of theory" in " ".join(run_text(trial, far).split())


def test_a_sweep_names_alarms_that_chance_does_not_explain():
    def said(alarms: int, runs: int, deviation: float, fault: str = "response") -> str:
        labels = {"alarm_layer": "hidden/2", "alarm_fault": fault}
        wrong = [run(seed=s, labels=labels, init_gradient_deviation=deviation) for s in range(alarms)]
        return flat(text_of([*wrong, *(run(seed=s) for s in range(alarms, runs))]))

    assert "layers:" not in said(1, 10, 3.5)
    assert "layers: in 3 of 10 runs, first in he s0, layer 2 does not answer its input" in said(3, 10, 3.5)
    assert "layers: in 1 of 5 runs, first in he s0, layer 2 is zero" in said(1, 5, math.inf, "zero")
    unjudged = [run(seed=s, scatter=None, labels={"not_judged": "no time"}) for s in range(3)]
    assert "layers: 3 of 3 runs not judged: no time" in flat(text_of(unjudged))


def test_a_level_signal_is_not_said_of_a_gradient_that_explodes():
    assert "  gradient explodes on its way back;" in run_text(*run(gradient=[3.0**-n for n in range(6)]))


def test_a_regression_says_r2():
    text = run_text(
        *run(test_r2=0.434, validation_r2=0.45, test_loss=0.5, shape="10-6x128-1", choices={"data": "diabetes"})
    )
    assert "validation R² .450   test R² .434" in text
    assert "loss < .5 of the constant's never" in text


def test_a_network_without_hidden_layers_is_told():
    text = run_text(*run(depth=0, shape="64-10", test_accuracy=0.9))
    assert "test .900" in text


def test_equal_units_are_told():
    assert "all units of a layer are equal" in run_text(*run("zeros", factor=0.0, expected=0.0, distinct_units=1.0))


@pytest.mark.parametrize("depth", [9, 10, 30, 100, 237])
def test_a_deep_network_shows_layers_evenly_spread(depth):
    text = run_text(*run(depth=depth, factor=0.5, expected=0.5))
    table = row_of(text, "at initialization").split()
    shown = [int(layer) for layer in table[3:-1]]
    assert table[-1] == "output"
    assert (shown[0], shown[-1]) == (1, depth)
    assert len(shown) + 1 == 9
    steps = np.diff(shown)
    assert steps.min() >= 1
    assert steps.max() - steps.min() <= 1
    assert max(map(len, text.splitlines())) <= WIDTH


@pytest.mark.parametrize(
    ("scheme", "overrides", "command"),
    [
        ("he", [], "scheme=xavier,he"),
        ("xavier", ["scheme=xavier", "seed=3", "architecture.depth=4"], "scheme=xavier,he architecture.depth=4"),
        ("orthogonal", ["scheme=orthogonal", "hydra.run.dir=/x"], "scheme=orthogonal,he"),
        ("he", ["scheme=he", "scheme.gain=2"], "scheme=he scheme.gain=2"),
        ("custom", ["scheme=custom", "scheme._target_=a.B"], "scheme=custom scheme._target_=a.B"),
        ("he", ["architecture.widths=[64, 32]"], "scheme=xavier,he 'architecture.widths=[64, 32]'"),
        ("he", ["training.seed=1"], "scheme=xavier,he training.seed=1"),
    ],
)
def test_the_command_that_compares(scheme, overrides, command):
    trial, _ = run(scheme, overrides=overrides)
    assert compare_line(trial) == f"compare:  python -m runner {command} seed='range(0,5)' -m"


# --------------------------------------------------------------------------------------------------------- a sweep


def test_one_seed_is_not_ranked():
    text = text_of([
        run("he", test_accuracy=0.96, steps_to=27.0),
        run("xavier", factor=0.5, expected=0.5, test_accuracy=0.977, steps_to=45.0),
    ])  # fmt: skip
    upper, lower = text.splitlines()[:2]
    assert re.split(r"\s{2,}", upper.strip()) == ["steps to", "rms layer 6", "gradient"]
    assert re.split(r"\s{2,}", lower) == [
        "scheme", "seeds", "test acc", "loss .5", "(theory)", "W1", "theory", "signal",
    ]  # fmt: skip
    row = ["he", "1", ".960", "27", "1.00 (1.00)", ".0100", "stable", "stable"]
    assert re.split(r"\s{2,}", row_of(text, "he")) == row
    row = ["45", ".125 (.125)", ".0100", "halves", "halves at each layer*"]
    assert re.split(r"\s{2,}", row_of(text, "xavier"))[3:] == row
    assert "no ranking: one seed. Add seed='range(0,5)'." in text
    assert not re.search("distinguished|better|faster", text)


@pytest.mark.parametrize(
    ("factor", "kept", "why"),
    [
        (0.5, 0.5, "relu halves the mean square; a variance of 1/fan_in does not compensate"),
        (0.25, 0.5, "relu halves the mean square; a variance of .50/fan_in does not compensate"),
        (0.6, 0.8, "relu keeps .80 of the mean square; a variance of .75/fan_in does not compensate"),
        (8.0, 0.5, "relu halves the mean square; a variance of 16/fan_in overcompensates"),
    ],
)
def test_the_footnote_follows_from_theory(factor, kept, why):
    text = flat(text_of([run("he"), run("other", factor=factor, expected=factor, kept=kept)]))
    assert f"* {why}. After 6 layers rms = {number(factor**3)}, after 30 it would be {number(factor**15)}" in text


def test_the_footnote_looks_ahead_only_where_all_layers_are_alike():
    trial, outcome = run("other", factor=0.5, expected=0.5)
    value = outcome.rows.value.copy()
    for row, (quantity, layer) in enumerate(zip(outcome.rows.quantity, outcome.rows.layer, strict=True)):
        if quantity.startswith("predicted") and layer == "hidden/6":
            value[row] *= 2
    outcome.rows.__dict__["value"] = value
    text = flat(text_of([run("he"), (trial, outcome)]))
    assert "weights and biases multiply it by" in text
    assert "would be" not in text


def test_the_footnote_says_of_weights_that_change_nothing_that_they_keep_the_rest():
    trial, outcome = run("other", factor=0.5, expected=0.5)
    value = outcome.rows.value.copy()
    for row, (quantity, layer) in enumerate(zip(outcome.rows.quantity, outcome.rows.layer, strict=True)):
        if quantity == "predicted_preactivation_rms" and layer == "hidden/2":
            value[row] *= 1.02  # one layer is not like the others
    outcome.rows.__dict__["value"] = value
    text = flat(text_of([run("he"), (trial, outcome)]))
    assert "weights and biases keep the rest on average over the layers" in text


def test_depths_share_a_footnote():
    made = product((("he", 1.0), ("xavier", 0.5)), (6, 30))
    text = flat(text_of([
        run(n, factor=f, expected=f, depth=d, config={"architecture.depth": d}, test_accuracy=0.9) for (n, f), d in made
    ]))  # fmt: skip
    assert "After 6 layers rms = .125, after 30 layers rms = 3.1e-5" in text
    assert "†" not in text


@pytest.mark.parametrize("best", ["he", "xavier"])
def test_equal_scores_and_speed(best):
    steps = np.array([20.0, 30, 40, 50]).repeat(5)
    slower = steps * np.tile([1.2, 1.8, 2.7, 1.8], 5)
    recorded = [
        run(n, seed=s, test_accuracy=0.9, validation_accuracy=0.9 + 0.05 * (n == best), steps_to=v)
        for n, values in (("he", steps), ("xavier", slower))
        for s, v in enumerate(values)
    ]
    found = re.search(
        r"^accuracy not distinguished; he 1\.9x faster \[(.*), (.*)\], 20 pairs$", text_of(recorded), re.MULTILINE
    )
    # (24 + 36 + 54 + ...) / (20 + 20 + ...) = 1.88; the factors scatter by .54.
    assert 1.5 < float(found[1]) < 1.7
    assert 2.0 < float(found[2]) < 2.3
    assert "(2 tests, corrected by Holm)" in text_of(recorded)
    assert row_of(text_of(recorded), "he").split()[1] == "20"


def test_better():
    text = text_of([*seeds(12, "xavier", 0.78), *seeds(12, "he", 0.90)])
    (by, low, high) = re.search(r"^he better by (\S+) \[(\S+), (\S+)\], 12 pairs$", text, re.MULTILINE).groups()
    assert float(low) < 0.12 < float(high)
    assert float(low) < float(by) < float(high)
    assert text.index("\nhe  ") < text.index("\nxavier  ")
    third = text_of([*seeds(12, "xavier", 0.78), *seeds(12, "he", 0.90), *seeds(12, "zeros", 0.1)])
    assert "he better than xavier by" in third
    assert "he better than zeros by" in third
    assert "(4 tests against the best on validation data, corrected by Holm and for its choice)" in flat(third)


def test_speed_is_told_within_the_budget_and_with_the_runs_that_never_arrive():
    recorded = seeds(6, "he", 0.9, steps=20)
    slow = [run("xavier", seed=s, test_accuracy=0.9, validation_accuracy=0.8, steps_to=200.0 + s) for s in range(4)]
    lost = [run("xavier", seed=s, test_accuracy=0.9, validation_accuracy=0.8) for s in (4, 5)]
    # (4 · 201.5 + 2 · 420) / (6 · 20) = 13.7
    said = r"he 1[34]x faster \[[\d.]+, \d+\] within 420 steps, 6 pairs; xavier never reaches loss \.5 in 2 of 6 runs"
    assert re.search(said, flat(text_of(recorded + slow + lost)))
    never = [run("zeros", seed=s, test_accuracy=0.1, validation_accuracy=0.1) for s in range(6)]
    said = r"he better by .*; he at least (19|20)x faster, 6 pairs; zeros never reaches loss \.5"
    assert re.search(said, flat(text_of(recorded + never)))


def test_seeds_that_are_not_shared_give_no_ranking():
    text = text_of([*seeds(6, "he", 0.9)[:3], *seeds(6, "xavier", 0.1)[3:]])
    assert "no ranking: no two groups have three seeds in common" in text


def test_a_difference_that_correction_takes_away_is_shown():
    # Raw p about .03: found alone, not among two tests.
    gaps = np.array([0.01, 0.03, 0.02, 0.06, 0.07])
    made = [run("he", seed=s, test_accuracy=0.9 + gap, validation_accuracy=0.95) for s, gap in enumerate(gaps)]
    made += [run("xavier", seed=s, test_accuracy=0.9, validation_accuracy=0.9) for s in range(5)]
    assert "he better by" in text_of(made)
    noise = np.array([0.01, -0.01, 0.02, -0.02, 0.0])
    made += [run("one", seed=s, test_accuracy=0.9 + gaps[s] + noise[s], validation_accuracy=0.9) for s in range(5)]
    assert "accuracy not distinguished (he ahead by .038" in flat(text_of(made))


def test_diverged_and_failed_runs_are_in_the_table():
    cause = "ValueError: the scheme must give hidden/1/weight the shape (1, 64, 128) (runs first); got (64, 128)\n" * 3
    recorded = [
        *seeds(4, "he", 0.9),
        *(run("normal", seed=s, fate="diverged", step=3 + s) for s in range(4)),
        *seeds(4, "mine", 0.9)[:3],
        run("mine", seed=3, fate="failed", error=cause, name="mine s3"),
    ]
    text = text_of(recorded)
    assert row_of(text, "normal  ").endswith("diverged by step 6")
    assert "–" in row_of(text, "normal  ")
    assert re.search("normal diverges more often: in 4 of 4 runs, he in none", flat(text))
    assert "1 of 12 runs failed" in text
    assert "mine s3  ValueError: the scheme must give hidden/1/weight" in text
    assert row_of(text, "mine  ").split()[1] == "3"
    assert max(map(len, text.splitlines())) <= WIDTH


def test_only_failures_still_make_a_table():
    text = text_of([run("a", fate="failed", error="E: x"), run("b", fate="failed", error="E: y")])
    assert "2 of 2 runs failed" in text
    assert row_of(text, "a  ")


def test_steps_are_honest_about_runs_that_never_arrive():
    def text(reached):
        made = [run("he", seed=s, test_accuracy=0.9, **({"steps_to": 40.0} if s < reached else {})) for s in range(5)]
        return row_of(text_of(made), "he")

    assert "never (3 of 5)" in text(2)
    assert "40 (never 1 of 5)" in text(4)
    assert re.search(r"\b40\b(?! \()", text(5))
    assert re.search(r"never(?! \()", text(0))


def test_activations_become_sections():
    made = product(("relu", "tanh"), (("he", 0.9), ("xavier", 0.8), ("zeros", 0.1)), range(4))
    text = text_of([
        run(n, seed=s, choices={"activation": a}, test_accuracy=v + 0.01 * s, validation_accuracy=v)
        for a, (n, v), s in made
    ])  # fmt: skip
    lines = text.splitlines()
    assert lines.index("relu") + 4 == lines.index("tanh")
    assert "relu: he better than xavier by" in text
    assert "(4 tests against the best on validation data" in text


def test_the_predicted_signal_stands_beside_the_measured_one():
    made = {"as expected": (0.5, 0.5), "other": (1.0, 0.5), "no theory": (1.0, None), "far": (64.0, 64.0)}
    recorded = [run(n, factor=f, expected=e, test_accuracy=0.9, depth=10) for n, (f, e) in made.items()]
    text = text_of([*recorded, run("lost", factor=64.0, expected=64.0, fate="diverged", step=3, depth=10)])
    signals = {name: re.split(r"\s{2,}", row_of(text, name))[-2:] for name in (*made, "lost")}
    assert signals["as expected"] == ["halves", "halves at each layer*"]
    assert signals["other"][:2] == ["halves", "stable"]
    assert signals["no theory"] == ["unknown", "stable"]
    assert [words.rstrip("*†") for words in signals["far"]] == ["explodes", "explodes, x64"]
    assert signals["lost"] == ["explodes", "diverged at step 3"]
    assert "theory, signal: the activations' mean square" in text


@pytest.mark.parametrize(
    ("labels", "summary", "told"),
    [
        (
            {"audit": "differs", "audit_tensor": "hidden/1/weight", "audit_finding": "scale"},
            {"audit_faults": 1.0},
            "1 tensor, first hidden/1/weight: std .200 is 1.33 times the law's .150",
        ),
        (
            {"audit": "differs", "audit_tensor": "hidden/1/bias", "audit_finding": "zeros"},
            {"audit_faults": 2.0},
            "2 tensors, first hidden/1/bias: is zero where it should not be",
        ),
        # as recorded before there were labels
        (
            {"audit": "differs: 1 of 14 tensors; hidden/1/weight: std .2"},
            {},
            "1 of 14 tensors; hidden/1/weight: std .2",
        ),
    ],
)
def test_weights_that_differ_from_their_law_are_reported(labels, summary, told):
    trial, outcome = run("mine", test_accuracy=0.9, **summary)
    points = [(0, "init_weight_std", "hidden/1", 0.2), (0, "init_weight_expected_std", "hidden/1", 0.15)]
    rows = [
        *zip(outcome.rows.step, outcome.rows.quantity, outcome.rows.layer, outcome.rows.value, strict=True),
        *points,
    ]
    wrong = (trial, replace(outcome, labels=labels, rows=type(outcome.rows).of(rows)))
    right = [(t, replace(o, labels={"audit": "follows"})) for t, o in (run("he"), run("xavier"))]
    sentence = f"weights do not follow the law that the scheme declares ({told})"
    assert f"audit: {sentence}" in flat(run_text(*wrong))
    assert f"audit: in 1 of 3 runs, first in mine s0, {sentence}" in flat(text_of([*right, wrong]))
    assert "audit" not in text_of(right) + run_text(*right[0])


@pytest.mark.parametrize(("count", "told"), [(3, "accuracy: too few seeds to tell"), (8, "accuracy not distinguished")])
def test_few_seeds_tell_nothing(count, told):
    noise = [0.0, 0.05, -0.04, 0.02, -0.03, 0.01, -0.05, 0.04]
    recorded = [
        run(n, seed=s, test_accuracy=0.9 + (noise[s] + 0.02) * (n == "he"), validation_accuracy=0.9)
        for n in ("he", "xavier")
        for s in range(count)
    ]
    assert f"{told}, {count} pairs" in text_of(recorded)
    assert ("not distinguished by so few seeds" in answer(compare(*frames(recorded)))) == (count == 3)
    many = recorded + [run(f"s{g}", seed=s, test_accuracy=0.9) for g in range(6) for s in range(count)]
    assert ("too few seeds to tell" in text_of(many)) == (count == 3)


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (6, r"risky diverges more often: in 6 of 6 runs, steady in none"),
        (1, r"risky diverged in 1 of 6 runs, steady in none \(not distinguished\)"),
    ],
)
def test_divergence_is_told_with_its_test(lost, said):
    risky = [*seeds(6, "risky", 0.9)[lost:], *(run("risky", seed=s, fate="diverged", step=5) for s in range(lost))]
    comparison = compare(*frames([*seeds(6, "steady", 0.9), *risky]))
    assert re.search(said, flat(sweep_text(comparison)))
    assert ("risky diverges more often" in answer(comparison)) == (lost == 6)


def test_two_seeds_have_no_interval_and_no_ranking():
    recorded = [*seeds(2, "he", 0.9), *seeds(2, "xavier", 0.1)]
    text = text_of(recorded)
    assert "no ranking: two seeds are too few. Add seed='range(0,5)'." in text
    assert "[" not in text
    assert answer(compare(*frames(recorded))).startswith("No ranking: two seeds each")
    assert "over 2 seeds, too few for an interval" in answer(compare(*frames(seeds(2, "he", 0.9))))


def test_what_was_not_trained_is_neither_ranked_nor_scored():
    recorded = [*seeds(6, "he", 0.9, factor=0.5), *seeds(6, "xavier", 0.1)]
    runs, curves = frames(recorded)
    comparison = compare(runs, curves[curves["step"] == 0])
    text = sweep_text(comparison)
    assert not re.search("acc|loss|better|rank|distinguished|tests", text)
    assert "halves at each layer" in text
    assert answer(comparison) == "These networks were not trained: they are shown as they begin."
    assert not re.search("acc|steps|verdict", markdown(comparison))
    trial, outcome = recorded[0]
    start = outcome.rows.step == 0
    kept = [[v for v, keep in zip(c, start, strict=True) if keep] for c in (outcome.rows.quantity, outcome.rows.layer)]
    rows = Rows(outcome.rows.step[start], *map(tuple, kept), outcome.rows.value[start])
    assert "training   none" in run_text(trial, replace(outcome, rows=rows))


def test_a_scheme_of_ones_own_is_called_by_its_target():
    custom = {"choices": {"scheme": "custom"}, "config": {"scheme._target_": "mine.SmallOutput"}}
    text = run_text(*run("mine", **custom))
    assert text.startswith("SmallOutput · relu")


def test_many_groups_are_summed_up():
    made = product(range(SHOWN + 10), range(3))
    text = text_of(
        [run(f"s{g}", seed=s, test_accuracy=0.9 - 0.01 * g, validation_accuracy=0.9 - 0.01 * g) for g, s in made]
    )
    assert "... and 10 more groups" in text
    assert "accuracy against s0: " in text
    assert len(text.splitlines()) < SHOWN + 12


def test_an_experiment_adds_its_title_and_columns():
    report = {
        "title": "Symmetry",
        "question": "Do units differ?",
        "columns": ["distinct_units", "train_accuracy", "no_such"],
    }
    recorded = [
        run("zeros", distinct_units=1.0, train_accuracy=0.1),
        run("he", distinct_units=128.0, train_accuracy=0.987),
    ]
    text = text_of(recorded, report=report | {"answer.distinct_units": "Distinct units"})
    assert text.startswith("Symmetry\nDo units differ?\nDistinct units: zeros 1, he 128.\n")
    assert re.search(r"^zeros .* 1 +\.100 +– +stable +all units equal", text, re.MULTILINE)
    assert re.search(r"^he .* 128 +\.987 +–", text, re.MULTILINE)


def sweeps():
    names = ("he", "xavier", "glorot_uniform", "keras_dense", "torch_linear")
    factors = dict(zip(names, (1.0, 0.5, 0.0032, 64.0, 0.63), strict=True))
    for count in (1, 5):
        recorded = [
            one
            for name in names
            for one in seeds(count, name, 0.9, steps=100, factor=factors[name], expected=factors[name], depth=10)
        ]
        yield f"{count} seeds", recorded, {}
        asked = {"columns": ["init_activation_ratio", "init_gradient_ratio", "train_accuracy"]}
        yield f"{count} seeds, columns", recorded, {"report": asked}
    grid = product(("relu", "tanh"), names, range(4))
    yield "why", [
        run(n, seed=s, choices={"activation": a}, factor=factors[n], expected=factors[n], depth=10, test_accuracy=0.9)
        for a, n, s in grid
    ], {}  # fmt: skip
    rates = product(names, (0.003, 0.03, 0.3), range(3))
    yield "rates", [
        run(n, seed=s, config={"optimizer.learning_rate": r}, fate="diverged" if r == 0.3 else "finished",
            step=28 + s if r == 0.3 else None, factor=factors[n], expected=factors[n], test_accuracy=0.9)
        for n, r, s in rates
    ], {}  # fmt: skip


@pytest.mark.parametrize(("recorded", "settings"), [pytest.param(r, s, id=name) for name, r, s in sweeps()])
def test_typical_sweeps_fit_the_screen(recorded, settings):
    text = text_of(recorded, directory=Path("outputs/sweeps/2026-11-23_19-00-00"), viewer="make ui", **settings)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.endswith("look:     make ui\nfiles:    outputs/sweeps/2026-11-23_19-00-00")


def test_color_adds_nothing_but_color():
    recorded = [*seeds(3, "he", 0.9), run("xavier", fate="failed", error="E: no")]
    plain, colored = text_of(recorded, report={"title": "T"}), text_of(recorded, report={"title": "T"}, color=True)
    assert "\033" not in plain
    assert colored != plain
    assert re.sub("\033\\[\\d+m", "", colored) == plain
    assert re.sub("\033\\[\\d+m", "", run_text(*run(), color=True)) == run_text(*run())


# -------------------------------------------------------------------------------------------------------- progress


def test_progress_is_a_line_at_every_tenth(monkeypatch):
    clock = iter(np.arange(0.0, 1e6, 2.0))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with Progress(100, 42_000, stream=stream) as shown:
        for done in range(1, 101):
            shown.update(done, done * 420, 0.961 if done > 50 else None)
    lines = stream.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == [f"{tenth}%" for tenth in range(10, 101, 10)]
    assert all(re.search(r"\d+/100 runs · 210 steps/s", line) for line in lines)
    assert "180 s left" in lines[0] or "3 min left" in lines[0]
    assert "left" not in lines[-1]
    assert "best validation" not in lines[0]
    assert "best validation .961" in lines[-1]


def test_progress_of_a_short_command_is_one_line():
    stream = io.StringIO()
    with Progress(2, 20, stream=stream) as shown:
        for step in range(21):
            shown.update(step // 10, step)
    assert len(stream.getvalue().splitlines()) == 1
    assert stream.getvalue().startswith("100%  2/2 runs")


def test_progress_is_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Progress(4, 40, stream=stream) as shown:
        shown.update(1, 10, 0.5)
        shown.bar.refresh()
    assert "1/4 runs" in stream.getvalue()
    assert "best validation .500" in stream.getvalue()
    assert "━" in stream.getvalue()
