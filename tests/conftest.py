"""What all tests share: BLAS at one thread, as in training, since two would only get in each other's way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="session")
def _single_blas_thread() -> Iterator[None]:
    with threadpool_limits(1, "blas"):
        yield
