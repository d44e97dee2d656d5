"""Interruption by Ctrl-C or SIGTERM: the first ends the work in order, a second one ends the process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STATUS = 130
# Seconds that a process has for its end once it was asked twice.
PATIENCE = 3.0


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt for SIGTERM too; end the process ``PATIENCE`` seconds after a second signal of either.

    Python runs handlers in the main thread, once that has returned from what it computes or waits for. The second
    signal therefore goes to a thread that waits for nothing else.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    ended = threading.Event()

    def watch() -> None:
        asked = 0
        while asked < 2 and (number := os.read(reader, 1)):
            asked += number[0] in (signal.SIGINT, signal.SIGTERM)
        if asked == 2 and not ended.wait(PATIENCE):
            os._exit(STATUS)

    thread = threading.Thread(target=watch, name="signals", daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    handler = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        ended.set()
        signal.signal(signal.SIGTERM, handler)
        signal.set_wakeup_fd(before)
        os.close(writer)
        thread.join()
        os.close(reader)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
