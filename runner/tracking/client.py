"""Clients: what a command asks of MLflow, in plain values, and MLflow's own client behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from runner.tracking import postgresql
from runner.tracking.entries import CONTEXT, Input
from runner.tracking.mlflow_import import import_mlflow
from runner.tracking.mlflow_tables import Metric


@dataclass(frozen=True)
class Experiment:
    """An experiment; ``artifacts``: URI of the directory of its runs."""

    id: str
    artifacts: str
    active: bool


@dataclass(frozen=True)
class Run:
    """A run; ``artifacts``: URI of its directory."""

    id: str
    artifacts: str
    tags: Mapping[str, str]

    @classmethod
    def of(cls, run: Any) -> Run:
        """Return MLflow's run as one of these."""
        return cls(str(run.info.run_id), str(run.info.artifact_uri), run.data.tags)


class Client(Protocol):
    """Requests of every command to MLflow; times are in milliseconds."""

    def experiment(self, name: str) -> Experiment | None:
        """Return an experiment by name."""

    def create_experiment(self, name: str, artifacts: str | None, tags: Mapping[str, str]) -> None:
        """Make an experiment; raise where it is there."""

    def create_run(self, experiment: Experiment, name: str, start_time: int, tags: Mapping[str, str]) -> Run:
        """Make a run that goes on."""

    def log_batch(
        self, run: str, metrics: Sequence[Metric], parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        """Record metrics, parameters and tags; a tag replaces that of its name."""

    def set_terminated(self, run: str, status: str, time: int) -> None:
        """End a run."""

    def reopen(self, run: str) -> None:
        """Have an ended run go on."""

    def delete_run(self, run: str) -> None:
        """Mark a run as deleted."""

    def tagged(self, experiment: Experiment, key: str, value: str) -> list[tuple[Run, str]]:
        """Return the runs of an experiment that have a tag, each with its status."""


class MlflowClient:
    """MLflow's own client, which makes the tables of a new database."""

    def __init__(self, uri: str) -> None:
        import_mlflow()
        import mlflow

        with postgresql.alone(uri) if uri.startswith("postgresql") else nullcontext():
            self.whole = mlflow.MlflowClient(uri)  # with all that MLflow can

    def experiment(self, name: str) -> Experiment | None:
        """Return an experiment by name."""
        found = self.whole.get_experiment_by_name(name)
        if found is None:
            return None
        return Experiment(str(found.experiment_id), str(found.artifact_location), found.lifecycle_stage == "active")

    def create_experiment(self, name: str, artifacts: str | None, tags: Mapping[str, str]) -> None:
        """Make an experiment; raise where it is there."""
        self.whole.create_experiment(name, artifacts, dict(tags))

    def create_run(self, experiment: Experiment, name: str, start_time: int, tags: Mapping[str, str]) -> Run:
        """Make a run that goes on."""
        return Run.of(self.whole.create_run(experiment.id, start_time, dict(tags), name))

    def log_batch(
        self, run: str, metrics: Sequence[Metric], parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        """Record metrics, parameters and tags; a tag replaces that of its name."""
        from mlflow import entities

        self.whole.log_batch(
            run,
            [entities.Metric(*metric) for metric in metrics],
            [entities.Param(*parameter) for parameter in parameters.items()],
            [entities.RunTag(*tag) for tag in tags.items()],
        )

    def log_input(self, run: str, data: Input) -> None:
        """Make a data set the input of a run."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        self.whole.log_inputs(run, [DatasetInput(Dataset(**asdict(data)), [InputTag(*CONTEXT)])])

    def set_terminated(self, run: str, status: str, time: int) -> None:
        """End a run."""
        self.whole.set_terminated(run, status, time)

    def reopen(self, run: str) -> None:
        """Have an ended run go on."""
        self.whole.update_run(run, "RUNNING")

    def delete_run(self, run: str) -> None:
        """Mark a run as deleted."""
        self.whole.delete_run(run)

    def tagged(self, experiment: Experiment, key: str, value: str) -> list[tuple[Run, str]]:
        """Return the runs of an experiment that have a tag, each with its status."""
        return [(Run.of(run), run.info.status) for run in self.search(experiment.id, f"tags.{key} = '{value}'")]

    def search(self, experiment: str, which: str) -> list[Any]:
        """Return MLflow's runs that a filter of MLflow's lets pass."""
        found: list[Any] = []
        token = None
        while True:
            page = self.whole.search_runs([experiment], which, max_results=1000, page_token=token)
            found += page
            if not (token := page.token):
                return found
