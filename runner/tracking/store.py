"""MLflow store: a parent run for a sweep, and a child for each run."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, BinaryIO, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from runner.config.secrets import without_password
from runner.config.trial import Trial, called
from runner.records import Outcome, Session, Tracking
from runner.tracking import mlflow_tables, models, origin, postgresql, sqlite
from runner.tracking.address import locate, login, server_port, silence
from runner.tracking.client import Client, Experiment, MlflowClient, Run
from runner.tracking.direct import artifacts_of, direct
from runner.tracking.entries import Entry, entry_of, milliseconds, typed
from runner.tracking.facts import facts
from runner.tracking.files import CURVES, RUNS, check_writable, locked, replaced
from runner.tracking.line import ANSWER, TOLD, UPLOAD, Line
from runner.tracking.mlflow_import import environment
from runner.tracking.notes import ABOUT, LONGEST_TAG, NOTE, load_line, session_note
from weightinit.predictor import Predictor

Status = Literal["FINISHED", "FAILED", "KILLED"]

MODEL = "model"
_log = logging.getLogger(__name__)
# Runs per transaction: one page of an index takes rows of many runs. A transaction lasts about a fifth of a second.
BATCH = 64
# Seconds of attempts while another process holds the database.
SECONDS_LOCKED = 15.0


class Store:
    """An MLflow database or server, with a client that leaves MLflow's global state alone.

    ``uri``: for people, without its password.
    """

    def __init__(self, session: Session, tracking: Tracking) -> None:
        """Locate the store; raise ValueError for a URI that MLflow can't record to."""
        self.session = session
        self.experiment = tracking.experiment
        self._uri, self._file, self._artifacts = locate(tracking)
        self.uri = without_password(self._uri)
        self._own_tags = {name: str(value) for name, value in tracking.tags.items()}
        self._register = tracking.register
        self.models: dict[str, str] = {}  # ids of the runs with a model, by name
        self.complete: set[str] = set()  # keys of the runs that the store holds whole
        self._client: Client | None = None
        self._whole: MlflowClient | None = None
        self._tables: mlflow_tables.Tables | None = None  # of an SQLite file or PostgreSQL, where they are known
        self._experiment: Experiment | None = None
        self._tags: dict[str, str] = {}
        self._parent: Run | None = None
        self._runs: dict[str, Run] = {}
        self._namespace = uuid.uuid4()  # of the ids of new runs
        self._random = Random()
        self._inode: int | None = None
        self._line = Line() if self._file is None else None  # SQLite answers, or says that it is locked
        self._login = login(tracking)
        self._unsure = False  # whether a call failed of which the server may have done its part

    def check(self) -> None:
        """Raise ValueError where the store can't be reached, within three seconds and without an import of MLflow."""
        if self._file is not None:
            check_writable(self._file.parent)
            if not sqlite.possible(self._file):
                raise ValueError(
                    f"tracking.uri must name an SQLite database or a new file; {self._file} is something else. "
                    "Pass tracking.uri=sqlite:///FILE with another."
                )
        elif (reason := self.unreachable()) is not None:
            raise ValueError(
                f"tracking.uri must be an MLflow server that answers; got {self.uri} ({reason}). Start it with "
                f"`mlflow server --port {server_port(self._uri)}`, or leave tracking.uri out to record to SQLite."
            )

    def unreachable(self) -> str | None:
        """Return the reason why a server does not answer; None where it does, and for a database."""
        return silence(self._uri) if self._uri.startswith(("http://", "https://")) else None

    @property
    def client(self) -> Client:
        """The client; whoever asks first connects it."""
        if self._client is None:
            self._connect()
        assert self._client is not None
        return self._client

    @property
    def _mlflow(self) -> MlflowClient:
        """MLflow's own client, imported where nothing else will do."""
        if self._whole is None:
            self._whole = self._call(MlflowClient, self._uri, seconds=UPLOAD)
        return self._whole

    def open(self, identity: str, *, resumed: bool = False) -> None:
        """Make the store, the experiment and a sweep's parent run where they are new; raise ValueError on failure.

        ``identity``: of the session's directory, a tag of all its runs. ``resumed``: continue with the parent and the
        runs of an earlier process; its open runs are KILLED until they are sent.
        """
        self._tags = {
            **origin.tags(),
            **facts(),
            "sweep_id": self.session.sweep_id,
            "session": identity,
            **self._own_tags,
        }
        try:
            # Two processes that make the tables of a database at once would break it.
            with locked(self._file.with_name(f"{self._file.name}.lock")) if self._file else nullcontext():
                if self._file is not None:
                    sqlite.create(self._file, str(self._artifacts))
                    sqlite.write_ahead(self._file)
                    self._inode = self._file.stat().st_ino
                self._connect()
                self._experiment = self._find_experiment()
            if resumed:
                self._adopt(identity)
            if self.session.multirun and self._parent is None:
                overrides = without_password(json.dumps(self.session.overrides))
                tags = {NOTE: session_note(self.session), "overrides": overrides}
                if self.session.searched:
                    tags["searched"] = json.dumps(self.session.searched)
                    tags["fixed"] = without_password(json.dumps(self.session.fixed))
                self._parent = self._create_run(self.session.name, milliseconds(time.time()), self._tags | tags)
                self._call(self.client.log_batch, self._parent.id, [], typed(self.session.overrides), {})
                self._tags["mlflow.parentRunId"] = self._parent.id
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and self._uri.startswith("postgresql"):
                raise ValueError(
                    f"tracking.uri={self.uri} needs the driver of PostgreSQL, and there is no module {error.name}. "
                    "Install the extra: pip install '.[postgres]'."
                ) from error
            raise ValueError(
                f"MLflow must be able to record to tracking.uri; got {self.uri} ({cause(error)}). "
                "Mend that, pass another tracking.uri, or record to local files only with tracking=none."
            ) from error

    @property
    def local(self) -> bool:
        """Whether the store is an SQLite file."""
        return self._file is not None

    @property
    def lost(self) -> str | None:
        """Return what has become of an SQLite file that is no longer the one that was opened; None if all is well."""
        if self._file is None or self._inode is None:
            return None
        try:
            return None if self._file.stat().st_ino == self._inode else "the database was replaced by another"
        except OSError:
            return "the database was deleted"

    def exists(self) -> bool:
        """Return whether an SQLite file is there; True for other stores, which only they know."""
        return self._file is None or self._file.exists()

    @property
    def experiment_id(self) -> str | None:
        """ID of the experiment, asked of an SQLite file that is not open; None where only a server would know it."""
        if self._experiment is not None:
            return self._experiment.id
        return None if self._file is None else sqlite.experiment(self._file, self.experiment)

    def hurry(self, seconds: float) -> None:
        """Wait for no call to a server beyond so many seconds from now."""
        if self._line is not None:
            self._line.until = time.monotonic() + seconds

    def send(self, finished: Sequence[tuple[Trial, Outcome]]) -> None:
        """Record runs with their true times; a second time changes nothing. Raises MLflow's errors.

        ``complete`` then has the runs that MLflow took. The end of a run is sent last: an ended run is complete.
        """
        entries = [entry_of(trial, outcome, self.session, self._tags) for trial, outcome in finished]
        if self._unsure:
            self._adopt(self._tags["session"])
            self._unsure = False
        new = [entry for entry in entries if self._tables is not None and entry.key not in self._runs]
        if new:
            self._insert(new)
        for entry in entries:
            if entry not in new:
                self._send(entry)

    def _insert(self, entries: Sequence[Entry]) -> None:
        assert self._experiment is not None
        runs = []
        for entry in entries:
            # A second attempt has the same id, so the run is there once.
            run_id = uuid.uuid5(self._namespace, entry.key).hex
            runs.append(Run(run_id, artifacts_of(self._experiment, run_id), entry.tags))
            self._write_text(runs[-1], entry.config, "config.yaml")
        rows = [(run.id, run.artifacts, entry) for run, entry in zip(runs, entries, strict=True)]
        self._call(mlflow_tables.insert, self._tables, self._experiment.id, rows)
        for run, entry in zip(runs, entries, strict=True):
            self._runs[entry.key] = run
            self.complete.add(entry.key)

    def _send(self, entry: Entry) -> None:
        anew = entry.key in self._runs
        if not anew:
            self._runs[entry.key] = self._create_run(entry.name, entry.start_time, entry.tags)
        run, client = self._runs[entry.key], self._mlflow
        changed = {"error": "", **entry.tags} if anew else {}
        self._call(client.log_batch, run.id, entry.metrics, entry.parameters, changed)
        self._call(client.log_input, run.id, entry.input)
        self._write_text(run, entry.config, "config.yaml")
        self._call(client.set_terminated, run.id, entry.status, entry.end_time)
        self.complete.add(entry.key)

    @property
    def batch(self) -> int:
        """Number of runs to send at a time: through a client, a single run takes long enough."""
        return BATCH if self._tables is not None else 1

    def log_model(self, trial: Trial, made: Predictor) -> None:
        """Log the network of a sent run as its model ``model``, unless it has one. Raises MLflow's errors."""
        from mlflow.entities import LoggedModelOutput

        assert self._experiment is not None
        run, client = self._runs[trial.key], self._mlflow.whole
        about = {"scheme": called(trial, "scheme"), "network": trial.network.shape}
        self.models[trial.name] = run.id
        if MODEL in run.tags:
            return
        create = partial(client.create_logged_model, self._experiment.id, MODEL, run.id, tags=about)
        created = self._call(create)
        model_id = str(created.model_id)
        with tempfile.TemporaryDirectory() as scratch:
            models.save(Path(scratch) / MODEL, trial, made, model_id, run.id)
            self._call(client.log_model_artifacts, model_id, str(Path(scratch) / MODEL), seconds=UPLOAD)
        self._call(client.finalize_logged_model, model_id, "READY")
        if self._register is not None:
            self._registered(self._register, run.id, model_id, str(created.artifact_location))
        self._call(client.log_outputs, run.id, [LoggedModelOutput(model_id, step=trial.plan.steps)])
        for name, value in (
            (NOTE, f"{run.tags.get(NOTE, '')}\n\n{load_line(trial.name, run.id)}"),
            (MODEL, model_id),
        ):
            self._call(client.set_tag, run.id, name, value[-LONGEST_TAG:])

    def _registered(self, name: str, run: str, model_id: str, source: str) -> None:
        """Make a logged model the next version of a registered one."""
        from mlflow.exceptions import MlflowException

        client = self._mlflow.whole
        try:
            self._call(client.get_registered_model, name)
        except MlflowException:
            self._call(client.create_registered_model, name)
        self._call(partial(client.create_model_version, name, source, run, model_id=model_id), seconds=UPLOAD)

    def close(
        self,
        status: Status,
        metrics: Mapping[str, float],
        files: Mapping[str, Sequence[Path]],
        text: str = "",
        best: str | None = None,
    ) -> None:
        """End a sweep's parent with these metrics. Raises MLflow's errors.

        ``best``: key of the sweep's best run, a tag of both. The parent, or the single run, gets the ``files`` by
        folder, and the command's print ``text`` as its note.
        """
        run = self._parent or next(iter(self._runs.values()), None)
        if run is None:
            return
        if self._parent is not None:
            now = milliseconds(time.time())
            tags = {"best_run": self._runs[best].id} if best in self._runs else {}
            self._call(self.client.log_batch, run.id, [(*metric, now, 0) for metric in metrics.items()], {}, tags)
            if best in self._runs:
                self._tag(self._runs[best], "best", "true")
            self._call(self.client.set_terminated, run.id, status, now)
        if text:
            self._tag(run, NOTE, session_note(self.session, text, self.models))
        for folder, paths in files.items():
            for path in paths:
                self._write(run, path, folder)
        if isinstance(self._tables, sqlite.Tables):
            self._tables.close()
        if self._file is not None and self._file.exists():
            sqlite.gather(self._file)

    def experiments(self) -> dict[str, int]:
        """Return the names of the experiments that hold commands' runs, with how many commands each holds."""
        held = {}
        for experiment in self._call(self._mlflow.whole.search_experiments):
            found = self._call(self._mlflow.search, experiment.experiment_id, "tags.sweep_id != ''", seconds=UPLOAD)
            if commands := sum("mlflow.parentRunId" not in run.data.tags for run in found):
                held[str(experiment.name)] = commands
        return held

    def sessions(self) -> list[Any]:
        """Return the runs that stand for commands: single runs first, then parents of sweeps, each by its start."""
        experiment = self._call(self._mlflow.experiment, self.experiment)
        if experiment is None:
            return []
        found = self._call(self._mlflow.search, experiment.id, "tags.sweep_id != ''", seconds=UPLOAD)
        runs = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
        return sorted(runs, key=lambda run: ("trial_key" not in run.data.tags, run.info.start_time))

    def restore(self, directory: Path) -> bool:
        """Copy the merged tables of this session to ``directory``; return whether the store had them."""
        run = self._parent or next(iter(self._runs.values()), None)
        return run is not None and not self.copy_tables(run.id, directory)

    def copy_tables(self, run: str, directory: Path) -> list[str]:
        """Copy the tables among a run's artifacts to ``directory``; return the names of those that it lacks."""
        names, client = (RUNS, CURVES), self._mlflow.whole
        held = {artifact.path for artifact in self._call(client.list_artifacts, run)}
        if missing := sorted(set(names) - held):
            return missing
        with tempfile.TemporaryDirectory() as scratch:
            for name in names:
                self._call(client.download_artifacts, run, name, scratch, seconds=UPLOAD)
            for name in names:
                replaced(directory / name, partial(_copy, Path(scratch) / name))
        return []

    def _connect(self) -> None:
        """Connect a client, and find the tables where they are known."""
        if self._file is not None and (found := direct(self._file, lambda: self._mlflow)) is not None:
            self._client, self._tables = found, found.tables
            return
        self._client = self._mlflow
        if self._file is not None:
            self._tables = sqlite.tables(self._file)
        elif self._uri.startswith(postgresql.DRIVEN):
            self._tables = self._call(postgresql.tables, self._uri, str(self._artifacts))

    def withdraw(self) -> None:
        """Delete the parent of a sweep that has no run. Raises MLflow's errors."""
        if self._parent is not None:
            self._call(self.client.delete_run, self._parent.id)

    def _adopt(self, identity: str) -> None:
        """Find the runs of an earlier process of this session, and continue with its parent."""
        assert self._experiment is not None
        for run, status in self._call(self.client.tagged, self._experiment, "session", identity, seconds=UPLOAD):
            if (key := run.tags.get("trial_key")) is None:
                self._parent, self._tags["mlflow.parentRunId"] = run, run.id
                self._call(self.client.reopen, run.id)
                continue
            self._runs[key] = run
            if status == "FINISHED":
                self.complete.add(key)
            elif status == "RUNNING":
                self._call(self.client.set_terminated, run.id, "KILLED", milliseconds(time.time()))

    def _find_experiment(self) -> Experiment:
        client = self.client
        experiment: Experiment | None = self._call(client.experiment, self.experiment)
        if experiment is None:
            try:
                self._call(client.create_experiment, self.experiment, self._artifacts, ABOUT)
            except Exception:
                # Another process may have made it meanwhile.
                if self._call(client.experiment, self.experiment) is None:
                    raise
            experiment = self._call(client.experiment, self.experiment)
        assert experiment is not None
        if not experiment.active:
            raise ValueError(
                f"the experiment {self.experiment!r} was deleted. Restore it with `mlflow experiments restore -x "
                f"{experiment.id}`, or pass tracking.experiment=NAME."
            )
        return experiment

    def _create_run(self, name: str, start_time: int, tags: Mapping[str, str]) -> Run:
        run: Run = self._call(self.client.create_run, self._experiment, name, start_time, tags)
        return run

    def _tag(self, run: Run, name: str, value: str) -> None:
        self._call(self.client.log_batch, run.id, [], {}, {name: value})

    def _write(self, run: Run, path: Path, folder: str) -> None:
        """Write a file into a folder of a run's directory."""
        if (place := _local(run)) is None:
            self._call(self._mlflow.whole.log_artifact, run.id, str(path), folder or None, seconds=UPLOAD)
            return
        replaced(place / folder / path.name, partial(_copy, path))
        shutil.copystat(path, place / folder / path.name)

    def _write_text(self, run: Run, text: str, name: str) -> None:
        """Write a text into a run's directory; for a local file MLflow takes 30 times as long."""
        if (place := _local(run)) is None:
            self._call(self._mlflow.whole.log_text, run.id, text, name)
            return
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="utf-8")

    def _call(self, function: Callable[..., Any], *args: Any, seconds: float | None = None) -> Any:
        """Call the function, again while another process holds an SQLite database; return its result.

        A call to a server has so many seconds, ``ANSWER`` by default. Raises TimeoutError after them.
        """
        if self._line is not None:
            try:
                return self._line.call(partial(self._asked, function, *args), seconds or ANSWER, self._late)
            except BaseException:
                self._unsure = True
                raise
        deadline = time.monotonic() + SECONDS_LOCKED
        while True:
            try:
                return function(*args)
            except Exception as error:
                if "database is locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(self._random.uniform(0.02, 0.2))

    def _late(self) -> None:
        _log.warning(
            "MLflow at %s, or where it keeps artifacts, has not answered for %.0f seconds; %.0f more for one answer.",
            self.uri,
            TOLD,
            UPLOAD - TOLD,
        )

    def _asked(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function that asks a server once, with its user and password."""
        # MLflow's defaults wait for minutes: 7 more attempts of 120 seconds each.
        once = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": f"{ANSWER:.0f}"}
        once["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
        with environment(once), environment(self._login, replace=True):
            return function(*args)


def _local(run: Run) -> Path | None:
    """Return the directory of a run's artifacts; None where it is not among local files."""
    address = urlsplit(run.artifacts)
    return Path(url2pathname(address.path)) if address.scheme == "file" else None


def _copy(source: Path, file: BinaryIO) -> None:
    with source.open("rb") as content:
        shutil.copyfileobj(content, file)


def cause(error: Exception) -> str:
    """Line on an error of MLflow, whose full text may hold a whole batch of SQL, or a password."""
    first = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return without_password(first[:300].rstrip("."))
