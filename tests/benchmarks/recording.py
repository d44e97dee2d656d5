"""Recording at the default density on SQLite: what a run takes, and how much slower training is meanwhile."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from runner.config.composition import Composer
from runner.config.trial import Trial
from runner.records import Outcome, Session, Tracking
from runner.tracking import Recorder
from runner.tracking.metrics import select
from runner.training.loop import train
from tests.benchmarks.timing import WORKERS, Row, percent, ratio, turns
from tests.benchmarks.training import Setting, steps_of_stacks

RUNS, TURNS = 16, 4
# The default network, stacked as in a sweep.
DEFAULT = Setting("digits", (128,) * 6, 64, 32)


class Recording:
    """Runs that have finished, recorded again and again under new keys."""

    def __init__(self, folder: Path) -> None:
        outputs = f"outputs={folder}"
        self.trials = Composer().trials([[outputs, f"seed={seed}"] for seed in range(RUNS)])
        self.outcomes = train(self.trials)
        self.count = 0
        session = Session("benchmark", folder / "sweep", (), True, "benchmark", 0)
        self.recorder = Recorder(session, Tracking("mlflow", None, "weightinit", True, folder))

    def seconds(self, until: threading.Event | None = None) -> float:
        """Seconds a run, of a batch of runs as a stack hands them over, or of batches until the event."""
        start, done = time.perf_counter(), 0
        while not done or (until is not None and not until.is_set()):
            self.recorder.record(self._anew())
            while self.recorder.send():
                pass
            done += RUNS
        return (time.perf_counter() - start) / done

    def _anew(self) -> Sequence[tuple[Trial, Outcome]]:
        self.count += 1
        keys = [f"{self.count}-{trial.key}" for trial in self.trials]
        return [
            (replace(trial, key=key), replace(outcome, key=key))
            for trial, outcome, key in zip(self.trials, self.outcomes, keys, strict=True)
        ]


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        recording = Recording(Path(folder))
        training = steps_of_stacks(DEFAULT)
        busy: list[float] = []

        def both() -> float:
            ended, found = threading.Event(), list[float]()

            def work() -> None:
                found.append(training())
                ended.set()

            worker = threading.Thread(target=work)
            worker.start()
            busy.append(recording.seconds(until=ended))
            worker.join()
            return found[0]

        with recording.recorder:
            times = turns({"recording": recording.seconds, "training": training, "both": both}, TURNS)
    count = sum(1 for _ in select(recording.outcomes[0]).points)
    yield Row(f"a run of {count} metric rows, on SQLite, alone", f"{1e3 * median(times['recording']):.0f} ms")
    yield Row(f"the same while {WORKERS} workers train", f"{1e3 * median(busy[1:]):.0f} ms", "at most 60")
    yield Row(
        "training is slower while one run after the other is recorded by",
        percent(ratio(times["both"], times["training"]) - 1),
    )
