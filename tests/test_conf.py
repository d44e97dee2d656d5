"""Every YAML below ``conf/`` composes, becomes a trial, and runs; a user's own do so beside them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from runner.analysis import comparison
from runner.config import factories, schema
from runner.config.catalogue import CONF, GROUPS, KINDS, choices
from runner.config.composition import Composer
from runner.config.trial import VARIANTS, Trial
from runner.execution import sweep
from runner.records import Outcome
from runner.tracking.frames import frames
from tests.fitting import FITTING, OF_MODULES, fitting
from tests.test_data import offline, overrides_for

__all__ = ["offline"]  # a fixture

ROOT = CONF.parent
SMALL = ["architecture.widths=[6]", "training.steps=4", "training.probe.size=16", "tracking=none"]  # the network first
CHOICES = [
    (group, choice.name)
    for group in GROUPS
    for choice in choices(group)
    if choice.name not in OF_MODULES.get(group, ())
]
# A target for each group's custom choice.
NEEDS = {
    "scheme": ["scheme._target_=tests.schemes_for_tests.Watching"],
    "activation": ["activation._target_=tests.parts_for_tests.squareplus"],
    "architecture": ["architecture._target_=tests.parts_for_tests.pyramid"],
    "data": ["data._target_=tests.parts_for_tests.blobs"],
    "optimizer": ["optimizer._target_=tests.parts_for_tests.SignSGD"],
}
# What makes experiments small that need images or tokens.
SMALLER = {
    "cnn": ["architecture.widths=[4]", "architecture.pools=1", "data=digits"],
    "resnet": ["architecture.depth=2", "architecture.width=4"],
    "transformer": ["architecture.depth=1", "architecture.width=8"],
    "sequences": ["architecture.width=8", "seed=0"],
}
TOKENS = ("copying", "modular_addition", "sorting", "text")


def needed(group: str, name: str) -> list[str]:
    """The overrides that a choice can't do without."""
    if name == "custom":
        return NEEDS[group]
    if group == "data" and name in TOKENS:
        return ["architecture=transformer", "architecture.causal=true"]
    return fitting(name, []) if group == "scheme" else []


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer()


class Sink:
    """Keeps nothing: ``execute`` returns the outcomes."""

    waiting = 0

    def record(self, recorded: Sequence[tuple[Trial, Outcome]]) -> None:
        pass

    def send(self) -> bool:
        return False


def executed(composer: Composer, runs: Sequence[Sequence[str]]) -> list[tuple[Trial, Outcome]]:
    trials = composer.trials(runs)
    return list(zip(trials, sweep.execute(trials, Sink()), strict=True))


# Modes with keys of their own describe no trial: one looks for those of the past, one makes its own of each run.
WITHOUT_TRIALS = [("mode", "compare"), ("mode", "coordinate_check"), ("experiment", "coordinate_check")]
TRIALS = [choice for choice in CHOICES if choice not in WITHOUT_TRIALS]


@pytest.mark.parametrize(("group", "name"), TRIALS, ids=[f"{group}={name}" for group, name in TRIALS])
def test_every_choice_becomes_a_trial(composer: Composer, group: str, name: str, tmp_path: Path, offline: None) -> None:
    needs = needed(group, name) or (overrides_for(name, tmp_path) if group == "data" else [])
    overrides = [f"{group}={name}", *needs, *(["hydra.mode=RUN"] if group == "experiment" else [])]
    command = composer.command(overrides, multirun=False)
    (trial,) = composer.trials(command.runs)
    assert trial.choices[group] == name
    assert trial.network.inputs == trial.dataset.inputs


@pytest.mark.parametrize("group", ["scheme", "activation", "optimizer"])
def test_every_choice_trains(composer: Composer, group: str) -> None:
    names = [name for kind, name in CHOICES if kind == group]
    runs = [
        [*(SMALL[1:] if name in FITTING else ["data=iris", *SMALL]), f"{group}={name}", *needed(group, name)]
        for name in names
    ]
    for trial, outcome in executed(composer, runs):
        assert outcome.fate != "failed", (trial.name, outcome.error)
        assert outcome.rows.select("train_loss"), trial.name


@pytest.mark.parametrize("name", [name for group, name in TRIALS if group == "experiment"])
def test_every_experiment_runs_and_shows_what_it_promises(composer: Composer, name: str) -> None:
    small = SMALLER.get(name, ["data=iris", *SMALL[:1]])
    command = composer.command([f"experiment={name}", *small, *SMALL[1:]], multirun=False)
    assert command.multirun
    recorded = executed(composer, command.runs)
    assert all(outcome.fate != "failed" for _, outcome in recorded)
    report = recorded[0][0].config["report"]
    assert report["title"]
    assert report["question"].endswith("?")
    runs, _ = frames(recorded)
    assert set(report["columns"]) <= set(runs.columns)
    assert comparison.swept(runs)


@pytest.mark.parametrize("group", [group for group in VARIANTS if group != "data"])
def test_a_choice_names_every_argument_of_its_target(composer: Composer, group: str) -> None:
    """So that each can be set without a plus."""
    for _, name in (choice for choice in CHOICES if choice[0] == group):
        (trial,) = composer.trials([[f"{group}={name}", *needed(group, name)]])
        values = trial.config[group]
        if name != "custom":
            missing = set(factories.taken(group, values) or ()) - set(values)
            fitted = {"logistic", "slope", "blocks", "heads"}  # to the network, by the scheme itself
            assert missing <= fitted, (name, missing)


def test_shared_keys_stand_in_the_files_as_in_the_schema(composer: Composer) -> None:
    config = composer.trials([[]])[0].config
    for group in ("training", "tracking", "mode", "report"):
        default = schema.DEFAULTS[group]
        assert {key: value for key, value in config[group].items() if default[key] != "???"} == {
            key: value for key, value in default.items() if value != "???"
        }


def test_every_file_says_what_it_is() -> None:
    for path in CONF.rglob("*.yaml"):
        text = path.read_text()
        assert text.startswith("# "), path
        assert max(map(len, text.splitlines())) <= 130, path
    assert {path.name for path in CONF.iterdir() if path.is_dir()} == {*GROUPS, "hydra"}
    for choice in choices("scheme"):
        kind = choice.facts["group"]
        assert kind in KINDS or choice.name == "custom"
        assert "formula" in choice.facts or choice.name == "custom", choice.name


MINE = """
from dataclasses import dataclass

from weightinit import initializers
from weightinit.activations import tanh
from weightinit.laws import Law
from weightinit.schemes import Rule


@dataclass(frozen=True)
class Mine(Rule):
    strength: float = 1.0

    def draw(self, spec, rng):
        return initializers.normal(rng, spec.shape, std=0.1 * self.strength)

    def law(self, spec):
        return Law("normal", 0.0, 0.1 * self.strength)


def bent():
    return tanh()
"""


@pytest.mark.slow
def test_choices_and_code_of_ones_own_run_without_touching_the_lab(tmp_path: Path) -> None:
    files = {
        "mine.py": MINE,
        "choices/scheme/ours.yaml": "# Ours.\n#   group    research\n_target_: mine.Mine\nstrength: 3.0\n",
        "choices/activation/bent.yaml": "# Bent.\n_target_: mine.bent\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for line in (
        "scheme=custom scheme._target_=mine.Mine +scheme.strength=2",
        "scheme=ours,he activation=bent --config-dir choices -m",
    ):
        done = subprocess.run(
            [sys.executable, "-m", "runner", "data=iris", *SMALL, *line.split()],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "custom" in done.stdout or "ours" in done.stdout
    assert (tmp_path / "outputs").is_dir()
