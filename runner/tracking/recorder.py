"""Recorder: sends every finished run to local files first, then to MLflow."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import TracebackType

import numpy as np
import pandas as pd

from runner.config.trial import Trial
from runner.records import Outcome, Session, Tracking
from runner.text import PAGE
from runner.tracking import files, models, sessions
from runner.tracking.address import without_password
from runner.tracking.frames import frames
from runner.tracking.signals import undisturbed
from runner.tracking.store import Status, Store, cause

# Seconds without a try after MLflow has failed, so that a dead server doesn't slow a sweep.
PAUSE = 30.0
# Seconds for what waits for MLflow when a person has asked to stop.
PATIENCE = 3.0

_log = logging.getLogger(__name__)


class Recorder:
    """Takes the runs of one command as they finish; a context manager.

    The local files decide. Once work has begun, trouble with MLflow stops nothing: the first is logged as a warning,
    what MLflow missed is sent again at the end, and a last warning says what it then still lacks. Leaving by an
    exception keeps all that is finished and marks a sweep's parent KILLED (Ctrl-C) or FAILED.
    Where an earlier process has recorded to the session's directory, its work is gone on with.
    Methods are for one thread at a time.

    ``resumed``: whether an earlier process has been at work there; ``waiting``: how many runs MLflow has yet to get.
    """

    def __init__(self, session: Session, tracking: Tracking, keys: Sequence[str] = ()) -> None:
        """``keys``: of the trials, in the order of their rows. Raises ValueError for a useless ``tracking.uri``."""
        self.session = session
        self.tracking = tracking
        self.keys = keys
        self.store = Store(session, tracking) if tracking.backend == "mlflow" else None
        self.resumed = False
        self._hold = sessions.Hold(session)
        self._earlier: dict[str, Outcome] = {}
        self._missed: dict[str, tuple[Trial, Outcome]] = {}
        self._trials: dict[str, Trial] = {}  # that may get a model
        self._trouble = ""
        self._resume_at = 0.0
        self._finished = False

    def check(self) -> None:
        """Raises ValueError where runs can't be recorded; takes three seconds at most and doesn't import MLflow."""
        files.check_writable(self.tracking.outputs)
        files.check_writable(self.session.directory)
        if self.store is not None:
            self.store.check()

    @property
    def complete(self) -> bool:
        """Whether an earlier process has recorded all of the session to where this one would."""
        earlier = sessions.read(self.session.directory)
        return earlier is not None and earlier["complete"] == self._address

    @property
    def waiting(self) -> int:
        """How many runs MLflow has yet to get; 0 while it is left alone after it has failed."""
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
        """Takes the directory and opens the store; raises ValueError where that fails, since no work is lost yet."""
        try:
            self.check()
            self.resumed = self._hold.take()
            if self.resumed:
                files.merge(self.session.directory, self.keys)
                self._earlier = files.outcomes(self.session.directory)
            if self.store is not None:
                self.store.open(self._hold.id, resumed=self.resumed)
        except BaseException:
            self._hold.drop(None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not self._finished:
            stopped = kind is not None and issubclass(kind, KeyboardInterrupt)
            self.finish(status="KILLED" if stopped else "FAILED" if kind is not None else None)

    def recall(self, trial: Trial) -> Outcome | None:
        """What an earlier process has recorded of a trial, without arrays and notes; MLflow gets it where it lacks it.

        None if it failed, and where its model is wanted but its weights were not kept.
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
        """Keeps runs for good in local files; raises OSError where no file can be written. ``send`` tells MLflow."""
        runs, curves = frames(recorded)
        if "tracking.uri" in runs and self.tracking.uri is not None:
            runs["tracking.uri"] = without_password(self.tracking.uri)
        files.write(self.session.directory, [outcome for _, outcome in recorded], runs, curves)
        if self._logs_models:
            self._trials |= {trial.key: trial for trial, _ in recorded}
        if self.store is not None:
            self._missed |= {outcome.key: (trial, replace(outcome, arrays={})) for trial, outcome in recorded}

    def send(self) -> bool:
        """Sends MLflow the next runs that wait for it; whether there were some, and MLflow took them."""
        return self.waiting > 0 and self.store is not None and self._send(list(islice(self._missed, self.store.batch)))

    def finish(
        self,
        *,
        figures: Mapping[str, Path] | Callable[[], Mapping[str, Path]] | None = None,
        text: Callable[[], str] = str,
        status: Status | None = None,
    ) -> None:
        """Merges the local files and completes MLflow: metrics of the sweep, tables, figures; the last call.

        ``figures``: image files by name, or what draws and returns them, called when ``read(directory)`` is complete
        and only where figures are wanted. ``text``: gives what the command prints, for MLflow's note. ``status``: of a
        sweep's parent; FAILED where a run failed, else FINISHED.
        """
        runs = files.merge(self.session.directory, self.keys)
        drawn = (figures() if callable(figures) else figures) if self.tracking.figures else None
        totals = _totals(runs)
        final = status or ("FAILED" if totals["runs_failed"] else "FINISHED")
        lacking = self.store is not None and self._complete_mlflow(runs, totals, final, drawn or {}, text())
        self._finished = True
        # How many runs an optimizing sweeper asks for is known to it alone.
        whole = final == "FINISHED" and (not self.keys or set(self.keys) <= set(runs.get("key", ())))
        self._hold.drop(self._address if whole and not lacking else None)

    def _complete_mlflow(
        self, runs: pd.DataFrame, totals: Mapping[str, float], status: Status, figures: Mapping[str, Path], text: str
    ) -> bool:
        """Whether MLflow lacks something after all was tried."""
        assert self.store is not None
        failures, start = 0, time.monotonic()
        for key in list(self._missed):
            failures = 0 if self._send([key]) else failures + 1
            if failures == 3 or (status == "KILLED" and time.monotonic() - start > PATIENCE):
                break
        lacking = [f"{len(self._missed)} of {len(runs)} runs"] if self._missed else []
        tables = [path for name in (files.RUNS, files.CURVES, PAGE) if (path := self.session.directory / name).exists()]
        try:
            self._reach()
            with undisturbed():
                if status != "KILLED":
                    self._log_models(runs)
                self.store.close(status, totals, {"": tables, "figures": list(figures.values())}, text)
        except Exception as error:
            self._trouble = cause(error)
            lacking.append("the sweep's summary, tables and figures" if self.session.multirun else "tables and figures")
        if lacking and not (status == "KILLED" and not self._trouble):
            _log.warning(
                "MLflow at %s lacks %s (%s). Everything is in %s; the same command with resume=true sends the rest.",
                self.store.uri,
                " and ".join(lacking),
                self._trouble,
                self.session.directory,
            )
        return bool(lacking)

    def _log_models(self, runs: pd.DataFrame) -> None:
        """Gives MLflow the models that are wanted of the runs that it has."""
        assert self.store is not None
        chosen = [models.best(runs)] if self.tracking.log_model == "best" and not runs.empty else list(self._trials)
        for key in chosen:
            if key in self._trials and key not in self._missed:
                arrays = files.arrays(self.session.directory, key)
                if (made := models.predictor(self._trials[key], arrays)) is not None:
                    self.store.log_model(self._trials[key], made)

    def _send(self, keys: Sequence[str]) -> bool:
        """Whether MLflow took runs that it missed."""
        assert self.store is not None
        try:
            self._reach()
            with undisturbed():
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

    def _reach(self) -> None:
        """Asks a server whether it is there before MLflow does, whose patience is in minutes."""
        assert self.store is not None
        if (reason := self.store.unreachable()) is not None:
            raise ConnectionError(reason)


def _totals(runs: pd.DataFrame) -> dict[str, float]:
    """Metrics of a sweep: how its runs ended, and the best number on validation data."""
    fates = list(runs.get("fate", ()))
    totals = {f"runs_{fate}": float(fates.count(fate)) for fate in ("finished", "diverged", "failed")}
    for name in ("validation_accuracy", "validation_r2"):
        if name in runs and np.isfinite(best := runs[name].max()):
            totals[f"best_{name}"] = float(best)
    return totals
