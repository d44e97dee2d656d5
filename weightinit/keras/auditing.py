"""The audit of a Keras model."""

from __future__ import annotations

from typing import Any

from weightinit.auditing.expectations import ModelLaws
from weightinit.auditing.model_report import ModelReport
from weightinit.auditing.models import audit_model
from weightinit.keras.translation import translate


def audit(model: Any, expected: ModelLaws = None, *, level: float = 1e-3) -> ModelReport:
    """Return a report on whether the weights of a model are what they should be; it changes nothing.

    ``expected``: a scheme's name or rule for its weights (``he``); laws by patterns of paths (``{"*/kernel": "he"}``),
    or rules in order, of which the first that matches counts. None holds each weight against the law that its layer's
    own initializer states, or what is usual, and looks for what is never meant: equal weights of two layers, dead or
    equal units, NaN. ``level``: the chance that honest draws raise any false alarm.

    Raises TypeError for what is no model or layer of Keras or no law, ValueError for one that isn't built, an unknown
    law, and a level outside (0, 1).
    """
    return audit_model(translate(model), expected, level=level)
