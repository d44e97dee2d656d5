"""Whole runs into MLflow's own tables, many at a time, where its store is an SQLite file.

MLflow's client takes 37 ms for a run of 300 metrics, most of it to look up, row by row, what it may overwrite. Nothing
of a run that is not there yet can be overwritten: this takes 6 ms, in one transaction, so that a run is there whole or
not at all. The tables are described by MLflow itself; where they are not as expected, its client is used.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from runner.tracking.entries import CONTEXT, Entry, Input

Inserts: TypeAlias = dict[str, list[dict[str, Any]]]

# The columns that `insert` fills, by table.
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
    """Whether MLflow's tables have the columns that are filled here, and no others."""
    return all(
        table is not None and set(table.columns.keys()) == set(_COLUMNS[name].split())
        for name, table in _tables().items()
    )


def insert(engine: Any, experiment: str, runs: Sequence[tuple[str, str, Entry]]) -> None:
    """Adds runs with all that is known of them; raises what SQLAlchemy raises, and has then added nothing.

    ``engine``: that of MLflow's store; ``runs``: id, URI of the artifacts, entry. None of them may be there.
    """
    number = int(experiment)
    inserts: Inserts = {name: [] for name in _COLUMNS}
    for run, artifacts, entry in runs:
        _describe(inserts, number, run, artifacts, entry)
    with engine.begin() as connection:
        connection.execute(_tables()["runs"].insert(), inserts["runs"])  # a write first, so that no other comes between
        datasets = {data: _dataset(connection, number, data) for data in {entry.input for _, _, entry in runs}}
        for run, _, entry in runs:
            _connect(inserts, run, datasets[entry.input])
        for name, table in _tables().items():
            if name != "runs" and inserts[name]:
                connection.execute(table.insert(), inserts[name])


def _describe(inserts: Inserts, experiment: int, run: str, artifacts: str, entry: Entry) -> None:
    """Adds the rows of a run as MLflow's ``create_run``, ``log_batch`` and ``set_terminated`` would leave them."""
    inserts["runs"].append(
        {
            "run_uuid": run,
            "name": entry.name,
            "source_type": "UNKNOWN",
            "source_name": "",
            "entry_point_name": "",
            "user_id": entry.tags.get(USER, "unknown"),
            "status": entry.status,
            "start_time": entry.start_time,
            "end_time": entry.end_time,
            "deleted_time": None,
            "source_version": "",
            "lifecycle_stage": "active",
            "artifact_uri": artifacts,
            "experiment_id": experiment,
        }
    )
    tags = {**entry.tags, NAME: entry.name}
    inserts["tags"] += [{"key": key, "value": value, "run_uuid": run} for key, value in tags.items()]
    inserts["params"] += [{"key": key, "value": value, "run_uuid": run} for key, value in entry.parameters.items()]
    latest: dict[str, dict[str, Any]] = {}
    for key, value, time, step in entry.metrics:
        row = {"key": key, "value": value, "timestamp": time, "step": step, "is_nan": False, "run_uuid": run}
        inserts["metrics"].append(row)
        last = latest.setdefault(key, row)
        if (step, time, value) > (last["step"], last["timestamp"], last["value"]):
            latest[key] = row
    inserts["latest_metrics"] += latest.values()


def _dataset(connection: Any, experiment: int, data: Input) -> str:
    """The id of a data set in an experiment, to which it is added where it is new."""
    table = _tables()["datasets"]
    own = {"experiment_id": experiment, "name": data.name, "digest": data.digest}
    found = connection.execute(table.select().filter_by(**own).with_only_columns(table.c.dataset_uuid)).scalar()
    if found is not None:
        return str(found)
    new = uuid.uuid4().hex
    about = {
        "dataset_source_type": data.source_type,
        "dataset_source": data.source,
        "dataset_schema": data.schema,
        "dataset_profile": data.profile,
    }
    connection.execute(table.insert(), {"dataset_uuid": new, **own, **about})
    return new


def _connect(inserts: Inserts, run: str, dataset: str) -> None:
    """Adds the rows that make a data set the input of a run, as MLflow's ``log_inputs`` would leave them."""
    input = uuid.uuid4().hex
    inserts["inputs"].append(
        {
            "input_uuid": input,
            "source_type": "DATASET",
            "source_id": dataset,
            "destination_type": "RUN",
            "destination_id": run,
            "step": 0,
        }
    )
    inserts["input_tags"].append({"input_uuid": input, "name": CONTEXT[0], "value": CONTEXT[1]})
