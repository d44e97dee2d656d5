"""Databases of SQLite: readers and a writer that don't wait for each other, and fewer waits for the disk."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

# Where SQLite may keep a write-ahead log, whose index all who open a database share in memory.
LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay")


def create(file: Path, artifacts: str) -> None:
    """Makes a database with MLflow's tables, unless there is one: all or nothing, since MLflow opens no half of it.

    That takes a second, in which a process may be killed. ``artifacts``: URI of the directory for what is in no table.
    """
    if file.exists() and file.stat().st_size:
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    new = file.with_name(f"{file.name}.new")
    for suffix in ("", "-journal", "-wal", "-shm"):
        new.with_name(f"{new.name}{suffix}").unlink(missing_ok=True)  # of a process that was killed
    SqlAlchemyStore(f"sqlite:///{new}", artifacts).engine.dispose()  # type: ignore[no-untyped-call]
    new.replace(file)


def engine(uri: str, artifacts: str) -> Any:
    """SQLAlchemy's engine of a database that MLflow has made."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    return SqlAlchemyStore(uri, artifacts).engine  # type: ignore[no-untyped-call]


def write_ahead(file: Path) -> None:
    """Has a database on a disk of this machine write ahead, for good; done again, it changes nothing.

    MLflow's UI and a sweep then don't lock each other out, and a transaction waits for the disk once instead of thrice.
    """
    if filesystem(file) in LOCAL:
        with closing(sqlite3.connect(file)) as connection, suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")


def gather(file: Path) -> None:
    """Moves what was written ahead into the database's file, so that a copy of that file is complete."""
    with closing(sqlite3.connect(file, timeout=1.0)) as connection, suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def filesystem(path: Path) -> str:
    """Type of the file system that holds ``path``; empty where the system doesn't say."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    return max((len(place), kind) for place, kind in mounts if path.resolve().is_relative_to(place))[1]
