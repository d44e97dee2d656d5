"""Buffers of a model: what it holds beside its parameters, such as the running statistics of batch norms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from weightinit.auditing.model_report import ModelFinding, named, number
from weightinit.model import INDEX, Buffer, Model

STARTS: Final = {"mean": 0.0, "variance": 1.0}
"""Values of running statistics before the first batch."""


def look_at_buffers(model: Model) -> tuple[ModelFinding, ...]:
    """Return findings on buffers that hold NaN, and on running statistics that no batch and no start has."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for buffer in model.buffers:
        for kind, said in _look(buffer):
            alike.setdefault((INDEX.sub("*", buffer.name), kind, said), []).append(buffer.name)
    return tuple(
        ModelFinding(tuple(names), "fault", kind, pattern, f"{named(pattern, names)}: {said}")
        for (pattern, kind, said), names in alike.items()
    )


def _look(buffer: Buffer) -> Iterator[tuple[str, str]]:
    values = buffer.read()
    if values.dtype.kind != "f" or not values.size:
        return
    if np.isnan(values).any():
        yield "not_finite", "a buffer that holds NaN: memory never written"
    elif buffer.role == "variance" and not (values > 0).all():
        yield (
            "zeros",
            (
                f"running variances that are {number(float(values.min()))}: in evaluation the norm divides by the root "
                "of its eps alone. They start at 1"
            ),
        )
    elif buffer.fresh and buffer.role in STARTS and not (values == STARTS[buffer.role]).all():
        yield (
            "law",
            (
                f"running {buffer.role}s that start at {number(STARTS[buffer.role])} were written over before the "
                f"first batch: mean {number(float(values.mean()))}, std {number(float(values.std()))}"
            ),
        )
