"""Gated layer: one product through an activation, times another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from weightinit.activations import Activation
from weightinit.arrays import Array
from weightinit.fans import Fans
from weightinit.laws import Law
from weightinit.nn.layers.base import Layer
from weightinit.nn.layers.dense import folded, silent, through_weights
from weightinit.nn.layers.nonlinearity import Nonlinearity
from weightinit.nn.moments import Gradient, Moments, times, unknown_gradient, unknown_moments
from weightinit.nn.tape import Params, Shape, Slot, Tape
from weightinit.nn.weights import Part, WeightSpec

NONE = Law("constant", 0.0, 0.0)


@dataclass(frozen=True)
class Gated(Layer):
    """``phi(x @ W_gate) * (x @ W_value)``, without biases: SwiGLU where phi is silu (Shazeer 2020)."""

    name: str
    fan_in: int
    units: int
    activation: Activation

    @property
    def weights(self) -> tuple[WeightSpec, ...]:
        fans, shape = Fans(self.fan_in, self.units), (self.fan_in, self.units)
        parts: tuple[tuple[str, Part], ...] = (("gate", "gate"), ("value", "up"))
        return tuple(
            WeightSpec(f"{self.name}/{name}/weight", shape, fans, "weight", "hidden", part=part) for name, part in parts
        )

    def out_shape(self, entering: Shape) -> Shape:
        if entering[-1] != self.fan_in:
            raise ValueError(f"{self.name} takes {self.fan_in} features; got {entering[-1]} of the layer before it")
        return (*entering[:-1], self.units)

    def slots(self, entering: Shape) -> tuple[Slot, ...]:
        out = self.out_shape(entering)
        return (
            Slot(self.name, "activation", out, gradient="shared"),
            Slot(f"{self.name}/gate", "preactivation", out),
            Slot(f"{self.name}/value", "preactivation", out),
            Slot(f"{self.name}/gate", "d_preactivation", out),
            Slot(f"{self.name}/value", "d_preactivation", out),
            Slot(self.name, "opened", out),
        )

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        xp = tape.xp
        tape.input[self.name, "activation"] = x
        for part in ("gate", "value"):
            tape.input[f"{self.name}/{part}", "preactivation"] = x
        gate, value = (tape[f"{self.name}/{part}", "preactivation"] for part in ("gate", "value"))
        for part, z in (("gate", gate), ("value", value)):
            xp.matmul(folded(x), params[f"{self.name}/{part}/weight"], out=folded(z))
        opened = self.activation.phi(gate, out=tape[self.name, "opened"])
        out: Array = xp.multiply(opened, value, out=tape[self.name, "activation"])
        return out

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        xp, x = tape.xp, folded(tape.input[self.name, "activation"])
        gate, value = (tape[f"{self.name}/{part}", "preactivation"] for part in ("gate", "value"))
        d_gate, d_value = (tape[f"{self.name}/{part}", "d_preactivation"] for part in ("gate", "value"))
        opened = tape[self.name, "opened"]
        xp.multiply(d_output, opened, out=d_value)
        xp.multiply(d_output, value, out=d_gate)
        self.activation.backward(gate, opened, d_gate, out=d_gate)
        for part, d in (("gate", d_gate), ("value", d_value)):
            tape.keep_gradient(f"{self.name}/{part}/weight", x.swapaxes(1, 2), folded(d))
        if into is not None:
            xp.matmul(folded(d_gate), params[f"{self.name}/gate/weight"].swapaxes(1, 2), out=folded(into))
            into += xp.matmul(folded(d_value), params[f"{self.name}/value/weight"].swapaxes(1, 2)).reshape(into.shape)
        return into

    def _parts(self, moments: Moments, laws: Mapping[str, Law]) -> tuple[Moments, Moments, Moments]:
        """Return the moments of the gate before and behind its activation, and of the value."""
        gate, value = (
            through_weights(moments, self.fan_in * laws[f"{self.name}/{part}/weight"].second_moment, NONE)
            for part in ("gate", "value")
        )
        return gate, Nonlinearity(self.name, self.units, self.activation).expect(gate, {}), value

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[y²] = E[phi(gate)²] E[value²], since the two are independent given x."""
        if moments.reason:
            return moments
        for part in ("gate", "value"):
            if reason := silent(laws[f"{self.name}/{part}/weight"]):
                return unknown_moments(reason)
        _, opened, value = self._parts(moments, laws)
        if moments.squares is None:
            q = opened.second_moment * value.second_moment
            return Moments(q, 0.0, opened.correlation * value.correlation)
        pairs = times(opened.covariance, value.covariance)
        return Moments.uneven(np.asarray(opened.q * value.q), 0.0, pairs)

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        """Return the gradient that comes through the gate and through the value."""
        if reason := gradient.reason or moments.reason:
            return unknown_gradient(reason)
        gate, opened, value = self._parts(moments, laws)
        to_value = _times(gradient, opened)
        to_gate = Nonlinearity(self.name, self.units, self.activation).expect_gradient(
            _times(gradient, value), gate, {}
        )
        sigma = {part: self.units * laws[f"{self.name}/{part}/weight"].second_moment for part in ("gate", "value")}
        return to_value.scaled(sigma["value"]) + to_gate.scaled(sigma["gate"])


def _times(gradient: Gradient, moments: Moments) -> Gradient:
    """Return the gradient times independent values."""
    if moments.squares is None:
        return replace(gradient.scaled(moments.second_moment), correlation=gradient.correlation * moments.correlation)
    squares = np.broadcast_to(np.asarray(gradient.q * moments.q), moments.squares.shape)
    return gradient.uneven(squares, times(gradient.covariance, moments.covariance))
