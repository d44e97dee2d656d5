"""Advice: theory makes a shortlist, each scheme at its best learning rate; of equals the faster or simpler is taken."""

from __future__ import annotations

import math
import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from runner.config.catalogue import LIBRARIES, choices
from runner.config.composition import Composer
from runner.modes import advise
from runner.modes.advise import budget
from runner.modes.advise.duration import UNITS, Duration, Pace, duration, pace
from runner.modes.advise.shortlist import DEPTH, FEW, RATE, SEEDS
from runner.modes.forecast import forecast
from runner.tracking import read
from runner.tracking.frames import frames
from tests.commands import started, typed
from tests.recorded import run


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer()


def planned(composer: Composer, *overrides: str) -> tuple[Any, advise.Shortlist]:
    return advise.plan(composer, composer.command(["mode=advise", *overrides], multirun=True))


def values(command: Any, key: str) -> list[str]:
    found = (text.partition("=")[2] for own in command.runs for text in own if text.partition("=")[0] == key)
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("network", [["activation=gelu", "architecture.depth=8"], ["architecture.depth=2"]])
def test_every_scheme_is_tried_or_left_out_with_a_reason(composer: Composer, network: Sequence[str]) -> None:
    _, shortlist = planned(composer, *network)
    tried = [candidate.name for candidate in shortlist.tried]
    left_out = [name.split()[0] for names in shortlist.left_out.values() for name in names]
    everything = sorted(choice.name for choice in choices("scheme") if choice.name != "custom")
    assert sorted(tried + left_out) == everything
    assert 2 <= len(tried) <= FEW
    assert "he" in tried
    assert all(candidate.forecast.stability.trainable for candidate in shortlist.tried)


def test_numbers_are_set_to_what_the_activation_needs(composer: Composer) -> None:
    _, shortlist = planned(composer, "activation=gelu", "architecture.depth=8")
    own = {candidate.name: candidate for candidate in shortlist.tried}
    others = {name for names in shortlist.left_out.values() for name in names}
    assert "variance_scaling scale 2.352" in others  # 1 / E[gelu(z)²]
    assert float(own["orthogonal"].value) == pytest.approx(1.53353, rel=1e-3)
    _, shortlist = planned(composer)
    own = {candidate.name: candidate for candidate in shortlist.tried}
    assert float(own["orthogonal"].value) == pytest.approx(math.sqrt(2), rel=1e-3)  # the critical point of relu
    assert "variance_scaling" not in own  # there it is he
    assert shortlist.tried[0].name == "he"  # simplest first


@pytest.mark.slow  # forecasts of all schemes through 60 layers
def test_where_theory_lets_nothing_through_the_least_bad_are_tried(composer: Composer) -> None:
    _, shortlist = planned(composer, "activation=silu", "architecture.depth=60")
    assert len(shortlist.tried) >= 2
    left_out = {name for names in shortlist.left_out.values() for name in names}
    assert not left_out & {candidate.name for candidate in shortlist.tried}


def test_the_sweep_pairs_schemes_rates_and_seeds(composer: Composer) -> None:
    command, shortlist = planned(composer, "data=iris", "training.steps=7")
    assert len(command.runs) == len(shortlist.tried) * 3 * SEEDS == len(set(command.runs))
    assert values(command, RATE) == ["0.01", "0.03", "0.09"]
    assert values(command, "training.steps") == ["7"]
    assert not values(command, "mode")
    command, _ = planned(composer, "scheme=he,xavier", f"architecture.depth={10 * DEPTH}")
    assert values(command, RATE) == ["0.001", "0.003", "0.009"]


def test_what_the_command_lists_is_taken(composer: Composer) -> None:
    command, shortlist = planned(composer, "scheme=random,xavier", "seed=range(3,6)", f"{RATE}=0.02", "resume=true")
    assert [candidate.name for candidate in shortlist.tried] == ["random", "xavier"]
    assert (values(command, "seed"), values(command, RATE)) == (["3", "4", "5"], ["0.02"])
    assert not shortlist.left_out
    assert not shortlist.kept


def test_a_trial_is_cut_to_fit_its_budget(composer: Composer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "pace", lambda trials, workers: Pace(runs=1, start=0.0, step=0.01))
    asked = [
        "mode=advise",
        "data=iris",
        "training.steps=100",
        "scheme=he,xavier,orthogonal",
        "hydra.launcher.max_workers=1",
    ]

    def fitted(*words: str) -> tuple[Any, advise.Shortlist, Any, str]:
        return advise.prepared(composer, composer.command([*asked, *words], multirun=True))

    command, everything, trials, said = fitted()
    assert (len(command.runs), len(trials)) == (45, 45)
    assert said.startswith("45 runs (3 schemes, 3 learning rates, 5 seeds): about ")
    sizes = []
    for seconds in (90, 60, 45):
        command, part, trials, said = fitted(f"mode.budget={seconds}")
        assert set(part.runs) <= set(everything.runs)
        assert command.runs == part.runs
        assert [trial.overrides for trial in trials] == [trial.overrides for trial in composer.trials(part.runs)]
        assert f"cut from 45 to fit mode.budget={seconds}: about" in said
        assert len(part.tried) == 3  # a person chose them
        assert len(part.seeds) >= 3
        sizes.append(len(trials))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]
    with pytest.raises(
        ValueError, match=r"mode.budget=2 is too short: the smallest trial, of 9 runs, .* Pass mode.budget="
    ):
        fitted("mode.budget=2")
    with pytest.raises(ValueError, match=r"mode.budget must be seconds above 0, or null; got -1"):
        fitted("mode.budget=-1")


def test_a_pace_is_that_of_the_steps(composer: Composer) -> None:
    """In evaluations: the pilot of a sweep that is short runs it to its end, that of a long one stops."""
    command, _ = planned(composer, "data=iris", "training.steps=20", "scheme=he,xavier", f"{RATE}=0.01", "seed=0,1")
    found = pace(composer.trials(command.runs), workers=1)
    assert (found.runs, found.step > 0, found.start > 0) == (4, True, True)
    trials = composer.trials(command.runs)
    one, two = duration(trials[:2], found, workers=1), duration(trials, found, workers=1)
    assert one.low < two.low
    assert str(Duration(40.0, 130.0)) == "40 to 130 s"


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("data=iris", "architecture.depth=2", "architecture.width=16", "training.steps=60", "scheme=he,xavier"),
        ("architecture.depth=4", "architecture.width=64", "training.steps=100"),
        ("data=two_spirals", "architecture.width=32", "activation=tanh", "training.steps=300", "tracking=none"),
    ],
)
def test_the_trial_takes_as_long_as_was_said(tmp_path: Path, words: Sequence[str]) -> None:
    process = started("mode=advise", f"outputs={tmp_path}", *words)
    assert process.stderr is not None
    begun = low = high = 0.0
    for line in process.stderr:
        if found := re.search(r"about (\S+) to (\S+) (s|min) on this machine", line):
            begun, unit = time.monotonic(), UNITS[found[3]]
            low, high = float(found[1]) * unit, float(found[2]) * unit
    process.communicate()
    assert process.returncode == 0
    assert low < time.monotonic() - begun < high


@pytest.fixture(scope="module")
def pair(composer: Composer) -> advise.Shortlist:
    return planned(composer, "scheme=he,xavier,orthogonal")[1]


Own = tuple[float, float, float]  # accuracy on validation and on test data, steps


def recorded(
    table: dict[tuple[str, float], Own], *, seeds: int = 5, **settings: Any
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs of (scheme, learning rate), with a little scatter that seeds share and a little of their own."""
    made = []
    for (scheme, rate), (validation, test, steps) in table.items():
        for seed in range(seeds):
            wave = 0.01 * math.sin(seed) + 0.002 * math.cos(3 * seed + len(scheme))
            summary = {} if math.isinf(steps) else {"steps_to": float(round(steps * (1 + 5 * wave)))}
            config = {RATE: rate, "training.threshold": 0.5}
            own = {"validation_accuracy": validation + wave, "test_accuracy": test + wave, "validation_loss": 1.0}
            made.append(run(scheme, seed=seed, config=config, **own, **summary, **settings))
    return frames(made)


def labels(decision: Any, groups: Sequence[int]) -> list[str]:
    return [decision.comparison.groups["label"][group] for group in groups]


def test_learning_rates_are_chosen_on_validation_data(pair: advise.Shortlist) -> None:
    tables = recorded({
        ("he", 0.01): (0.9, 0.5, 30), ("he", 0.1): (0.8, 0.99, 30), ("xavier", 0.01): (0.5, 0.9, 30),
        ("xavier", 0.1): (0.7, 0.7, 30), ("orthogonal", 0.01): (0.6, 0.6, 30),
    })  # fmt: skip
    decision = advise.decide(pair, *tables)
    assert decision.rates == {"he": 0.01, "xavier": 0.1, "orthogonal": 0.01}
    assert decision.comparison.groups.set_index("label")["test"]["he"] == pytest.approx(0.5, abs=0.02)


def test_a_diverged_learning_rate_is_the_worst(pair: advise.Shortlist) -> None:
    good = recorded({("he", 0.01): (0.5, 0.5, 30), ("xavier", 0.01): (0.4, 0.4, 30)})
    bad = recorded({("he", 0.1): (0.9, 0.9, 30)}, fate="diverged", step=3)
    tables = tuple(pd.concat(parts, ignore_index=True) for parts in zip(good, bad, strict=True))
    assert advise.decide(pair, *tables).rates["he"] == 0.01


def test_the_better_one_is_taken_even_if_slower(pair: advise.Shortlist) -> None:
    tables = recorded({("he", 0.01): (0.8, 0.8, 10), ("xavier", 0.01): (0.9, 0.9, 90)})
    decision = advise.decide(pair, *tables)
    assert labels(decision, decision.leading) == labels(decision, [decision.chosen]) == ["xavier"]
    text = advise.text(pair, decision)
    assert "its validation accuracy is the best; the others are worse" in " ".join(text.split())
    assert "xavier better in validation accuracy by .10" in text
    assert "advice     scheme xavier, learning rate .01" in text


def test_of_schemes_that_are_not_distinguished_the_faster_is_taken(pair: advise.Shortlist) -> None:
    tables = recorded(
        {("he", 0.01): (0.9, 0.9, 60), ("xavier", 0.01): (0.901, 0.9, 30), ("orthogonal", 0.01): (0.5, 0.5, 9)}
    )
    decision = advise.decide(pair, *tables)
    assert sorted(labels(decision, decision.leading)) == ["he", "xavier"]
    assert labels(decision, [decision.chosen]) == ["xavier"]
    text = " ".join(advise.text(pair, decision).split())
    assert re.search(
        r"not distinguish xavier, he in validation accuracy\. xavier is 2\.\dx faster \[.*\] than he", text
    )


def test_of_equally_fast_ones_the_simpler_is_taken(pair: advise.Shortlist) -> None:
    tables = recorded(
        {("orthogonal", 0.01): (0.902, 0.9, 30), ("xavier", 0.01): (0.9, 0.9, 30), ("he", 0.01): (0.9, 0.9, 30)}
    )
    decision = advise.decide(pair, *tables)
    assert len(decision.leading) == len(decision.fastest) == 3
    assert labels(decision, [decision.chosen]) == ["he"]  # the first of the shortlist
    assert "he is the simplest" in " ".join(advise.text(pair, decision).split())


def test_test_data_take_no_part(pair: advise.Shortlist) -> None:
    """Orthogonal is better on test data alone; what is advised, and why, follows from validation data."""
    table = {("he", 0.01): (0.9, 0.5, 30.0), ("xavier", 0.01): (0.8, 0.7, 30.0), ("orthogonal", 0.01): (0.7, 0.9, 30.0)}
    decision = advise.decide(pair, *recorded(table))
    assert labels(decision, [decision.chosen]) == ["he"]
    text = " ".join(advise.text(pair, decision).split())
    assert "he better than orthogonal in validation accuracy by" in text
    assert "orthogonal better" not in text
    swapped = {key: (validation, 1 - test, steps) for key, (validation, test, steps) in table.items()}
    other = advise.decide(pair, *recorded(swapped))
    assert labels(other, [other.chosen]) == ["he"]


def test_of_few_seeds_the_best_on_validation_is_a_guess(pair: advise.Shortlist) -> None:
    table = {("he", 0.01): (0.8, 0.9, 30.0), ("xavier", 0.01): (0.9, 0.8, 60.0)}
    text = " ".join(advise.text(pair, advise.decide(pair, *recorded(table, seeds=2))).split())
    assert "advice scheme xavier" in text
    assert "xavier is a guess" in text


def test_where_no_run_arrives_speed_says_nothing(pair: advise.Shortlist) -> None:
    tables = recorded({("xavier", 0.01): (0.902, 0.9, math.inf), ("he", 0.01): (0.9, 0.9, math.inf)})
    decision = advise.decide(pair, *tables)
    assert labels(decision, [decision.chosen]) == ["he"]
    assert "None reaches loss .5" in " ".join(advise.text(pair, decision).split())


def test_a_best_rate_at_the_edge_is_told(pair: advise.Shortlist) -> None:
    table = {("he", rate): (0.8 + rate, 0.9, 30.0) for rate in (0.01, 0.03, 0.09)}
    table |= {("xavier", rate): (0.3, 0.3, 30.0) for rate in (0.01, 0.03, 0.09)}
    text = advise.text(pair, advise.decide(pair, *recorded(table)))
    assert ".09 is the largest learning rate tried" in text
    table[("he", 0.03)] = (0.95, 0.9, 30.0)
    assert "learning rate tried" not in advise.text(pair, advise.decide(pair, *recorded(table)))


def test_lines_for_other_libraries_hold_the_tuned_number(composer: Composer) -> None:
    for choice in choices("scheme"):
        if choice.name in ("orthogonal", "variance_scaling"):
            assert all(choice.facts[library].count("1.0") == 1 for library in LIBRARIES)
    _, shortlist = planned(composer, "activation=gelu", "architecture.depth=8")
    tables = recorded({("orthogonal", 0.01): (0.9, 0.9, 30), ("he", 0.01): (0.5, 0.5, 30)})
    text = advise.text(shortlist, advise.decide(shortlist, *tables))
    assert "torch.nn.init.orthogonal_(layer.weight, gain=1.534)" in text
    assert "keras.initializers.Orthogonal(gain=1.534)" in text
    assert "jax.nn.initializers.orthogonal(scale=1.534)" in text
    assert "scheme=orthogonal scheme.gain=1.534" in text


def test_advice_on_a_table_is_recorded_and_its_command_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], composer: Composer
) -> None:
    from sklearn.datasets import load_iris

    load_iris(as_frame=True).frame[::3].to_csv(tmp_path / "my flowers.csv", index=False)  # 50 samples
    monkeypatch.chdir(tmp_path)
    line = ["mode=advise", "data=csv", "data.path='my flowers.csv'", "data.target=target", "architecture.width=8"]
    line += ["architecture.depth=2", "training.steps=20", "tracking=none", "scheme=he,xavier", "seed=0,1"]
    assert typed(*line) == 0
    printed = capsys.readouterr().out
    (directory,) = Path("outputs/sweeps").iterdir()
    assert f"files:    {directory}" in printed
    assert "2 seeds" in printed
    runs, _ = read(directory)
    assert len(runs) == 2 * 3 * 2
    (command,) = re.findall(r"this lab   python -m runner (.*) -m", printed)
    repeated = composer.trials(composer.command(shlex.split(command), multirun=True).runs)
    assert {trial.key for trial in repeated} < set(runs["key"])
    assert len(repeated) == 2
    assert typed(*line, "resume=true") == 0
    again = capsys.readouterr()
    assert "nothing is left to do" in again.err
    assert again.out == printed


def test_a_forecast_survives_a_signal_too_small_to_square(composer: Composer) -> None:
    (configuration,) = composer.configurations([["scheme=siren", "activation=silu", "architecture.depth=50"]])
    assert forecast(*configuration).stability.label == "vanishes"
