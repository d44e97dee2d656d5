"""The audit of a pytree of arrays."""

from __future__ import annotations

from typing import Any

from weightinit.auditing.expectations import ModelLaws
from weightinit.auditing.model_report import ModelReport
from weightinit.auditing.models import audit_model
from weightinit.jax.translation import translate


def audit(tree: Any, expected: ModelLaws = None, *, level: float = 1e-3) -> ModelReport:
    """Return a report on whether the arrays of a model are what they should be; it changes nothing.

    ``tree``: the variables or parameters of a Flax linen module, a module of Flax NNX or Equinox, or any pytree.
    ``expected``: a scheme's name or rule for its weights (``he``); laws by patterns of paths (``{"*/kernel": "he"}``),
    or rules in order, of which the first that matches counts. None holds each array against what is usual, as its
    module draws it by itself, and looks for what is never meant. ``level``: the chance that honest draws raise any
    false alarm. A complex array is judged by its real and imaginary parts, each of half the variance.

    Raises ValueError for a tree without arrays of floating-point numbers, an unknown law, and a level outside (0, 1),
    TypeError for what is no law.
    """
    return audit_model(translate(tree), expected, level=level)
