"""Checks of the numbers that an architecture is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

DTYPES = ("float32", "float64")
DEEPEST = 100_000


def dtype_of(name: str) -> np.dtype[Any]:
    """Return the type of a network's arrays; raise ValueError for one that it can't have."""
    if name not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}; got {name!r}. Pass training.dtype=float32.")
    return np.dtype(name)


def check_sizes(least: int, **sizes: Any) -> None:
    """Raise TypeError or ValueError unless each size, named as its key, is a whole number of at least ``least``."""
    for name, size in sizes.items():
        check_size(name if name in ("inputs", "outputs") else f"architecture.{name}", size, least)


def check_size(name: str, size: Any, least: int) -> None:
    """Raise TypeError or ValueError unless a size is a whole number of at least ``least``."""
    if isinstance(size, bool) or not isinstance(size, int | np.integer):
        raise TypeError(f"{name} must be a whole number; got {size!r}")
    if size < least:
        raise ValueError(f"{name} must be at least {least}; got {size}. Pass a larger one.")


def check_depth(depth: int) -> None:
    """Raise ValueError for more layers or blocks than ``DEEPEST``."""
    if depth > DEEPEST:
        raise ValueError(f"architecture.depth must be at most {DEEPEST:,}; got {depth:,}. Pass architecture.depth=100.")


def check_choice(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Raise ValueError unless an option is one of those allowed."""
    if value not in allowed:
        raise ValueError(
            f"architecture.{name} must be one of {', '.join(allowed)}; got {value!r}. "
            f"Pass architecture.{name}={allowed[0]}."
        )


def check_trained(value: Any) -> None:
    """Raise ValueError unless an option says which factors of residual branches are trained."""
    if not isinstance(value, bool) and value != "unit":
        raise ValueError(
            f"architecture.trained_scale must be true, false or unit; got {value!r}. "
            "Pass architecture.trained_scale=true."
        )


def check_number(name: str, value: Any) -> None:
    """Raise TypeError or ValueError unless an option is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"architecture.{name} must be a number; got {value!r}")
    if not np.isfinite(value):
        raise ValueError(f"architecture.{name} must be a finite number; got {value}. Pass architecture.{name}=1.")


def common(sizes: Sequence[int]) -> int | None:
    """Return the size that all of these are; None where they differ, or there are none."""
    return sizes[0] if len(set(sizes)) == 1 else None
