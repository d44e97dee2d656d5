"""Insertion of whole runs into MLflow's tables, where its store is an SQLite file or a PostgreSQL database.

MLflow's client takes 37 ms for a run of 300 metrics. Most of that goes to the search for rows to overwrite, which a new
run does not have. An insertion takes 5 ms. It is one transaction, so a run is there whole or not at all. MLflow itself
describes the tables; where they differ from those below, the client is used.

A run of 226 metrics takes 3 to 4 ms of processor time into SQLite. Into PostgreSQL it takes .9 ms here and 6 ms of the
server, which keeps two indices of the metrics (two thirds) and looks up the run of each row (one third).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from runner.tracking import postgresql
from runner.tracking.entries import CONTEXT, Entry, Input

Inserts: TypeAlias = dict[str, list[tuple[Any, ...]]]

# Columns that `insert` fills, by table, in the order of its rows.
_COLUMNS = {
    "runs": "run_uuid name source_type source_name entry_point_name user_id status start_time end_time deleted_time "
    "source_version lifecycle_stage artifact_uri experiment_id",
    "tags": "key value run_uuid",
    "params": "key value run_uuid",
    "metrics": "key value timestamp step is_nan run_uuid",
    "latest_metrics": "key value timestamp step is_nan run_uuid",
    "datasets": "dataset_uuid experiment_id name digest dataset_source_type dataset_source dataset_schema "
    "dataset_profile",
    "inputs": "input_uuid source_type source_id destination_type destination_id step",
    "input_tags": "input_uuid name value",
}
USER, NAME = "mlflow.user", "mlflow.runName"


@lru_cache(maxsize=1)
def _tables() -> dict[str, Any]:
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.tracking.dbmodels import models  # noqa: F401

    return {name: Base.metadata.tables.get(name) for name in _COLUMNS}


def known() -> bool:
    """True where MLflow's tables have exactly the columns that are filled here."""
    return all(
        table is not None and set(table.columns.keys()) == set(_COLUMNS[name].split())
        for name, table in _tables().items()
    )


def engine(uri: str, artifacts: str) -> Any:
    """Return SQLAlchemy's engine of MLflow's own store. ``artifacts``: URI of the directory for artifacts."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    return SqlAlchemyStore(uri, artifacts).engine  # type: ignore[no-untyped-call]


def insert(engine: Any, experiment: str, runs: Sequence[tuple[str, str, Entry]]) -> None:
    """Insert new runs; where SQLAlchemy raises, nothing is inserted.

    ``engine``: of MLflow's store; ``runs``: id, URI of the artifacts, entry. No run may be in the store already.
    """
    number = int(experiment)
    inserts: Inserts = {name: [] for name in _COLUMNS}
    for run, artifacts, entry in runs:
        _describe(inserts, number, run, artifacts, entry)
    with engine.begin() as connection:
        _write(connection, "runs", inserts["runs"])  # a write first, so that no other comes between
        # In one order, so that two processes that insert the same data sets never wait for each other.
        inputs = sorted({entry.input for _, _, entry in runs}, key=lambda data: (data.name, data.digest))
        datasets = {data: _dataset(connection, number, data) for data in inputs}
        for run, _, entry in runs:
            _connect(inserts, run, datasets[entry.input])
        for name, rows in inserts.items():
            if name != "runs" and rows:
                _write(connection, name, rows)


def _write(connection: Any, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows as they are; SQLAlchemy's own way makes and checks a mapping for each, which takes as long again."""
    columns = _COLUMNS[table].split()
    if connection.dialect.name == "postgresql":
        postgresql.copy(connection, table, columns, rows)
    else:
        values = ", ".join("?" * len(columns))
        connection.exec_driver_sql(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})", rows)


def _describe(inserts: Inserts, experiment: int, run: str, artifacts: str, entry: Entry) -> None:
    """Add the rows of a run as MLflow's ``create_run``, ``log_batch`` and ``set_terminated`` would leave them."""
    user, times = entry.tags.get(USER, "unknown"), (entry.start_time, entry.end_time, None)
    source = ("UNKNOWN", "", "")
    inserts["runs"].append((run, entry.name, *source, user, entry.status, *times, "", "active", artifacts, experiment))
    inserts["tags"] += [(key, value, run) for key, value in {**entry.tags, NAME: entry.name}.items()]
    inserts["params"] += [(key, value, run) for key, value in entry.parameters.items()]
    latest: dict[str, tuple[int, int, float]] = {}
    for key, value, time, step in entry.metrics:
        inserts["metrics"].append((key, value, time, step, False, run))
        if (last := latest.get(key)) is None or (step, time, value) > last:
            latest[key] = (step, time, value)
    inserts["latest_metrics"] += [(key, value, time, step, False, run) for key, (step, time, value) in latest.items()]


def _dataset(connection: Any, experiment: int, data: Input) -> str:
    """Return the id of a data set in an experiment; insert a new one, unless another process does so first."""
    from sqlalchemy import text

    table = _tables()["datasets"]
    identity = {"experiment_id": experiment, "name": data.name, "digest": data.digest}
    ask = table.select().filter_by(**identity).with_only_columns(table.c.dataset_uuid)
    if (found := connection.execute(ask).scalar()) is not None:
        return str(found)
    new = {
        "dataset_uuid": uuid.uuid4().hex,
        **identity,
        "dataset_source_type": data.source_type,
        "dataset_source": data.source,
        "dataset_schema": data.schema,
        "dataset_profile": data.profile,
    }
    into, values = ", ".join(new), ", ".join(f":{name}" for name in new)
    connection.execute(text(f"INSERT INTO datasets ({into}) VALUES ({values}) ON CONFLICT DO NOTHING"), new)
    return str(connection.execute(ask).scalar_one())


def _connect(inserts: Inserts, run: str, dataset: str) -> None:
    """Add the rows that make a data set the input of a run, as MLflow's ``log_inputs`` would leave them."""
    input = uuid.uuid4().hex
    inserts["inputs"].append((input, "DATASET", dataset, "RUN", run, 0))
    inserts["input_tags"].append((input, *CONTEXT))
