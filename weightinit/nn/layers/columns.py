"""Columns: windows of samples as rows of matrices, so that a convolution is a few products."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from weightinit.arrays import Array
from weightinit.nn.layers.positions import Windows
from weightinit.nn.tape import Shape, Tape

# Elements of the matrices at one time: they stay in a core's cache between the copy and the products.
CHUNK = 1 << 17
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


class Scratch(NamedTuple):
    """Elements of scratch memory: framed values, their columns, products with weights, and gradients of weights."""

    framed: int
    columns: int
    products: int
    partial: int


@dataclass(frozen=True)
class Columns:
    """Geometry of the matrices of windows that slide over framed values.

    ``out``: windows along each axis; ``kernel``, ``stride``, ``dilation``: of the windows; the ``channels`` are divided
    into ``groups``.

    Windows that overlap along the first axis are not copied one by one. Memory holds strips, all rows of a sample at
    one place along the other axes, and the windows of a strip are parts of it that share memory: for a kernel of 3x3 a
    third of the copies. They make one matrix for each place along the first axis, whose rows are samples and the other
    places. Windows that are copied whole make a single one.
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
    def turned(self) -> bool:
        """Whether the matrix is laid out by columns."""
        return self.kernel[-1] * self._part < SHORT

    @property
    def in_strips(self) -> bool:
        """Whether windows share memory along the first axis."""
        overlap = self.dilation[0] == 1 and self.stride[0] < self.kernel[0]
        return overlap and len(self.out) > 1 and not self.turned

    @property
    def matrices(self) -> int:
        """Number of matrices."""
        return self.out[0] if self.in_strips else 1

    @property
    def at_once(self) -> int:
        """Samples whose windows the matrices hold."""
        return max(1, CHUNK // self._per_sample)

    def scratch(self, units: int) -> Scratch:
        """Return the memory for products with weights of so many ``units`` on the other side."""
        framed, products = math.prod(self.framed), math.prod(self.out) * units
        partial = self.matrices * math.prod(self.kernel) * self._part * units
        return Scratch(self.at_once * framed, self.at_once * self._per_sample, self.at_once * products, partial)

    @property
    def _part(self) -> int:
        return self.channels // self.groups

    @property
    def _per_sample(self) -> int:
        if self.in_strips:
            return math.prod(self.out[1:]) * self.framed[0] * math.prod(self.kernel[1:]) * self.channels
        return math.prod(self.out) * math.prod(self.kernel) * self.channels

    def matrix(self, tape: Tape) -> Matrix:
        """Return the matrices in the tape's scratch memory."""
        samples, shape = min(self.at_once, tape.batch), self.framed
        framed = tape.scratch["framed"][: samples * math.prod(shape)].reshape(samples, *shape)
        framed[...] = 0
        memory = tape.scratch["columns"][: samples * self._per_sample]
        return (self._strips if self.in_strips else self._whole)(framed, memory, tape)

    def _strips(self, framed: Array, memory: Array, tape: Tape) -> Matrix:
        strided, part, rows = tape.xp.lib.stride_tricks.as_strided, self._part, self.framed[0]
        sample, row, *along, channel = framed.strides
        places, kernel = self.out[1:], self.kernel[1:]
        windows = strided(
            framed,
            (self.groups, len(framed), *places, rows, *kernel, part),
            (part * channel, sample, *_times(along, self.stride[1:]), row, *_times(along, self.dilation[1:]), channel),
        )
        strip = math.prod(kernel) * part * channel
        count = len(framed) * math.prod(places)
        matrices = strided(
            memory,
            (self.groups, self.out[0], count, math.prod(self.kernel) * part),
            (count * rows * strip, self.stride[0] * strip, rows * strip, channel),
        )
        return Matrix(self, tape, framed, windows, memory.reshape(windows.shape), matrices)

    def _whole(self, framed: Array, memory: Array, tape: Tape) -> Matrix:
        part, axes, columns = self._part, len(self.out), math.prod(self.kernel) * self._part
        sample, *along, channel = framed.strides
        windows = tape.xp.lib.stride_tricks.as_strided(
            framed,
            (self.groups, len(framed), *self.out, *self.kernel, part),
            (part * channel, sample, *_times(along, self.stride), *_times(along, self.dilation), channel),
        )
        if self.turned:
            turned = memory.reshape(self.groups, *self.kernel, part, len(framed), *self.out)
            target = turned.transpose(0, *range(axes + 2, 2 * axes + 3), *range(1, axes + 2))
            matrices = memory.reshape(self.groups, 1, columns, -1).swapaxes(2, 3)
        else:
            target, matrices = memory.reshape(windows.shape), memory.reshape(self.groups, 1, -1, columns)
        return Matrix(self, tape, framed, windows, target, matrices)


@dataclass(frozen=True, eq=False)
class Matrix:
    """Matrices (groups, matrices, windows of the samples, elements of the kernel in the channels of a group).

    ``windows``: a view of the ``framed`` samples, ``target``: of the memory of the ``matrices``, of one shape.
    """

    columns: Columns
    tape: Tape
    framed: Array
    windows: Array
    target: Array
    matrices: Array

    def parts(self, samples: int) -> Iterator[slice]:
        """Yield slices of so many samples, as equal as may be, for each of which the matrices have room."""
        step = math.ceil(samples / math.ceil(samples / len(self.framed)))
        for start in range(0, samples, step):
            yield slice(start, min(start + step, samples))

    def fill(self, x: Array) -> Array:
        """Return the matrices of samples (samples, *positions, channels), in scratch memory."""
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
        return self.matrices[:, :, : count * self._places]

    def multiply(self, seen: Array, weight: Array, out: Array) -> None:
        """Write the windows ``seen`` times ``weight`` (groups, elements, units of a group) to ``out``.

        ``out``: (samples, *windows, units).
        """
        xp, ordered = self.tape.xp, self._ordered(out)
        products = self._scratch("products", (*seen.shape[:3], weight.shape[-1]))
        xp.matmul(seen, weight[:, None], out=products)
        ordered[...] = products.reshape(ordered.shape)

    def correlate(self, seen: Array, x: Array) -> Array:
        """Return the sum of the windows ``seen`` times ``x`` (samples, *windows, units): (groups, elements, units)."""
        xp, ordered = self.tape.xp, self._ordered(x)
        rows = self._scratch("products", (*seen.shape[:3], ordered.shape[-1]))
        rows.reshape(ordered.shape)[...] = ordered
        partial = self._scratch("partial", (*seen.shape[:2], seen.shape[3], ordered.shape[-1]))
        xp.matmul(seen.swapaxes(2, 3), rows, out=partial)
        total: Array = partial.sum(axis=1)
        return total

    @property
    def _places(self) -> int:
        """Windows of a sample in one matrix."""
        return math.prod(self.columns.out) // self.columns.matrices

    def _ordered(self, x: Array) -> Array:
        """Return (samples, *windows, units) as (groups, matrices, samples, windows, units of a group), a view."""
        groups = self.columns.groups
        x = x.reshape(len(x), self.columns.matrices, self._places, groups, x.shape[-1] // groups)
        return x.transpose(3, 1, 0, 2, 4)

    def _scratch(self, name: str, shape: Shape) -> Array:
        return self.tape.scratch[name][: math.prod(shape)].reshape(shape)


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
