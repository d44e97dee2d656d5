"""BLAS at one thread: results do not depend on the number of threads, and workers do not share cores."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from threadpoolctl import OpenBLASController, ThreadpoolController

_pins = threading.Lock()
_pinned = 0
_limits: list[object] = []


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def _take_control() -> None:
    """Let this thread set the limit of OpenBLAS, which otherwise silently ignores all but the first thread."""
    OpenBLASController.clear_controlling_thread(force=True)


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread inside. Several workers may be inside at once; the last one restores the limit."""
    global _pinned
    with _pins:
        if _pinned == 0:
            _take_control()
            _limits.append(_controller().limit(limits=1, user_api="blas"))
        _pinned += 1
    try:
        yield
    finally:
        with _pins:
            _pinned -= 1
            if _pinned == 0:
                _take_control()
                _limits.pop().restore_original_limits()  # type: ignore[attr-defined]
