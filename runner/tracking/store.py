"""The MLflow side of recording: a parent run, its children, and what each of them says."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from runner.config.trial import Trial, called
from runner.records import Outcome, Session, Tracking
from runner.tracking import mlflow_tables, models, sqlite
from runner.tracking.address import locate, server_port, silence, without_password
from runner.tracking.entries import CONTEXT, Entry, entry, milliseconds
from runner.tracking.facts import facts
from runner.tracking.files import check_writable, locked
from runner.tracking.notes import ABOUT, LONGEST_TAG, NOTE, load_line, session_note
from weightinit.predictor import Predictor

Status = Literal["FINISHED", "FAILED", "KILLED"]

MODEL = "model"
# Runs that go into tables at a time: fewer waits for the disk, and none of a tenth of a second.
BATCH = 8
# How long to try again while another process holds the database.
SECONDS_LOCKED = 15.0


@dataclass(frozen=True)
class _Run:
    """A run that the store has; ``artifacts``: URI of its directory."""

    id: str
    artifacts: str
    tags: Mapping[str, str]

    @classmethod
    def of(cls, run: Any) -> _Run:
        return cls(str(run.info.run_id), str(run.info.artifact_uri), run.data.tags)


class Store:
    """An MLflow database or server, spoken to by a client of its own; MLflow's global state stays as it is.

    ``uri``: for people, without its password.
    """

    def __init__(self, session: Session, tracking: Tracking) -> None:
        """Raises ValueError for a URI that MLflow can't record to."""
        self.session = session
        self.experiment = tracking.experiment
        self._uri, self._file, self._artifacts = locate(tracking)
        self.uri = without_password(self._uri)
        self.models: dict[str, str] = {}  # ids of the runs that have one, by name
        self.complete: set[str] = set()  # keys of the runs that the store holds whole
        self._client: Any = None
        self._engine: Any = None  # of an SQLite file whose tables are known
        self._experiment: Any = None
        self._tags: dict[str, str] = {}
        self._parent: str | None = None
        self._runs: dict[str, _Run] = {}
        self._namespace = uuid.uuid4()  # of the ids of new runs
        self._random = Random()

    def check(self) -> None:
        """Raises ValueError where the store can't be reached: within three seconds and without importing MLflow."""
        if self._file is not None:
            check_writable(self._file.parent)
        elif (reason := self.unreachable()) is not None:
            raise ValueError(
                f"tracking.uri must be an MLflow server that answers; got {self.uri} ({reason}). Start it with "
                f"`mlflow server --port {server_port(self._uri)}`, or leave tracking.uri out to record to SQLite."
            )

    def unreachable(self) -> str | None:
        """Why a server doesn't answer; None where it does, and where the store is a database."""
        return silence(self._uri) if self._uri.startswith(("http://", "https://")) else None

    def open(self, identity: str, *, resumed: bool = False) -> None:
        """Makes what is new, the store, the experiment and a sweep's parent run; raises ValueError where it can't.

        ``identity``: that of the session's directory, a tag of all its runs. ``resumed``: what an earlier process left
        is gone on with: its parent, and its runs, of which those that it left open become KILLED until they are sent.
        """
        # MLflow would otherwise send statistics of its use to its makers.
        with _environment(MLFLOW_DISABLE_TELEMETRY="true"):
            from mlflow import MlflowClient
            from mlflow.tracking.context.registry import resolve_tags
        # Every error that this logger prints, with its traceback, is raised as well.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        self._tags = {
            **resolve_tags(),
            **facts(),
            "sweep_id": self.session.sweep_id,
            "session": identity,
        }
        try:
            # Two processes that make the tables of one database at once would break it.
            with locked(self._file.with_name(f"{self._file.name}.lock")) if self._file else nullcontext():
                if self._file is not None:
                    sqlite.create(self._file, str(self._artifacts))
                    sqlite.write_ahead(self._file)
                self._client = self._call(MlflowClient, self._uri)
                self._experiment = self._find_experiment()
            if self._file is not None and mlflow_tables.known():
                self._engine = sqlite.engine(self._uri, str(self._artifacts))
            if resumed:
                self._adopt(identity)
            if self.session.multirun and self._parent is None:
                overrides = without_password(json.dumps(self.session.overrides))
                tags = {NOTE: session_note(self.session), "overrides": overrides}
                self._parent = self._create_run(self.session.name, milliseconds(time.time()), self._tags | tags).id
                self._tags["mlflow.parentRunId"] = self._parent
        except Exception as error:
            raise ValueError(
                f"MLflow must be able to record to tracking.uri; got {self.uri} ({cause(error)}). "
                "Mend that, pass another tracking.uri, or record to local files only with tracking=none."
            ) from error

    def send(self, finished: Sequence[tuple[Trial, Outcome]]) -> None:
        """Records runs with their true times; sent again, they change nothing. Raises whatever MLflow raises.

        ``complete`` then has those that were taken. The end of a run is sent last: a run that has ended is whole.
        """
        entries = [entry(trial, outcome, self.session, self._tags) for trial, outcome in finished]
        new = [one for one in entries if self._engine is not None and one.key not in self._runs]
        if new:
            self._insert(new)
        for one in entries:
            if one not in new:
                self._send(one)

    def _insert(self, entries: Sequence[Entry]) -> None:
        from mlflow.utils.uri import append_to_uri_path

        runs = []
        for one in entries:
            # Tried again, a run has the same id, so that it is there once.
            run_id = uuid.uuid5(self._namespace, one.key).hex
            artifacts = append_to_uri_path(self._experiment.artifact_location, run_id, "artifacts")  # type: ignore[no-untyped-call]
            runs.append(_Run(run_id, artifacts, one.tags))
            self._write_text(runs[-1], one.config, "config.yaml")
        rows = [(run.id, run.artifacts, one) for run, one in zip(runs, entries, strict=True)]
        self._call(mlflow_tables.insert, self._engine, self._experiment.experiment_id, rows)
        for run, one in zip(runs, entries, strict=True):
            self._runs[one.key] = run
            self.complete.add(one.key)

    def _send(self, one: Entry) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

        anew = one.key in self._runs
        if not anew:
            self._runs[one.key] = self._create_run(one.name, one.start_time, one.tags)
        run = self._runs[one.key]
        metrics = [Metric(*metric) for metric in one.metrics]
        params = [Param(*parameter) for parameter in one.parameters.items()]
        changed = [RunTag(*tag) for tag in {"error": "", **one.tags}.items()] if anew else []
        self._call(self._client.log_batch, run.id, metrics, params, changed)
        self._call(self._client.log_inputs, run.id, [DatasetInput(Dataset(**asdict(one.input)), [InputTag(*CONTEXT)])])
        self._write_text(run, one.config, "config.yaml")
        self._call(self._client.set_terminated, run.id, one.status, one.end_time)
        self.complete.add(one.key)

    @property
    def batch(self) -> int:
        """How many runs to send at a time: with a client each takes long enough on its own."""
        return BATCH if self._engine is not None else 1

    def log_model(self, trial: Trial, made: Predictor) -> None:
        """Makes the network of a run that was sent the model called ``model`` of that run, unless it has one.

        Raises whatever MLflow raises.
        """
        from mlflow.entities import LoggedModelOutput

        run, client = self._runs[trial.key], self._client
        about = {"scheme": called(trial, "scheme"), "network": trial.network.shape}
        self.models[trial.name] = run.id
        if MODEL in run.tags:
            return
        create = partial(client.create_logged_model, self._experiment.experiment_id, MODEL, run.id, tags=about)
        model_id = str(self._call(create).model_id)
        with tempfile.TemporaryDirectory() as scratch:
            models.save(Path(scratch) / MODEL, trial, made, model_id, run.id)
            self._call(client.log_model_artifacts, model_id, str(Path(scratch) / MODEL))
        self._call(client.finalize_logged_model, model_id, "READY")
        self._call(client.log_outputs, run.id, [LoggedModelOutput(model_id, step=trial.plan.steps)])
        for name, value in (
            (NOTE, f"{run.tags.get(NOTE, '')}\n\n{load_line(trial.name, run.id)}"),
            (MODEL, model_id),
        ):
            self._call(client.set_tag, run.id, name, value[-LONGEST_TAG:])

    def close(
        self, status: Status, metrics: Mapping[str, float], files: Mapping[str, Sequence[Path]], text: str = ""
    ) -> None:
        """Ends a sweep's parent with these metrics; the files, by folder, go there or to the single run, and so does
        ``text``, what the command printed, as its note.

        Raises whatever MLflow raises.
        """
        from mlflow.entities import Metric

        run_id = self._parent or next((run.id for run in self._runs.values()), None)
        if run_id is None:
            return
        if self._parent is not None:
            now = milliseconds(time.time())
            self._call(self._client.log_batch, run_id, [Metric(name, value, now, 0) for name, value in metrics.items()])
            self._call(self._client.set_terminated, run_id, status, now)
        if text:
            note = session_note(self.session, text, self.models)
            self._call(self._client.set_tag, run_id, NOTE, note)
        for folder, paths in files.items():
            for path in paths:
                self._call(self._client.log_artifact, run_id, str(path), folder or None)
        if self._file is not None and self._file.exists():
            sqlite.gather(self._file)

    def _adopt(self, identity: str) -> None:
        """Finds the runs of an earlier process in this session's directory, and goes on with its parent."""
        token = None
        while True:
            page = self._call(
                lambda: self._client.search_runs(
                    [self._experiment.experiment_id], f"tags.session = '{identity}'", max_results=1000, page_token=token
                )
            )
            for run in page:
                run_id, status, key = run.info.run_id, run.info.status, run.data.tags.get("trial_key")
                if key is None:
                    self._parent = self._tags["mlflow.parentRunId"] = str(run_id)
                    self._call(self._client.update_run, run_id, "RUNNING")
                    continue
                self._runs[key] = _Run.of(run)
                if status == "FINISHED":
                    self.complete.add(key)
                elif status == "RUNNING":
                    self._call(self._client.set_terminated, run_id, "KILLED")
            if not (token := page.token):
                break

    def _find_experiment(self) -> Any:
        experiment = self._call(self._client.get_experiment_by_name, self.experiment)
        if experiment is None:
            try:
                self._call(self._client.create_experiment, self.experiment, self._artifacts, ABOUT)
            except Exception:
                # Another process may have made it since.
                if self._call(self._client.get_experiment_by_name, self.experiment) is None:
                    raise
            experiment = self._call(self._client.get_experiment_by_name, self.experiment)
        if experiment.lifecycle_stage != "active":
            raise ValueError(
                f"the experiment {self.experiment!r} was deleted. Restore it with `mlflow experiments restore -x "
                f"{experiment.experiment_id}`, or pass tracking.experiment=NAME."
            )
        return experiment

    def _create_run(self, name: str, start_time: int, tags: Mapping[str, str]) -> _Run:
        create, experiment = self._client.create_run, self._experiment.experiment_id
        return _Run.of(self._call(create, experiment, start_time, dict(tags), name))

    def _write_text(self, run: _Run, text: str, name: str) -> None:
        """Keeps a text with a run; MLflow itself takes 30 times as long for a file on this machine."""
        address = urlsplit(run.artifacts)
        if address.scheme != "file":
            self._call(self._client.log_text, run.id, text, name)
            return
        folder = Path(url2pathname(address.path))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        """What the function returns; it is called again while another process holds the database."""
        # MLflow's own 7 retries would wait four minutes for a server that is gone.
        with _environment(MLFLOW_HTTP_REQUEST_MAX_RETRIES="2"):
            deadline = time.monotonic() + SECONDS_LOCKED
            while True:
                try:
                    return function(*args)
                except Exception as error:
                    if "database is locked" not in str(error) or time.monotonic() > deadline:
                        raise
                    time.sleep(self._random.uniform(0.02, 0.2))


def cause(error: Exception) -> str:
    """One line on an error of MLflow's, whose own text may hold a whole batch of SQL, or a password."""
    first = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return without_password(first[:300].rstrip("."))


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Inside, the environment has these variables, where the user has not set them."""
    new = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)
