"""Signals that ask the process to stop, held back while MLflow is written to."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def undisturbed() -> Iterator[None]:
    """Delay the first SIGINT or SIGTERM to the end of the block, so that MLflow is not left with half a run.

    A second one interrupts at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[tuple[int, FrameType | None]] = []

    def wait(number: int, frame: FrameType | None) -> Any:
        asked.append((number, frame))
        if len(asked) > 1:
            raise KeyboardInterrupt

    handlers = {number: signal.signal(number, wait) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for asked_for, frame in asked:
        if callable(handler := handlers[signal.Signals(asked_for)]):
            handler(asked_for, frame)
