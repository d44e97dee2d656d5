"""Recording: every finished run goes to local files first, then to MLflow."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd

from runner.comparison import frames
from runner.records import Outcome, Session, Tracking
from runner.tracking import files
from runner.tracking.address import without_password
from runner.tracking.files import read
from runner.tracking.metrics import metric_name
from runner.tracking.store import Status, Store, cause
from runner.trial import Trial

__all__ = ["Recorder", "metric_name", "read"]

# Seconds without a try after MLflow has failed, so that a dead server doesn't slow a sweep.
PAUSE = 30.0
# Parts of the config that don't change what a run shows, so that MLflow's comparison of runs shows what does.
_BESIDE = ("outputs", "tracking", "mode", "report")

_log = logging.getLogger(__name__)


class Recorder:
    """Takes the runs of one command as they finish; a context manager.

    The local files decide. Once work has begun, trouble with MLflow stops nothing: the first is logged as a warning,
    what MLflow missed is sent again at the end, and a last warning says what it then still lacks. Leaving by an
    exception keeps all that is finished and marks a sweep's parent KILLED (Ctrl-C) or FAILED.
    Methods are for one thread at a time.
    """

    def __init__(self, session: Session, tracking: Tracking) -> None:
        """Raises ValueError for a ``tracking.uri`` that can't be recorded to."""
        self.session = session
        self.tracking = tracking
        self.store = Store(session, tracking) if tracking.backend == "mlflow" else None
        self._missed: dict[str, tuple[Trial, Outcome, dict[str, Any]]] = {}
        self._trouble = ""
        self._resume_at = 0.0
        self._finished = False

    def check(self) -> None:
        """Raises ValueError where runs can't be recorded; takes three seconds at most and doesn't import MLflow."""
        files.check_writable(self.tracking.outputs)
        files.check_writable(self.session.directory)
        if self.store is not None:
            self.store.check()

    def __enter__(self) -> Recorder:
        """Opens the store; raises ValueError where that fails, since no work is lost yet."""
        self.check()
        if self.store is not None:
            self.store.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not self._finished:
            stopped = kind is not None and not issubclass(kind, Exception)
            self.finish(status="KILLED" if stopped else "FAILED" if kind is not None else None)

    def record(self, trial: Trial, outcome: Outcome) -> None:
        """Keeps a run for good in local files, then sends it to MLflow; raises OSError where no file can be written."""
        runs, curves = frames([(trial, outcome)])
        if "tracking.uri" in runs and self.tracking.uri is not None:
            runs["tracking.uri"] = without_password(self.tracking.uri)
        files.write(self.session.directory, outcome, runs, curves)
        if self.store is not None:
            row = runs.drop(columns=["key", "name"]).loc[:, :"fate"].iloc[0, :-1]
            parameters = {str(name): value for name, value in row.items() if str(name).partition(".")[0] not in _BESIDE}
            self._missed[outcome.key] = (trial, replace(outcome, arrays={}), parameters)
            if time.monotonic() >= self._resume_at:
                self._send(outcome.key)

    def finish(
        self,
        *,
        figures: Mapping[str, Path] | Callable[[], Mapping[str, Path]] | None = None,
        status: Status | None = None,
    ) -> None:
        """Merges the local files and completes MLflow: metrics of the sweep, tables, figures; the last call.

        ``figures``: image files by name, or what draws and returns them, called when ``read(directory)`` is complete
        and only where figures are wanted. ``status``: of a sweep's parent; FAILED where a run failed, else FINISHED.
        """
        runs = files.merge(self.session.directory)
        drawn = (figures() if callable(figures) else figures) if self.tracking.figures else None
        self._finished = True
        if self.store is None:
            return
        failures = 0
        for key in list(self._missed):
            failures = 0 if self._send(key) else failures + 1
            if failures == 3:
                break
        lacking = [f"{len(self._missed)} of {len(runs)} runs"] if self._missed else []
        totals = _totals(runs)
        tables = [path for name in (files.RUNS, files.CURVES) if (path := self.session.directory / name).exists()]
        try:
            self._reach()
            final = status or ("FAILED" if totals["runs_failed"] else "FINISHED")
            self.store.close(final, totals, {"": tables, "figures": list((drawn or {}).values())})
        except Exception as error:
            self._trouble = cause(error)
            lacking.append("the sweep's summary, tables and figures" if self.session.multirun else "tables and figures")
        if lacking:
            _log.warning(
                "MLflow at %s lacks %s (%s). Everything is in %s.",
                self.store.uri, " and ".join(lacking), self._trouble, self.session.directory,
            )

    def _send(self, key: str) -> bool:
        """Whether MLflow took a run that it missed."""
        assert self.store is not None
        try:
            self._reach()
            self.store.send(*self._missed[key])
        except Exception as error:
            self._resume_at = time.monotonic() + PAUSE
            if not self._trouble:
                _log.warning(
                    "MLflow at %s failed (%s). Work goes on, every run is kept in %s, MLflow gets the rest at the end.",
                    self.store.uri, cause(error), self.session.directory,
                )
            self._trouble = cause(error)
            return False
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
