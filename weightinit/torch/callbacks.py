"""Audits at the start of a training: what callbacks of trainers share."""

from __future__ import annotations

import sys
import warnings
from typing import Any, Literal, TypeAlias, get_args

from torch import nn

from weightinit.auditing.expectations import ModelLaws
from weightinit.auditing.model_report import ModelReport
from weightinit.torch.auditing import audit

OnFail: TypeAlias = Literal["raise", "warn"]
FILE = "init_audit.json"
TAG = "weightinit.init_audit"


class Start:
    """The audit of a model before its first step: ``report`` holds it afterwards.

    ``expected`` and ``level`` as of ``weightinit.torch.audit``; ``on_fail``: what a fault does, ``raise`` a ValueError
    or ``warn``. The report is written to MLflow's active run, where there is one, as ``init_audit.json``, with a tag.
    """

    def __init__(self, expected: ModelLaws = None, *, level: float = 1e-3, on_fail: OnFail = "raise") -> None:
        if on_fail not in get_args(OnFail):
            raise ValueError(f"on_fail must be one of {', '.join(get_args(OnFail))}; got {on_fail!r}. Pass 'warn'.")
        self.expected, self.level, self.on_fail = expected, level, on_fail
        self.report: ModelReport | None = None

    def check(self, model: nn.Module) -> ModelReport:
        """Audit a model and return the report; raise ValueError, or warn, where it finds faults."""
        self.report = audit(model, self.expected, level=self.level)
        log(self.report)
        if not self.report.ok:
            said = "\n".join([*(finding.sentence for finding in self.report.faults), self.report.sentence])
            if self.on_fail == "raise":
                raise ValueError(f"the model is not initialized as it should be:\n{said}")
            warnings.warn(said, UserWarning, stacklevel=3)
        return self.report


def log(report: ModelReport) -> None:
    """Write a report to MLflow's active run; nothing where MLflow isn't in use."""
    mlflow: Any = sys.modules.get("mlflow")
    if mlflow is not None and mlflow.active_run() is not None:
        mlflow.log_dict(report.as_dict(), FILE)
        mlflow.set_tag(TAG, "ok" if report.ok else "faults")
