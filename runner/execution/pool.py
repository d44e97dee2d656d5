"""Pool: where stacks train. That of this machine is here; those of clusters are modules of their own."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from multiprocessing.sharedctypes import Synchronized
from typing import Protocol

from runner.config.trial import Trial
from runner.records import Outcome
from runner.training import worker


class Pool(Protocol):
    """Takes stacks and promises their outcomes.

    A future raises ``StackLost`` where this stack can't be trained, ``BrokenExecutor`` where no stack can.
    """

    @property
    def workers(self) -> int:
        """Number of stacks that train at a time; it changes where workers come and go."""

    @property
    def memory(self) -> float:
        """Bytes that the stacks of all workers may take together."""

    @property
    def room(self) -> float:
        """Number of stacks that the pool takes before one has finished."""

    def submit(self, trials: Sequence[Trial]) -> Future[list[Outcome]]:
        """Return the promise of a stack's outcomes."""

    def steps(self) -> int:
        """Return the number of steps that have passed since the last call, over all stacks."""

    def stop(self) -> None:
        """Have the workers end at their next step, and begin no other stack."""


class StackLost(Exception):
    """Why a stack has no outcomes: its workers died, again and again."""


class PoolLost(BrokenExecutor):
    """Why a pool trains nothing more: its scheduler is gone, its allocations fail."""


class Steps:
    """Steps that have passed, by stack. A stack that begins again counts once."""

    def __init__(self) -> None:
        self._lock, self._passed, self._taken = threading.Lock(), dict[int, int](), 0

    def tell(self, stack: int, passed: int) -> None:
        """Hears that so many steps of a stack have passed in all."""
        with self._lock:
            self._passed[stack] = max(passed, self._passed.get(stack, 0))

    def take(self) -> int:
        """Return the number of steps since the last call."""
        with self._lock:
            total = sum(self._passed.values())
            new, self._taken = total - self._taken, total
        return new


class LocalPool:
    """Threads or processes of this machine: an executor of ``concurrent.futures``, or one with its interface.

    Threads tell of each step and stop at the next one. Processes count into ``counter``, which they were started with;
    without one, a stack counts when it has ended. ``threads``: how many each stack may use.
    """

    def __init__(
        self,
        executor: Executor,
        workers: int,
        memory: float = math.inf,
        counter: Synchronized[int] | None = None,
        threads: int = 1,
    ) -> None:
        self.executor, self.workers, self.memory, self.counter = executor, workers, memory, counter
        self.threads = threads
        self.room = 2 * workers
        self._lock, self._passed, self._taken, self._stopped = threading.Lock(), 0, 0, False

    def submit(self, trials: Sequence[Trial]) -> Future[list[Outcome]]:
        """Return the promise of a stack's outcomes."""
        if isinstance(self.executor, ThreadPoolExecutor):
            return self.executor.submit(worker.train, trials, self._stepped, self.threads)
        if self.counter is not None:
            return self.executor.submit(worker.train, trials, worker.count, self.threads)
        future = self.executor.submit(worker.train, trials, None, self.threads)
        whole = sum(trial.plan.steps for trial in trials)
        future.add_done_callback(lambda done: self._count(whole))
        return future

    def steps(self) -> int:
        """Return the number of steps since the last call."""
        total = self._passed + (self.counter.value if self.counter is not None else 0)
        new, self._taken = total - self._taken, total
        return new

    def stop(self) -> None:
        """Have threads end at their next step; processes are ended by who started them."""
        self._stopped = True

    def _stepped(self, steps: int) -> None:
        if self._stopped:
            raise KeyboardInterrupt  # no Exception, so that it passes what catches a failing run
        self._count(steps)

    def _count(self, steps: int) -> None:
        with self._lock:
            self._passed += steps
