"""From trials to recorded outcomes: the one place that knows the order of the stages."""

from __future__ import annotations

import hashlib
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypedDict

from runner.config.composition import Command
from runner.config.trial import Trial, called
from runner.records import Outcome, Session
from runner.tracking import files, sessions
from runner.training import stacks, worker

# Seconds between two looks at how far the workers are.
REFRESH = 0.2
# With so many finished runs not passed on yet, no further stack begins: they hold memory.
QUEUE = 256


class Sink(Protocol):
    """Takes runs as they finish."""

    @property
    def waiting(self) -> int:
        """How many runs ``send`` has yet to pass on."""

    def record(self, recorded: Sequence[tuple[Trial, Outcome]]) -> None:
        """Keeps runs for good, in little time."""

    def send(self) -> bool:
        """Passes on the next run that waits; whether there was one."""


class Resources(TypedDict, total=False):
    """What a sweep may use: ``workers`` stacks train at a time in ``executor``, and take ``memory`` bytes together."""

    executor: Executor
    workers: int
    memory: float


def execute(
    trials: Sequence[Trial],
    sink: Sink,
    *,
    executor: Executor | None = None,
    workers: int = 1,
    memory: float = math.inf,
    progress: Callable[[int], None] = lambda steps: None,
) -> list[Outcome]:
    """The outcome of each trial, in order; each was handed to ``sink`` as soon as its stack had finished.

    ``executor``, ``workers``, ``memory``: as ``Resources``; without an executor stacks train here one by one.
    ``sink`` and ``progress``, which is told of steps as they pass, are called from this thread alone. Where it is
    interrupted, the workers stop at their next step, and what has finished is recorded.
    """
    outcomes: dict[int, Outcome] = {}

    def record(indices: Sequence[int], results: Sequence[Outcome]) -> None:
        sink.record([(trials[index], outcome) for index, outcome in zip(indices, results, strict=True)])
        outcomes.update(zip(indices, results, strict=True))

    planned = deque(stacks.plan(trials, workers=workers, memory=memory))
    if executor is None:
        while planned:
            record(indices := planned.popleft(), worker.train([trials[index] for index in indices], progress))
            while sink.send():
                pass
    else:
        _execute(trials, planned, sink, record, executor, workers, progress)
    return [outcomes[index] for index in range(len(trials))]


def _execute(
    trials: Sequence[Trial],
    stacks: deque[list[int]],
    sink: Sink,
    record: Callable[[Sequence[int], Sequence[Outcome]], None],
    executor: Executor,
    workers: int,
    progress: Callable[[int], None],
) -> None:
    """Trains the stacks elsewhere; between looks at them, this thread records and sends."""
    steps = _Steps() if isinstance(executor, ThreadPoolExecutor) else None
    running: dict[Future[list[Outcome]], list[int]] = {}
    sending = False
    try:
        while stacks or running or sending:
            while stacks and len(running) < 2 * workers and sink.waiting < QUEUE:
                indices = stacks.popleft()
                running[executor.submit(worker.train, [trials[index] for index in indices], steps)] = indices
            done, _ = wait(running, timeout=0 if sending else REFRESH, return_when=FIRST_COMPLETED)
            for future in done:
                record(indices := running[future], future.result())
                del running[future]
                if steps is None:
                    progress(sum(trials[index].plan.steps for index in indices))
            progress(steps.take() if steps is not None else 0)
            sending = sink.send()
    except BaseException:
        if steps is not None:
            steps.stop = True
        for future, indices in running.items():
            if future.done() and future.exception() is None:
                record(indices, future.result())
        raise


class _Steps:
    """Steps that workers have done since the last ``take``; stops the workers, who report each, when told to."""

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


def named(trials: Sequence[Trial]) -> list[Trial]:
    """The trials under names that say what differs: ``he``, ``xavier s3``, ``he depth=10``.

    The scheme's name stands in each; of the rest only what varies.
    """
    varying: dict[str, set[str]] = {}
    given = [_values(trial) for trial in trials]
    for overrides in given:
        for key, value in overrides.items():
            varying.setdefault(key, set()).add(value)
    keys = [
        key for key, values in varying.items()
        if len(values) > 1 or any(key not in overrides for overrides in given)
    ]  # fmt: skip
    return [named_by(trial, keys) for trial in trials]


def named_by(trial: Trial, keys: Iterable[str]) -> Trial:
    """The trial under its scheme's name and its own values of these keys."""
    values = _values(trial)
    parts = [_short(key, values[key]) for key in keys if key in values and key not in ("scheme", "scheme._target_")]
    return trial.named(" ".join([called(trial, "scheme"), *parts]))


def key_of(override: str) -> str:
    """The key that an override sets."""
    return override.lstrip("+").partition("=")[0]


def _values(trial: Trial) -> dict[str, str]:
    return {key_of(override): override.partition("=")[2] for override in trial.overrides}


def _short(key: str, value: str) -> str:
    if key == "seed":
        return f"s{value}"
    with suppress(ValueError):
        value = value if len(value) < 8 else f"{float(value):.3g}"
    return value if key in ("activation", "data", "optimizer", "architecture") else f"{key.rpartition('.')[2]}={value}"


def session(command: Command, trials: Sequence[Trial]) -> Session:
    """The record of this command. Its directory is made here, or is that of the command which it resumes.

    The same overrides in the same order are the same command: its ``sweep_id`` says so. Where the configuration files
    have changed since, so that runs are there that it no longer asks for, it resumes nothing.
    """
    beside = ("tracking", "outputs", "resume", "hydra")
    relevant = [text for text in command.overrides if not text.lstrip("+~").startswith(beside)]
    sweep_id = hashlib.sha256("\n".join(relevant).encode()).hexdigest()
    hydra = command.config.hydra
    directory = Path(hydra.sweep.dir if command.multirun else hydra.run.dir).absolute()
    earlier = None
    if command.config.resume and (found := sessions.latest(directory.parent, sweep_id, multirun=command.multirun)):
        keys = {trial.key for trial in trials}
        earlier = found if not trials or files.keys(found) <= keys else None
    return Session(
        name=" ".join(relevant) or "defaults",
        directory=earlier or _claim(directory),
        overrides=tuple(text for text in command.overrides if not text.lstrip("+").startswith("resume=")),
        multirun=command.multirun,
        sweep_id=sweep_id,
        total=len(trials) or int(hydra.sweeper.get("n_trials", 0)),
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
