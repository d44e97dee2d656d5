"""From Hydra's jobs to stacks and back: trials are trained together, then each job is gone through for Hydra's sake."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hydra._internal.utils import _locate
from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from omegaconf import DictConfig, open_dict

from runner import sweep
from runner.composition import own
from runner.progress import Progress
from runner.records import Outcome
from runner.tracking import Recorder
from runner.trial import Trial, from_hydra

if TYPE_CHECKING:
    from hydra_plugins.weightinit import StackedLauncher


class Jobs:
    """The runs that Hydra's jobs ask for. Each is trained and recorded once, however often it is asked for."""

    def __init__(self, recorder: Recorder, progress: Progress, trials: Sequence[Trial]) -> None:
        """``trials``: those that are known to come, under their names."""
        self.recorder, self.progress = recorder, progress
        self.names = {trial.key: trial.name for trial in trials}
        self.outcomes: dict[str, Outcome] = {}
        self.steps = 0
        self.best: float | None = None

    def run(self, trials: Sequence[Trial], *, executor: Executor | None = None, workers: int = 1) -> None:
        """Trains what has no outcome yet."""
        new = {trial.key: trial.named(self.names.get(trial.key, trial.name)) for trial in trials}
        missing = [trial for key, trial in new.items() if key not in self.outcomes]
        sweep.execute(missing, self, executor=executor, workers=workers, progress=self.stepped)

    def outcome(self, trial: Trial) -> Outcome:
        """The outcome of one trial, trained now if it has none."""
        self.run([trial])
        return self.outcomes[trial.key]

    def record(self, trial: Trial, outcome: Outcome) -> None:
        """Keeps an outcome: for good, and for the job that asks for it."""
        self.recorder.record(trial, outcome)
        self.outcomes[outcome.key] = outcome
        for name in ("validation_accuracy", "validation_r2"):
            if name in outcome.summary:
                self.best = max(outcome.summary[name], -math.inf if self.best is None else self.best)
        self.stepped(0)

    def stepped(self, steps: int) -> None:
        """Shows that so many more steps have passed."""
        self.steps += steps
        self.progress.update(len(self.outcomes), self.steps, self.best)


# Those of the command at hand; None where Hydra runs another program's jobs.
active: Jobs | None = None


def objective(outcome: Outcome) -> float:
    """What an optimizing sweeper makes small: the validation loss, or the worst infinity where there is none."""
    loss = outcome.summary.get("validation_loss", math.inf)
    return loss if math.isfinite(loss) else math.inf


def launch(launcher: StackedLauncher, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """One ``JobReturn`` for each job's overrides, in order; jobs are numbered from ``first``."""
    setup_globals()
    context, config, task = launcher.hydra_context, launcher.config, launcher.task_function
    assert context is not None
    assert config is not None
    assert task is not None
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    Path(config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
    jobs = [
        _job(context.config_loader.load_sweep_config(config, list(texts)), first + i)
        for i, texts in enumerate(job_overrides)
    ]
    if active is not None:
        trials = [from_hydra(job, job.hydra.runtime.choices, own(job.hydra.overrides.task)) for job in jobs]
        workers = launcher.max_workers or _cores()
        with _executor(launcher.executor, workers) as executor:
            active.run(trials, executor=executor, workers=workers)
    returns = []
    for job in jobs:
        returns.append(
            run_job(
                hydra_context=context,
                task_function=task,
                config=job,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        )
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    return returns


def _job(config: DictConfig, number: int) -> DictConfig:
    with open_dict(config):
        config.hydra.job.id = str(number)
        config.hydra.job.num = number
    return config


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _executor(target: str, workers: int) -> Iterator[Executor]:
    """The executor of that address; what has not started when an exception leaves is dropped."""
    executor = _locate(target)(max_workers=workers)
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
