"""PostgreSQL databases, which many processes may write to at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from runner.tracking import mlflow_tables

# The driver that copies rows: psycopg 3, as the extra `postgres` installs it.
DRIVEN = "postgresql+psycopg:"
_LOCK = int.from_bytes(b"weightin", "big") >> 1  # a number for PostgreSQL, 63 bits, the same in every process


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """Exclude other processes that enter the same database this way, such as those that would also make its tables.

    The lock ends with its transaction, so a killed process leaves none.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    with create_engine(uri, poolclass=NullPool).begin() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        yield


class Tables:
    """MLflow's tables in PostgreSQL. ``engine``: SQLAlchemy's."""

    mark = "%s"

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    @contextmanager
    def begin(self) -> Iterator[Any]:
        """Return a cursor in a transaction, which ends with it; an exception undoes it."""
        with self.engine.begin() as connection, connection.connection.cursor() as cursor:
            yield cursor

    def write(self, cursor: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows by COPY: a third of the client's time of a statement, the same time of the server."""
        with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as into:
            for row in rows:
                into.write_row(row)


def tables(uri: str, artifacts: str) -> Tables | None:
    """Return MLflow's tables, by its own store; None where they are not known. ``artifacts``: URI of the directory."""
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.tracking.dbmodels import models  # noqa: F401
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    columns = {name: table.columns.keys() for name, table in Base.metadata.tables.items()}
    if not mlflow_tables.known(columns):
        return None
    return Tables(SqlAlchemyStore(uri, artifacts).engine)  # type: ignore[no-untyped-call]
