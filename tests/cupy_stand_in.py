"""A stand-in for CuPy: arrays that NumPy holds, behind CuPy's interface.

As CuPy does, it works on its own arrays and on scalars, refuses NumPy arrays, and never turns into one by itself
(``__array__`` raises). NumPy functions of its arrays arrive here by ``__array_ufunc__`` and ``__array_function__``.
Functions that CuPy has not, such as SciPy's, fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import scipy.special
from numpy.lib.mixins import NDArrayOperatorsMixin

calls: list[str] = []


class ndarray(NDArrayOperatorsMixin):  # CuPy's name
    """An array on the device, whose values ``host`` holds."""

    def __init__(self, host: Any) -> None:
        self.host = host

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or getattr(np, ufunc.__name__, None) is not ufunc:
            return NotImplemented
        return on_device(ufunc)(*inputs, **options)

    def __array_function__(self, function: Callable[..., Any], _: Any, inputs: Any, options: Any) -> Any:
        return on_device(function)(*inputs, **options)

    def __getitem__(self, index: Any) -> Any:
        return to_device(self.host[to_host(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.host[to_host(index)] = to_host(value)

    def __len__(self) -> int:
        return len(self.host)

    def __float__(self) -> float:
        return float(self.host)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # NumPy would read the values by __array_interface__
            raise AttributeError(name)
        value = getattr(self.host, name)
        return on_device(value) if callable(value) and not isinstance(value, np.dtype) else to_device(value)


ndarray.__module__ = "cupy"


def to_device(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(to_device(part) for part in value)
    return ndarray(value) if isinstance(value, np.ndarray) else value


def to_host(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("unsupported type numpy.ndarray")
    if isinstance(value, tuple | list):
        return type(value)(to_host(part) for part in value)
    return value.host if isinstance(value, ndarray) else value


def on_device(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*inputs: Any, **options: Any) -> Any:
        calls.append(function.__name__)
        result = function(*to_host(inputs), **{name: to_host(value) for name, value in options.items()})
        return to_device(result)

    return call


def module(name: str, source: Any) -> ModuleType:
    """A module of the functions of ``source``, on the device."""
    made = ModuleType(name)
    for attribute in dir(source):
        value = getattr(source, attribute)
        plain = attribute.startswith("_") or isinstance(value, type | ModuleType) or not callable(value)
        setattr(made, attribute, value if plain else on_device(value))
    return made


@contextmanager
def installed() -> Iterator[ModuleType]:
    """CuPy is importable inside, and nothing has been called."""
    cupy, cupyx = module("cupy", np), ModuleType("cupyx")
    cupy.asarray = lambda value, dtype=None: value if isinstance(value, ndarray) else to_device(np.array(value, dtype))
    cupy.linalg = module("cupy.linalg", np.linalg)  # type: ignore[attr-defined]
    special = module("cupyx.scipy.special", scipy.special)
    modules = {"cupy": cupy, "cupyx": cupyx, "cupyx.scipy": ModuleType("cupyx.scipy"), "cupyx.scipy.special": special}
    calls.clear()
    with patch.dict("sys.modules", modules):
        yield cupy
