"""From Hydra's jobs to stacks and back: trials are trained together, then each job is gone through for Hydra's sake."""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, open_dict

from runner.config import internals, schema
from runner.config.composition import Composer, own
from runner.config.trial import Trial, from_hydra
from runner.execution import sweep
from runner.execution.omegaconf_cost import cheap_omegaconf
from runner.execution.progress import Progress
from runner.execution.sweep import Resources
from runner.records import Outcome, Rows
from runner.tracking import Recorder
from runner.training import stacks, worker

# Seconds between two signs of progress.
REFRESH = 0.1
# Seconds of training on one core from which processes are worth their start. Threads share Python's lock, with each
# other and with what records: on two cores, two of them train 1.5 times as fast as one, and two processes twice.
LONG = 10.0
THREADS, PROCESSES = "concurrent.futures.ThreadPoolExecutor", "concurrent.futures.ProcessPoolExecutor"


class Jobs:
    """The runs that Hydra's jobs ask for. Each is trained and recorded once, however often it is asked for.

    ``outcomes``: by key; of a sweep's runs without rows and arrays, which are in files.
    """

    def __init__(
        self,
        recorder: Recorder,
        progress: Progress,
        composer: Composer,
        trials: Sequence[Trial],
        resources: Resources,
    ) -> None:
        """``trials``: those known to come, under their names; ``resources``: what they train with, empty if unknown."""
        self.recorder, self.progress, self.composer, self.resources = recorder, progress, composer, resources
        self.known = {trial.overrides: trial for trial in trials}
        self.outcomes: dict[str, Outcome] = {}
        self.steps = 0
        self.best: float | None = None
        self._shown_at = 0.0
        self._meanwhile: Callable[[], bool] = lambda: False
        for trial in trials:
            self._recall(trial)

    @property
    def waiting(self) -> int:
        """How many finished runs MLflow has yet to get."""
        return self.recorder.waiting

    def trial(self, config: DictConfig, settings: DictConfig) -> Trial:
        """The trial of a job; ``settings``: what Hydra says of it. Raises as ``from_hydra`` does."""
        overrides = own(settings.overrides.task)
        if overrides not in self.known:
            self.known[overrides] = from_hydra(config, settings.runtime.choices, overrides)
            swept = [text for text in overrides if text not in self.recorder.session.overrides]
            self.known[overrides] = sweep.named_by(self.known[overrides], map(sweep.key_of, swept))
            self._recall(self.known[overrides])
        return self.known[overrides]

    def outcome(self, config: DictConfig, settings: DictConfig) -> Outcome:
        """The outcome of a job, whose run is trained now if it has none."""
        trial = self.trial(config, settings)
        self.run([trial])
        return self.outcomes[trial.key]

    def run(self, trials: Sequence[Trial], **resources: Unpack[Resources]) -> None:
        """Trains what has no outcome yet. Raises CompactHydraException where that can't go on."""
        missing = {trial.key: trial for trial in trials if trial.key not in self.outcomes}
        try:
            sweep.execute(list(missing.values()), self, progress=self.stepped, **resources)
        except OSError as error:
            raise CompactHydraException(
                f"runner: stopped, since nothing can be recorded ({error}). What had finished is kept. "
                "To do the rest, add resume=true to the command."
            ) from error
        except BrokenExecutor as error:
            raise CompactHydraException(
                "runner: stopped, since a worker process died, perhaps for want of memory. What had finished is kept. "
                "To do the rest with one worker, add resume=true hydra.launcher.max_workers=1 to the command."
            ) from error

    @contextmanager
    def beside(self, work: Callable[[], bool]) -> Iterator[None]:
        """Inside, ``work`` is called again and again where there is time; it says whether it had something to do."""
        self._meanwhile = work
        try:
            yield
        finally:
            self._meanwhile = lambda: False

    def record(self, recorded: Sequence[tuple[Trial, Outcome]]) -> None:
        """Keeps outcomes: for good, and for the jobs that ask for them."""
        self.recorder.record(recorded)
        for _, outcome in recorded:
            self._keep(outcome)
        self._shown_at = 0.0
        self.stepped(0)

    def send(self) -> bool:
        """Sends MLflow what waits for it, or does other work that can be done by now; whether there was some."""
        return self.recorder.send() or self._meanwhile()

    def stepped(self, steps: int) -> None:
        """Shows that so many more steps have passed."""
        self.steps += steps
        if (now := time.monotonic()) - self._shown_at >= REFRESH:
            self._shown_at = now
            self.progress.update(len(self.outcomes), self.steps, self.best)

    def _recall(self, trial: Trial) -> None:
        """Takes what an earlier process has recorded."""
        if (outcome := self.recorder.recall(trial)) is not None:
            self._keep(outcome)
            self.progress.skip(trial.plan.steps)

    def _keep(self, outcome: Outcome) -> None:
        slim = replace(outcome, rows=Rows.of(()), arrays={})
        self.outcomes[outcome.key] = slim if self.recorder.session.multirun else outcome
        for name in ("validation_accuracy", "validation_r2"):
            if name in outcome.summary:
                self.best = max(outcome.summary[name], -math.inf if self.best is None else self.best)


# Those of the command at hand; None where Hydra runs another program's jobs.
active: Jobs | None = None


def objective(outcome: Outcome) -> float:
    """What an optimizing sweeper makes small: the validation loss, or the worst infinity where there is none."""
    loss = outcome.summary.get("validation_loss", math.inf)
    return loss if math.isfinite(loss) else math.inf


def launch(launcher: Any, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """One ``JobReturn`` for each job's overrides, in order; jobs are numbered from ``first``."""
    setup_globals()
    context, config, task = launcher.hydra_context, launcher.config, launcher.task_function
    assert context is not None
    assert config is not None
    assert task is not None
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    Path(config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
    trials: list[Trial] = []
    if active is None:
        jobs = [context.config_loader.load_sweep_config(config, list(overrides)) for overrides in job_overrides]
    else:
        jobs = list(active.composer.jobs(config, job_overrides))
        try:
            trials = [active.trial(job, job.hydra) for job in jobs]
        except (ValueError, TypeError) as error:
            raise CompactHydraException(f"runner: {error}") from error
    returns: list[JobReturn] = []

    def replay() -> bool:
        """Lets Hydra go through the next job, where its outcome is there; whether it was."""
        number = len(returns)
        if number == len(jobs) or (active and trials[number].key not in active.outcomes):
            return False
        job = jobs[number]
        with open_dict(job):
            job.hydra.job.id = str(first + number)
            job.hydra.job.num = first + number
        with cheap_omegaconf():
            done = run_job(
                hydra_context=context,
                task_function=task,
                config=job,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        returns.append(done)
        return True

    if active is not None:
        own = nullcontext(active.resources) if active.resources else given(launcher, trials)
        with own as resources, active.beside(replay):
            active.run(trials, **resources)
    while replay():
        pass
    return returns


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def installed_memory() -> float:
    """Bytes of memory that this process may use: the machine's, or a container's share of it; infinity if unknown."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return math.inf
    try:
        return min(machine, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        return machine


def check(settings: DictConfig) -> None:
    """Raises ValueError where the stacked launcher can't work with its settings."""
    if settings._target_ != schema.StackedLauncher._target_:
        return
    if not 0 < settings.memory <= 1:
        raise ValueError(
            "hydra.launcher.memory must be a share of the machine's memory, above 0 and at most 1; "
            f"got {settings.memory}. Pass hydra.launcher.memory=0.5."
        )
    if settings.max_workers is not None and settings.max_workers < 1:
        raise ValueError(
            "hydra.launcher.max_workers must be a number of workers from 1, or null for one a core; "
            f"got {settings.max_workers}. Pass hydra.launcher.max_workers=null."
        )
    try:
        internals.locate(settings.executor or THREADS)
    except Exception as error:
        raise ValueError(
            "hydra.launcher.executor must be the address of a class with the interface of concurrent.futures' "
            f"executors; got {settings.executor!r}, which can't be imported. "
            "Pass hydra.launcher.executor=concurrent.futures.ThreadPoolExecutor."
        ) from error


@contextmanager
def given(settings: Any, trials: Sequence[Trial] = ()) -> Iterator[Resources]:
    """What the settings of the stacked launcher give to train with; nothing where they are another launcher's.

    ``trials``: what is to be trained, so that an executor may be chosen. Left by an exception, the executor drops what
    has not started, and its processes end.
    """
    if not hasattr(settings, "executor"):
        yield {}
        return
    workers = settings.max_workers or cores()
    long = sum(map(stacks.seconds, trials)) > LONG
    made: Any = internals.locate(settings.executor or (PROCESSES if long else THREADS))
    options: dict[str, Any] = {}
    if isinstance(made, type) and issubclass(made, ProcessPoolExecutor):
        options["initializer"] = worker.follow
        options["mp_context"] = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
    others = multiprocessing.active_children()
    pool: Executor = made(max_workers=workers, **options)
    if isinstance(pool, ProcessPoolExecutor):
        pool.submit(int)  # starts the processes, so that they import what they need while this one does something else
    try:
        yield {"executor": pool, "workers": workers, "memory": settings.memory * installed_memory()}
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()
        raise
    pool.shutdown()
