"""Geometry of windows over positions, and what theory needs of it: sums over the offsets of a window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from weightinit.arrays import Array
from weightinit.nn.moments import Gradient, Moments
from weightinit.nn.tape import Shape

Padding = Literal["same", "valid", "circular"]


@dataclass(frozen=True)
class Windows:
    """Windows that slide over positions: sizes, strides and dilations by axis, all of equal length.

    ``same`` pads with zeros so that a stride of 1 keeps the positions, ``circular`` wraps around instead, ``valid``
    takes whole windows only. Raises ValueError for another padding.
    """

    size: Shape
    stride: Shape
    dilation: Shape
    padding: Padding = "same"

    def __post_init__(self) -> None:
        if self.padding not in get_args(Padding):
            raise ValueError(f"padding must be one of {', '.join(get_args(Padding))}; got {self.padding!r}.")

    def out(self, positions: Sequence[int]) -> Shape:
        """Return the number of windows along each axis; raise ValueError where none fits."""
        spans = [dilation * (size - 1) + 1 for size, dilation in zip(self.size, self.dilation, strict=True)]
        if len(positions) != len(self.size):
            raise ValueError(f"windows of {len(self.size)} axes over positions of {len(positions)}")
        if self.padding != "valid":
            return tuple(math.ceil(n / stride) for n, stride in zip(positions, self.stride, strict=True))
        if any(n < span for n, span in zip(positions, spans, strict=True)):
            raise ValueError(f"a window of {'x'.join(map(str, spans))} does not fit {'x'.join(map(str, positions))}")
        return tuple((n - span) // stride + 1 for n, span, stride in zip(positions, spans, self.stride, strict=True))

    def pads(self, positions: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Return how many positions are added before and after, along each axis."""
        if self.padding == "valid":
            return ((0, 0),) * len(self.size)
        pads = []
        for n, out, size, stride, dilation in zip(
            positions, self.out(positions), self.size, self.stride, self.dilation, strict=True
        ):
            total = max((out - 1) * stride + dilation * (size - 1) + 1 - n, 0)
            pads.append((total // 2, total - total // 2))
        return tuple(pads)

    def offsets(self) -> list[Shape]:
        """Return the offsets of a window, in the order of the kernel."""
        return [tuple(int(i) for i in at) for at in np.ndindex(*self.size)]

    @property
    def centre(self) -> Shape:
        """Offset of the middle of a window; of the first of two in an even one."""
        return tuple((size - 1) // 2 for size in self.size)

    def slices(self, offset: Sequence[int], out: Sequence[int]) -> tuple[slice, ...]:
        """Return the padded positions that all windows see at an offset."""
        return tuple(
            slice(i * dilation, i * dilation + (n - 1) * stride + 1, stride)
            for i, n, stride, dilation in zip(offset, out, self.stride, self.dilation, strict=True)
        )


def gathered(moments: Moments, windows: Windows, factor: float, offsets: Sequence[Shape] | None = None) -> Moments:
    """Return moments summed over ``offsets`` of each window (all by default), times ``factor``.

    So independent weights make them, of which those at other offsets are zero.
    """
    assert moments.squares is not None
    positions = moments.squares.shape[1:]
    pairs = np.asarray(moments.covariance)
    few, out, axes = len(pairs), windows.out(positions), len(positions)
    single = _padded(moments.squares, windows, positions, (1,))
    double = _padded(pairs.reshape(few, *positions, few, *positions), windows, positions, (1, axes + 2))
    squares, both = np.zeros((len(single), *out)), np.zeros((few, *out, few, *out))
    for offset in offsets or windows.offsets():
        at = windows.slices(offset, out)
        squares += single[(slice(None), *at)]
        both += double[(slice(None), *at, slice(None), *at)]
    count = math.prod(out)
    covariance = factor * both.reshape(few, count, few, count)
    return Moments.uneven(factor * squares, 0.0, covariance)


def scattered(
    gradient: Gradient, windows: Windows, positions: Shape, factor: float, offsets: Sequence[Shape] | None = None
) -> Gradient:
    """Return the gradient at the positions that windows see, from that at the windows; ``offsets`` as of gathered."""
    assert gradient.squares is not None
    pairs = np.asarray(gradient.covariance)
    few, out, axes = len(pairs), windows.out(positions), len(positions)
    pads = windows.pads(positions)
    padded = tuple(n + sum(pad) for n, pad in zip(positions, pads, strict=True))
    single, double = np.zeros((len(gradient.squares), *padded)), np.zeros((few, *padded, few, *padded))
    whole = pairs.reshape(few, *out, few, *out)
    for offset in offsets or windows.offsets():
        at = windows.slices(offset, out)
        single[(slice(None), *at)] += gradient.squares
        double[(slice(None), *at, slice(None), *at)] += whole
    single, double = _cut(single, windows, positions, (1,)), _cut(double, windows, positions, (1, axes + 2))
    count = math.prod(positions)
    covariance = factor * double.reshape(few, count, few, count)
    return gradient.uneven(factor * single, covariance)


def _padded(x: Array, windows: Windows, positions: Shape, starts: Sequence[int]) -> Array:
    """Return ``x`` padded as the windows are, along the axes of positions that begin at ``starts``."""
    widths = [(0, 0)] * x.ndim
    for start in starts:
        widths[start : start + len(positions)] = windows.pads(positions)
    return np.pad(x, widths, mode="wrap" if windows.padding == "circular" else "constant")


def _cut(x: Array, windows: Windows, positions: Shape, starts: Sequence[int]) -> Array:
    """Return ``x`` without its padding; what lies in a circular one belongs to the other side."""
    for start in starts:
        for axis, ((low, high), n) in enumerate(zip(windows.pads(positions), positions, strict=True), start=start):
            moved = x.swapaxes(0, axis)
            if windows.padding == "circular":
                moved[n : n + low] += moved[:low]
                moved[low : low + high] += moved[low + n :]
            x = moved[low : low + n].swapaxes(0, axis)
    return x


def mixed(moments: Moments, matrix: Array, out: Shape) -> Moments:
    """Return moments of ``matrix`` (windows, positions) times the positions, one matrix for all units."""
    pairs = np.asarray(moments.covariance)
    mixture = np.einsum("wp,spzq->swzq", matrix, pairs, optimize=True)
    mixture = np.einsum("xq,swzq->swzx", matrix, mixture, optimize=True)
    count = len(pairs) * len(matrix)
    few = np.diagonal(mixture.reshape(count, count)).reshape(len(pairs), *out)
    assert moments.squares is not None
    assert moments.means is not None
    means = (moments.means.reshape(len(moments.means), -1) @ matrix.T).reshape(-1, *out)
    if not out:
        mixture = mixture[:, 0, :, 0]
    return Moments.uneven(extended(few, moments.squares), means, mixture)


def extended(few: Array, before: Array) -> Array:
    """Return squares (samples, *out) of which only those of a few samples are known.

    ``before``: squares that entered, (samples, *positions). The other samples are to these as their sizes before.
    """
    sizes = before.reshape(len(before), -1).mean(1)
    with np.errstate(all="ignore"):
        shares = few / sizes[: len(few)].reshape(-1, *[1] * (few.ndim - 1))
    typical = np.where(np.isfinite(shares), shares, 0.0).mean(0)
    squares: Array = np.multiply.outer(sizes, typical)
    squares[: len(few)] = few
    return squares


def unmixed(gradient: Gradient, matrix: Array, moments: Moments, entering: Shape) -> Gradient:
    """Return the gradient before ``mixed``: the transposed matrix times that after it."""
    few = len(np.asarray(moments.correlation))
    pairs = pairs_of(gradient, few, len(matrix))
    mixture = np.einsum("wp,swzx->spzx", matrix, pairs, optimize=True)
    mixture = np.einsum("xq,spzx->spzq", matrix, mixture, optimize=True)
    count = few * matrix.shape[1]
    exact = np.diagonal(mixture.reshape(count, count)).reshape(few, *entering)
    assert moments.squares is not None
    sizes = np.asarray(gradient.q) if np.ndim(gradient.q) else np.full(len(moments.squares), gradient.q)
    return gradient.uneven(extended(exact, sizes), mixture)


def pairs_of(gradient: Gradient, few: int, positions: int) -> Array:
    """Return E[g g'] of pairs (few, positions, few, positions); positions of a plain gradient are independent."""
    covariance = np.asarray(gradient.covariance, np.float64)
    if covariance.ndim == 4:
        return covariance[:few, :, :few]
    whole = np.broadcast_to(covariance if covariance.ndim == 0 else covariance[:few, :few], (few, few))
    return np.multiply.outer(whole, np.eye(positions)).swapaxes(1, 2)


def by_position(gradient: Gradient, moments: Moments, positions: Shape) -> Gradient:
    """Return a gradient by sample and position, where it was a plain number."""
    if gradient.squares is not None and gradient.squares.ndim > 1:
        return gradient
    few = len(np.asarray(moments.correlation))
    assert moments.squares is not None
    samples = len(moments.squares)
    each = np.asarray(gradient.q).reshape(-1, *[1] * len(positions)) if np.ndim(gradient.q) else gradient.q
    squares = np.broadcast_to(each, (samples, *positions)).astype(np.float64)
    return gradient.uneven(squares, pairs_of(gradient, few, math.prod(positions)))
