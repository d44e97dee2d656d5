"""Helpers: threads for a stack that has cores to spare.

They take whole operations: gradients of weights, which nothing else in a backward pass waits for, and blocks of an
update. So they change no bit, as threads inside BLAS do: those cut sums in pieces (784 inputs, batch 64: 80% of the
elements of a product differ in their last bits).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import numpy as np

from runner.config.trial import Trial
from runner.torch.network import ModuleNetwork

# Multiplications of the largest product of a step from which a thread is worth its waking. Of 3x1024, batch 64, the
# caller then computes for 9.1 ms of 13.2; of 3x512 for 2.4 ms of 3.2, of 3x256 for .94 of 1.02.
LARGE = 1 << 24


class Helpers:
    """``count`` threads that work beside the caller's; they end with this object."""

    def __init__(self, count: int) -> None:
        self.count = count
        # How NumPy takes what isn't finite belongs to a thread.
        self._threads = ThreadPoolExecutor(count, "helper", initializer=partial(np.seterr, all="ignore"))
        self._at_work: list[Future[None]] = []

    @classmethod
    def of(cls, trial: Trial, runs: int, threads: int) -> Helpers | None:
        """Return helpers of a stack of so many runs like ``trial`` that may use ``threads``; None where none pay."""
        network = trial.network
        if threads < 2 or isinstance(network, ModuleNetwork):
            return None
        largest = max(spec.fans.fan_in * spec.fans.fan_out for spec in network.weights)
        plain = all(order.alone for order in network.memory.backward)
        return cls(threads - 1) if plain and runs * trial.plan.batch_size * largest >= LARGE else None

    def do(self, work: Callable[[], None]) -> None:
        """Have ``work`` done by the end of ``wait``."""
        self._at_work.append(self._threads.submit(work))

    def wait(self) -> None:
        """Return when everything is done, or raise what it raised."""
        at_work, self._at_work = self._at_work, []
        for work in at_work:
            work.result()
