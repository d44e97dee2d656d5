"""From trials to recorded outcomes: the one place that knows the order of the stages."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Protocol

import pandas as pd

from runner import comparison, figures, stack
from runner.composition import Command
from runner.records import Outcome, Rows, Session
from runner.training import train
from runner.trial import Trial
from weightinit.arrays import Array

# Seconds between two looks at how far the workers are.
REFRESH = 0.2


class Sink(Protocol):
    """Takes each run as it finishes."""

    def record(self, trial: Trial, outcome: Outcome) -> None:
        """Keeps ``outcome``."""


def execute(
    trials: Sequence[Trial],
    sink: Sink,
    *,
    executor: Executor | None = None,
    workers: int = 1,
    progress: Callable[[int], None] = lambda steps: None,
) -> list[Outcome]:
    """The outcome of each trial, in order; each was handed to ``sink`` as soon as its stack had finished.

    ``executor``: where ``workers`` stacks train at a time, here and one after the other without one. ``sink`` and
    ``progress``, which is told of steps as they pass, are called from this thread alone.
    """
    outcomes: dict[int, Outcome] = {}
    for indices, results in _results(trials, executor, workers, progress):
        for index, outcome in zip(indices, results, strict=True):
            sink.record(trials[index], outcome)
            outcomes[index] = outcome
    return [outcomes[index] for index in range(len(trials))]


def _results(
    trials: Sequence[Trial], executor: Executor | None, workers: int, progress: Callable[[int], None]
) -> Iterator[tuple[list[int], list[Outcome]]]:
    """Stacks as they finish: the indices of their trials, and the outcomes."""
    stacks = deque(stack.plan(trials))
    if executor is None:
        while stacks:
            yield (indices := stacks.popleft()), _train([trials[index] for index in indices], progress)
        return
    steps = _Steps() if isinstance(executor, ThreadPoolExecutor) else None
    running: dict[Future[list[Outcome]], list[int]] = {}
    try:
        while stacks or running:
            # What waits to be recorded holds memory, so that only so many stacks are ahead.
            while stacks and len(running) < 2 * workers:
                indices = stacks.popleft()
                running[executor.submit(_train, [trials[index] for index in indices], steps)] = indices
            done, _ = wait(running, timeout=REFRESH, return_when=FIRST_COMPLETED)
            for future in done:
                indices = running.pop(future)
                yield indices, future.result()
                if steps is None:
                    progress(sum(trials[index].plan.steps for index in indices))
            if steps is not None:
                progress(steps.take())
    finally:
        if steps is not None:
            steps.stop = True


class _Steps:
    """Steps that workers have done since the last ``take``; stops the workers that report to it when told to."""

    def __init__(self) -> None:
        self.lock, self.count, self.stop = threading.Lock(), 0, False

    def __call__(self, steps: int) -> None:
        if self.stop:
            raise KeyboardInterrupt  # no Exception, so that it passes what catches a failing run
        with self.lock:
            self.count += steps

    def take(self) -> int:
        with self.lock:
            count, self.count = self.count, 0
        return count


def _train(trials: Sequence[Trial], progress: Callable[[int], None] | None) -> list[Outcome]:
    """The outcomes of a stack. Where it raises, its runs are tried one by one, so that the culprit fails alone."""
    start = time.time()
    try:
        return train(trials, progress=progress or (lambda steps: None))
    except Exception as error:
        if len(trials) > 1:
            return [outcome for trial in trials for outcome in _train([trial], progress)]
        logging.getLogger(__name__).info("run %s failed", trials[0].name, exc_info=True)
        text = f"{type(error).__name__}: {error}"
        return [Outcome(trials[0].key, "failed", Rows.of(()), {}, start, time.time(), error=text)]


def draw(
    session: Session, runs: pd.DataFrame, curves: pd.DataFrame, arrays: Mapping[str, Array] | None = None
) -> Mapping[str, Path]:
    """Draws what the command showed; paths by file name. ``arrays``: those of a single run's outcome."""
    if session.multirun:
        drawn = figures.sweep_figures(runs, curves, group=comparison.swept(runs) or ["scheme"])
    else:
        drawn = figures.run_figures(runs["name"].iloc[0], curves, arrays or {})
    return figures.save(drawn, session.directory / "figures")


def named(trials: Sequence[Trial]) -> list[Trial]:
    """The trials under names that say what differs: ``he``, ``xavier s3``, ``he depth=10``.

    The scheme's name stands in each; of the rest only what varies.
    """
    varying: dict[str, set[str]] = {}
    given = [dict(override.lstrip("+").partition("=")[::2] for override in trial.overrides) for trial in trials]
    for overrides in given:
        for key, value in overrides.items():
            varying.setdefault(key, set()).add(value)
    keys = [
        key for key, values in varying.items()
        if key != "scheme" and (len(values) > 1 or any(key not in overrides for overrides in given))
    ]  # fmt: skip
    return [
        trial.named(" ".join([trial.choices["scheme"], *(_short(key, own[key]) for key in keys if key in own)]))
        for trial, own in zip(trials, given, strict=True)
    ]


def _short(key: str, value: str) -> str:
    if key == "seed":
        return f"s{value}"
    return value if key in ("activation", "data", "optimizer", "architecture") else f"{key.rpartition('.')[2]}={value}"


def session(command: Command, trials: Sequence[Trial]) -> Session:
    """The record of this command. Its directory is made here, and is its own from here on."""
    beside = ("tracking", "outputs", "resume", "hydra")
    relevant = sorted(text for text in command.overrides if not text.lstrip("+~").startswith(beside))
    hydra = command.config.hydra
    return Session(
        name=" ".join(relevant) or "defaults",
        directory=_claim(Path(hydra.sweep.dir if command.multirun else hydra.run.dir).absolute()),
        overrides=command.overrides,
        multirun=command.multirun,
        sweep_id=hashlib.sha256("\n".join(relevant).encode()).hexdigest(),
        total=len(trials),
    )


def _claim(directory: Path) -> Path:
    """``directory``, or one beside it with a number where another command got there first; made on the spot."""
    candidate, number = directory, 2
    while True:
        try:
            candidate.mkdir(parents=True)
            return candidate
        except FileExistsError:
            candidate, number = directory.with_name(f"{directory.name}-{number}"), number + 1
        except OSError as error:
            raise ValueError(
                f"outputs must be a folder that can be written; {directory} can't be made ({error.strerror}). "
                "Pass outputs=... with another."
            ) from error
