"""Tokens as vectors: embedding, and learned positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from weightinit.arrays import Array
from weightinit.fans import Fans
from weightinit.laws import Law
from weightinit.nn.layers.base import Layer
from weightinit.nn.layers.dense import silent
from weightinit.nn.layers.positions import by_position
from weightinit.nn.moments import Gradient, Moments, unknown_gradient, unknown_moments
from weightinit.nn.tape import Params, Shape, Slot, Tape
from weightinit.nn.weights import WeightSpec


@dataclass(frozen=True)
class Embedding(Layer):
    """Row of ``W (runs, vocabulary, units)`` for each token; the input holds the tokens' numbers.

    One term makes each output, so that fan_in is 1.
    """

    name: str
    vocabulary: int
    units: int

    @property
    def weights(self) -> tuple[WeightSpec, ...]:
        shape = (self.vocabulary, self.units)
        return (WeightSpec(f"{self.name}/weight", shape, Fans(1, self.units), "weight", "input", part="embedding"),)

    def out_shape(self, entering: Shape) -> Shape:
        return (*entering, self.units)

    def slots(self, entering: Shape) -> tuple[Slot, ...]:
        return (Slot(self.name, "preactivation", self.out_shape(entering)),)

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        numbers = x.astype(np.int64)
        tape.input[self.name, "preactivation"] = numbers
        out = tape[self.name, "preactivation"]
        for run, weight in enumerate(params[f"{self.name}/weight"]):
            tape.xp.take(weight, numbers[run if len(numbers) > 1 else 0], axis=0, out=out[run], mode="clip")
        return out

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        xp, numbers = tape.xp, tape.input[self.name, "preactivation"]
        for run, gradient in enumerate(tape.gradient.get(f"{self.name}/weight", ())):
            codes = numbers[run if len(numbers) > 1 else 0].reshape(-1)
            chosen = (xp.arange(self.vocabulary)[:, None] == codes).astype(d_output.dtype)
            xp.matmul(chosen, d_output[run].reshape(len(codes), -1), out=gradient)
        if into is not None:
            into[...] = 0  # a token's number has no derivative
        return into

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[y²] = E[w²]; equal tokens have equal vectors."""
        weight = laws[f"{self.name}/weight"]
        if moments.reason:
            return moments
        if reason := silent(weight):
            return unknown_moments(reason)
        return moments.scaled(weight.second_moment)

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        return gradient


@dataclass(frozen=True)
class Positions(Layer):
    """A trained vector ``W (runs, positions, units)`` added at each position."""

    name: str
    positions: int
    units: int

    @property
    def weights(self) -> tuple[WeightSpec, ...]:
        shape = (self.positions, self.units)
        return (WeightSpec(f"{self.name}/weight", shape, Fans(1, self.units), "weight", "input", part="positions"),)

    def slots(self, entering: Shape) -> tuple[Slot, ...]:
        return (Slot(self.name, "preactivation", entering),)

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        return tape.xp.add(x, params[f"{self.name}/weight"][:, None], out=tape[self.name, "preactivation"])  # type: ignore[no-any-return]

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        runs, batch = d_output.shape[:2]
        if f"{self.name}/weight" in tape.gradient:
            gradient = tape.gradient[f"{self.name}/weight"]
            tape.xp.matmul(tape.ones, d_output.reshape(runs, batch, -1), out=gradient.reshape(runs, 1, -1))
        if into is not None:
            into[...] = d_output
        return into

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[y²] = E[x²] + E[w²]; vectors of different positions are independent."""
        weight = laws[f"{self.name}/weight"]
        if moments.reason:
            return moments
        if reason := silent(weight):
            return unknown_moments(reason)
        assert moments.squares is not None
        added = weight.second_moment * np.eye(self.positions)[None, :, None, :]
        squares = moments.squares + weight.second_moment
        return Moments.uneven(squares, moments.m, np.asarray(moments.covariance) + added)

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        if reason := gradient.reason or moments.reason:
            return unknown_gradient(reason)
        return by_position(gradient, moments, (self.positions,))
