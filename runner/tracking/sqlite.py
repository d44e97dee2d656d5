"""SQLite databases in which readers and a writer do not wait for each other, and few commits wait for the disk."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runner.tracking import mlflow_tables

MAGIC = b"SQLite format 3\0"
# File systems for a write-ahead log: the processes share its index in memory.
LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay")


CACHE = 65_536  # kilobytes
PAGES = 10_000  # of 4 kilobytes in the write-ahead log before they move to the file


def create(file: Path, artifacts: str) -> None:
    """Make a database with MLflow's tables, unless there is one.

    It appears whole or not at all: this takes a second, in which a process may be killed, and MLflow can't open a
    partial database. ``artifacts``: URI of the directory for artifacts.
    """
    if file.exists() and file.stat().st_size:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.new")
    for suffix in ("", "-journal", "-wal", "-shm"):
        new.with_name(f"{new.name}{suffix}").unlink(missing_ok=True)  # left by a killed process
    make_tables(new, artifacts)
    with new.open("rb+") as made:
        os.fsync(made.fileno())
    new.replace(file)


def make_tables(file: Path, artifacts: str) -> None:
    """Make MLflow's tables in a new file, which a killed process leaves partial."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with _unsafe():
        SqlAlchemyStore(f"sqlite:///{file}", artifacts).engine.dispose()  # type: ignore[no-untyped-call]


@contextmanager
def _unsafe() -> Iterator[None]:
    """Let SQLAlchemy's new connections write without waiting for the disk, 70 times for MLflow's tables."""
    from sqlalchemy import Engine, event

    def connected(connection: Any, _: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA journal_mode = MEMORY")

    event.listen(Engine, "connect", connected)
    try:
        yield
    finally:
        event.remove(Engine, "connect", connected)


def possible(file: Path) -> bool:
    """Return whether a file is a database of SQLite's, or may become one."""
    if not file.exists():
        return True
    if not file.is_file():
        return False
    with file.open("rb") as content:
        return content.read(len(MAGIC)) in (MAGIC, b"")


def experiment(file: Path, name: str) -> str | None:
    """Return the ID of an experiment in a database of MLflow's; None where there is none."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as database:
        found = database.execute("SELECT experiment_id FROM experiments WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])
    return None


def engine(uri: str, artifacts: str) -> Any:
    """Return SQLAlchemy's engine of a database with MLflow's tables, for insertions of many rows.

    Rows of one run go to places all over MLflow's indices, and each transaction writes the pages that it touched. With
    more pages in memory, and fewer moves of the log into the file, a run takes half the time in a database of 1,000.
    """
    from sqlalchemy import event

    made = mlflow_tables.engine(uri, artifacts)
    made.dispose()  # so that every connection is one of those below

    @event.listens_for(made, "connect")
    def _(connection: Any, _: Any) -> None:
        connection.execute(f"PRAGMA cache_size = {-CACHE}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {PAGES}")

    return made


def write_ahead(file: Path) -> None:
    """Switch a database on a local disk to a write-ahead log, permanently.

    MLflow's UI and a sweep then do not lock each other out. A transaction waits for the disk once, not three times.
    """
    if filesystem(file) in LOCAL:
        with closing(sqlite3.connect(file)) as connection, suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")


def gather(file: Path) -> None:
    """Move the write-ahead log into the database's file, so that a copy of the file is complete."""
    with closing(sqlite3.connect(file, timeout=1.0)) as connection, suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def filesystem(path: Path) -> str:
    """Return the type of the file system of ``path``; empty where the system does not tell."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    return max((len(place), kind) for place, kind in mounts if path.resolve().is_relative_to(place))[1]
