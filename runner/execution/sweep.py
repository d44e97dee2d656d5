"""From trials to recorded outcomes: the one place that knows the order of the stages."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import chain
from typing import Protocol

from runner.config.trial import Trial
from runner.execution.pool import Pool, StackLost
from runner.execution.resources import cores
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
    pool: Pool | None = None,
    progress: Callable[[int], None] = lambda steps: None,
) -> list[Outcome]:
    """The outcome of each trial, in order; each was handed to ``sink`` as soon as its stack had finished.

    ``pool``: where stacks train; without one they train here one by one, large networks on all cores. ``sink`` and
    ``progress``, which is told of steps as they pass, are called from this thread alone. Where it is interrupted, the
    workers stop at their next step, and what has finished is recorded.
    """
    outcomes: dict[int, Outcome] = {}

    def record(indices: Sequence[int], results: Sequence[Outcome]) -> None:
        sink.record([(trials[index], outcome) for index, outcome in zip(indices, results, strict=True)])
        outcomes.update(zip(indices, results, strict=True))

    if pool is None:
        for indices in stacks.plan(trials):
            record(indices, worker.train([trials[index] for index in indices], progress, cores()))
            while sink.send():
                pass
    else:
        _execute(trials, sink, record, pool, progress)
    return [outcomes[index] for index in range(len(trials))]


class _Waiting:
    """Stacks that have not begun. Where workers have joined or left, they are planned again."""

    def __init__(self, trials: Sequence[Trial], pool: Pool) -> None:
        self.trials, self.pool = trials, pool
        self._stacks: deque[list[int]] = deque([list(range(len(trials)))] if trials else ())
        self._alone: deque[list[int]] = deque()
        self._workers = 0

    def __len__(self) -> int:
        return len(self._stacks) + len(self._alone)

    def put_alone(self, indices: Sequence[int]) -> None:
        """Have each of these runs train in a stack of its own."""
        self._alone.extend([index] for index in indices)

    def take(self) -> list[int]:
        """Return the next stack, the longest one."""
        if self._stacks and self._workers != (workers := max(1, self.pool.workers)):
            self._workers = workers
            left = sorted(chain.from_iterable(self._stacks))
            planned = stacks.plan([self.trials[index] for index in left], workers=workers, memory=self.pool.memory)
            self._stacks = deque([left[place] for place in stack] for stack in planned)
        return (self._stacks or self._alone).popleft()


def _execute(
    trials: Sequence[Trial],
    sink: Sink,
    record: Callable[[Sequence[int], Sequence[Outcome]], None],
    pool: Pool,
    progress: Callable[[int], None],
) -> None:
    """Trains the stacks elsewhere; between looks at them, this thread records and sends.

    The runs of a stack that is lost train again one by one, so that a run is lost alone.
    """
    waiting = _Waiting(trials, pool)
    running: dict[Future[list[Outcome]], list[int]] = {}
    sending = False
    start = time.time()
    try:
        while waiting or running or sending:
            while waiting and len(running) < pool.room and sink.waiting < QUEUE:
                indices = waiting.take()
                running[pool.submit([trials[index] for index in indices])] = indices
            if not running and not sending:
                time.sleep(REFRESH)  # no worker has come yet
            done, _ = wait(running, timeout=0 if sending else REFRESH, return_when=FIRST_COMPLETED)
            progress(pool.steps())
            for future in done:
                indices = running[future]
                try:
                    record(indices, future.result())
                except StackLost as lost:
                    if len(indices) > 1:
                        waiting.put_alone(indices)
                    else:
                        record(indices, [worker.failed(trials[indices[0]].key, str(lost), start)])
                del running[future]
            sending = sink.send()
    except BaseException:
        pool.stop()
        for future, indices in running.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                record(indices, future.result())
        raise
