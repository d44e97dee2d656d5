"""Resources: the workers and the memory that a sweep trains with."""

from __future__ import annotations

import math
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

from omegaconf import DictConfig

from runner import requirements
from runner.config import schema
from runner.config.internals import locate
from runner.config.trial import Trial
from runner.execution.pool import LocalPool, Pool
from runner.torch.network import ModuleNetwork
from runner.training import stacks, worker

# Seconds of training on one core from which processes are worth their start. Threads share Python's lock, with each
# other and with what records: on two cores, two of them train 1.5 times as fast as one, and two processes twice.
LONG = 3.0
THREADS, PROCESSES = "concurrent.futures.ThreadPoolExecutor", "concurrent.futures.ProcessPoolExecutor"


def cores() -> int:
    """Return the number of cores that this process may use."""
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


def is_long(trials: Sequence[Trial]) -> bool:
    """Whether trials take long enough on one core for processes to be worth their start."""
    return sum(map(stacks.seconds, trials)) > LONG


def check(settings: DictConfig) -> None:
    """Raises ValueError where a stacked launcher can't work with its settings, or lacks its package."""
    if settings._target_ not in schema.STACKED:
        return
    if settings.get("memory") is not None and not 0 < settings.memory <= 1:
        raise ValueError(
            "hydra.launcher.memory must be a share of the machine's memory, above 0 and at most 1; "
            f"got {settings.memory}. Pass hydra.launcher.memory=0.5."
        )
    if settings.get("max_workers") is not None and settings.max_workers < 1:
        raise ValueError(
            "hydra.launcher.max_workers must be a number of workers from 1, or null for one a core; "
            f"got {settings.max_workers}. Pass hydra.launcher.max_workers=null."
        )
    if settings._target_ == schema.StackedDask._target_:
        requirements.check_extra("hydra/launcher=stacked_dask", "dask", "distributed")
        if settings.address and settings.scheduler_file:
            raise ValueError(
                "hydra.launcher takes an address or a scheduler_file, not both; got "
                f"{settings.address} and {settings.scheduler_file}. Leave one out."
            )
    if settings._target_ == schema.StackedSubmitit._target_:
        _check_submitit(settings)
    if settings._target_ != schema.StackedLauncher._target_:
        return
    try:
        if not isinstance(locate(settings.executor or THREADS), type):
            raise TypeError("it is no class")
    except Exception as error:
        raise ValueError(
            "hydra.launcher.executor must be the address of a class with the interface of concurrent.futures' "
            f"executors; got {settings.executor!r}, which is none that can be imported. "
            "Pass hydra.launcher.executor=concurrent.futures.ThreadPoolExecutor."
        ) from error


def _check_submitit(settings: DictConfig) -> None:
    for module in ("submitit", "distributed"):
        requirements.check_extra("hydra/launcher=stacked_submitit", "submitit", module)
    for key in ("array_parallelism", "timeout_min", "nodes", "tasks_per_node", "cpus_per_task"):
        if settings[key] < 1:
            raise ValueError(f"hydra.launcher.{key} must be 1 or more; got {settings[key]}.")
    if settings.cluster not in ("slurm", "local"):
        raise ValueError(
            f"hydra.launcher.cluster must be slurm, or local for processes of this machine; got {settings.cluster!r}."
        )
    if settings.cluster == "slurm" and which("sbatch") is None:
        raise ValueError(
            "hydra/launcher=stacked_submitit needs SLURM, and there is no sbatch here. "
            "Pass hydra.launcher.cluster=local to try it with processes of this machine."
        )


def check_memory(trials: Sequence[Trial]) -> None:
    """Raises ValueError for the first trial that this machine's memory can't hold."""
    memory = installed_memory()
    for trial in trials:
        if (bytes := stacks.needed(trial)) > memory:
            place = f"{' '.join(trial.overrides)}: " if len(trials) > 1 else ""
            raise ValueError(
                f"{place}a run must fit the memory, {memory / 2**30:.3g} GiB here; this one, of {trial.network.shape} "
                f"and {trial.plan.steps:,} steps, needs {bytes / 2**30:.3g} GiB or more. "
                "Pass a smaller network, fewer steps or fewer samples in training.probe.size."
            )


@contextmanager
def resources(
    settings: Any, trials: Sequence[Trial] = (), *, say: Callable[[str], object] = warnings.warn
) -> Iterator[Pool | None]:
    """Pool that the settings of a stacked launcher give; none where they are another launcher's.

    ``trials``: what is to be trained, so that threads or processes may be chosen: without it, threads. ``say``: hears
    what a person should know of the workers. Left by an exception, the pool drops what has not started, and processes
    that were started here end.
    Raises ValueError where a cluster can't be reached.
    """
    target = getattr(settings, "_target_", None)
    if target == schema.StackedDask._target_:
        from runner.execution.dask_pool import dask_pool

        with dask_pool(settings, cores(), bool(trials), say) as dask:
            yield dask
    elif target == schema.StackedSubmitit._target_:
        from runner.execution.submitit_pool import submitit_pool

        with submitit_pool(settings, trials, say) as submitit:
            yield submitit
    elif target == schema.StackedLauncher._target_:
        with _local_pool(settings, trials) as local:
            yield local
    else:
        yield None


@contextmanager
def _local_pool(settings: Any, trials: Sequence[Trial]) -> Iterator[LocalPool]:
    workers = settings.max_workers or cores()
    on_gpu = any(trial.network.device != "cpu" for trial in trials if isinstance(trial.network, ModuleNetwork))
    alone = on_gpu or not is_long(trials)  # a GPU is best used by one process
    made: Any = locate(settings.executor or (THREADS if alone else PROCESSES))
    options: dict[str, Any] = {}
    counter = None
    if isinstance(made, type) and issubclass(made, ProcessPoolExecutor):
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
        counter = context.Value("q", 0)
        options = {"mp_context": context, "initializer": worker.begin, "initargs": (counter,)}
    # Runs fewer than workers train in a stack each. Threads of a large one change no bit, so nobody has to choose them.
    threads = workers // len(trials) if 0 < len(trials) < workers else 1
    others = multiprocessing.active_children()
    executor: Executor = made(max_workers=workers, **options)
    if isinstance(executor, ProcessPoolExecutor):
        for _ in range(workers):  # a submission starts one process; they import while this one does something else
            executor.submit(int)
    try:
        yield LocalPool(executor, workers, settings.memory * installed_memory(), counter, threads)
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()
        raise
    executor.shutdown()
