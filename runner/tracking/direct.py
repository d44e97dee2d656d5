"""Client of an SQLite file with MLflow's tables, without an import of MLflow, which takes two seconds.

It leaves row by row what MLflow would. The tables must be those that the installed version of MLflow makes. What MLflow
may refuse or rewrite is left to MLflow.
"""

from __future__ import annotations

import math
import posixpath
import re
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from runner.tracking import mlflow_tables, sqlite
from runner.tracking.client import Experiment, MlflowClient, Run
from runner.tracking.entries import milliseconds
from runner.tracking.mlflow_tables import Metric

# Names that MLflow surely takes as they are: no part of a path is empty or begins with a dot.
_NAME = re.compile(r"(?!\.)[\w. -]+(/(?!\.)[\w. -]+)*", re.ASCII)
LONGEST_NAME = 250
_PLACE = re.compile(r"file:///[^?#;%]*")


class Direct:
    """A client of MLflow's ``tables``; ``mlflow`` returns that of MLflow itself."""

    def __init__(self, tables: sqlite.Tables, mlflow: Callable[[], MlflowClient]) -> None:
        self.tables = tables
        self._mlflow = mlflow

    def experiment(self, name: str) -> Experiment | None:
        """Return an experiment by name."""
        ask = "SELECT experiment_id, artifact_location, lifecycle_stage FROM experiments WHERE name = ?"
        found = self.tables.connection.execute(ask, (name,)).fetchone()
        if found is None:
            return None
        number, artifacts, stage = found
        return Experiment(str(number), str(artifacts), stage == "active")

    def create_experiment(self, name: str, artifacts: str | None, tags: Mapping[str, str]) -> None:
        """Make an experiment; raise where it is there."""
        if not name or len(name) > LONGEST_NAME or not _PLACE.fullmatch(artifacts or ""):
            self._mlflow().create_experiment(name, artifacts, tags)
            return
        now = milliseconds(time.time())
        with self.tables.begin() as cursor:
            into = "experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace)"
            cursor.execute(
                f"INSERT INTO {into} VALUES (?, ?, 'active', ?, ?, ?)", (name, artifacts, now, now, sqlite.WORKSPACE)
            )
            rows = [(key, value, cursor.lastrowid) for key, value in tags.items()]
            self.tables.write(cursor, "experiment_tags", ("key", "value", "experiment_id"), rows)

    def create_run(self, experiment: Experiment, name: str, start_time: int, tags: Mapping[str, str]) -> Run:
        """Make a run that goes on."""
        run = uuid.uuid4().hex
        artifacts = artifacts_of(experiment, run)
        mlflow_tables.insert_open(self.tables, experiment.id, run, artifacts, name, start_time, tags)
        return Run(run, artifacts, {**tags, mlflow_tables.NAME: name})

    def log_batch(
        self, run: str, metrics: Sequence[Metric], parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        """Record metrics and parameters that the run lacks, and tags; a tag replaces that of its name."""
        finite = all(math.isfinite(value) for _, value, _, _ in metrics)
        if not finite or not _plain([*parameters, *tags, *(key for key, *_ in metrics)]):
            self._mlflow().log_batch(run, metrics, parameters, tags)
            return
        mlflow_tables.extend(self.tables, run, metrics, parameters, tags)

    def set_terminated(self, run: str, status: str, time: int) -> None:
        """End a run."""
        self._update(run, "status = ?, end_time = ?", status, time)

    def reopen(self, run: str) -> None:
        """Have an ended run go on."""
        self._update(run, "status = ?", "RUNNING")

    def delete_run(self, run: str) -> None:
        """Mark a run as deleted."""
        self._update(run, "lifecycle_stage = ?, deleted_time = ?", "deleted", milliseconds(time.time()))

    def tagged(self, experiment: Experiment, key: str, value: str) -> list[tuple[Run, str]]:
        """Return the runs of an experiment that have a tag, each with its status."""
        which = (
            "FROM runs JOIN tags USING (run_uuid) "
            "WHERE experiment_id = ? AND lifecycle_stage = 'active' AND key = ? AND tags.value = ?"
        )
        asked = (int(experiment.id), key, value)
        tags: dict[str, dict[str, str]] = {}
        inside = f"SELECT run_uuid, key, value FROM tags WHERE run_uuid IN (SELECT run_uuid {which})"
        for run, name, text in self.tables.connection.execute(inside, asked):
            tags.setdefault(run, {})[name] = text
        found = self.tables.connection.execute(f"SELECT run_uuid, artifact_uri, status {which}", asked)
        return [(Run(run, artifacts, tags[run]), status) for run, artifacts, status in found]

    def _update(self, run: str, what: str, *values: object) -> None:
        with self.tables.begin() as cursor:
            cursor.execute(f"UPDATE runs SET {what} WHERE run_uuid = ? AND lifecycle_stage = 'active'", (*values, run))
            if not cursor.rowcount:
                raise LookupError(f"Run with id={run} not found")


def direct(file: Path, mlflow: Callable[[], MlflowClient]) -> Direct | None:
    """Return a client of a database; None where it is not surely what the installed version of MLflow makes."""
    if (template := sqlite.template()) is None:
        return None
    try:
        if sqlite.schema(file) != (made := sqlite.schema(template)) or not mlflow_tables.known(made.columns):
            return None
    except sqlite3.Error:
        return None
    return Direct(sqlite.Tables(file), mlflow)


def artifacts_of(experiment: Experiment, run: str) -> str:
    """Return the URI of the artifacts of a run, as MLflow chooses it."""
    if _PLACE.fullmatch(experiment.artifacts):
        return posixpath.join(experiment.artifacts, run, "artifacts")
    from mlflow.utils.uri import append_to_uri_path

    return str(append_to_uri_path(experiment.artifacts, run, "artifacts"))  # type: ignore[no-untyped-call]


def _plain(names: Iterable[str]) -> bool:
    return all(len(name) <= LONGEST_NAME and _NAME.fullmatch(name) for name in names)
