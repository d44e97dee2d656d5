"""Tracking: the format of what is recorded, local files, and MLflow."""

from runner.tracking.files import read
from runner.tracking.metrics import metric_name
from runner.tracking.recorder import Recorder

__all__ = ["Recorder", "metric_name", "read"]
