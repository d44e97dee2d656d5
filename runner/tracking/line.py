"""Line to a server: one call after another, each with a deadline of its own, whatever the server does."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any

# Seconds for the answer to a request, and for the files of an artifact to be taken; seconds of silence that are told.
ANSWER, UPLOAD, TOLD = 5.0, 60.0, 8.0


class Line:
    """Calls in a thread of their own. Who waits for one may give up, by a deadline or by Ctrl-C.

    A call that was given up goes on where it has begun, and calls after it wait for it: they never overlap. ``until``:
    the moment (of ``time.monotonic``) after which nothing is waited for.
    """

    def __init__(self) -> None:
        self.until = math.inf
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[[], Any], seconds: float, late: Callable[[], None] = lambda: None) -> Any:
        """Return what the function returns, within so many seconds. Raises TimeoutError after them.

        ``late`` is called once where the answer takes more than ``TOLD`` seconds and is still waited for.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
            self._thread.start()
        future: Future[Any] = Future()
        start = time.monotonic()
        self._calls.put((future, function))
        patience = max(0.0, min(seconds, self.until - start))
        try:
            if patience > TOLD and not wait([future], TOLD).done:
                late()
                patience -= TOLD
            return future.result(patience)
        except TimeoutError as error:
            if future.done():  # the function's own
                raise
            raise TimeoutError(f"no answer within {time.monotonic() - start:.3g} seconds") from error
        finally:
            future.cancel()  # unless it has begun

    def _work(self) -> None:
        while True:
            future, function = self._calls.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:
                    future.set_exception(error)
