"""Fixtures of all tests: one thread of BLAS, as in training, references, and MLflow's empty tables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from runner.training import judging


@pytest.fixture(autouse=True, scope="session")
def _single_blas_thread() -> Iterator[None]:
    with threadpool_limits(1, "blas"):
        yield


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all processes that run these tests."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(autouse=True, scope="session")
def _shared_references(shared: Path) -> Iterator[None]:
    """References are kept in one folder, rather than computed again below the outputs of each test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "FOLDER", str(shared / judging.FOLDER))
        yield


@pytest.fixture(autouse=True, scope="session")
def _shared_cache(shared: Path) -> Iterator[None]:
    """MLflow makes its empty tables once, in a cache of the tests; matplotlib's fonts stay in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        if "MPLCONFIGDIR" not in os.environ:
            patch.setenv("MPLCONFIGDIR", str(Path.home() / ".cache" / "matplotlib"))
        patch.setenv("XDG_CACHE_HOME", str(shared / "cache"))
        yield
