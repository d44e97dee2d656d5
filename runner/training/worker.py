"""Worker: a thread or a process that trains stacks. This module imports little, so that a process starts fast."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from runner.config.trial import Trial
from runner.records import Outcome, Rows
from runner.training import loop


def train(trials: Sequence[Trial], progress: Callable[[int], None] | None, threads: int = 1) -> list[Outcome]:
    """Return the outcomes of a stack, which may use ``threads``.

    Where it raises, its runs are tried singly, so that a run fails alone.
    """
    start = time.time()
    try:
        return loop.train(trials, progress=progress or (lambda steps: None), threads=threads)
    except Exception as error:
        if len(trials) > 1:
            return [outcome for trial in trials for outcome in train([trial], progress, threads)]
        logging.getLogger(__name__).info("run %s failed", trials[0].name, exc_info=True)
        return [failed(trials[0].key, f"{type(error).__name__}: {error}", start)]


def failed(key: str, error: str, start: float) -> Outcome:
    """Return the outcome of a run that failed, begun at ``start``."""
    return Outcome(key, "failed", Rows.of(()), {}, start, time.time(), error=error)


class Paced:
    """Counts steps and tells their number so far: at the first, then not more often than every ``seconds``."""

    def __init__(self, tell: Callable[[int], None], seconds: float = 1.0) -> None:
        self.tell, self.seconds, self.count, self.told_at = tell, seconds, 0, -math.inf

    def __call__(self, steps: int) -> None:
        self.count += steps
        if (now := time.monotonic()) - self.told_at >= self.seconds:
            self.told_at = now
            self.tell(self.count)


_counter: Any = None


def count(steps: int) -> None:
    """Count steps into the counter that this process was started with."""
    with _counter.get_lock():
        _counter.value += steps


def begin(counter: Any) -> None:
    """Begin as a worker process that counts its steps into ``counter``, and follows its parent."""
    global _counter
    _counter = counter
    follow()


def follow() -> None:
    """Let this process end when its parent does, for whatever reason, and not before."""
    # Ctrl-C reaches every process of a terminal, but the parent decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
