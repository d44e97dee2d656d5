"""From trials to recorded outcomes: the one place that knows the order of the stages."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from typing import Protocol

from runner.config.trial import Trial
from runner.records import Outcome
from runner.training import stacks, worker

# Seconds between two looks at how far the workers are.
REFRESH = 0.2
# With so many finished runs not passed on yet, no further stack begins: they hold memory.
QUEUE = 256


class Sink(Protocol):
    """Takes runs as they finish."""

    @property
    def waiting(self) -> int:
        """Number of runs that ``send`` has yet to pass on."""

    def record(self, recorded: Sequence[tuple[Trial, Outcome]]) -> None:
        """Keeps runs for good, in little time."""

    def send(self) -> bool:
        """Passes on the next run that waits; whether there was one."""


def execute(
    trials: Sequence[Trial],
    sink: Sink,
    *,
    executor: Executor | None = None,
    workers: int = 1,
    memory: float = math.inf,
    progress: Callable[[int], None] = lambda steps: None,
) -> list[Outcome]:
    """The outcome of each trial, in order; each was handed to ``sink`` as soon as its stack had finished.

    ``executor``, ``workers``, ``memory``: as ``Resources``; without an executor stacks train here one by one.
    ``sink`` and ``progress``, which is told of steps as they pass, are called from this thread alone. Where it is
    interrupted, the workers stop at their next step, and what has finished is recorded.
    """
    outcomes: dict[int, Outcome] = {}

    def record(indices: Sequence[int], results: Sequence[Outcome]) -> None:
        sink.record([(trials[index], outcome) for index, outcome in zip(indices, results, strict=True)])
        outcomes.update(zip(indices, results, strict=True))

    planned = deque(stacks.plan(trials, workers=workers, memory=memory))
    if executor is None:
        while planned:
            record(indices := planned.popleft(), worker.train([trials[index] for index in indices], progress))
            while sink.send():
                pass
    else:
        _execute(trials, planned, sink, record, executor, workers, progress)
    return [outcomes[index] for index in range(len(trials))]


def _execute(
    trials: Sequence[Trial],
    stacks: deque[list[int]],
    sink: Sink,
    record: Callable[[Sequence[int], Sequence[Outcome]], None],
    executor: Executor,
    workers: int,
    progress: Callable[[int], None],
) -> None:
    """Trains the stacks elsewhere; between looks at them, this thread records and sends."""
    steps = _Steps() if isinstance(executor, ThreadPoolExecutor) else None
    running: dict[Future[list[Outcome]], list[int]] = {}
    sending = False
    try:
        while stacks or running or sending:
            while stacks and len(running) < 2 * workers and sink.waiting < QUEUE:
                indices = stacks.popleft()
                running[executor.submit(worker.train, [trials[index] for index in indices], steps)] = indices
            done, _ = wait(running, timeout=0 if sending else REFRESH, return_when=FIRST_COMPLETED)
            for future in done:
                record(indices := running[future], future.result())
                del running[future]
                if steps is None:
                    progress(sum(trials[index].plan.steps for index in indices))
            progress(steps.take() if steps is not None else 0)
            sending = sink.send()
    except BaseException:
        if steps is not None:
            steps.stop = True
        for future, indices in running.items():
            if future.done() and future.exception() is None:
                record(indices, future.result())
        raise


class _Steps:
    """Steps that workers have done since the last ``take``; stops the workers, who report each, when told to."""

    def __init__(self) -> None:
        self.lock, self.count, self.stop = threading.Lock(), 0, False

    def __call__(self, steps: int) -> None:
        if self.stop:
            raise KeyboardInterrupt  # no Exception, so that it passes what catches a failing run
        with self.lock:
            self.count += steps

    def take(self) -> int:
        with self.lock:
            count, self.count = self.count, 0
        return count
