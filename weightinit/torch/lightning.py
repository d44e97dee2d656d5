"""The audit as a callback of Lightning."""

from __future__ import annotations

from typing import Any

try:
    from lightning.pytorch import Callback
except ImportError:
    raise ImportError(
        "weightinit.torch.lightning needs Lightning, which is not installed: pip install lightning."
    ) from None

from weightinit.auditing.expectations import ModelLaws
from weightinit.auditing.model_report import ModelReport
from weightinit.torch.callbacks import FILE, TAG, OnFail, Start


class InitAudit(Callback):
    """Audits the model before its first step: ``Trainer(callbacks=[InitAudit(on_fail="warn")])``.

    The arguments are those of :class:`weightinit.torch.callbacks.Start`. A run that resumes from a checkpoint is not
    audited. The report is also written to the trainer's ``MLFlowLogger``, if it has one.
    """

    def __init__(self, expected: ModelLaws = None, *, level: float = 1e-3, on_fail: OnFail = "raise") -> None:
        super().__init__()
        self.start = Start(expected, level=level, on_fail=on_fail)

    @property
    def report(self) -> ModelReport | None:
        """The last report; None before the training."""
        return self.start.report

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Audit the model, unless the run resumes."""
        if trainer.ckpt_path is not None:
            return
        try:
            self.start.check(pl_module)
        finally:
            if self.report is not None:
                for logger in trainer.loggers:
                    if type(logger).__name__ == "MLFlowLogger":
                        logger.experiment.log_dict(logger.run_id, self.report.as_dict(), FILE)
                        logger.experiment.set_tag(logger.run_id, TAG, "ok" if self.report.ok else "faults")
