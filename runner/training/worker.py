"""What a worker does, be it a thread or a process. A process imports little else, so that it is soon at work."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

from runner.config.trial import Trial
from runner.records import Outcome, Rows
from runner.training import loop


def train(trials: Sequence[Trial], progress: Callable[[int], None] | None) -> list[Outcome]:
    """The outcomes of a stack. Where it raises, its runs are tried one by one, so that the culprit fails alone."""
    start = time.time()
    try:
        return loop.train(trials, progress=progress or (lambda steps: None))
    except Exception as error:
        if len(trials) > 1:
            return [outcome for trial in trials for outcome in train([trial], progress)]
        logging.getLogger(__name__).info("run %s failed", trials[0].name, exc_info=True)
        text = f"{type(error).__name__}: {error}"
        return [Outcome(trials[0].key, "failed", Rows.of(()), {}, start, time.time(), error=text)]


def follow() -> None:
    """Makes this process one that ends when its parent does, however that happens, and not before."""
    # Ctrl-C reaches every process of a terminal; what becomes of the workers is for their parent to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
