"""Laws that the initializers of Keras state."""

from __future__ import annotations

from typing import Any

import keras

from weightinit.auditing.named_laws import NAMED, rule
from weightinit.fans import Fans
from weightinit.keras.initializer import Initializer
from weightinit.laws import UNKNOWN, Law
from weightinit.nn.weights import WeightSpec
from weightinit.schemes.base import ONE, ZERO, Rule
from weightinit.schemes.rules import Constant, Normal, Orthogonal, TruncatedNormal, Uniform, VarianceScaling

DISTRIBUTIONS = {"untruncated_normal": "normal", "truncated_normal": "truncated_normal", "uniform": "uniform"}
"""Distributions of Keras' variance scaling by the library's names."""


def stated_law(initializer: Any, shape: tuple[int, ...], fans: Fans) -> Law:
    """Return the law that an initializer of Keras draws a weight from; unknown for one of somebody's own.

    ``fans``: the true ones, which count where the layer passes its axes. Where it doesn't, Keras reads every shape as
    ``(*kernel, inputs, outputs)``: the law is that of the fans it counts, right or wrong.
    """
    source = _rule(initializer)
    if isinstance(source, Law):
        return source
    return source.law(WeightSpec("", shape, fans, "weight", "hidden"))


def _rule(initializer: Any) -> Rule | Law:
    kinds = keras.initializers
    match initializer:
        case Initializer():
            return _own(initializer)
        case kinds.Zeros():
            return ZERO
        case kinds.Ones():
            return ONE
        case kinds.Constant() if isinstance(initializer.value, int | float):
            return Constant(float(initializer.value))
        case kinds.RandomNormal():
            return Normal(float(initializer.mean), float(initializer.stddev))
        case kinds.RandomUniform():
            return Uniform(float(initializer.minval), float(initializer.maxval))
        case kinds.TruncatedNormal():
            return TruncatedNormal(float(initializer.mean), std_before=float(initializer.stddev))
        case kinds.VarianceScaling():
            distribution: Any = DISTRIBUTIONS[initializer.distribution]
            return VarianceScaling(scale=initializer.scale, mode=initializer.mode, distribution=distribution)
        case kinds.Orthogonal():
            return Orthogonal(float(initializer.gain))
    return UNKNOWN


def _own(initializer: Initializer) -> Rule | Law:
    """The rule of one of the library's initializers; unknown where it has none, or its layout is said."""
    options = {name: value for name, value in initializer.options.items() if name not in LAYOUT}
    words = ", ".join(f"{name}={value!r}" for name, value in options.items())
    try:
        return rule(f"{initializer.name}({words})") if initializer.name in NAMED else UNKNOWN
    except (TypeError, ValueError):
        return UNKNOWN


LAYOUT = ("groups", "in_axis", "out_axis", "batch_axis", "fans")
"""Options that say how fans are counted, and no law."""
