"""Recorder: sends every finished run to local files first, then to MLflow."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import TracebackType

import numpy as np
import pandas as pd

from runner.config.trial import Trial
from runner.records import SUMMARY, Outcome, Session, Tracking
from runner.text import PAGE
from runner.tracking import files, models, sessions
from runner.tracking.address import viewer
from runner.tracking.frames import frames
from runner.tracking.signals import undisturbed
from runner.tracking.store import Status, Store, cause

# Seconds without an attempt after a failure of MLflow, so that a dead server does not slow a sweep.
PAUSE = 30.0
# Seconds for runs that wait for MLflow after a person has asked to stop.
PATIENCE = 3.0

_log = logging.getLogger(__name__)


class Recorder:
    """Recorder of the runs of a command; a context manager.

    The local files decide. Once work has begun, trouble with MLflow stops nothing. The first trouble is logged as a
    warning; MLflow gets what it missed at the end; a last warning names what it still lacks. An exception keeps all
    finished runs and marks a sweep's parent KILLED (Ctrl-C) or FAILED. Where an earlier process has recorded in the
    session's directory, its work is continued. Methods are for one thread at a time.

    ``resumed``: whether an earlier process worked there; ``lost``: whether something recorded is no longer there;
    ``waiting``: number of runs that MLflow has yet to get.
    """

    def __init__(self, session: Session, tracking: Tracking, keys: Sequence[str] = ()) -> None:
        """Prepare to record trials of ``keys``, in the order of the rows. Raises ValueError for a bad URI."""
        self.session = session
        self.tracking = tracking
        self.keys = keys
        self.store = Store(session, tracking) if tracking.backend == "mlflow" else None
        self.resumed = False
        self._hold = sessions.Hold(session)
        self._earlier: dict[str, Outcome] = {}
        self._missed: dict[str, tuple[Trial, Outcome]] = {}
        self._trials: dict[str, Trial] = {}  # runs that may get a model
        self.lost = False
        self._trouble = ""
        self._resume_at = 0.0
        self._finished = False

    def check(self) -> None:
        """Raise ValueError where runs can't be recorded, within three seconds and without an import of MLflow.

        It makes no file and no folder.
        """
        files.check_writable(self.tracking.outputs)
        files.check_writable(self.session.directory)
        if self.store is not None:
            self.store.check()

    @property
    def id(self) -> str:
        """Identity of the session's directory, once it is taken."""
        return self._hold.id

    @property
    def complete(self) -> bool:
        """True where an earlier process has recorded the whole session to the same places."""
        earlier = sessions.read(self.session.directory)
        return (
            earlier is not None
            and earlier["complete"] == self._address
            and earlier["total"] >= self.session.total
            and (self.store is None or self.store.exists())
            and set(self.keys) <= files.keys(self.session.directory)
        )

    @property
    def viewer(self) -> str | None:
        """Address or command that shows the recorded runs; None without MLflow."""
        return viewer(self.tracking, None if self.store is None else self.store.experiment_id)

    @property
    def waiting(self) -> int:
        """Number of runs that MLflow has yet to get; 0 during the pause after a failure."""
        return len(self._missed) if time.monotonic() >= self._resume_at else 0

    @property
    def _address(self) -> str:
        if self.store is None:
            return "files"
        return f"files, {self.store.uri}" + (f", models: {self.tracking.log_model}" if self._logs_models else "")

    @property
    def _logs_models(self) -> bool:
        return self.tracking.log_model != "none"

    def __enter__(self) -> Recorder:
        """Take the directory and open the store; raise ValueError where that fails, because no work is lost yet."""
        try:
            self.check()
            self.resumed = self._hold.take()
            if self.resumed:
                files.merge(self.session.directory, self.keys)
                self._earlier = files.outcomes(self.session.directory)
            if self.store is not None:
                self.store.open(self._hold.id, resumed=self.resumed)
                if self.resumed and not (self.session.directory / files.RUNS).exists():
                    self._restore()
        except BaseException:
            self._hold.drop(None)
            if self.store is not None and not self.resumed:
                with suppress(Exception):
                    self.store.hurry(1.0)
                    self.store.withdraw()
            raise
        return self

    def _restore(self) -> None:
        """Fetch the merged tables from MLflow, if it has them."""
        assert self.store is not None
        try:
            if self.store.restore(self.session.directory):
                files.merge(self.session.directory, self.keys)
                self._earlier = files.outcomes(self.session.directory)
        except Exception as error:  # then its runs are trained again
            _log.warning("MLflow at %s could not give back the tables (%s).", self.store.uri, cause(error))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not self._finished:
            stopped = kind is not None and issubclass(kind, KeyboardInterrupt)
            self.finish(status="KILLED" if stopped else "FAILED" if kind is not None else None)

    def recall(self, trial: Trial) -> Outcome | None:
        """Return the recorded outcome of a trial, without arrays, and queue it where MLflow lacks it.

        None for a failed run, and for a run whose model is wanted but whose weights were not kept.
        """
        outcome = self._earlier.get(trial.key)
        if outcome is None or outcome.fate == "failed":
            return None
        if self._logs_models and outcome.fate == "finished":
            if models.predictor(trial, files.arrays(self.session.directory, trial.key)) is None:
                return None
            self._trials[trial.key] = trial
        if self.store is not None and trial.key not in self.store.complete:
            self._missed[trial.key] = (trial, outcome)
        return outcome

    def record(self, recorded: Sequence[tuple[Trial, Outcome]]) -> None:
        """Write runs to local files, and queue them for ``send``; raise OSError where no file can be written."""
        runs, curves = frames(recorded)
        files.write(self.session.directory, [outcome for _, outcome in recorded], runs, curves)
        if self._logs_models:
            self._trials |= {trial.key: trial for trial, _ in recorded}
        if self.store is not None:
            self._missed |= {outcome.key: (trial, replace(outcome, arrays={})) for trial, outcome in recorded}

    def send(self) -> bool:
        """Send the next waiting runs to MLflow; return True if there were some and MLflow took them."""
        return self.waiting > 0 and self.store is not None and self._send(list(islice(self._missed, self.store.batch)))

    def finish(
        self,
        *,
        figures: Mapping[str, Path] | Callable[[], Mapping[str, Path]] | None = None,
        text: Callable[[], str] = str,
        status: Status | None = None,
    ) -> None:
        """Merge the local files and complete MLflow with metrics of the sweep, tables and figures; the last call.

        ``figures``: image files by name, or a function that draws and returns them. It is called when
        ``read(directory)`` is complete, and only where figures are wanted. ``text``: returns the command's print, for
        MLflow's note. ``status``: of a sweep's parent; by default FAILED where a run failed, else FINISHED.
        """
        runs = files.merge(self.session.directory, self.keys)
        drawn = (figures() if callable(figures) else figures) if self.tracking.figures else None
        totals = _totals(runs)
        final = status or ("FAILED" if totals["runs_failed"] else "FINISHED")
        lacking = self.store is not None and self._complete_mlflow(runs, totals, final, drawn or {}, text())
        self._finished = True
        # Only an optimizing sweeper knows how many runs it asks for.
        absent = set(self.keys) - set(runs.get("key", ()))
        if absent and status is None:
            self.lost = True
            _log.warning("%d of %d runs are damaged: resume=true trains them again.", len(absent), len(self.keys))
        whole = final == "FINISHED" and not absent
        self._hold.drop(self._address if whole and not lacking else None)

    def _complete_mlflow(
        self, runs: pd.DataFrame, totals: Mapping[str, float], status: Status, figures: Mapping[str, Path], text: str
    ) -> bool:
        """Send all that MLflow lacks, and close it; return True if it still lacks something."""
        assert self.store is not None
        if status == "KILLED":
            self.store.hurry(PATIENCE)
        attempts, start = 3 if self.store.local and not self.store.lost else 1, time.monotonic()
        for key in list(self._missed):
            attempts = attempts if self._send([key]) else attempts - 1
            if not attempts or (status == "KILLED" and time.monotonic() - start > PATIENCE):
                break
        lacking = [f"{len(self._missed)} of {len(runs)} runs"] if self._missed else []
        try:
            if not attempts and (self.store.lost or not self.store.local):
                raise ConnectionError(self._trouble)
            with self._undisturbed():
                if runs.empty:
                    self.store.withdraw()
                else:
                    self._close(runs, totals, status, figures, text)
        except Exception as error:
            self._trouble = cause(error)
            lacking.append("the sweep's summary, tables and figures" if self.session.multirun else "tables and figures")
        if (lost := self.store.lost) is not None:
            self._trouble, self.lost = lost, True
            lacking = [f"all {len(runs)} runs"]
        if lacking and not (status == "KILLED" and not self._trouble):
            _log.warning(
                "MLflow at %s lacks %s (%s). Everything is in %s; the same command with resume=true sends the rest.",
                self.store.uri,
                " and ".join(lacking),
                self._trouble,
                self.session.directory,
            )
        return bool(lacking)

    def _close(
        self, runs: pd.DataFrame, totals: Mapping[str, float], status: Status, figures: Mapping[str, Path], text: str
    ) -> None:
        """Send MLflow models, metrics of the sweep, tables and figures. Raises MLflow's errors."""
        assert self.store is not None
        tables = [path for name in (files.RUNS, files.CURVES, PAGE) if (path := self.session.directory / name).exists()]
        if status != "KILLED":
            self._log_models(runs)
        best, summary = _best(runs)
        drawn = {"": tables, "figures": list(figures.values())}
        self.store.close(status, {**summary, **totals}, drawn, text, best=best)

    def _undisturbed(self) -> AbstractContextManager[None]:
        """Delay Ctrl-C while an SQLite file is written; a server may take long, and is asked again."""
        return undisturbed() if self.store is not None and self.store.local else nullcontext()

    def _log_models(self, runs: pd.DataFrame) -> None:
        """Send MLflow the wanted models of the runs that it has."""
        assert self.store is not None
        chosen = [models.best(runs)] if self.tracking.log_model == "best" and not runs.empty else list(self._trials)
        for key in chosen:
            if key in self._trials and key not in self._missed:
                arrays = files.arrays(self.session.directory, key)
                if (made := models.predictor(self._trials[key], arrays)) is not None:
                    self.store.log_model(self._trials[key], made)

    def _send(self, keys: Sequence[str]) -> bool:
        """Send runs to MLflow; return True if it took them."""
        assert self.store is not None
        try:
            if (lost := self.store.lost) is not None:
                raise FileNotFoundError(lost)
            with self._undisturbed():
                self.store.send([self._missed[key] for key in keys])
        except Exception as error:
            self._resume_at = time.monotonic() + PAUSE
            if not self._trouble:
                _log.warning(
                    "MLflow at %s failed (%s). Work goes on, every run is kept in %s, MLflow gets the rest at the end.",
                    self.store.uri,
                    cause(error),
                    self.session.directory,
                )
            self._trouble = cause(error)
            return False
        finally:
            for key in self.store.complete.intersection(keys):
                del self._missed[key]
        return True


def _totals(runs: pd.DataFrame) -> dict[str, float]:
    """Metrics of a sweep: runs by their end, and the best validation score."""
    fates = list(runs.get("fate", ()))
    totals = {f"runs_{fate}": float(fates.count(fate)) for fate in ("finished", "diverged", "failed")}
    for name in ("validation_accuracy", "validation_r2"):
        if name in runs and np.isfinite(best := runs[name].max()):
            totals[f"best_{name}"] = float(best)
    return totals


def _best(runs: pd.DataFrame) -> tuple[str | None, dict[str, float]]:
    """Return the key of the best run of a sweep on validation data, and its summary."""
    key = None if runs.empty else models.best(runs)
    if key is None:
        return None, {}
    known = [name for name in map(str, runs) if name in SUMMARY or name.startswith("steps_to_loss_")]
    (row,) = runs.loc[runs["key"] == key, known].astype(float).to_dict("records")
    return key, {str(name): value for name, value in row.items() if np.isfinite(value)}
