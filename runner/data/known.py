"""Sizes and moments of the built-in data sets, so that a forecast need not load them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from weightinit.nn.architectures import Form


class Facts(NamedTuple):
    """Sizes of a data set, and its inputs' moments over the first 256 training samples, as the defaults prepare it.

    ``correlation``: mean of E[x x'] / E[x²] over pairs of different samples; ``form``: of one sample.
    """

    inputs: int
    outputs: int
    second_moment: float
    correlation: float
    form: Form


# Measured; a test repeats the measurement.
KNOWN: Mapping[str, Facts] = {
    "breast_cancer": Facts(30, 2, 1.0, 0.0160, Form((30,))),
    "diabetes": Facts(10, 1, 1.0, -0.0012, Form((10,))),
    "digits": Facts(64, 10, 1.0, -0.0003, Form((8, 8, 1))),
    "iris": Facts(4, 3, 1.0, 0.0165, Form((4,))),
    "mnist_5k": Facts(784, 10, 1.0, 0.0026, Form((28, 28, 1))),
    "wine": Facts(13, 3, 1.0, -0.0057, Form((13,))),
}
_PREPARED = {"validation": 0.1, "test": 0.15, "split_seed": 0, "standardize": True, "scale_samples": True}


def facts(values: Mapping[str, Any]) -> Facts | None:
    """Return the facts of the config group ``data``; None unless it is built in and prepared with the defaults."""
    target = str(values["_target_"])
    return KNOWN.get(target.removeprefix("runner.data.")) if values == {"_target_": target} | _PREPARED else None
