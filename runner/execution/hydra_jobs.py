"""Hydra's own way through the jobs of a command: for other sweepers and launchers, callbacks, and folders of jobs.

Hydra knows a *task function*, which it calls with the configuration of each job, and hands to launchers. Here this
function is a :class:`Task`, which holds the runs of the command: a launcher that finds one trains all jobs together.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, run_job, setup_globals
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from runner.config import schema
from runner.config.composition import CONFIG_NAME, Command, Composer, own
from runner.config.internals import Hydra, locate
from runner.config.trial import Trial, from_hydra
from runner.execution import naming
from runner.execution.jobs import Jobs
from runner.execution.pool import Pool
from runner.execution.resources import resources
from runner.records import Outcome
from runner.scores import AUTO


class Task:
    """The runs of a command as Hydra's task function."""

    def __init__(self, jobs: Jobs, trials: Sequence[Trial], pool: Pool | None) -> None:
        """``trials``: those known to come, under their names; ``pool``: where they train, if that is known."""
        self.jobs, self.pool = jobs, pool
        self._known = {trial.overrides: trial for trial in trials}

    def __call__(self, config: DictConfig) -> float:
        """Return what an optimizing sweeper makes small, of a job whose run is trained now if it has no outcome.

        Raises RuntimeError for a run of a sweep that failed, so that the job's ``JobReturn`` says it.
        """
        settings: Any = HydraConfig.get()
        trial = self.trial(config, settings)
        self.jobs.run([trial])
        outcome = self.jobs.outcomes[trial.key]
        if outcome.fate == "failed" and settings.mode == RunMode.MULTIRUN:
            raise RuntimeError(outcome.error)
        return objective(outcome, trial.config["report"]["score"])

    def trial(self, config: DictConfig, settings: DictConfig) -> Trial:
        """Return the trial of a job; ``settings``: what Hydra says of it. Raises as ``from_hydra`` does."""
        typed: Any = OmegaConf.to_container(settings.overrides.task, resolve=False)  # a value may be an interpolation
        overrides = own(typed)
        if overrides not in self._known:
            trial = from_hydra(config, settings.runtime.choices, overrides)
            swept = [text for text in overrides if text not in self.jobs.recorder.session.overrides]
            self._known[overrides] = naming.named_by(trial, map(naming.key_of, swept))
            self.jobs.recall(self._known[overrides])
        return self._known[overrides]


def objective(outcome: Outcome, asked: str = AUTO) -> float:
    """Return what an optimizing sweeper makes small: the validation loss of a run, or minus the score asked for.

    Infinite where a run has none.
    """
    sign = 1 if asked in (AUTO, "loss") else -1
    value = sign * outcome.summary.get(f"validation_{'loss' if sign == 1 else asked}", math.inf * sign)
    return value if math.isfinite(value) else math.inf


def wanted(command: Command) -> bool:
    """Whether a command needs Hydra's way: all but sweeps of the lab's own sweeper and launcher, without callbacks."""
    hydra = command.config.hydra
    stacked = hydra.launcher._target_ in schema.STACKED and hydra.sweeper._target_ == schema.StackedSweeper._target_
    return not (command.multirun and stacked and hydra.sweeper.max_batch_size is None) or goes_through_jobs(
        command.config
    )


def goes_through_jobs(config: DictConfig) -> bool:
    """Whether each job is to go through Hydra's ``run_job``: for callbacks, or for a folder of its own."""
    return bool(config.hydra.get("callbacks")) or bool(config.hydra.launcher.get("job_files"))


def is_optunas(config: DictConfig) -> bool:
    """Whether Optuna's sweeper chooses the values."""
    return str(config.hydra.sweeper._target_).startswith("hydra_plugins.hydra_optuna_sweeper.")


def is_kept(config: DictConfig) -> bool:
    """Whether a search is kept beside its runs: one with a seed repeats itself, and another may have a storage."""
    sweeper = config.hydra.sweeper
    return is_optunas(config) and sweeper.storage is None and sweeper.sampler.get("seed") is None


def check(config: DictConfig) -> None:
    """Raises ValueError for a callback that Hydra could not make, and for a database that Optuna can't keep."""
    if (storage := config.hydra.sweeper.get("storage")) is not None and is_optunas(config):
        versions = {name: version(name) for name in ("optuna", "sqlalchemy")}
        if "://" in str(storage) and versions["optuna"] < "3" and versions["sqlalchemy"] >= "2":
            raise ValueError(
                f"hydra.sweeper.storage must be left out with Optuna {versions['optuna']}, whose databases need an "
                f"SQLAlchemy before 2; got {storage}, and {versions['sqlalchemy']} is here. The lab keeps each search "
                "beside its runs: resume=true goes on with it."
            )
    for name, callback in (config.hydra.get("callbacks") or {}).items():
        target = callback.get("_target_") if isinstance(callback, DictConfig) else None
        try:
            locate(str(target))
        except Exception as error:
            raise ValueError(
                f"hydra.callbacks.{name} must have the address of a class as its _target_; got {target}, which can't "
                f"be imported. Pass hydra.callbacks.{name}._target_=my.module.Mine."
            ) from error


def run(command: Command, composer: Composer, task: Task, further: Sequence[str] = ()) -> None:
    """Has Hydra run the jobs of a command, in its session's directory; raises whatever Hydra and a failed job raise.

    ``further``: overrides beside the command's.
    """
    kind = "sweep" if command.multirun else "run"
    directory = str(task.jobs.recorder.session.directory).replace("\\", "\\\\").replace("'", "\\'")
    overrides = [f"hydra.{kind}.dir='{directory}'", *command.overrides, *further]
    hydra = Hydra(task_name="runner", config_loader=composer.loader)
    if is_optunas(command.config):
        import optuna

        optuna.logging.set_verbosity(logging.WARNING)
    if command.multirun:
        hydra.multirun(CONFIG_NAME, task, [*overrides, "hydra.mode=MULTIRUN"])
    else:
        hydra.run(CONFIG_NAME, task, [*overrides, "hydra.mode=RUN"])


def prepare(directory: Path, config: DictConfig) -> None:
    """Keeps a sweep's configuration in its directory, and logs to a file there as Hydra does for a job."""
    with open_dict(config.hydra):
        config.hydra.sweep.dir = str(directory)
        config.hydra.runtime.output_dir = str(directory)
    OmegaConf.save(config, directory / "multirun.yaml")
    configure_log(config.hydra.job_logging, config.hydra.verbose)


def launch(
    context: HydraContext,
    config: DictConfig,
    function: TaskFunction,
    job_overrides: Sequence[Sequence[str]],
    first: int,
) -> list[JobReturn]:
    """Return one ``JobReturn`` for each job's overrides, in order; jobs are numbered from ``first``.

    Jobs of another program than the lab's runner go one by one.
    """
    setup_globals()
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    Path(config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
    jobs = [context.config_loader.load_sweep_config(config, list(overrides)) for overrides in job_overrides]
    trials: list[Trial] = []
    if isinstance(function, Task):
        trials = [function.trial(job, job.hydra) for job in jobs]
        with nullcontext(function.pool) if function.pool else resources(config.hydra.launcher, trials) as pool:
            function.jobs.run(trials, pool)
        if not goes_through_jobs(config):
            return [_returned(job, function.jobs.outcomes[trial.key]) for job, trial in zip(jobs, trials, strict=True)]
    returns = []
    for number, job in enumerate(jobs, start=first):
        with open_dict(job):
            job.hydra.job.id = str(number)
            job.hydra.job.num = number
        returns.append(
            run_job(
                hydra_context=context,
                task_function=function,
                config=job,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        )
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    return returns


def _returned(job: DictConfig, outcome: Outcome) -> JobReturn:
    """Return what ``run_job`` would return of a job whose run has this outcome."""
    failed = outcome.fate == "failed"
    return JobReturn(
        overrides=list(job.hydra.overrides.task),
        cfg=job,
        hydra_cfg=job,
        working_dir=os.getcwd(),
        task_name=JobRuntime.instance().get("name"),
        status=JobStatus.FAILED if failed else JobStatus.COMPLETED,
        _return_value=RuntimeError(outcome.error) if failed else objective(outcome, job.report.score),
    )
