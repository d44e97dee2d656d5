"""Trials: what their key depends on, what lets them share a stack, what they share in memory, how they travel."""

from __future__ import annotations

import gc
import importlib
import math
import pickle
import sys
import weakref
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weightinit.schemes
from runner.config import factories, schema
from runner.config.composition import Composer
from runner.config.factories import Part
from runner.config.key import trial_key
from runner.config.trial import VARIANTS, Trial, build
from runner.data import Dataset
from weightinit.schemes import VarianceScaling


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer()


@pytest.fixture(scope="module")
def plain(composer: Composer) -> Trial:
    (trial,) = composer.trials([["data=iris"]])
    return trial


def trial(composer: Composer, *overrides: str) -> Trial:
    (made,) = composer.trials([["data=iris", *overrides]])
    return made


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = [f"{x:.3f},{y:.3f},{'ab'[i % 2]}" for i, (x, y) in enumerate(rng.normal(size=(80, 2)))]
    (tmp_path / "table.csv").write_text("\n".join(["x,y,kind", *rows]))
    return tmp_path / "table.csv"


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scheme of a user's own, in a module of their own."""
    path = tmp_path / "my_scheme_of_this_test.py"
    path.write_text("from weightinit.schemes import Random\n\n\nclass Mine(Random):\n    word = 'first'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, path.stem, raising=False)
    return path


MINE = ("scheme=custom", "scheme._target_=my_scheme_of_this_test.Mine")

# A key names a result for good: these move only together with RESULTS_VERSION, or with the data.
GOLDEN = {
    (): "fd34c15a7d4417cb",
    ("scheme=xavier", "seed=3"): "63b56f59530d128b",
    ("data=diabetes", "activation=linear", "architecture.depth=0", "scheme=orthogonal"): "d4eb7b58df670db7",
    (
        "data=iris",
        "activation=leaky_relu",
        "optimizer=adamw",
        "training.seed=1",
        "training.probe.size=9",
    ): "c7c9cdda52434cdd",
}


def test_keys_stay_what_they_are(composer: Composer) -> None:
    keys = {overrides: t.key[:16] for overrides, t in zip(GOLDEN, composer.trials(list(GOLDEN)), strict=True)}
    assert keys == GOLDEN


@pytest.mark.parametrize(
    "overrides",
    [
        ["tracking=none"],
        ["tracking.uri='http://localhost:5000'", "tracking.figures=false"],
        ["outputs=elsewhere"],
        ["report.title=Mine", "report.columns=[train_accuracy]"],
        ["scheme.scale=2"],  # for 2.0
        ["scheme=variance_scaling", "scheme.scale=2"],  # another name for the same
        ["seed=0", "training.seed=0"],
        ["training.steps=42e1", "architecture.width=1.28e2", "training.probe.size=256.0"],
        ["architecture.widths=null", "architecture.depth=6"],
        ["optimizer.weight_decay=0"],
        ["optimizer=nesterov", "optimizer.nesterov=false"],
        ["~optimizer.schedule"],  # the default of its target stands in
        ["hydra.job.name=other", "hydra.run.dir=elsewhere"],
    ],
    ids=" ".join,
)
def test_what_changes_no_result_changes_no_key(composer: Composer, plain: Trial, overrides: list[str]) -> None:
    assert trial(composer, *overrides).key == plain.key


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "training.seed=1",
        "scheme=xavier",
        "scheme.scale=2.5",
        "activation=tanh",
        "architecture.depth=5",
        "architecture.bias=false",
        "data=wine",
        "data.split_seed=1",
        "data.standardize=false",
        "optimizer.learning_rate=0.02",
        "optimizer.clip_norm=1",
        "optimizer=nesterov",
        "training.steps=10",
        "training.batch_size=8",
        "training.dtype=float64",
        "training.measure_every=1",
        "training.probe.source=gaussian",
    ],
)
def test_what_changes_results_changes_the_key(composer: Composer, plain: Trial, override: str) -> None:
    assert trial(composer, override).key != plain.key


def changed(config: Mapping[str, Any], group: str, **values: Any) -> dict[str, Any]:
    copy: dict[str, Any] = deepcopy(dict(config))
    copy[group] |= values
    return copy


def key_of(config: Mapping[str, Any], dataset: Dataset) -> str:
    return trial_key(config, {group: Part.of(group, config[group]) for group in VARIANTS}, dataset)


def test_a_new_key_with_a_default_moves_no_old_key(plain: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Later(VarianceScaling):
        novelty: float = 1.5

    monkeypatch.setattr(weightinit.schemes, "VarianceScaling", Later)
    monkeypatch.setitem(schema.DEFAULTS["training"], "novelty", None)
    monkeypatch.setitem(schema.DEFAULTS["training"]["probe"], "novelty", 7)
    probe = plain.config["training"]["probe"]
    for group, values, same in (
        ("scheme", {"novelty": 1.5}, True),
        ("scheme", {"novelty": 2}, False),
        ("training", {"novelty": None}, True),
        ("training", {"novelty": 0}, False),
        ("training", {"probe": {**probe, "novelty": 7}}, True),
        ("training", {"probe": {**probe, "novelty": 8}}, False),
    ):
        assert (key_of(changed(plain.config, group, **values), plain.dataset) == plain.key) is same, values


def test_of_data_their_content_counts_and_not_their_place(composer: Composer, table: Path) -> None:
    def key(path: Path) -> str:
        return trial(composer, "data=csv", f"data.path={path}", "data.target=kind").key

    first, (copy, other) = key(table), (table.with_name("copy.csv"), table.with_name("other.csv"))
    copy.write_text(table.read_text())
    other.write_text(table.read_text().replace("0.", "1.", 1))
    assert key(copy) == first
    assert key(other) != first


def test_a_file_that_changes_is_read_again(composer: Composer, table: Path) -> None:
    before = trial(composer, "data=csv", f"data.path={table}", "data.target=kind")
    table.write_text(table.read_text().replace("0.", "1.", 1))
    assert trial(composer, "data=csv", f"data.path={table}", "data.target=kind").key != before.key


def test_of_code_of_ones_own_the_source_counts(composer: Composer, mine: Path) -> None:
    first = trial(composer, *MINE).key
    assert trial(composer, *MINE).key == first
    mine.write_text(mine.read_text() + "\n# another thought\n")
    assert trial(composer, *MINE).key != first


def test_code_of_ones_own_may_be_reloaded(composer: Composer, mine: Path) -> None:
    assert trial(composer, *MINE).scheme.word == "first"  # type: ignore[attr-defined]
    mine.write_text(mine.read_text().replace("'first'", "'second one'"))
    importlib.invalidate_caches()
    importlib.reload(sys.modules[mine.stem])
    assert trial(composer, *MINE).scheme.word == "second one"  # type: ignore[attr-defined]


def test_a_trial_pickles_from_its_config(composer: Composer) -> None:
    original = trial(composer, "scheme=orthogonal", "seed=4", "optimizer=adam", "activation=elu").named("a name")
    pickled = pickle.dumps(original)
    assert len(pickled) < 4000  # no data, no network
    copy = pickle.loads(pickled)
    assert copy == original
    for field in ("key", "name", "overrides", "choices", "plan", "scheme", "optimizer", "signature", "outputs"):
        assert getattr(copy, field) == getattr(original, field), field
    assert copy.network is original.network
    assert copy.dataset is original.dataset
    assert build(original.config, original.choices, original.overrides, "a name") == original


STACKED = [
    ["seed=1"],
    ["training.seed=1"],
    ["scheme=xavier"],
    ["scheme.scale=3"],
    ["optimizer.learning_rate=0.1"],
    ["optimizer.momentum=0.5"],
    ["optimizer.schedule=cosine", "optimizer.warmup_steps=3"],
    ["tracking=none", "outputs=elsewhere"],
    ["training.epochs=5", "training.steps=3"],  # against the same number of steps, below
]
APART = [
    ["architecture.depth=5"],
    ["architecture.width=64"],
    ["architecture.bias=false"],
    ["activation=tanh"],
    ["data=wine"],
    ["data.split_seed=1"],
    ["optimizer=adam"],
    ["optimizer=nesterov"],
    ["optimizer.weight_decay=0.1"],
    ["optimizer.clip_norm=1"],
    ["training.batch_size=8"],
    ["training.steps=9"],
    ["training.dtype=float64"],
    ["training.loss=mse"],
    ["training.measure_every=3"],
    ["training.save=both"],
]


@pytest.mark.parametrize("overrides", STACKED, ids=" ".join)
def test_runs_that_differ_in_vectors_share_a_stack(composer: Composer, overrides: list[str]) -> None:
    per_epoch = trial(composer).plan.evaluate_every
    base = trial(composer, f"training.steps={5 * per_epoch}")
    assert trial(composer, f"training.steps={5 * per_epoch}", *overrides).signature == base.signature


@pytest.mark.parametrize("overrides", APART, ids=" ".join)
def test_runs_that_differ_in_shape_or_operations_do_not(composer: Composer, plain: Trial, overrides: list[str]) -> None:
    assert trial(composer, *overrides).signature != plain.signature


def test_the_runs_of_a_sweep_share_what_does_not_differ(composer: Composer) -> None:
    runs = composer.trials(
        [["data=iris", f"scheme={name}", f"seed={seed}"] for seed in (0, 1) for name in ("he", "keras")]
    )
    for part, count in (("network", 1), ("dataset", 1), ("scheme", 2), ("optimizer", 1)):
        assert len({id(getattr(run, part)) for run in runs}) == count, part


def test_whole_floats_are_whole_numbers_where_these_are_asked_for(composer: Composer, tmp_path: Path) -> None:
    plain = trial(composer, "architecture.depth=2", "training.steps=1000", "seed=10", "optimizer.learning_rate=1.0")
    same = trial(composer, "architecture.depth=2.0", "training.steps=1e3", "seed=1e1", "optimizer.learning_rate=1.0")
    assert same.key == plain.key
    assert repr(same.config) == repr(plain.config)
    assert type(same.config["optimizer"]["learning_rate"]) is float
    text = "# @package _global_\ntraining: {steps: 1e3}\nseed: 1e1\narchitecture: {depth: 2.0}\n"
    for place, words in (("experiment/mine.yaml", text), ("training/mine.yaml", "defaults: [default]\nsteps: 1e3\n")):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).write_text(words + "optimizer: {learning_rate: 1.0}\n" * place.startswith("exp"))
    mine = Composer(str(tmp_path))
    filed = trial(mine, "experiment=mine")
    assert (filed.key, repr(filed.config)) == (plain.key, repr(plain.config))
    assert trial(mine, "training=mine").config["training"]["steps"] == 1000
    for wrong in ("architecture.depth=2.5", "training.steps=2.5", "seed=1e400"):
        with pytest.raises(ValueError, match=rf"{wrong.partition('=')[0]} must be a whole number"):
            trial(composer, wrong)


def test_data_that_nobody_holds_leave_memory() -> None:
    made = []
    for seed in range(4):
        values = {"_target_": "runner.data.iris", "split_seed": 100 + seed}
        dataset = factories.make_dataset(Part.of("data", values))
        assert factories.make_dataset(Part.of("data", dict(values))) is dataset
        made.append(weakref.ref(dataset))
        del dataset
    gc.collect()
    assert [reference() is None for reference in made] == [True, True, False, False]


def test_a_plan_fills_in_what_was_left_open(composer: Composer) -> None:
    digits = composer.trials([["data=digits"]])[0]
    samples = len(digits.dataset.x_train)
    assert (digits.plan.batch_size, digits.plan.steps, digits.plan.seed) == (64, 420, 0)
    assert digits.plan.evaluate_every == samples // 64
    small = trial(composer, "training.epochs=2.5", "seed=7", "training.probe.size=100000")
    samples = len(small.dataset.x_train)
    assert small.plan.batch_size == samples // 8
    assert small.plan.steps == round(2.5 * (samples // (samples // 8)))
    assert small.plan.measure_every == math.ceil(small.plan.steps / 10)
    assert (small.seed, small.plan.seed, small.plan.probe) == (7, 7, samples)
    apart = trial(composer, "seed=7", "training.seed=3", "training.steps=0")
    assert (apart.seed, apart.plan.seed, apart.plan.steps) == (7, 3, 0)
    assert trial(composer, "training.probe.source=gaussian", "training.probe.size=5000").plan.probe == 5000


def test_the_loss_fits_the_task(composer: Composer) -> None:
    losses = [trial(composer, *overrides).loss for overrides in ([], ["data=diabetes"], ["training.loss=mse"])]
    assert [type(loss).__name__ for loss in losses] == ["CrossEntropy", "MeanSquaredError", "MeanSquaredError"]


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov"])
def test_the_default_learning_rate_fits_the_task(composer: Composer, optimizer: str) -> None:
    """A squared error's gradient grows with the error; a rate of one's own is taken as it is."""
    both = [[f"optimizer={optimizer}"], [f"optimizer={optimizer}", "data=diabetes"]]
    classes, numbers = (run.config["optimizer"]["learning_rate"] for run in composer.trials(both))
    assert numbers < classes / 5
    given = trial(composer, f"optimizer={optimizer}", "data=diabetes", "optimizer.learning_rate=0.02")
    assert given.optimizer.learning_rate == given.config["optimizer"]["learning_rate"] == 0.02
    with pytest.raises(ValueError, match=r"learning_rate must be a number, or one for each task: .* got \{'mse': 1\}"):
        trial(composer, "~optimizer.learning_rate", "+optimizer.learning_rate={mse: 1}")


def test_the_threshold_of_a_regression_is_a_share_of_the_loss_of_the_best_constant(composer: Composer) -> None:
    run = trial(composer, "data=linear_teacher", "training.threshold=0.25")
    targets = run.dataset.y_train[None]
    constants = targets.mean(axis=1, keepdims=True) + np.linspace(-1, 1, 21)[:, None, None]
    losses = run.loss(np.broadcast_to(constants, (21, *targets.shape[1:])).copy(), targets.repeat(21, axis=0))
    assert losses.argmin() == 10  # the mean
    assert run.plan.threshold_loss == pytest.approx(0.25 * losses[10])
    assert trial(composer, "training.loss=mse").plan.threshold_loss == 0.5
