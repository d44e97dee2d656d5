"""The runner's command line, in this process and in others, and what it records."""

from __future__ import annotations

import logging
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from runner.tracking import read

ROOT = Path(__file__).resolve().parent.parent
# What differs from one recording of a run to the next.
OF_THE_OCCASION = ("start_time", "end_time", "outputs", "tracking", "tracking.backend", "tracking.uri")

# Optuna's own use of what SQLAlchemy and Python have given up.
FOR_OPTUNA = pytest.mark.filterwarnings(
    "ignore:The ``declarative_base:DeprecationWarning",
    "ignore::DeprecationWarning:optuna",
    "ignore::FutureWarning:optuna",
)


def typed(*words: str) -> int:
    """The exit status of ``python -m runner`` with these words behind it, in this process."""
    with undone():
        sys.argv = ["runner", *words]
        try:
            run_as_main("runner")
        except SystemExit as ended:
            return int(ended.code or 0)
    raise AssertionError("the runner ends with a status")


def run_as_main(name: str) -> None:
    """Do what ``python -m name`` does, in this process.

    By its path: pytest imports a package that is installed beside one of its plugins in a way that runpy can't follow.
    """
    runpy.run_path(str(ROOT / name / "__main__.py"), run_name="__main__")


@contextmanager
def undone() -> Iterator[None]:
    """Takes back what a command changes in its process."""
    root, argv = logging.getLogger(), sys.argv
    level, handlers, terminate = root.level, root.handlers[:], signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        sys.argv, root.level, root.handlers[:] = argv, level, handlers
        signal.signal(signal.SIGTERM, terminate)
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None


def started(*words: str, **options: Any) -> subprocess.Popen[str]:
    """The same as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "runner", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def directories(outputs: Path, kind: str = "sweeps") -> list[Path]:
    """Where commands have recorded below ``outputs``, in their order."""
    return sorted((outputs / kind).iterdir()) if (outputs / kind).exists() else []


def tables(directory: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What is recorded in ``directory``, without what differs from one occasion to the next."""
    runs, curves = read(directory)
    return runs.drop(columns=[name for name in OF_THE_OCCASION if name in runs]), curves


def assert_same_records(one: Path, other: Path) -> None:
    """Both hold the same runs, in the same order, with the same bits."""
    for mine, theirs in zip(tables(one), tables(other), strict=True):
        assert sorted(mine) == sorted(theirs)
        pd.testing.assert_frame_equal(mine, theirs, check_like=True, check_exact=True, check_categorical=False)


def mlflow_runs(outputs: Path, **tags: str) -> list[Any]:
    """MLflow's runs with these tags, in the store below ``outputs``."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{outputs}/mlflow.db")
    wanted = " and ".join(f"tags.{name} = '{value}'" for name, value in tags.items())
    experiments: Sequence[str] = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, wanted))
