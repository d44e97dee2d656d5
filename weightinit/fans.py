"""Fan-in and fan-out of a weight: how many inputs feed a unit, how many units an input feeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Fans(NamedTuple):
    """``fan_in``: terms in the sum that makes one output; ``fan_out``: sums that one input enters."""

    fan_in: int
    fan_out: int


def compute_fans(
    shape: Sequence[int],
    *,
    groups: int = 1,
    in_axis: int | Sequence[int] = -2,
    out_axis: int | Sequence[int] = -1,
    batch_axis: int | Sequence[int] = (),
) -> Fans:
    """Fans of a weight of ``shape``, laid out ``(*kernel, fan_in, fan_out)`` unless the axes say otherwise.

    ``batch_axis`` counts weights that are independent of each other, such as experts, and has no part in the fans.
    Every other axis that is neither ``in_axis`` nor ``out_axis`` belongs to the kernel and multiplies both. In a
    convolution with ``groups``, the in-axis already holds the inputs of one group only, and each input reaches
    ``out / groups`` outputs. A vector ``(n,)`` has fans ``(n, n)``: it acts on each unit by itself.

    Raises ValueError for an empty shape, a size below 1, axes that coincide or lie outside the shape, and groups that
    don't divide the outputs.
    """
    shape = tuple(int(size) for size in shape)
    if not shape:
        raise ValueError("shape must have at least one axis; got (), a scalar has no fans")
    if any(size < 1 for size in shape):
        raise ValueError(f"every size in shape must be at least 1; got {shape}")
    if groups < 1:
        raise ValueError(f"groups must be at least 1; got {groups}")
    if len(shape) == 1:
        return Fans(shape[0], shape[0])
    inputs, outputs = _axes(in_axis, shape, "in_axis"), _axes(out_axis, shape, "out_axis")
    batch = _axes(batch_axis, shape, "batch_axis")
    if inputs & outputs:
        raise ValueError(f"in_axis and out_axis must differ; got in_axis={in_axis}, out_axis={out_axis} for {shape}")
    if batch & (inputs | outputs):
        raise ValueError(f"batch_axis must be none of in_axis={in_axis}, out_axis={out_axis}; got {batch_axis}")
    n_in, n_out = math.prod(shape[axis] for axis in inputs), math.prod(shape[axis] for axis in outputs)
    if n_out % groups:
        raise ValueError(f"groups must divide the {n_out} outputs of shape {shape}; got groups={groups}")
    kernel = math.prod(shape) // (n_in * n_out * math.prod(shape[axis] for axis in batch))
    return Fans(kernel * n_in, kernel * n_out // groups)


def _axes(axis: int | Sequence[int], shape: tuple[int, ...], name: str) -> set[int]:
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for number in axes:
        if not -len(shape) <= number < len(shape):
            raise ValueError(f"{name} must lie in the {len(shape)} axes of shape {shape}; got {number}")
    return {number % len(shape) for number in axes}
