"""Fixtures of all tests: one thread of BLAS, as in training, references, and MLflow's empty tables."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from runner.tracking import sqlite
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
def _copied_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A new database is a copy of the first one, since MLflow takes a second to make its tables."""
    first, make_tables = tmp_path_factory.mktemp("tables") / "mlflow.db", sqlite.make_tables

    def copied(file: Path, artifacts: str) -> None:
        if not first.exists():
            make_tables(first, "")
        shutil.copy(first, file)
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("UPDATE experiments SET artifact_location = ?", (f"{artifacts}/0",))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "make_tables", copied)
        yield
