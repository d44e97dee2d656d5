"""Training of stacks: the same bits alone and among others, on any number of threads; divergence; what is measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import ClassVar

import numpy as np
import pytest

from runner.config.catalogue import choices
from runner.config.composition import Composer
from runner.config.trial import Trial
from runner.execution import sweep
from runner.execution.pool import LocalPool
from runner.optimizers import updater
from runner.records import Outcome
from runner.training import helpers, numpy_engine, stacks
from runner.training.blas import single_blas_thread
from runner.training.evaluation import evaluate, outputs_of
from runner.training.helpers import Helpers
from runner.training.initialization import initialize
from runner.training.loop import train
from weightinit.nn import LOSSES, mlp

SMALL = [
    "data=iris",
    "architecture.widths=[9,7]",
    "training.steps=14",
    "training.batch_size=10",
    "training.probe.size=20",
]
SMALL += ["training.evaluate_every=5", "training.measure_every=4", "tracking=none", "training.save=both"]


def trials(*overrides: str, each: Sequence[Sequence[str]] = ((),)) -> list[Trial]:
    return Composer().trials([[*SMALL, *overrides, *own] for own in each])


def mixed(count: int) -> list[list[str]]:
    """Runs that differ in all that may differ within a stack."""
    schemes = ["he", "xavier", "orthogonal", "pytorch", "random", "truncated_normal", "sparse"]
    return [
        [
            f"scheme={schemes[i % 7]}",
            f"seed={i // 3}",
            f"training.seed={i % 5}",
            f"optimizer.learning_rate={0.01 * (1 + i % 4)}",
        ]
        for i in range(count)
    ]


def assert_same(one: Outcome, other: Outcome) -> None:
    assert one.key == other.key
    assert one.fate == other.fate
    assert one.diverged_at_step == other.diverged_at_step
    assert one.rows.quantity == other.rows.quantity
    assert one.rows.layer == other.rows.layer
    assert one.rows.step.tobytes() == other.rows.step.tobytes()
    different = [
        q
        for q, a, b in zip(one.rows.quantity, one.rows.value, other.rows.value, strict=True)
        if a.tobytes() != b.tobytes()
    ]
    assert not different
    assert one.summary == other.summary
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        assert array.tobytes() == other.arrays[name].tobytes(), name


def assert_stacks_change_nothing(runs: list[Trial], sizes: Sequence[int]) -> None:
    alone = [train([trial])[0] for trial in runs]
    for size in sizes:
        together = [o for start in range(0, len(runs), size) for o in train(runs[start : start + size])]
        for one, other in zip(alone, together, strict=True):
            assert_same(one, other)


@dataclass
class Kept:
    """A sink that keeps what it gets."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)

    waiting = 0

    def record(self, recorded: Sequence[tuple[Trial, Outcome]]) -> None:
        self.outcomes |= {outcome.key: outcome for _, outcome in recorded}

    def send(self) -> bool:
        return False


def test_a_run_has_the_same_bits_alone_in_7_and_in_64_on_one_and_two_threads() -> None:
    runs = trials(each=mixed(64))
    assert len({trial.signature for trial in runs}) == 1
    assert_stacks_change_nothing(runs, [7, 64])
    alone = {trial.key: train([trial])[0] for trial in runs}
    with ThreadPoolExecutor(2) as executor:
        sweep.execute(runs, kept := Kept(), pool=LocalPool(executor, 2))
    for key, outcome in kept.outcomes.items():
        assert_same(alone[key], outcome)


def shipped(group: str) -> list[str]:
    """Choices of a group, without ``custom``, which names nothing by itself."""
    return [choice.name for choice in choices(group) if choice.name != "custom"]


@pytest.mark.parametrize("activation", shipped("activation"))
def test_no_activation_breaks_the_identity(activation: str) -> None:
    assert_stacks_change_nothing(trials(f"activation={activation}", each=mixed(3)), [3])


@pytest.mark.parametrize("schedule", ["constant", "cosine optimizer.warmup_steps=3", "step optimizer.decay_every=4"])
@pytest.mark.parametrize("optimizer", shipped("optimizer"))
def test_no_optimizer_and_no_schedule_breaks_the_identity(optimizer: str, schedule: str) -> None:
    settings = [f"optimizer={optimizer}", *f"optimizer.schedule={schedule}".split()]
    settings += ["optimizer.weight_decay=0.01", "optimizer.clip_norm=0.5"]
    assert_stacks_change_nothing(trials(*settings, each=mixed(3)), [3])


@pytest.mark.parametrize(
    "setting",
    [
        "training.dtype=float64",
        "data=diabetes",
        "training.loss=mse",
        "architecture.bias=false",
        "training.probe.source=gaussian",
        "architecture.depth=0 architecture.widths=null",
        "training.probe.source=validation training.evaluation_batch_size=4",
    ],
)
def test_nothing_else_breaks_the_identity(setting: str) -> None:
    assert_stacks_change_nothing(trials(*setting.split(), each=mixed(7)), [3, 7])


class Late(Helpers):
    """Helpers that begin when they are waited for, and do first what they were given last."""

    given: ClassVar[list[Callable[[], None]]] = []
    done: ClassVar[int] = 0

    def do(self, work: Callable[[], None]) -> None:
        self.given.append(work)

    def wait(self) -> None:
        while self.given:
            self.given.pop()()
            Late.done += 1


@pytest.mark.parametrize("kind", [Helpers, Late])
def test_threads_within_a_stack_change_no_bit(kind: type[Helpers], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updater, "BLOCK", 60)  # less than a run
    optimizer = ["optimizer=adamw", "optimizer.weight_decay=0.1", "optimizer.clip_norm=0.5"]
    runs = trials(*optimizer, each=[["scheme=he"], ["scheme=random", "scheme.std=1e20"], ["seed=3"]])
    without = train(runs)
    assert without[1].fate == "diverged"
    assert Helpers.of(runs[0], 3, 3) is None  # too small a network
    monkeypatch.setattr(helpers, "LARGE", 0)
    assert Helpers.of(runs[0], 3, 1) is None
    monkeypatch.setattr(numpy_engine, "Helpers", kind)
    for one, other in zip(train(runs, threads=3), without, strict=True):
        assert_same(one, other)
    assert kind is Helpers or Late.done == 14 * (3 + 2)  # gradients of three layers and two parts of the update


def test_a_run_that_diverges_leaves_the_others_as_they_are() -> None:
    rates = ["optimizer.learning_rate=1e30" if i in (1, 4) else f"seed={i}" for i in range(6)]
    runs = trials(each=[[rate] for rate in rates])
    outcomes = train(runs)
    assert [outcome.fate for outcome in outcomes] == ["diverged" if i in (1, 4) else "finished" for i in range(6)]
    assert_stacks_change_nothing(runs, [6])
    gone = outcomes[1]
    assert gone.diverged_at_step is not None
    assert 0 < gone.diverged_at_step < 14
    losses = gone.rows.select("train_loss")
    assert losses[-1][0] <= gone.diverged_at_step
    assert "test_accuracy" not in gone.summary
    assert not gone.rows.select("final_weight_std")


def test_all_runs_of_a_stack_may_diverge() -> None:
    outcomes = train(trials("optimizer.learning_rate=1e30", each=[["seed=0"], ["seed=1"]]))
    assert [outcome.fate for outcome in outcomes] == ["diverged", "diverged"]


@pytest.mark.parametrize(
    "activation", ["relu", "sine", *(pytest.param(n, marks=pytest.mark.slow) for n in ("softplus", "selu"))]
)
def test_absurd_weights_diverge_and_do_not_fail(activation: str) -> None:
    """Theory and the audit end where float64 does; the others of the stack are as they were."""
    own = ["scheme=normal", f"activation={activation}", "architecture.widths=[9,9,9,9,9,9]"]
    outcomes = train(trials(*own, each=[[f"scheme.std={std}"] for std in (1e8, 1e20, 1e30, 0.1)]))
    assert [outcome.fate for outcome in outcomes if outcome.error] == []
    assert outcomes[-1].fate == "finished"
    if activation != "sine":
        assert [outcome.diverged_at_step for outcome in outcomes[1:3]] == [0, 0]


def test_a_regression_trains_by_default() -> None:
    for data in ("diabetes", "linear_teacher"):
        (outcome,) = train(Composer().trials([[f"data={data}", "seed=1"]]))
        assert outcome.fate == "finished"
        assert outcome.summary["train_r2"] > 0.7
        assert outcome.summary["steps_to_loss_0.5"] > 0


def test_a_scheme_that_raises_fails_alone() -> None:
    bad = ["scheme=custom", "scheme._target_=tests.schemes_for_tests.RaisesAtSeed"]
    each = [[*bad, "+scheme.seed=3", f"seed={seed}"] for seed in (2, 3, 4)] + [["scheme=he", "seed=3"]]
    runs = trials(each=each)
    outcomes = train(runs)
    assert [outcome.fate for outcome in outcomes] == ["finished", "failed", "finished", "finished"]
    assert "seed 3 was refused" in str(outcomes[1].error)
    assert_same(outcomes[3], train(runs[3:])[0])


def test_a_scheme_that_gives_the_wrong_shape_fails_with_its_name() -> None:
    (run,) = trials("scheme=custom", "scheme._target_=tests.schemes_for_tests.Transposed")
    (outcome,) = train([run])
    assert outcome.fate == "failed"
    assert "hidden/1/weight" in str(outcome.error)


@pytest.mark.parametrize(
    ("field", "name", "message"),
    [
        ("constants", "branch_scale", "constants must name constants of the network; got 'branch_scale'"),
        ("learning_rate_scale", "hidden/1/wieght", "got 'hidden/1/wieght'. The nearest of its .* 'hidden/1/weight'"),
        ("laws", "hidden/9/weight", "laws must name weights of the network; got 'hidden/9/weight'"),
    ],
)
def test_a_scheme_that_names_what_the_network_lacks_fails_alone(field: str, name: str, message: str) -> None:
    extra = ["scheme=custom", "scheme._target_=tests.schemes_for_tests.Extra"]
    broken = [*extra, f"+scheme.field={field}", f"+scheme.name={name}"]
    first, second = train(trials(each=[["scheme=he"], broken]))
    assert first.fate == "finished"
    assert second.fate == "failed"
    assert second.error is not None
    assert re.search(message, second.error)


def test_what_breaks_a_whole_stack_fails_run_by_run() -> None:
    """An activation that raises in training takes down its stack; run by run, each says why."""
    breaking = ("activation=custom", "activation._target_=tests.schemes_for_tests.breaking_activation")
    runs = trials(*breaking, each=[["seed=0"], ["seed=1"]])
    outcomes = sweep.execute(runs, Kept())
    assert [outcome.fate for outcome in outcomes] == ["failed", "failed"]
    assert "broken on purpose" in str(outcomes[0].error)


def test_a_scheme_sees_its_own_runs_only() -> None:
    own = ["scheme=custom", "scheme._target_=tests.schemes_for_tests.Watching"]
    runs = trials(each=[["seed=0"], [*own, "seed=5"], ["seed=1"], [*own, "seed=6"]])
    initialized, alive, failures = initialize(runs)
    assert not failures
    assert alive == [0, 1, 2, 3]
    assert initialized is not None
    assert initialized.notes == ((), ("seeds 5, 6; batch (2, 10, 4)",), (), ("seeds 5, 6; batch (2, 10, 4)",))


def test_stacks_and_outcomes_pass_through_processes() -> None:
    runs = trials(each=mixed(6))
    expected = {trial.key: train([trial])[0] for trial in runs}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        sweep.execute(runs, kept := Kept(), pool=LocalPool(executor, 1))
    for key, outcome in kept.outcomes.items():
        assert_same(expected[key], outcome)


def test_summary_says_what_the_rows_say() -> None:
    (outcome,) = train(
        trials("data=digits", "architecture.widths=[32,32]", "training.steps=150", "training.batch_size=64")
    )
    losses = np.array([value for _, _, value in outcome.rows.select("train_loss")])
    assert len(losses) == 150
    reached = int(outcome.summary["steps_to_loss_0.5"])
    assert losses[reached - 4 : reached + 1].mean() < 0.5
    assert losses[reached - 5 : reached].mean() >= 0.5
    accuracies = outcome.rows.select("validation_accuracy")
    assert accuracies[0][0] == 0
    assert accuracies[-1] == (150, "", outcome.summary["validation_accuracy"])
    assert outcome.summary["test_accuracy"] > 0.9
    rms = {layer: value for _, layer, value in outcome.rows.select("init_activation_rms")}
    assert outcome.summary["init_activation_ratio"] == rms["hidden/2"] / rms["hidden/1"]
    assert outcome.summary["distinct_units"] == 32
    assert {layer for _, layer, _ in outcome.rows.select("activation_rms")} == {"hidden/1", "hidden/2", "output"}


def test_statistics_through_training_are_those_of_the_state_at_that_step() -> None:
    """Step 0 of training is the initial network: its weights have the statistics that the probe saw."""
    (outcome,) = train(trials("scheme=he"))
    for quantity in ("weight_std", "weight_rms", "weight_min"):
        probed = {layer: value for _, layer, value in outcome.rows.select(f"init_{quantity}")}
        seen = {layer: value for _, layer, value in outcome.rows.select(quantity, step=0)}
        assert probed == seen


def test_units_of_a_constant_network_stay_equal_and_those_of_a_random_one_do_not() -> None:
    settings = ["activation=tanh", "architecture.widths=[12,12]", "training.steps=60"]
    constant, random = train(trials(*settings, each=[["scheme=constant"], ["scheme=random"]]))
    assert constant.summary["distinct_units"] == 1
    assert random.summary["distinct_units"] == 12


def test_evaluation_does_not_depend_on_its_batches() -> None:
    rng = np.random.default_rng(0)
    network = mlp(6, 3, "tanh", widths=[5], dtype="float64")
    flat, x = rng.standard_normal((4, network.parameters)), rng.standard_normal((23, 6))
    y = np.eye(3)[rng.integers(0, 3, 23)]
    whole = evaluate(outputs_of(network, flat, {}), len(flat), x, y, LOSSES["cross_entropy"], 23, 4, regression=False)
    parts = evaluate(outputs_of(network, flat, {}), len(flat), x, y, LOSSES["cross_entropy"], 5, 3, regression=False)
    np.testing.assert_allclose(parts[0], whole[0], rtol=1e-13)
    np.testing.assert_array_equal(parts[1], whole[1])


def test_r2_is_one_minus_the_squared_error_over_that_of_the_mean() -> None:
    rng = np.random.default_rng(1)
    network = mlp(6, 2, "tanh", depth=0, dtype="float64")
    flat, x, y = (
        rng.standard_normal((3, network.parameters)),
        rng.standard_normal((23, 6)),
        rng.standard_normal((23, 2)),
    )
    _, score = evaluate(outputs_of(network, flat, {}), len(flat), x, y, LOSSES["mse"], 7, 2, regression=True)
    for run, params in enumerate(flat):
        views = network.views(params[None])
        error = x @ views["output/weight"][0] + views["output/bias"][0] - y
        assert score[run] == pytest.approx(1 - (error**2).sum() / ((y - y.mean(axis=0)) ** 2).sum(), rel=1e-12)


def test_a_stack_holds_only_runs_that_may_share_it_and_no_run_twice() -> None:
    runs = trials(each=[*mixed(30), *[["architecture.widths=[5]", *own] for own in mixed(5)]])
    planned = stacks.plan(runs)
    assert sorted(index for indices in planned for index in indices) == list(range(35))
    for indices in planned:
        assert len({runs[index].signature for index in indices}) == 1


def test_any_thread_can_pin_blas_whichever_did_before() -> None:
    """Two workers that live on, first one inside, then the other, then both with the first to enter first to leave."""
    from threadpoolctl import threadpool_info, threadpool_limits

    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    def inside() -> set[int]:
        with single_blas_thread():
            return threads()

    with threadpool_limits(2, "blas"), ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        assert one.submit(inside).result() == {1}
        assert other.submit(inside).result() == {1}
        pins = [single_blas_thread() for _ in range(2)]
        one.submit(pins[0].__enter__).result()
        other.submit(pins[1].__enter__).result()
        one.submit(pins[0].__exit__, None, None, None).result()
        assert threads() == {1}
        other.submit(pins[1].__exit__, None, None, None).result()
        assert threads() == {2}


def test_blas_threads_are_restored_after_the_last_worker() -> None:
    from threadpoolctl import threadpool_info, threadpool_limits

    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    with threadpool_limits(2, "blas"):
        before = threads()
        with single_blas_thread():
            assert threads() == {1}
            with single_blas_thread():
                pass
            assert threads() == {1}
        assert threads() == before
