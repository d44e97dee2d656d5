"""The audit as a callback of the Trainer of transformers."""

from __future__ import annotations

from typing import Any

try:
    from transformers import TrainerCallback
except ImportError:
    raise ImportError(
        "weightinit.torch.transformers needs transformers, which is not installed: pip install transformers."
    ) from None

from weightinit.auditing.expectations import ModelLaws
from weightinit.auditing.model_report import ModelReport
from weightinit.torch.callbacks import OnFail, Start


class InitAudit(TrainerCallback):
    """Audits the model before its first step: ``Trainer(callbacks=[InitAudit(on_fail="warn")])``.

    The arguments are those of :class:`weightinit.torch.callbacks.Start`. A run that resumes from a checkpoint is not
    audited.
    """

    def __init__(self, expected: ModelLaws = None, *, level: float = 1e-3, on_fail: OnFail = "raise") -> None:
        self.start = Start(expected, level=level, on_fail=on_fail)

    @property
    def report(self) -> ModelReport | None:
        """The last report; None before the training."""
        return self.start.report

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Audit the model, unless the run resumes."""
        if model is not None and not state.global_step:
            self.start.check(getattr(model, "module", model))
