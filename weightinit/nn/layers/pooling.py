"""Pooling over windows, and over all positions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weightinit.arrays import Array
from weightinit.laws import Law
from weightinit.nn.layers.base import Layer
from weightinit.nn.layers.positions import Windows, mixed, unmixed
from weightinit.nn.moments import Gradient, Moments, unknown_gradient, unknown_moments
from weightinit.nn.tape import Params, Shape, Slot, Tape


@dataclass(frozen=True)
class AveragePooling(Layer):
    """Mean over windows of ``size`` that lie side by side, whole windows only."""

    name: str
    size: Shape

    @property
    def windows(self) -> Windows:
        """Windows that are averaged."""
        return Windows(self.size, self.size, (1,) * len(self.size), "valid")

    def out_shape(self, entering: Shape) -> Shape:
        try:
            return (*self.windows.out(entering[:-1]), entering[-1])
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}. Take fewer layers that pool, or smaller windows.") from error

    def slots(self, entering: Shape) -> tuple[Slot, ...]:
        return (Slot(self.name, "activation", self.out_shape(entering), gradient="shared"),)

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        out = tape[self.name, "activation"]
        first, *rest = self._seen(x, out)
        out[...] = first
        for seen in rest:
            out += seen
        out *= out.dtype.type(1.0 / math.prod(self.size))
        return out

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        if into is not None:
            into[...] = 0
            for seen in self._seen(into, d_output):
                tape.xp.multiply(d_output, d_output.dtype.type(1.0 / math.prod(self.size)), out=seen)
        return into

    def _seen(self, x: Array, out: Array) -> list[Array]:
        windows = self.windows
        return [x[(slice(None), slice(None), *windows.slices(at, out.shape[2:-1]))] for at in windows.offsets()]

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[y²] is the mean of E[x x'] over the pairs of positions in a window."""
        if moments.reason:
            return moments
        assert moments.squares is not None
        positions = moments.squares.shape[1:]
        return mixed(moments, self._matrix(positions), self.windows.out(positions))

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        if reason := gradient.reason or moments.reason:
            return unknown_gradient(reason)
        assert moments.squares is not None
        positions = moments.squares.shape[1:]
        return unmixed(gradient, self._matrix(positions), moments, positions)

    def _matrix(self, positions: Shape) -> Array:
        numbers, out = np.arange(math.prod(positions)).reshape(positions), self.windows.out(positions)
        matrix = np.zeros((math.prod(out), numbers.size))
        for offset in self.windows.offsets():
            seen = numbers[self.windows.slices(offset, out)].ravel()
            matrix[np.arange(len(seen)), seen] = 1.0 / math.prod(self.size)
        return matrix


@dataclass(frozen=True)
class MaxPooling(AveragePooling):
    """Largest value of windows of ``size`` that lie side by side; the first of equal ones gets the gradient."""

    no_theory: ClassVar[str] = "the largest of several correlated values is not Gaussian"

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        tape.input[self.name, "activation"] = x
        out = tape[self.name, "activation"]
        first, *rest = self._seen(x, out)
        out[...] = first
        for seen in rest:
            tape.xp.maximum(out, seen, out=out)
        return out

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        if into is not None:
            x, out = tape.input[self.name, "activation"], tape[self.name, "activation"]
            into[...] = 0
            left = tape.xp.ones(d_output.shape, bool)
            for seen, place in zip(self._seen(x, out), self._seen(into, out), strict=True):
                chosen = (seen == out) & left
                tape.xp.multiply(d_output, chosen, out=place)
                left &= ~chosen
        return into

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        return unknown_moments(moments.reason or f"{self.name}: {self.no_theory}")

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        return unknown_gradient(gradient.reason or f"{self.name}: {self.no_theory}")


@dataclass(frozen=True)
class GlobalPooling(Layer):
    """Mean over all positions."""

    name: str

    def out_shape(self, entering: Shape) -> Shape:
        return entering[-1:]

    def slots(self, entering: Shape) -> tuple[Slot, ...]:
        return (Slot(self.name, "activation", entering[-1:], gradient="shared"),)

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        out = tape[self.name, "activation"]
        rows = x.reshape(*x.shape[:2], -1, x.shape[-1])
        average = tape.xp.full((1, 1, 1, rows.shape[2]), 1.0 / rows.shape[2], out.dtype)
        out[...] = tape.xp.matmul(average, rows)[:, :, 0]
        return out

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        if into is not None:
            rows = into.reshape(*into.shape[:2], -1, into.shape[-1])
            tape.xp.multiply(d_output[:, :, None], d_output.dtype.type(1.0 / rows.shape[2]), out=rows)
        return into

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[y²] is the mean of E[x x'] over all pairs of positions."""
        if moments.reason:
            return moments
        assert moments.squares is not None
        count = math.prod(moments.squares.shape[1:])
        return mixed(moments, np.full((1, count), 1.0 / count), ())

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        if reason := gradient.reason or moments.reason:
            return unknown_gradient(reason)
        assert moments.squares is not None
        positions = moments.squares.shape[1:]
        count = math.prod(positions)
        return unmixed(gradient, np.full((1, count), 1.0 / count), moments, positions)
