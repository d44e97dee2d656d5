"""Dense layer: a matrix and a bias on the last axis."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from weightinit.arrays import Array
from weightinit.fans import Fans
from weightinit.laws import Law
from weightinit.meanfield import SingularValues
from weightinit.meanfield.jacobian import Weights
from weightinit.nn.layers.base import UNKNOWN_VALUES, Layer
from weightinit.nn.moments import Gradient, Moments, unknown_gradient, unknown_moments
from weightinit.nn.tape import Key, Params, Shape, Slot, Tape, ones_for
from weightinit.nn.weights import ConstantSpec, Position, WeightSpec

BUFFER = 8192  # elements of NumPy's buffer
# Families of laws whose elements are drawn independently.
INDEPENDENT = ("normal", "uniform", "truncated_normal")


@dataclass(frozen=True)
class Dense(Layer):
    """``z = x @ W + b`` at each position: W is ``(runs, fan_in, fan_out)``, b ``(runs, 1, fan_out)``.

    Positions are folded into the batch, so that each run is one product. ``tied``: name of another layer whose weight
    this one uses, ``transposed`` or not; the bias is its own. The layer of the output has a constant ``multiplier`` of
    ``x @ W``, by which its weight may differ from others in size (Yang et al. 2022).
    """

    name: str
    fan_in: int
    fan_out: int
    position: Position
    bias: bool = True
    tied: str = ""
    transposed: bool = False

    @property
    def weights(self) -> tuple[WeightSpec, ...]:
        fans = Fans(self.fan_in, self.fan_out)
        shape = (self.fan_out, self.fan_in) if self.transposed else (self.fan_in, self.fan_out)
        weight = WeightSpec(self._weight, shape, fans, "weight", self.position)
        bias = WeightSpec(self._bias, (1, self.fan_out), fans, "bias", self.position)
        return (weight, bias) if self.bias else (weight,)

    @property
    def constants(self) -> tuple[ConstantSpec, ...]:
        if self.position != "output":
            return ()
        return (ConstantSpec(self._multiplier, 1.0, "factor of the output before its bias"),)

    def _multiply(self, array: Array, tape: Tape) -> None:
        """Multiply by the output's multiplier, where a scheme gives one."""
        if self._multiplier in tape.state:
            array *= tape.constant(self._multiplier, 1.0, array)

    # Names are made once: to make them at each step of a small network takes as long as its products.
    @cached_property
    def _weight(self) -> str:
        return f"{self.tied or self.name}/weight"

    @cached_property
    def _bias(self) -> str:
        return f"{self.name}/bias"

    @cached_property
    def _multiplier(self) -> str:
        return f"{self.name}/multiplier"

    @cached_property
    def _output(self) -> Key:
        return self.name, "preactivation"

    def out_shape(self, entering: Shape) -> Shape:
        if entering[-1] != self.fan_in:
            raise ValueError(f"{self.name} takes {self.fan_in} features; got {entering[-1]} of the layer before it")
        return (*entering[:-1], self.fan_out)

    def slots(self, entering: Shape) -> tuple[Slot, ...]:
        return (Slot(self.name, "preactivation", self.out_shape(entering)),)

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        tape.input[self._output] = x
        z = tape[self._output]
        out, weight = folded(z), params[self._weight]
        tape.xp.matmul(folded(x), weight.swapaxes(1, 2) if self.transposed else weight, out=out)
        self._multiply(out, tape)
        if self.bias:
            add_bias(z, params[self._bias])
        return z

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        xp, x, d_z = tape.xp, folded(tape.input[self._output]), folded(d_output)
        weight = params[self._weight]
        tape.aside(partial(self._keep_gradients, x, d_z, tape))
        if into is not None:
            xp.matmul(d_z, weight if self.transposed else weight.swapaxes(1, 2), out=folded(into))
            self._multiply(into, tape)
        return into

    def _keep_gradients(self, x: Array, d_z: Array, tape: Tape) -> None:
        """Write the gradients of the weight and of the bias."""
        left, right = (d_z, x) if self.transposed else (x, d_z)
        tape.keep_gradient(self._weight, left.swapaxes(1, 2), right)
        if self._weight in tape.gradient:
            self._multiply(tape.gradient[self._weight], tape)
        if self.bias:
            # A product with ones: a sum over the middle axis is several times slower.
            tape.keep_gradient(self._bias, ones_for(tape, d_z.shape[1]), d_z)

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[z²] = fan_in Var[w] E[x²] + Var[b] (Poole et al. 2016, eq. 3), for weights of mean zero."""
        weight = laws[self._weight]
        bias = laws[self._bias] if self.bias else Law("constant", 0.0, 0.0)
        if moments.reason:
            return moments
        if self.tied:
            return unknown_moments(f"{self.name}: its weights are those of {self.tied}, on which its input depends")
        if reason := silent(weight, bias):
            return unknown_moments(reason)
        return through_weights(moments, self.fan_in * weight.second_moment * self._squared(laws), bias)

    def _squared(self, laws: Mapping[str, Law]) -> float:
        """Return the square of the output's multiplier."""
        law = laws.get(self._multiplier)
        return 1.0 if law is None else law.second_moment

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        """E[g_x²] = fan_out Var[w] E[g_z²], as if the way back had independent weights (Schoenholz et al. 2017)."""
        weight = laws[self._weight]
        if reason := silent(weight):
            return unknown_gradient(gradient.reason or reason)
        return gradient.scaled(self.fan_out * weight.second_moment * self._squared(laws))

    def expect_jacobian(self, values: SingularValues, moments: Moments, laws: Mapping[str, Law]) -> SingularValues:
        """Singular values after orthogonal or independent weights; independent ones count as Gaussian."""
        weight = laws[self._weight]
        if weight.family not in (*INDEPENDENT, "orthogonal") or weight.mean != 0.0:
            return UNKNOWN_VALUES
        kind: Weights = "orthogonal" if weight.family == "orthogonal" else "gaussian"
        sigma_w2 = self.fan_in * weight.second_moment * self._squared(laws)
        return values.after_weights(sigma_w2, kind, (self.fan_in, self.fan_out))


def folded(x: Array) -> Array:
    """Return ``x`` (runs, batch, *positions, features) with positions folded into the batch, as a view."""
    return x if x.ndim == 3 else x.reshape(x.shape[0], -1, x.shape[-1])


def wide(x: Array, *vectors: Array) -> list[Array]:
    """Return ``x`` (runs, batch, *positions, units) and vectors (runs, 1, units) with positions side by side.

    ``x`` as a view, the vectors repeated. NumPy loops over the last axis, and loops over few units are slow. Where a
    vector is repeated, samples stand side by side too, until the loop is no shorter than NumPy's buffer: in shorter
    ones NumPy copies the vector into the buffer, which takes as long as the sum.
    """
    positions = math.prod(x.shape[2:-1])
    if positions == 1:
        return [x.reshape(*x.shape[:2], -1), *vectors]
    batch, row = x.shape[1], positions * x.shape[-1]
    samples = next((n for n in range(1, batch) if batch % n == 0 and n * row >= BUFFER), batch)
    repeated = [vector.repeat(samples * positions, axis=1).reshape(len(vector), 1, -1) for vector in vectors]
    return [x.reshape(len(x), batch // samples, samples * row), *repeated]


def add_bias(z: Array, bias: Array) -> None:
    """Add a bias (runs, 1, units) to ``z`` (runs, batch, *positions, units)."""
    if z.ndim > 3:
        z, bias = wide(z, bias)
    z += bias


def through_weights(moments: Moments, sigma_w2: float, bias: Law) -> Moments:
    """Return the moments after weights of mean zero and fan_in Var[w] = ``sigma_w2``, and a bias."""
    from_weights = sigma_w2 * moments.second_moment
    q = from_weights + bias.second_moment
    share = from_weights / q if q else 0.0
    correlation = share * moments.correlation + (1.0 - share) if q else math.nan
    if moments.squares is None:
        return Moments(q, bias.mean, correlation)
    if q == 0.0:
        correlation = np.ones(np.shape(moments.correlation))  # zeros are all alike
    squares = sigma_w2 * moments.squares + bias.second_moment
    means = np.full(squares.shape, bias.mean)
    return Moments(q, bias.mean, correlation, "", squares, means)


def silent(weight: Law, *others: Law) -> str:
    """Return why theory says nothing of a weight with this law, and of ``others`` beside it; empty where it does."""
    unknown = next((law for law in (weight, *others) if not law.known), None)
    if unknown is not None:
        return f"the law of the weights is unknown: {unknown.reason or 'the scheme states none'}"
    return "the weights have a mean" if weight.mean != 0.0 else ""
