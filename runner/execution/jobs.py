"""Jobs: the runs of a command, each trained and recorded once, however often somebody asks for it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import replace

from runner.config.trial import Trial
from runner.execution import sweep
from runner.execution.pool import Pool, PoolLost
from runner.execution.progress import Progress
from runner.records import Outcome, Rows
from runner.tracking import Recorder

# Seconds between two signs of progress.
REFRESH = 0.1


class Stopped(BaseException):
    """Why a command can't go on, and what to add to it (``hint``) to do the rest.

    No ``Exception``: it must pass everything that catches the failure of a single job.
    """

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


class Jobs:
    """The runs of one command.

    ``outcomes``: by trial's key, as they finish; of a sweep's runs without rows and arrays, which are in files.
    """

    def __init__(self, recorder: Recorder, progress: Progress, trials: Sequence[Trial]) -> None:
        """``trials``: those known to come; what an earlier process recorded of them is taken over."""
        self.recorder, self.progress = recorder, progress
        self.outcomes: dict[str, Outcome] = {}
        self._steps = 0
        self._best: float | None = None
        self._shown_at = 0.0
        for trial in trials:
            self.recall(trial)

    @property
    def waiting(self) -> int:
        """Number of finished runs that MLflow has yet to get."""
        return self.recorder.waiting

    def recall(self, trial: Trial) -> None:
        """Takes over what an earlier process has recorded of a trial."""
        if (outcome := self.recorder.recall(trial)) is not None:
            self._keep(outcome)
            self.progress.skip(trial.plan.steps)

    def run(self, trials: Sequence[Trial], pool: Pool | None = None) -> None:
        """Trains what has no outcome yet, in ``pool`` if there is one.

        Raises ``Stopped`` where nothing can be recorded, or where a worker has died and no other takes its place.
        """
        missing = {trial.key: trial for trial in trials if trial.key not in self.outcomes}
        try:
            sweep.execute(list(missing.values()), self, pool=pool, progress=self._stepped)
        except OSError as error:
            raise Stopped(f"nothing can be recorded ({error})") from error
        except PoolLost as error:
            raise Stopped(str(error)) from error
        except BrokenExecutor as error:
            raise Stopped(
                "a worker process died, perhaps for want of memory", "hydra.launcher.max_workers=1"
            ) from error

    def record(self, recorded: Sequence[tuple[Trial, Outcome]]) -> None:
        """Keeps finished runs for good, and their outcomes for who asks."""
        self.recorder.record(recorded)
        for _, outcome in recorded:
            self._keep(outcome)
        self._shown_at = 0.0
        self._stepped(0)

    def send(self) -> bool:
        """Sends MLflow the next runs that wait for it; whether there were some."""
        return self.recorder.send()

    def _stepped(self, steps: int) -> None:
        """Shows that so many more steps have passed."""
        self._steps += steps
        if (now := time.monotonic()) - self._shown_at >= REFRESH:
            self._shown_at = now
            self.progress.update(len(self.outcomes), self._steps, self._best)

    def _keep(self, outcome: Outcome) -> None:
        slim = replace(outcome, rows=Rows.of(()), arrays={})
        self.outcomes[outcome.key] = slim if self.recorder.session.multirun else outcome
        for name in ("validation_accuracy", "validation_r2"):
            if name in outcome.summary:
                self._best = max(outcome.summary[name], -math.inf if self._best is None else self._best)
