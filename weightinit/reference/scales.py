"""Scales on which quantities of different networks are compared: those on which a network's scatter is even."""

from __future__ import annotations

import numpy as np
from scipy import special

from weightinit.arrays import Array

FLOORS = {"evenness": 0.003, "jacobian_spread": 0.05}
FLOOR = 1e-5
"""Least scatter of a size's logarithm: what rounding alone does to a network that has none."""


def floor(name: str) -> float:
    """Return the least scatter of a quantity: that of rounding, or for a shape a difference that is worth a word."""
    return FLOORS.get(name, FLOOR)


def scaled(name: str, values: Array, samples: int) -> Array:
    """Return values of a quantity, measured on so many ``samples``, on its scale; NaN where they are not finite there.

    A size: log x. A correlation of s samples, which is between -1 / (s - 1) and 1: the logarithm of its distance from
    the one over that from the other, which is that of what samples share over what tells them apart. The spread of n
    squared singular values: log(1 + x), the logarithm of n over their effective number, (sum of s²)² / (sum of s⁴).
    """
    with np.errstate(all="ignore"):
        match name:
            case "activation_correlation":
                result = np.log((values - _least(samples)) / (1 - values))
            case "jacobian_spread":
                result = np.log1p(values)
            case _:
                result = np.log(values)
    return np.where(np.isfinite(result), result, np.nan)


def unscaled(name: str, values: Array, samples: int) -> Array:
    """Return the values of a quantity that lie at ``values`` on its scale."""
    result: Array
    match name:
        case "activation_correlation":
            result = _least(samples) + (1 - _least(samples)) * special.expit(values)
        case "jacobian_spread":
            result = np.expm1(values)
        case _:
            result = np.exp(values)
    return result


def recorded(name: str, scatter: Array, median: Array, samples: int) -> Array:
    """Return the standard deviation of a size's logarithm, and to first order that of any other quantity itself.

    ``scatter``: on the quantity's scale, of networks that have this ``median``.
    """
    slope = np.ones(median.shape)
    match name:
        case "activation_correlation":
            slope = (median - _least(samples)) * (1 - median) / (1 - _least(samples))
        case "jacobian_spread":
            slope = 1 + median
    result: Array = scatter * slope
    return result


def _least(samples: int) -> float:
    return -1.0 / max(1, samples - 1)
