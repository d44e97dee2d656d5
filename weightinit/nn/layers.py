"""Layers: each computes forward, backward and what theory expects, for a whole stack of runs.

Arrays are ``(runs, batch, features)``; the input of a network may have one run that all runs share. Every product is
a batched ``matmul``, one gemm a run, so that a run's numbers don't depend on which others share its stack.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from weightinit.activations import Activation
from weightinit.arrays import Array
from weightinit.fans import Fans
from weightinit.gaussian import expectation
from weightinit.laws import Law
from weightinit.nn.moments import UNKNOWN_MOMENTS, Moments
from weightinit.nn.weights import Position, WeightSpec

if TYPE_CHECKING:
    from weightinit.nn.network import Params, Tape


class Layer(Protocol):
    """One step of a network. ``quantity`` names the dict of the tape that its output is kept in."""

    name: str
    quantity: str

    @property
    def units(self) -> int:
        """Features that leave the layer."""

    @property
    def weights(self) -> tuple[WeightSpec, ...]:
        """The layer's weights, in the order of their use."""

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        """The layer's output for ``x``, written into the tape's memory."""

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        """Writes the weights' gradients into the tape; returns the gradient of the input in ``into``, or None where
        nobody needs it. ``into`` may be ``d_output`` itself in an elementwise layer."""

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """Moments of the output, from those of the input and the laws of the weights by name."""


@dataclass(frozen=True)
class Dense:
    """``z = x @ W + b``: W is ``(runs, fan_in, fan_out)``, b ``(runs, 1, fan_out)``."""

    name: str
    fan_in: int
    fan_out: int
    position: Position
    bias: bool = True
    quantity: str = "preactivation"

    @property
    def units(self) -> int:
        return self.fan_out

    @property
    def weights(self) -> tuple[WeightSpec, ...]:
        fans = Fans(self.fan_in, self.fan_out)
        weight = WeightSpec(f"{self.name}/weight", (self.fan_in, self.fan_out), fans, "weight", self.position)
        bias = WeightSpec(f"{self.name}/bias", (1, self.fan_out), fans, "bias", self.position)
        return (weight, bias) if self.bias else (weight,)

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        tape.input[self.name] = x
        z = tape.preactivation[self.name]
        tape.xp.matmul(x, params[f"{self.name}/weight"], out=z)
        if self.bias:
            z += params[f"{self.name}/bias"]
        return z

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        xp, x = tape.xp, tape.input[self.name]
        xp.matmul(x.swapaxes(1, 2), d_output, out=tape.gradient[f"{self.name}/weight"])
        if self.bias:
            # A product with ones: a sum over the middle axis is several times slower.
            xp.matmul(tape.ones, d_output, out=tape.gradient[f"{self.name}/bias"])
        if into is not None:
            xp.matmul(d_output, params[f"{self.name}/weight"].swapaxes(1, 2), out=into)
        return into

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[z²] = fan_in Var[w] E[x²] + Var[b] (Poole et al. 2016, eq. 3), for weights of mean zero."""
        weight = laws[f"{self.name}/weight"]
        bias = laws[f"{self.name}/bias"] if self.bias else Law("constant", 0.0, 0.0)
        if not (weight.known and bias.known) or weight.mean != 0.0:
            return UNKNOWN_MOMENTS
        from_weights = self.fan_in * weight.second_moment * moments.second_moment
        q = from_weights + bias.second_moment
        share = from_weights / q if q else 0.0
        return Moments(q, share**2 * moments.relative_variance)


@dataclass(frozen=True)
class Nonlinearity:
    """``a = phi(z)`` of each of ``units`` features."""

    name: str
    units: int
    activation: Activation
    quantity: str = "activation"

    @property
    def weights(self) -> tuple[WeightSpec, ...]:
        return ()

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        return self.activation.phi(x, out=tape.activation[self.name])

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        z, a = tape.preactivation[self.name], tape.activation[self.name]
        return self.activation.backward(z, a, d_output, out=into)

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[phi(z)²] for z ~ N(0, q), and how far one network of this width strays from it.

        The mean square of ``units`` activations scatters by (E[phi⁴] / E[phi²]² - 1) / units, and carries on what the
        layers before it strayed, times the slope of log E[phi²] in log q (delta method; exact for ReLU at first
        order, Hanin & Rolnick 2018). It takes all inputs as one, so that it bounds the scatter of a batch from above.
        """
        q = moments.second_moment
        if math.isnan(q):
            return UNKNOWN_MOMENTS
        phi = self.activation.phi
        square, fourth = (self._mean_power(q, power) for power in (2, 4))
        if square == 0.0:
            return Moments(0.0)
        if q == 0.0:
            return Moments(float(phi(q)) ** 2)
        step = 1e-3
        slope = math.log(self._mean_power(q * math.exp(step), 2) / self._mean_power(q * math.exp(-step), 2)) / (
            2 * step
        )
        spread = (fourth / square**2 - 1.0) / self.units
        return Moments(square, slope**2 * moments.relative_variance + spread)

    def _mean_power(self, q: float, power: int) -> float:
        return expectation(lambda z: self.activation.phi(z) ** power, q=q, kinks=self.activation.kinks)
