"""Columns: windows of samples as rows of a matrix, so that a convolution is one product."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from weightinit.arrays import Array
from weightinit.nn.layers.positions import Windows
from weightinit.nn.tape import Shape, Tape

# Elements of a matrix at one time: it stays in a core's cache between the copy and the product.
CHUNK = 1 << 18
# Contiguous elements of a window below which its copy is slow, and the matrix is laid out the other way around.
SHORT = 16


class Frame(NamedTuple):
    """Frame of the values along one axis: so many ``before`` and ``after`` the ``size`` ones, which are zeros or wrap.

    ``step``: distance of the values, between which there are zeros.
    """

    size: int
    before: int
    after: int
    step: int


@dataclass(frozen=True)
class Columns:
    """Geometry of the matrix of windows that slide over framed values.

    ``out``: windows along each axis; ``kernel``, ``stride``, ``dilation``: of the windows; the ``channels`` are divided
    into ``groups``.
    """

    frames: tuple[Frame, ...]
    out: Shape
    kernel: Shape
    stride: Shape
    dilation: Shape
    channels: int
    groups: int
    circular: bool

    @property
    def framed(self) -> Shape:
        """Shape of a framed sample."""
        return (*(frame.before + frame.size + frame.after for frame in self.frames), self.channels)

    @property
    def at_once(self) -> int:
        """Samples whose windows the matrix holds."""
        return max(1, CHUNK // self._per_sample)

    @property
    def elements(self) -> tuple[int, int]:
        """Scratch memory for framed values and for the matrix."""
        return self.at_once * math.prod(self.framed), self.at_once * self._per_sample

    @property
    def _per_sample(self) -> int:
        return math.prod(self.out) * math.prod(self.kernel) * self.channels

    def matrix(self, tape: Tape) -> Matrix:
        """Return the matrix in the tape's scratch memory."""
        samples, part, axes = min(self.at_once, tape.batch), self.channels // self.groups, len(self.out)
        shape = (samples, *self.framed)
        framed = tape.scratch["framed"][: math.prod(shape)].reshape(shape)
        framed[...] = 0
        sample, *along, channel = framed.strides
        windows = tape.xp.lib.stride_tricks.as_strided(
            framed,
            (self.groups, samples, *self.out, *self.kernel, part),
            (part * channel, sample, *_times(along, self.stride), *_times(along, self.dilation), channel),
        )
        memory, columns = tape.scratch["columns"][: windows.size], math.prod(self.kernel) * part
        if self.kernel[-1] * part >= SHORT:
            target, rows = memory.reshape(windows.shape), memory.reshape(self.groups, -1, columns)
        else:
            turned = memory.reshape(self.groups, *self.kernel, part, samples, *self.out)
            target = turned.transpose(0, *range(axes + 2, 2 * axes + 3), *range(1, axes + 2))
            rows = memory.reshape(self.groups, columns, -1).swapaxes(1, 2)
        return Matrix(self, framed, windows, target, rows)


@dataclass(frozen=True, eq=False)
class Matrix:
    """Matrix (groups, windows of the samples, elements of the kernel in the channels of a group).

    ``windows``: a view of the ``framed`` samples, ``target``: of the matrix ``rows``, both (groups, samples, *out,
    *kernel, channels of a group).
    """

    columns: Columns
    framed: Array
    windows: Array
    target: Array
    rows: Array

    def parts(self, samples: int) -> Iterator[slice]:
        """Yield slices of so many samples, for each of which the matrix has room."""
        step = len(self.framed)
        for start in range(0, samples, step):
            yield slice(start, min(start + step, samples))

    def fill(self, x: Array) -> Array:
        """Return the matrix of samples (samples, *positions, channels), in scratch memory."""
        count = len(x)
        inner = [
            slice(frame.before, frame.before + (n - 1) * frame.step + 1, frame.step)
            for frame, n in zip(self.columns.frames, x.shape[1:-1], strict=True)
        ]
        self.framed[(slice(count), *inner)] = x
        if self.columns.circular:
            for axis, frame in enumerate(self.columns.frames, start=1):
                moved, n = self.framed.swapaxes(1, axis), frame.size
                moved[:, : frame.before] = moved[:, n : n + frame.before]
                moved[:, frame.before + n :] = moved[:, frame.before : frame.before + frame.after]
        self.target[:, :count] = self.windows[:, :count]
        return self.rows[:, : count * math.prod(self.columns.out)]


@lru_cache(maxsize=1024)
def entering(windows: Windows, positions: Shape, channels: int, groups: int) -> Columns:
    """Return the columns of what enters a convolution: their product with its weights is what leaves it."""
    pads = windows.pads(positions)
    frames = tuple(Frame(n, low, high, 1) for n, (low, high) in zip(positions, pads, strict=True))
    circular = windows.padding == "circular"
    return Columns(
        frames, windows.out(positions), windows.size, windows.stride, windows.dilation, channels, groups, circular
    )


@lru_cache(maxsize=1024)
def leaving(windows: Windows, positions: Shape, filters: int, groups: int) -> Columns:
    """Return the columns of the gradient at what leaves a convolution, with zeros for the windows that a stride skips.

    Their product with the weights, back to front, is the gradient at what enters it.
    """
    frames = []
    for n, (low, _), size, stride, dilation in zip(
        positions, windows.pads(positions), windows.size, windows.stride, windows.dilation, strict=True
    ):
        frames.append(Frame(n, dilation * (size - 1) - low, low, stride))
    ones, circular = (1,) * len(positions), windows.padding == "circular"
    return Columns(tuple(frames), positions, windows.size, ones, windows.dilation, filters, groups, circular)


def _times(strides: Sequence[int], steps: Sequence[int]) -> list[int]:
    return [stride * step for stride, step in zip(strides, steps, strict=True)]
