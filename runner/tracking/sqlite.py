"""SQLite databases in which readers and a writer do not wait for each other, and few commits wait for the disk."""

from __future__ import annotations

import os
import posixpath
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runner.tracking import mlflow_tables
from runner.tracking.files import locked
from runner.tracking.mlflow_import import import_mlflow

MAGIC = b"SQLite format 3\0"
# File systems for a write-ahead log: the processes share its index in memory.
LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay")


WORKSPACE = "default"  # of experiments, where MLflow's server serves no others
CACHE = 65_536  # kilobytes
PAGES = 10_000  # of 4 kilobytes in the write-ahead log before they move to the file


def create(file: Path, artifacts: str) -> None:
    """Make a database with MLflow's tables, unless there is one. ``artifacts``: URI of the directory for artifacts."""
    if file.exists() and file.stat().st_size:
        return

    def copy(empty: Path, new: Path) -> None:
        shutil.copyfile(empty, new)
        now = round(time.time() * 1000)
        with closing(sqlite3.connect(new)) as database, database:
            database.execute(
                "UPDATE experiments SET artifact_location = ?, creation_time = ?, last_update_time = ?",
                (posixpath.join(artifacts, "0"), now, now),
            )

    empty = template()
    _whole(file, partial(make_tables, artifacts=artifacts) if empty is None else partial(copy, empty))


def template() -> Path | None:
    """Return MLflow's empty database as the installed version makes it, kept in the user's cache; None where it can't.

    MLflow takes four seconds for it, its import among them.
    """
    try:
        file = _cache() / f"mlflow-{version('mlflow')}.db"
        if not file.exists():
            with locked(file.with_name(f"{file.name}.lock")):
                if not file.exists():
                    _whole(file, partial(make_tables, artifacts=""))
    except (OSError, PackageNotFoundError):
        return None
    return file


def _whole(file: Path, make: Callable[[Path], object]) -> None:
    """Make a database that appears whole or not at all, since MLflow can't open what a killed process has left."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.new")
    for suffix in ("", "-journal", "-wal", "-shm"):
        new.with_name(f"{new.name}{suffix}").unlink(missing_ok=True)
    make(new)
    with new.open("rb+") as made:
        os.fsync(made.fileno())
    new.replace(file)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "weightinit"


def make_tables(file: Path, artifacts: str) -> None:
    """Make MLflow's tables in a new file, which a killed process leaves partial."""
    import_mlflow()
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


class Tables:
    """MLflow's tables in an SQLite file.

    Rows of one run go to places all over MLflow's indices, and each transaction writes the pages that it touched. With
    more pages in memory, and fewer moves of the log into the file, a run takes half the time in a database of 1,000.
    """

    mark = "?"

    def __init__(self, file: Path) -> None:
        self.file = file
        self._open: sqlite3.Connection | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, opened where it is closed."""
        if self._open is None:
            # Transactions begin and end below; one thread at a time is the recorder's promise.
            self._open = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)
            self._open.execute(f"PRAGMA cache_size = {-CACHE}")
            self._open.execute(f"PRAGMA wal_autocheckpoint = {PAGES}")
        return self._open

    @contextmanager
    def begin(self) -> Iterator[sqlite3.Cursor]:
        """Return a cursor in a transaction, which ends with it; an exception undoes it."""
        with closing(self.connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.OperationalError):  # where SQLite has undone it by itself
                    cursor.execute("ROLLBACK")
                raise

    def write(
        self, cursor: sqlite3.Cursor, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Insert rows."""
        marks = ", ".join(self.mark * len(columns))
        cursor.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._open is not None:
            self._open.close()
            self._open = None


@dataclass(frozen=True)
class Schema:
    """Traits by which databases of different versions of MLflow differ; ``columns``: names by table."""

    version: str
    columns: Mapping[str, frozenset[str]]
    workspaces: frozenset[str]  # of its experiments


def schema(file: Path) -> Schema:
    """Return what is known of a database of MLflow's; raise sqlite3.Error where it is none."""
    of_table = "SELECT s.name, c.name FROM sqlite_schema s, pragma_table_info(s.name) c WHERE s.type = 'table'"
    with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as database:
        columns: dict[str, set[str]] = {}
        for table, column in database.execute(of_table):
            columns.setdefault(table, set()).add(column)
        (version,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
        workspaces = {workspace for (workspace,) in database.execute("SELECT DISTINCT workspace FROM experiments")}
    return Schema(version, {name: frozenset(found) for name, found in columns.items()}, frozenset(workspaces))


def tables(file: Path) -> Tables | None:
    """Return the tables of a database that MLflow has opened; None where they are not known."""
    return Tables(file) if mlflow_tables.known(schema(file).columns) else None


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
