"""What all tests share: BLAS at one thread, as in training, where two would get in each other's way; references."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits

from runner.training import judging


@pytest.fixture(autouse=True, scope="session")
def _single_blas_thread() -> Iterator[None]:
    with threadpool_limits(1, "blas"):
        yield


@pytest.fixture(autouse=True, scope="session")
def _shared_references(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """References are kept in one folder, rather than computed again below the outputs of each test."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "FOLDER", str(base / judging.FOLDER))
        yield
