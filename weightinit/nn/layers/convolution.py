"""Convolution over one or two axes of positions: one product of columns a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from weightinit.arrays import Array
from weightinit.fans import compute_fans
from weightinit.laws import Law
from weightinit.nn.layers.base import Layer
from weightinit.nn.layers.dense import folded, silent
from weightinit.nn.layers.positions import Padding, Windows, by_position, gathered, scattered
from weightinit.nn.moments import Gradient, Moments, unknown_gradient, unknown_moments
from weightinit.nn.tape import Params, Shape, Slot, Tape, ones_for
from weightinit.nn.weights import Position, WeightSpec


@dataclass(frozen=True)
class Convolution(Layer):
    """``z[p] = sum over offsets of x[p + offset] @ W[offset] + b``, W ``(runs, *kernel, channels / groups, filters)``.

    ``kernel``, ``stride``, ``dilation``: by axis of positions; ``padding`` as of ``Windows``; ``groups``: the channels
    and the filters are divided into so many parts that don't see each other.

    The windows of one run at a time are copied to columns in scratch memory, so that each run is one product. Theory by
    Xiao et al. 2018, eq. 2.4, with the border.
    """

    name: str
    channels: int
    filters: int
    kernel: Shape
    position: Position
    stride: Shape = ()
    padding: Padding = "same"
    groups: int = 1
    dilation: Shape = ()
    bias: bool = True

    def __post_init__(self) -> None:
        if self.channels % self.groups or self.filters % self.groups:
            raise ValueError(
                f"{self.name}: groups must divide the {self.channels} channels and the {self.filters} filters; "
                f"got {self.groups}"
            )

    @property
    def windows(self) -> Windows:
        """Windows that the kernel sees."""
        ones = (1,) * len(self.kernel)
        return Windows(self.kernel, self.stride or ones, self.dilation or ones, self.padding)

    @property
    def weights(self) -> tuple[WeightSpec, ...]:
        shape = (*self.kernel, self.channels // self.groups, self.filters)
        fans = compute_fans(shape, groups=self.groups)
        weight = WeightSpec(f"{self.name}/weight", shape, fans, "weight", self.position, part="convolution")
        bias = WeightSpec(f"{self.name}/bias", (1, self.filters), fans, "bias", self.position, part="convolution")
        return (weight, bias) if self.bias else (weight,)

    def out_shape(self, entering: Shape) -> Shape:
        if len(entering) != len(self.kernel) + 1 or entering[-1] != self.channels:
            raise ValueError(
                f"{self.name} takes {len(self.kernel)} axes of positions and {self.channels} channels; "
                f"got the shape {'x'.join(map(str, entering))}"
            )
        return (*self.windows.out(entering[:-1]), self.filters)

    def slots(self, entering: Shape) -> tuple[Slot, ...]:
        out = self.out_shape(entering)
        padded = tuple(n + sum(pad) for n, pad in zip(entering[:-1], self.windows.pads(entering[:-1]), strict=True))
        columns = (*out[:-1], math.prod(self.kernel) * self.channels)
        return (
            Slot(self.name, "preactivation", out),
            Slot(self.name, "columns", columns, scope="scratch"),
            Slot(self.name, "padded", (*padded, self.channels), scope="scratch"),
        )

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        tape.input[self.name, "preactivation"] = x
        z = tape[self.name, "preactivation"]
        out = folded(z)
        for run in range(len(z)):
            if run == 0 or len(x) > 1:
                columns = self._columns(x[run], tape)
            tape.xp.matmul(columns, self._matrix(params[f"{self.name}/weight"][run]), out=self._grouped(out[run]))
        if self.bias:
            out += params[f"{self.name}/bias"]
        return z

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        xp, x, d_z = tape.xp, tape.input[self.name, "preactivation"], folded(d_output)
        if self.bias:
            xp.matmul(ones_for(tape, d_z.shape[1]), d_z, out=tape.gradient[f"{self.name}/bias"])
        for run in range(len(d_z)):
            columns = self._columns(x[run if len(x) > 1 else 0], tape)
            d_run = self._grouped(d_z[run])
            product = xp.matmul(columns.swapaxes(1, 2), d_run)
            gradient = tape.gradient[f"{self.name}/weight"][run]
            gradient.reshape(-1, self.groups, self.filters // self.groups)[...] = product.swapaxes(0, 1)
            if into is not None:
                weight = self._matrix(params[f"{self.name}/weight"][run])
                xp.matmul(d_run, weight.swapaxes(1, 2), out=columns)
                self._scatter(columns, into[run], tape)
        return into

    def _matrix(self, weight: Array) -> Array:
        """Return the weight of a run as (groups, columns, filters of a group)."""
        return weight.reshape(-1, self.groups, self.filters // self.groups).swapaxes(0, 1)

    def _grouped(self, z: Array) -> Array:
        """Return what leaves a run, (rows, filters), as (groups, rows, filters of a group)."""
        return z.reshape(len(z), self.groups, -1).swapaxes(0, 1)

    def _columns(self, x: Array, tape: Tape) -> Array:
        """Return the windows of a run's ``x`` (batch, *positions, channels) as (groups, rows, columns of a group)."""
        windows, positions = self.windows, x.shape[1:-1]
        out, batch, part = windows.out(positions), len(x), self.channels // self.groups
        pads = windows.pads(positions)
        padded = x
        if any(map(any, pads)):
            shape = (batch, *(n + sum(pad) for n, pad in zip(positions, pads, strict=True)), self.channels)
            padded = tape.scratch["padded"][: math.prod(shape)].reshape(shape)
            self._pad(x, padded, pads)
        count = len(windows.offsets())
        columns = tape.scratch["columns"][: batch * math.prod(out) * count * self.channels]
        shaped = columns.reshape(self.groups, batch, *out, count, part)
        for number, offset in enumerate(windows.offsets()):
            seen = padded[(slice(None), *windows.slices(offset, out))]
            for group in range(self.groups):
                shaped[group, ..., number, :] = seen[..., group * part : (group + 1) * part]
        return columns.reshape(self.groups, -1, count * part)

    def _pad(self, x: Array, padded: Array, pads: tuple[tuple[int, int], ...]) -> None:
        inner = tuple(slice(low, low + n) for n, (low, _) in zip(x.shape[1:-1], pads, strict=True))
        if self.padding != "circular":
            padded[...] = 0
        padded[(slice(None), *inner)] = x
        if self.padding == "circular":
            for axis, (low, high) in enumerate(pads, start=1):
                n = x.shape[axis]
                moved = padded.swapaxes(1, axis)
                moved[:, :low] = moved[:, n : n + low]
                moved[:, low + n :] = moved[:, low : low + high]

    def _scatter(self, columns: Array, into: Array, tape: Tape) -> None:
        """Add columns up at the positions that their windows saw, in ``into`` (batch, *positions, channels)."""
        windows, positions = self.windows, into.shape[1:-1]
        out, batch, part = windows.out(positions), len(into), self.channels // self.groups
        pads = windows.pads(positions)
        shape = (batch, *(n + sum(pad) for n, pad in zip(positions, pads, strict=True)), self.channels)
        padded = tape.scratch["padded"][: math.prod(shape)].reshape(shape)
        padded[...] = 0
        shaped = columns.reshape(self.groups, batch, *out, -1, part)
        for number, offset in enumerate(windows.offsets()):
            seen = padded[(slice(None), *windows.slices(offset, out))]
            for group in range(self.groups):
                seen[..., group * part : (group + 1) * part] += shaped[group, ..., number, :]
        if self.padding == "circular":
            for axis, (low, high) in enumerate(pads, start=1):
                n = positions[axis - 1]
                moved = padded.swapaxes(1, axis)
                moved[:, n : n + low] += moved[:, :low]
                moved[:, low : low + high] += moved[:, low + n :]
        inner = tuple(slice(low, low + n) for n, (low, _) in zip(positions, pads, strict=True))
        into[...] = padded[(slice(None), *inner)]

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[z[p]²] = channels Var[w] sum over offsets of E[x[p + offset]²] + Var[b]."""
        weight = laws[f"{self.name}/weight"]
        bias = laws[f"{self.name}/bias"] if self.bias else Law("constant", 0.0, 0.0)
        if moments.reason:
            return moments
        if reason := silent(weight, bias):
            return unknown_moments(reason)
        assert moments.squares is not None
        found = gathered(moments, self.windows, self.channels // self.groups * weight.second_moment)
        assert found.squares is not None
        covariance = np.asarray(found.covariance) + bias.second_moment
        return Moments.uneven(found.squares + bias.second_moment, bias.mean, covariance, math.nan)

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        """E[g_x[p]²] = filters Var[w] sum over offsets of E[g_z[p - offset]²]."""
        weight = laws[f"{self.name}/weight"]
        if reason := gradient.reason or moments.reason or silent(weight):
            return unknown_gradient(reason)
        assert moments.squares is not None
        positions = moments.squares.shape[1:]
        factor = self.filters // self.groups * weight.second_moment
        at = by_position(gradient, moments, self.windows.out(positions))
        return scattered(at, self.windows, positions, factor)
