"""The doors that Hydra looks behind: a launcher that trains a sweep as stacks, and the sweeper that goes with it.

Hydra imports this at each start, so nothing heavy is imported before it is needed; and it may do so again, so that what
must stay the same, as the types of configurations, is elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from runner.config import schema
from runner.config.internals import BasicSweeper
from runner.config.listing import combinations


class StackedLauncher(Launcher):
    """Runs the jobs of a sweep in stacks, on all cores; jobs of other programs than the lab's runner one by one."""

    def __init__(self, **settings: Any) -> None:
        """``settings``: read from the configuration, of which Hydra hands on the whole."""
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keeps what Hydra hands on."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Return one ``JobReturn`` for each job, in order."""
        from runner.execution.hydra_jobs import launch

        assert self.hydra_context is not None
        assert self.config is not None
        assert self.task_function is not None
        return launch(self.hydra_context, self.config, self.task_function, job_overrides, initial_job_idx)


class StackedDaskLauncher(StackedLauncher):
    """The same on the workers of a Dask cluster."""


class StackedSubmititLauncher(StackedLauncher):
    """The same in allocations of a SLURM cluster."""


class StackedSweeper(BasicSweeper):
    """Hydra's basic sweeper, but it composes no job twice, and a job that fails stops no other."""

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Return what the launcher returned of each batch; which jobs failed stands in them."""
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        directory = Path(self.config.hydra.sweep.dir)
        directory.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, directory / "multirun.yaml")
        returns: list[Sequence[JobReturn]] = []
        runs = combinations(overrides)
        size = self.max_batch_size or len(runs)
        for batch in (runs[first : first + size] for first in range(0, len(runs), size)):
            returns.append(self.launcher.launch(batch, initial_job_idx=sum(map(len, returns))))
        return returns


ConfigStore.instance().store(group="hydra/launcher", name="stacked", node=schema.StackedLauncher, provider="weightinit")
ConfigStore.instance().store(group="hydra/sweeper", name="stacked", node=schema.StackedSweeper, provider="weightinit")
