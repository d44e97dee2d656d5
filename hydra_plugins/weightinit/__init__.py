"""The doors that Hydra looks behind: a launcher that trains a sweep as stacks, and the sweeper that goes with it.

Hydra imports this at each start, so nothing heavy is imported before it is needed; and it does so without an entry in
``sys.modules``, so that dataclasses here can't have postponed annotations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class StackedLauncherConf:
    """How stacks are trained.

    ``memory``: share of the machine's memory that the stacks at work may take; ``max_workers``: how many are at work,
    null for one a core; ``executor``: where, any class with the interface of ``concurrent.futures``' executors.
    """

    _target_: str = "hydra_plugins.weightinit.StackedLauncher"
    memory: float = 0.5
    max_workers: int | None = None
    executor: str = "concurrent.futures.ThreadPoolExecutor"


@dataclass
class StackedSweeperConf:
    """As Hydra's basic sweeper; ``params``: the sweep, overridden by the command line."""

    _target_: str = "hydra_plugins.weightinit.StackedSweeper"
    max_batch_size: int | None = None
    params: dict[str, Any] | None = field(default=None)


class StackedLauncher(Launcher):
    """Runs the jobs of a sweep in stacks, on all cores; jobs of other programs than the lab's runner one by one."""

    def __init__(self, memory: float, max_workers: int | None, executor: str) -> None:
        self.memory, self.max_workers, self.executor = memory, max_workers, executor
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keeps what Hydra hands on."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """One ``JobReturn`` for each job, in order."""
        from runner.launcher import launch

        return launch(self, job_overrides, initial_job_idx)


class StackedSweeper(BasicSweeper):
    """Hydra's basic sweeper without its second composition of every job: the runner has validated them all."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Nothing: the launcher composes all jobs before the first starts, and raises for one that it can't."""


ConfigStore.instance().store(group="hydra/launcher", name="stacked", node=StackedLauncherConf, provider="weightinit")
ConfigStore.instance().store(group="hydra/sweeper", name="stacked", node=StackedSweeperConf, provider="weightinit")
