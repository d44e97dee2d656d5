"""BLAS at one thread, so that a result depends on no number of threads and workers don't crowd each other's cores."""

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
    """Lets this thread set the limit of OpenBLAS: else only the first that ever did may, and others silently don't."""
    OpenBLASController.clear_controlling_thread(force=True)


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """BLAS at one thread inside, as before outside. Several workers may be inside at once; the last one restores."""
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
