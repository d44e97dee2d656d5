"""The audit of a ``torch.nn.Module``."""

from __future__ import annotations

from torch import nn

from weightinit.auditing.expectations import ModelLaws
from weightinit.auditing.model_report import ModelReport
from weightinit.auditing.models import audit_model
from weightinit.torch.translation import translate


def audit(model: nn.Module, expected: ModelLaws = None, *, level: float = 1e-3) -> ModelReport:
    """Return a report on whether the parameters of a model are what they should be; it changes nothing.

    ``expected``: a family (``gpt2``, ``bert``, ``llama``, ``t5``, ``vit``, ``mamba2`` ...) by the model's own
    ``config``; ``pytorch``, each module's own default; a scheme's name or rule for its weights (``he``); laws by
    patterns of names (``{"*.c_proj.weight": "normal(std=0.01)"}``), or pairs of these in order, of which the first
    that matches counts. None holds each tensor against what can be known of it, and looks for what is never meant.
    ``level``: the chance that honest draws raise any false alarm.

    Raises TypeError for what is no module or no law, ValueError for a model without parameters, an unknown family or
    law, and a level outside (0, 1).
    """
    return audit_model(translate(model), expected, level=level)
