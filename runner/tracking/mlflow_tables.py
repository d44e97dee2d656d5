"""Insertion of whole runs into MLflow's tables, where its store is an SQLite file or a PostgreSQL database.

MLflow's client takes 37 ms for a run of 300 metrics. Most of that goes to the search for rows to overwrite, which a new
run does not have. An insertion takes 5 ms. It is one transaction, so a run is there whole or not at all. MLflow itself
describes the tables; where they differ from those below, the client is used.

A run of 226 metrics takes 3 to 4 ms of processor time into SQLite. Into PostgreSQL it takes .9 ms here and 6 ms of the
server, which keeps two indices of the metrics (two thirds) and looks up the run of each row (one third).
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

from runner.tracking.entries import CONTEXT, Entry, Input

Inserts: TypeAlias = dict[str, list[tuple[Any, ...]]]
Metric: TypeAlias = tuple[str, float, int, int]  # key, value, time in milliseconds, step


class Tables(Protocol):
    """MLflow's tables in a database, by a driver of Python's DB-API; ``mark`` stands for a value in its statements."""

    mark: str

    def begin(self) -> AbstractContextManager[Any]:
        """Return a cursor in a transaction, which ends with it; an exception undoes it."""

    def write(self, cursor: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows."""


# Columns that are filled, by table, in the order of the rows.
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
    "experiments": "experiment_id name artifact_location lifecycle_stage creation_time last_update_time workspace",
    "experiment_tags": "key value experiment_id",
}
USER, NAME = "mlflow.user", "mlflow.runName"


def known(columns: Mapping[str, Collection[str]]) -> bool:
    """True where tables have exactly the columns that are filled here. ``columns``: of the database, by table."""
    return all(set(columns.get(name, ())) == set(filled.split()) for name, filled in _COLUMNS.items())


def insert(tables: Tables, experiment: str, runs: Sequence[tuple[str, str, Entry]]) -> None:
    """Insert new runs; where the driver raises, nothing is inserted.

    ``runs``: id, URI of the artifacts, entry. No run may be in the store already.
    """
    number = int(experiment)
    inserts: Inserts = {name: [] for name in _COLUMNS}
    for run, artifacts, entry in runs:
        _describe(inserts, number, run, artifacts, entry)
    with tables.begin() as cursor:
        _write(tables, cursor, {"runs": inserts.pop("runs")})  # a write first, so that no other comes between
        # In one order, so that two processes that insert the same data sets never wait for each other.
        inputs = sorted({entry.input for _, _, entry in runs}, key=lambda data: (data.name, data.digest))
        datasets = {data: _dataset(tables, cursor, number, data) for data in inputs}
        for run, _, entry in runs:
            _connect(inserts, run, datasets[entry.input])
        _write(tables, cursor, inserts)


def insert_open(
    tables: Tables, experiment: str, run: str, artifacts: str, name: str, start: int, tags: Mapping[str, str]
) -> None:
    """Insert a run that goes on, as MLflow's ``create_run`` would leave it."""
    inserts: Inserts = {"runs": [], "tags": []}
    _describe_run(inserts, int(experiment), run, artifacts, name, "RUNNING", (start, None), tags)
    with tables.begin() as cursor:
        _write(tables, cursor, inserts)


def extend(
    tables: Tables, run: str, metrics: Sequence[Metric], parameters: Mapping[str, str], tags: Mapping[str, str]
) -> None:
    """Add to a run what MLflow's ``log_batch`` would; its parameters must be new."""
    inserts: Inserts = {"params": [(key, value, run) for key, value in parameters.items()], "metrics": []}
    latest = _measure(inserts["metrics"], run, metrics)
    with tables.begin() as cursor:
        _write(tables, cursor, inserts)
        _replace(
            tables,
            cursor,
            "latest_metrics",
            latest,
            "(excluded.step, excluded.timestamp, excluded.value) > "
            "(latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)",
        )
        _replace(tables, cursor, "tags", [(key, value, run) for key, value in tags.items()])


def _replace(tables: Tables, cursor: Any, table: str, rows: Sequence[tuple[Any, ...]], where: str = "true") -> None:
    """Insert rows, each in place of that of its key and run if ``where`` holds."""
    columns = _COLUMNS[table].split()
    marks = ", ".join([tables.mark] * len(columns))
    new = ", ".join(f"{name} = excluded.{name}" for name in columns)
    cursor.executemany(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) "
        f"ON CONFLICT (key, run_uuid) DO UPDATE SET {new} WHERE {where}",
        rows,
    )


def _write(tables: Tables, cursor: Any, inserts: Inserts) -> None:
    for name, rows in inserts.items():
        if rows:
            tables.write(cursor, name, _COLUMNS[name].split(), rows)


def _describe(inserts: Inserts, experiment: int, run: str, artifacts: str, entry: Entry) -> None:
    """Add the rows of a run as MLflow's ``create_run``, ``log_batch`` and ``set_terminated`` would leave them."""
    times = entry.start_time, entry.end_time
    _describe_run(inserts, experiment, run, artifacts, entry.name, entry.status, times, entry.tags)
    inserts["params"] += [(key, value, run) for key, value in entry.parameters.items()]
    inserts["latest_metrics"] += _measure(inserts["metrics"], run, entry.metrics)


def _measure(rows: list[tuple[Any, ...]], run: str, metrics: Sequence[Metric]) -> list[tuple[Any, ...]]:
    """Add the rows of a run's metrics; return those of the latest of each key."""
    latest: dict[str, tuple[int, int, float]] = {}
    for key, value, time, step in metrics:
        rows.append((key, value, time, step, False, run))
        if (last := latest.get(key)) is None or (step, time, value) > last:
            latest[key] = (step, time, value)
    return [(key, value, time, step, False, run) for key, (step, time, value) in latest.items()]


def _describe_run(
    inserts: Inserts,
    experiment: int,
    run: str,
    artifacts: str,
    name: str,
    status: str,
    times: tuple[int, int | None],
    tags: Mapping[str, str],
) -> None:
    """Add a run itself, from ``times`` start to end, and its tags."""
    who, source = tags.get(USER, "unknown"), ("UNKNOWN", "", "")
    inserts["runs"].append((run, name, *source, who, status, *times, None, "", "active", artifacts, experiment))
    inserts["tags"] += [(key, value, run) for key, value in {**tags, NAME: name}.items()]


def _dataset(tables: Tables, cursor: Any, experiment: int, data: Input) -> str:
    """Return the id of a data set in an experiment; insert a new one, unless another process does so first."""
    identity = (experiment, data.name, data.digest)
    ask = "SELECT dataset_uuid FROM datasets WHERE experiment_id = ? AND name = ? AND digest = ?"

    def found() -> tuple[str] | None:
        cursor.execute(ask.replace("?", tables.mark), identity)
        row: tuple[str] | None = cursor.fetchone()
        return row

    if found() is None:
        new = (uuid.uuid4().hex, *identity, data.source_type, data.source, data.schema, data.profile)
        columns, marks = _COLUMNS["datasets"].split(), ", ".join([tables.mark] * len(new))
        into = f"INSERT INTO datasets ({', '.join(columns)}) VALUES ({marks}) ON CONFLICT DO NOTHING"
        cursor.execute(into, new)
    row = found()
    assert row is not None
    return row[0]


def _connect(inserts: Inserts, run: str, dataset: str) -> None:
    """Add the rows that make a data set the input of a run, as MLflow's ``log_inputs`` would leave them."""
    input = uuid.uuid4().hex
    inserts["inputs"].append((input, "DATASET", dataset, "RUN", run, 0))
    inserts["input_tags"].append((input, *CONTEXT))
