"""Types of weights, and noise of unit scale for each: real, or complex with real and imaginary part drawn apart.

A complex number has its parts drawn independently, each with half the variance, so that E|w|² is the variance of the
real law: (x + iy) / sqrt(2), x drawn before y.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr, ndtr, ndtri, ndtri_exp

from weightinit.arrays import Array, RandomLike, random_source

TYPES: Final = ("float16", "float32", "float64", "bfloat16", "complex64", "complex128")
"""Types that a weight can have; bfloat16 through ``ml_dtypes``."""

Draw = Callable[[], Array]


def weight_type(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return the type of a weight. Raises TypeError for another one, ImportError for bfloat16 without ``ml_dtypes``."""
    if dtype == "bfloat16":
        try:
            dtype = import_module("ml_dtypes").bfloat16
        except ImportError:
            raise ImportError(
                "dtype bfloat16 needs ml_dtypes, which is not installed: pip install ml_dtypes."
            ) from None
    try:
        checked = np.dtype(dtype)
    except TypeError:
        checked = np.dtype(object)
    if dtype is None or checked.name not in TYPES:  # None would be float64
        raise TypeError(f"dtype must be {', '.join(TYPES[:-1])} or {TYPES[-1]}; got {dtype!r}. Pass dtype=np.float32.")
    return checked


def is_complex(dtype: np.dtype[Any]) -> bool:
    """Whether numbers of this type have an imaginary part."""
    return dtype.kind == "c"


def standard_normal(rng: RandomLike, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """N(0, 1) in float64; complex with E|w|² = 1."""
    source = random_source(rng)
    return _noise(lambda: np.asarray(source.standard_normal(shape)), dtype)


def symmetric_uniform(rng: RandomLike, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """U(-1, 1) in float64; complex with the same E|w|², 1/3."""
    source = random_source(rng)
    return _noise(lambda: np.asarray(source.uniform(-1.0, 1.0, shape)), dtype)


def truncated(rng: RandomLike, shape: tuple[int, ...], low: float, high: float, dtype: np.dtype[Any]) -> Array:
    """N(0, 1) kept within (low, high), by inversion of its distribution function, in float64; complex likewise.

    An interval on one side of the mean is inverted by logarithms of the lower tail, exact however far out it lies.
    """
    source = random_source(rng)

    def draw() -> Array:
        chances = np.asarray(source.uniform(0.0, 1.0, shape))
        if low > 0:
            return -_lower_tail(chances, -high, -low)
        if high < 0:
            return _lower_tail(chances, low, high)
        below, above = ndtr(low), ndtr(high)
        values: Array = ndtri(below + chances * (above - below))
        return np.clip(values, low, high)

    return _noise(draw, dtype)


def _lower_tail(chances: Array, low: float, high: float) -> Array:
    """Quantiles of N(0, 1) kept within (low, high), both negative."""
    nearest, ratio = log_ndtr(high), math.exp(log_ndtr(low) - log_ndtr(high))
    with np.errstate(divide="ignore"):
        quantiles: Array = ndtri_exp(nearest + np.log(ratio + chances * (1 - ratio)))
    return np.clip(quantiles, low, high)


def _noise(draw: Draw, dtype: np.dtype[Any]) -> Array:
    return (draw() + 1j * draw()) / math.sqrt(2) if is_complex(dtype) else draw()
