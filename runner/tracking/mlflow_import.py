"""Import of MLflow, which takes two seconds, without the statistics of its use that it sends to its makers."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def import_mlflow() -> None:
    """Import MLflow, and silence what it prints. Whoever needs a part of MLflow calls this first."""
    with environment({"MLFLOW_DISABLE_TELEMETRY": "true"}):
        import mlflow  # noqa: F401
    # Every error that these loggers print is raised as well.
    for name in ("mlflow.store.db.utils", "mlflow.utils.databricks_utils"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def environment(variables: Mapping[str, str], *, replace: bool = False) -> Iterator[None]:
    """Set these environment variables inside; those that the user has set only with ``replace``."""
    new = {name: value for name, value in variables.items() if replace or name not in os.environ}
    before = {name: os.environ[name] for name in new if name in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)
        os.environ.update(before)
