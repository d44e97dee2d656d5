"""Measurements of a model at initialization, as frozen records: of each module, each draw, and a first step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from weightinit.arrays import Array
from weightinit.statistics import STATISTICS

TOKENS = 64
"""Positions of a sample whose rank is measured."""


@dataclass(frozen=True)
class Place:
    """A module that is measured: its path, its class, and whether it holds weights of two axes or more.

    ``chain``: the list of blocks that it is one of, empty for other modules. ``norm``: whether it normalizes.
    ``after``: the modules with weights that its signal passed last before it, as far as is known.
    """

    name: str
    kind: str
    weighted: bool
    chain: str = ""
    norm: bool = False
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slopes:
    """Slopes of activation functions that ran in a module.

    ``dead``: share of units with slope 0 for every sample and position; ``saturated``: share of values with a slope
    below .01; ``units``; ``values``: samples x positions that each unit saw; ``cut``: whether the function has slope 0
    on half of the line, as relu has, so that half of the values are saturated by design.
    """

    dead: float
    saturated: float
    units: int
    values: int
    cut: bool


@dataclass
class Reading:
    """Measurement of one module in one draw.

    ``rms`` of what leaves it; ``backward``: rms over samples of the norm of the loss's gradient with respect to that;
    ``correlation`` of different samples; ``alike``: correlation of the positions of a sample, and ``entering``: of
    those that enter it; ``rank``: effective rank of the positions over the most it can be. These three are NaN without
    positions, and for modules that are no blocks. NaN where something wasn't measured.
    """

    rms: float = math.nan
    backward: float = math.nan
    correlation: float = math.nan
    alike: float = math.nan
    entering: float = math.nan
    rank: float = math.nan
    finite: bool = True
    slopes: Slopes | None = None


@dataclass(frozen=True)
class Draw:
    """One initialization: readings by module, and the loss beside that of a model whose output is zero.

    ``gradients``: rms of the loss's gradient by parameter; a parameter that this pass didn't use is absent.
    """

    readings: Mapping[str, Reading]
    loss: float
    ignorant: float
    gradients: Mapping[str, float]


@dataclass(frozen=True)
class FirstStep:
    """A first step of ``optimizer``: the loss after it, and of each parameter the rms of its change over its own.

    ``stuck``: parameters whose gradient is zero before the step and after a few of them. ``equal``: parameters of equal
    rows, with gradients that are equal before the step and after a few of them.
    """

    optimizer: str
    loss: float
    updates: Mapping[str, float] = field(default_factory=dict)
    stuck: tuple[str, ...] = ()
    equal: tuple[str, ...] = ()


def read(output: Array, *, channels_first: bool, positions: bool) -> Reading:
    """Return the reading of what leaves a module, ``(samples, ...)``, forward.

    ``channels_first``: axis 1 holds the units, as in a convolution; ``positions``: measure positions against each
    other as well.
    """
    x = output[None]
    finite = bool(np.isfinite(output).all())
    reading = Reading(rms=_value("activation_rms", x), finite=finite)
    if not finite:
        return reading
    if len(output) > 1:
        reading.correlation = _value("activation_correlation", x)
    if positions and output.ndim == 3 and not channels_first and min(output.shape[1:]) > 1:
        first = output[:4, :TOKENS]
        ranks = [_value("activation_effective_rank", sample[None]) for sample in first]
        reading.rank = float(np.mean(ranks)) / min(first.shape[1:])
        reading.alike = alike(output)
    return reading


def alike(tokens: Array) -> float:
    """Return the mean correlation of the positions of a sample, of ``(samples, positions, units)``."""
    first = tokens[:4, :TOKENS]
    return float(np.mean([_value("activation_correlation", sample[None]) for sample in first]))


def backward_norm(gradient: Array) -> float:
    """Return the rms over samples of a gradient's norm; the loss is a mean over them, which takes no part in it."""
    return _value("backward_norm", gradient[None]) * len(gradient)


def slopes(slope: Array, *, channels_first: bool, cut: bool) -> Slopes:
    """Return how many units are dead and saturated, from slopes ``(samples, ...)`` at every value."""
    x = np.moveaxis(slope, 1, -1) if channels_first and slope.ndim > 2 else slope
    x = x.reshape(1, -1, x.shape[-1])
    dead, saturated = (_value(f"activation_{name}_fraction", x) for name in ("dead", "saturated"))
    return Slopes(dead, saturated, x.shape[-1], x.shape[1], cut)


def _value(statistic: str, x: Array) -> float:
    return float(STATISTICS[statistic].function(x)[0])
