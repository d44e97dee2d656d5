"""Submitit: stacks train in allocations of a SLURM cluster, whose processes are workers of a Dask scheduler here.

An allocation trains stack after stack. One that ends while stacks wait, since its time is over, is replaced.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import distributed
import submitit
from distributed.utils import get_ip
from omegaconf import OmegaConf

from runner.config.trial import Trial
from runner.execution.allocation import Serve
from runner.execution.dask_pool import WITHOUT_DASHBOARD, DaskPool
from runner.execution.pool import PoolLost
from runner.training import stacks

# Options that submitit has for any cluster; the others are SLURM's own.
SHARED = (
    "name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node", "stderr_to_stdout",
)  # fmt: skip
# Settings that are no options of submitit.
OURS = ("_target_", "submitit_folder", "cluster", "interface", "memory", "job_files")
# Seconds between two questions to SLURM for allocations that were killed; others tell of their end themselves.
ASK = 60.0
# Seconds that allocations may take to end when all is done, and those of work for each core that one is worth.
END, WORTH = 20.0, 60.0


class SubmititPool(DaskPool):
    """Pool of the workers in allocations, of which there are as many as the stacks in hand can fill."""

    AWAITED = "waiting for the first allocation"

    def __init__(
        self,
        client: distributed.Client,
        executor: Any,
        serve: Serve,
        most: int,
        each: int,
        share: float,
        say: Callable[[str], object],
    ) -> None:
        """``most``: allocations at a time; ``each``: workers of one; ``share``: of memory, as of ``DaskPool``."""
        self._executor, self._serve, self._most, self._each = executor, serve, most, each
        self._jobs: list[Any] = []
        self._asked_at = time.monotonic()
        super().__init__(client, None, share, say)

    @property
    def workers(self) -> int:
        """Number of stacks that train at a time when all allocations have begun."""
        return self._most * self._each

    @property
    def memory(self) -> float:
        """Bytes that the stacks of all workers may take together."""
        return self.workers * self.share * (self._serve.memory or math.inf)

    def steps(self) -> int:
        """Return the number of steps since the last call, and replace allocations that have ended.

        Raises PoolLost where one has ended of which no worker came, or where none can be had.
        """
        steps = super().steps()
        self.keep(len(self._tasks))
        return steps

    def keep(self, waiting: int) -> None:
        """Ask for the allocations that lack for so many waiting stacks to train."""
        if self._executor.cluster == "slurm" and self._jobs and time.monotonic() - self._asked_at >= ASK:
            self._asked_at = time.monotonic()
            self._jobs[0].watcher.update()  # of all
        ended = [job for job in self._jobs if job.done()]
        self._jobs = [job for job in self._jobs if job not in ended]
        for job in ended:
            if not self._came(job):
                raise PoolLost(f"an allocation ended before it could train; see {job.paths.stderr}")
        lacking = min(self._most, math.ceil(waiting / self._each)) - len(self._jobs)
        if lacking > 0:
            try:
                with self._executor.batch():
                    new = [self._executor.submit(self._serve) for _ in range(lacking)]
            except (submitit.core.utils.FailedJobError, OSError) as error:
                raise PoolLost(f"no allocation can be had: {error}") from error
            self._jobs += new

    def end(self) -> None:
        """Cancel the allocations that have not begun, and those that don't end by themselves in a little time."""
        deadline = time.monotonic() + END
        left = [job for job in self._jobs if self._came(job)]
        while (left := [job for job in left if not job.done()]) and time.monotonic() < deadline:
            time.sleep(0.1)
        for job in self._jobs:
            if job in left or not self._came(job):
                job.cancel(check=False)

    def _came(self, job: Any) -> bool:
        """Whether a worker of the allocation has joined the scheduler."""
        return any(name.startswith(f"{job.job_id}/") for name in self.names)


def executor(settings: Any) -> submitit.AutoExecutor:
    """Executor of submitit with the options that the settings of the launcher give.

    Raises ValueError where there is no such cluster, or where an option is none.
    """
    folder = Path(settings.submitit_folder)
    options: dict[str, Any] = OmegaConf.to_container(settings, resolve=True)  # type: ignore[assignment]
    named = {
        key if key in SHARED else f"slurm_{key}": value
        for key, value in options.items()
        if key not in OURS and value is not None
    }
    if settings.cluster == "local" and settings.setup:
        named["local_setup"] = named["slurm_setup"]
    try:
        made = submitit.AutoExecutor(folder, cluster=settings.cluster)
        made.update_parameters(**named)
    except Exception as error:
        raise ValueError(f"hydra/launcher=stacked_submitit: submitit refuses its options: {error}") from error
    return made


@contextmanager
def submitit_pool(settings: Any, trials: Sequence[Trial], say: Callable[[str], object]) -> Iterator[SubmititPool]:
    """Pool of allocations, of fewer where ``trials``, if they are known, are little work.

    Raises ValueError where none can be had with the settings of the launcher.
    """
    made = executor(settings)
    # Keys of the connection stand in its folder, which workers read on their nodes.
    folder = submitit.core.utils.JobPaths.get_first_id_independent_folder(settings.submitit_folder)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    each = settings.nodes * settings.tasks_per_node * settings.cpus_per_task
    most = settings.array_parallelism
    if trials:
        most = min(most, math.ceil(sum(map(stacks.seconds, trials)) / WORTH / each))
    memory = int((settings.mem_gb or 0) * 2**30 / settings.tasks_per_node / settings.cpus_per_task)
    security = distributed.Security.temporary()
    host = None if settings.interface else "127.0.0.1" if settings.cluster == "local" else get_ip()
    cluster = distributed.LocalCluster(
        n_workers=0, host=host, interface=settings.interface, protocol="tls", security=security, **WITHOUT_DASHBOARD
    )
    pool = None
    try:
        with distributed.Client(cluster, set_as_default=False) as client:
            serve = Serve(cluster.scheduler_address, security, settings.cpus_per_task, memory)
            pool = SubmititPool(client, made, serve, most, each, settings.memory, say)
            try:
                pool.keep(1)
            except PoolLost as error:
                raise ValueError(f"hydra/launcher=stacked_submitit: {error}") from error
            try:
                yield pool
            finally:
                pool.look()  # a short sweep is over before the next time to look, and its allocation has come
    finally:
        cluster.close()
        if pool is not None:
            pool.end()
