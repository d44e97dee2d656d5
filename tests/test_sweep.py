"""The order of the stages: what a command is called, who trains, who records, and what an interruption leaves."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.config.composition import Command, Composer
from runner.config.trial import Trial
from runner.execution import naming, sweep
from runner.execution.pool import LocalPool, StackLost
from runner.execution.progress import Progress
from runner.execution.session import session
from runner.records import Outcome, Rows

COMPOSER = Composer()
SMALL = ["data=two_spirals", "architecture.width=4", "training.steps=3", "training.probe.size=8"]


def trials(*overrides: str) -> list[Trial]:
    return naming.named(COMPOSER.trials(COMPOSER.command(overrides, multirun=True).runs))


def named(*overrides: str) -> list[str]:
    return [trial.name for trial in trials(*SMALL, *overrides)]


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ([], ["he two_spirals width=4 steps=3 size=8"]),  # what differs from the defaults
        (["scheme=xavier,he"], ["xavier", "he"]),
        (["scheme=xavier,he", "seed=0,1"], ["xavier s0", "xavier s1", "he s0", "he s1"]),
        (["activation=tanh,relu", "scheme=xavier"], ["xavier tanh", "xavier relu"]),
        (["architecture.depth=2,3", "seed=4"], ["he depth=2", "he depth=3"]),
        (["scheme.scale=0.123456789,2"], ["he scale=0.123", "he scale=2"]),
        (["architecture.widths=[1,2],[3]"], ["he widths=[1,2]", "he widths=[3]"]),
    ],
)
def test_names_say_what_differs(overrides: list[str], names: list[str]) -> None:
    assert named(*overrides) == names


def command(*overrides: str, root: Path, multirun: bool = True) -> Command:
    given = [*overrides, f"outputs={root}"]
    return COMPOSER.command(given, multirun=multirun)


def test_the_same_overrides_in_the_same_order_are_the_same_command(tmp_path: Path) -> None:
    def identity(*overrides: str, multirun: bool = True) -> str:
        with session(command(*overrides, root=tmp_path, multirun=multirun), []) as found:
            return found.sweep_id

    same = identity("scheme=xavier,he", "seed=0,1")
    assert len(same) == 64
    for beside in ("tracking=none", "tracking.uri=null", "resume=true", "hydra.launcher.max_workers=1"):
        assert identity("scheme=xavier,he", beside, "seed=0,1") == same
    for other in (["seed=0,1", "scheme=xavier,he"], ["scheme=he,xavier", "seed=0,1"], ["scheme=xavier,he"]):
        assert identity(*other) != same


def test_a_session_has_the_name_and_the_overrides_of_its_command_and_a_directory_of_its_own(tmp_path: Path) -> None:
    given = command("seed=0,1", "activation=tanh", "resume=true", "hydra.sweep.dir=${outputs}/here", root=tmp_path)
    of = trials(*SMALL, "seed=0,1")
    with session(given, of) as first, session(given, of) as second:
        assert first.directory.is_dir()
        assert second.directory.is_dir()
    assert (first.name, first.total, first.multirun) == ("seed=0,1 activation=tanh", 2, True)
    assert first.overrides == ("seed=0,1", "activation=tanh", "hydra.sweep.dir=${outputs}/here", f"outputs={tmp_path}")
    assert (first.directory, second.directory) == (tmp_path / "here", tmp_path / "here-2")
    with session(command(root=tmp_path, multirun=False), []) as single:
        assert single.name == "defaults"
    assert not list(tmp_path.iterdir())  # none of them has recorded a run


class Kept:
    """A sink that keeps what it gets, and passes it on one by one."""

    def __init__(self, full: int = 10**9) -> None:
        self.kept: list[str] = []
        self.sent: list[str] = []
        self.threads: set[int] = set()
        self.full = full
        self.most = 0

    @property
    def waiting(self) -> int:
        self.most = max(self.most, len(self.kept) - len(self.sent))
        return self.full if len(self.kept) > len(self.sent) else 0

    def record(self, recorded: Sequence[tuple[Any, Outcome]]) -> None:
        self.threads.add(threading.get_ident())
        self.kept += [outcome.key for _, outcome in recorded]

    def send(self) -> bool:
        if len(self.sent) == len(self.kept):
            return False
        self.sent.append(self.kept[len(self.sent)])
        return True


Train = Callable[[Sequence[Any], Any], list[Outcome]]


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Train], list[Any]]:
    """Lets stacks of two of ten made up trials train as told; the trials."""

    def prepare(train: Train) -> list[Any]:
        monkeypatch.setattr(sweep.stacks, "plan", lambda runs, **_: [[i, i + 1] for i in range(0, len(runs), 2)])
        monkeypatch.setattr(sweep.worker, "train", train)
        return [SimpleNamespace(key=str(index), plan=SimpleNamespace(steps=1)) for index in range(10)]

    return prepare


def outcomes(runs: Sequence[Any]) -> list[Outcome]:
    return [Outcome(run.key, "finished", Rows.of(()), {}, 0.0, 0.0) for run in runs]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_one_thread_records_and_the_outcomes_come_in_order(stacks: Callable[[Train], list[Any]], workers: int) -> None:
    def train(runs: Sequence[Any], progress: Any, threads: int = 1) -> list[Outcome]:
        time.sleep(0.02 if runs[0].key == "0" else 0.0)
        for run in runs:
            progress(run.plan.steps)
        return outcomes(runs)

    runs, sink, steps = stacks(train), Kept(), list[int]()
    if workers:
        with ThreadPoolExecutor(workers) as executor:
            found = sweep.execute(runs, sink, pool=LocalPool(executor, workers), progress=steps.append)
    else:
        found = sweep.execute(runs, sink, progress=steps.append)
    assert [outcome.key for outcome in found] == [run.key for run in runs]
    assert sorted(sink.kept) == sorted(sink.sent) == [run.key for run in runs]
    assert sink.threads == {threading.get_ident()}
    assert sum(steps) == 10


def test_no_stack_begins_while_too_many_runs_wait(stacks: Callable[[Train], list[Any]]) -> None:
    def train(runs: Sequence[Any], progress: Any, threads: int = 1) -> list[Outcome]:
        return outcomes(runs)

    sink = Kept(full=sweep.QUEUE)
    with ThreadPoolExecutor(1) as executor:
        sweep.execute(stacks(train), sink, pool=LocalPool(executor, 1))
    assert len(sink.sent) == 10
    assert sink.most <= 4


def test_an_interruption_keeps_what_has_finished_and_stops_the_workers(stacks: Callable[[Train], list[Any]]) -> None:
    """Three workers: one stack is done and recorded, one done at that moment, one would go on for ever."""
    second, stopped = threading.Event(), threading.Event()

    def train(runs: Sequence[Any], progress: Any, threads: int = 1) -> list[Outcome]:
        if runs[0].key == "2":
            second.set()
        elif runs[0].key != "0":
            try:
                while True:
                    progress(1)
                    time.sleep(0.001)
            finally:
                stopped.set()
        return outcomes(runs)

    class Interrupted(Kept):
        def send(self) -> bool:
            assert second.wait(30)
            time.sleep(0.05)
            raise KeyboardInterrupt

    runs, sink = stacks(train), Interrupted()
    with ThreadPoolExecutor(3) as executor:
        with pytest.raises(KeyboardInterrupt):
            sweep.execute(runs, sink, pool=LocalPool(executor, 3))
        assert sorted(set(sink.kept)) == ["0", "1", "2", "3"]
        assert stopped.wait(30)
        executor.shutdown(cancel_futures=True)


def test_progress_counts_what_was_there_before_but_not_in_its_pace(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(10, 1000)
    for _ in range(8):
        progress.skip(100)
    progress.start -= 10
    progress.said_at -= 10
    progress.update(9, 100)
    err = capsys.readouterr().err
    assert err.startswith(" 50%  9/10 runs · 10 steps/s · 10 s left")


class Losing:
    """A pool that loses every stack with run 3 in it."""

    workers, memory, room = 2, math.inf, 2

    def submit(self, runs: Sequence[Any]) -> Future[list[Outcome]]:
        promise: Future[list[Outcome]] = Future()
        if any(run.key == "3" for run in runs):
            promise.set_exception(StackLost("3 workers died of it"))
        else:
            promise.set_result(outcomes(runs))
        return promise

    def steps(self) -> int:
        return 0

    def stop(self) -> None: ...


class Growing(Losing):
    """A pool that two workers join, and then four more while the first stacks train."""

    workers = 0

    @property
    def room(self) -> int:  # type: ignore[override]
        return self.workers

    def steps(self) -> int:
        self.workers = {0: 2, 2: 6}.get(self.workers, 6)
        return 0


def test_nothing_begins_before_workers_come_and_where_more_come_the_rest_is_planned_for_them(
    stacks: Callable[[Train], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, planned = stacks(lambda runs, progress: outcomes(runs)), list[tuple[int, int]]()

    def plan(left: Sequence[Any], *, workers: int, memory: float) -> list[list[int]]:
        planned.append((len(left), workers))
        return [[index] for index in range(len(left))]

    monkeypatch.setattr(sweep.stacks, "plan", plan)
    monkeypatch.setattr(sweep, "REFRESH", 0.01)
    found = sweep.execute(runs, Kept(), pool=Growing())
    assert [outcome.key for outcome in found] == [run.key for run in runs]
    assert planned == [(10, 2), (8, 6)]


def test_a_stack_that_is_lost_trains_run_by_run_so_that_one_is_lost_alone(stacks: Callable[[Train], list[Any]]) -> None:
    found = sweep.execute(stacks(lambda runs, progress: outcomes(runs)), Kept(), pool=Losing())
    assert [outcome.key for outcome in found if outcome.fate == "failed"] == ["3"]
    assert found[3].error == "3 workers died of it"
