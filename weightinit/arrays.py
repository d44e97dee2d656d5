"""Array types, the array module of an input, named streams of random numbers."""

from __future__ import annotations

import math
import sys
from importlib import import_module
from types import ModuleType
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np
import numpy.typing as npt
from scipy import special

Array: TypeAlias = npt.NDArray[Any]
RandomSource: TypeAlias = np.random.Generator | np.random.RandomState
LINE = 64  # bytes of a line of the cache
RandomLike: TypeAlias = RandomSource | int | np.integer[Any] | None


def array_module(x: Any) -> ModuleType:
    """Return the module that makes arrays like ``x``: CuPy's for a CuPy array, PyTorch for a tensor, else NumPy.

    NumPy's functions of a CuPy array call CuPy by themselves (NEP 13, NEP 18), but not those that make an array from a
    shape.
    """
    home = type(x).__module__.partition(".")[0]
    return sys.modules[home] if home in ("cupy", "torch") else np


def aligned(xp: ModuleType, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an empty array that begins where a line of the cache does.

    NumPy's own begin 16 bytes behind, so that vector instructions straddle two lines and take up to half as long again.
    """
    if xp is not np:
        return xp.empty(shape, dtype)  # type: ignore[no-any-return]
    size = math.prod(shape)
    memory = np.empty(size + LINE // dtype.itemsize, dtype)
    start = -memory.ctypes.data % LINE // dtype.itemsize
    return memory[start : start + size].reshape(shape)


def special_module(x: Any) -> ModuleType:
    """Return the module whose special functions work on ``x``: that of CuPy for a CuPy array, else SciPy's."""
    return import_module("cupyx.scipy.special") if _on_cupy(x) else special


def _on_cupy(x: Any) -> bool:
    return type(x).__module__.partition(".")[0] == "cupy"


def random_source(rng: RandomLike = None) -> RandomSource:
    """Return the source of random numbers for ``rng``.

    A Generator or a legacy RandomState is returned as it is; an int is a seed; None takes fresh entropy. No global
    generator is read or seeded.

    Raises TypeError for anything else, ValueError for a negative seed.
    """
    if isinstance(rng, np.random.Generator | np.random.RandomState):
        return rng
    if rng is None or (isinstance(rng, int | np.integer) and not isinstance(rng, bool)):
        if rng is not None and rng < 0:
            raise ValueError(f"rng as a seed must be zero or positive; got {rng}")
        return np.random.default_rng(rng)
    raise TypeError(
        "rng must be a numpy.random.Generator, a numpy.random.RandomState, an int or None; "
        f"got {type(rng).__name__}. Pass rng=np.random.default_rng(0)."
    )


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random stream called ``name`` below ``seed``.

    Streams of different names are independent. A stream does not depend on which others exist: adding a layer to a
    network changes no other layer's weights.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(crc32(name.encode()),))))
