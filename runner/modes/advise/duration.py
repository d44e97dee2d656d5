"""Duration of a trial sweep, from the first steps of its first stack."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from runner.config.trial import Trial
from runner.execution.resources import cores, is_long
from runner.training import loop, stacks

PILOT: Final = 0.7
"""Seconds of training that are timed."""

START: Final = 3.0
"""Seconds until worker processes have started and imported what they need."""

RUN: Final = 0.03
PAGE: Final = 5.0
"""Seconds of one free core that recording takes: a run; and store, tables, figures and page."""

THREADS: Final = 1.5
"""Speed of two threads over that of one."""

UNITS: Final = {"s": 1, "min": 60, "h": 3600}

SPREAD: Final = (0.4, 2.5)
"""A range's ends as factors of the estimate: runs may diverge early, and a machine has other things to do."""


class Duration(NamedTuple):
    """Range of seconds, from ``low`` to ``high``, that a sweep takes on this machine."""

    low: float
    high: float

    def __str__(self) -> str:
        unit, divisor = next((name, size) for name, size in UNITS.items() if self.high < 150 * size or name == "h")
        return f"{_number(self.low / divisor)} to {_number(self.high / divisor)} {unit}"


class _Enough(BaseException):
    """Ends the pilot; no ``Exception``, so that it passes what catches a failing run."""


class Pace(NamedTuple):
    """Seconds of a stack of ``runs``: ``start`` before its first step and after its last, ``step`` for each.

    ``busy``: seconds that pass for one of computing, above 1 where the machine has other things to do.
    """

    runs: int
    start: float
    step: float
    busy: float = 1.0


def pace(trials: Sequence[Trial], workers: int | None = None) -> Pace:
    """Return the pace of the first stack of a sweep, which trains for about ``PILOT`` seconds and is dropped.

    What it computes for all runs alike, such as references, is kept for the sweep.
    """
    first = [trials[index] for index in stacks.plan(trials, workers=workers or cores())[0]]
    begun, computed, marks = time.perf_counter(), time.process_time(), list[tuple[float, int]]()

    def look(steps: int) -> None:
        marks.append((time.perf_counter(), steps))
        if marks[-1][0] - marks[0][0] > PILOT:
            raise _Enough

    with suppress(_Enough):
        loop.train(first, progress=look)
    whole = time.perf_counter() - begun
    busy = max(1.0, whole / max(time.process_time() - computed, 1e-3))
    if len(marks) < 2:
        return Pace(len(first), whole, 0.0, busy)
    passed = sum(steps for _, steps in marks[1:]) / len(first)
    return Pace(len(first), marks[0][0] - begun, (marks[-1][0] - marks[0][0]) / max(passed, 1), busy)


def duration(trials: Sequence[Trial], found: Pace, workers: int | None = None) -> Duration:
    """Return how long the trials take with so many workers, one a core where None."""
    workers = workers or cores()
    stack = [len(indices) for indices in stacks.plan(trials, workers=workers)]
    alone = sum(found.start + runs / found.runs * trials[0].plan.steps * found.step for runs in stack)
    long = is_long(trials)
    together = min(len(stack), workers)
    faster = float(together) if long else 1 + (THREADS - 1) * min(together - 1, 1)
    estimate = alone / faster + found.busy * (START * long + RUN * len(trials) + PAGE)
    return Duration(SPREAD[0] * estimate, SPREAD[1] * estimate)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
