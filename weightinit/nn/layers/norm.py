"""Norms over the features of each sample and position: layer norm and RMS norm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from weightinit.arrays import Array
from weightinit.fans import Fans
from weightinit.laws import Law
from weightinit.meanfield import SingularValues
from weightinit.nn.layers.base import UNKNOWN_VALUES, Layer
from weightinit.nn.layers.dense import add_bias, folded, wide
from weightinit.nn.moments import Gradient, Moments, of_few, outer, times, unknown_gradient
from weightinit.nn.tape import Params, Shape, Slot, Tape, ones_for
from weightinit.nn.weights import Role, WeightSpec

EPSILON = 1e-5
FIXED = Law("constant", 1.0, 0.0)
NONE = Law("constant", 0.0, 0.0)


@dataclass(frozen=True)
class LayerNorm(Layer):
    """``gain (x - mean) / sqrt(variance + 1e-5) + bias`` over the features of a sample and position (Ba et al. 2016).

    ``centred``: False is RMS norm, which subtracts no mean and has no bias (Zhang & Sennrich 2019). ``trained``:
    whether gain and bias are.
    """

    name: str
    units: int
    centred: bool = True
    trained: bool = True

    @property
    def weights(self) -> tuple[WeightSpec, ...]:
        return affine(self.name, self.units, bias=self.centred, trained=self.trained)

    def slots(self, entering: Shape) -> tuple[Slot, ...]:
        return (
            Slot(self.name, "preactivation", entering, gradient="shared"),
            Slot(self.name, "normalized", entering),
            Slot(self.name, "scale", (*entering[:-1], 1)),
        )

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        whole = tape[self.name, "preactivation"]
        average = tape.xp.full((self.units, 1), 1.0 / self.units, whole.dtype)  # a sum over a short axis is slower
        for runs in tape.blocks(whole[0].size):
            self._normalize(folded(x if len(x) == 1 else x[runs]), average, tape, runs)
            apply_affine(self.name, params, tape, runs, bias=self.centred)
        return whole

    def _normalize(self, x: Array, average: Array, tape: Tape, runs: slice) -> None:
        xp = tape.xp
        normalized, scale, out = (
            folded(tape[self.name, part][runs]) for part in ("normalized", "scale", "preactivation")
        )
        if self.centred:
            xp.matmul(x, average, out=scale[: len(x)])
            xp.subtract(x, scale[: len(x)], out=normalized)
        else:
            normalized[...] = x
        xp.multiply(normalized, normalized, out=out)
        xp.matmul(out, average, out=scale)
        scale += scale.dtype.type(EPSILON)
        xp.sqrt(scale, out=scale)
        xp.divide(1.0, scale, out=scale)
        normalized *= scale

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        average = tape.xp.full((1, 1), 1.0 / self.units, d_output.dtype)
        for runs in tape.blocks(d_output[0].size):
            self._backward(params, d_output[runs], average, tape, runs, None if into is None else into[runs])
        return into

    def _backward(
        self, params: Params, d_output: Array, average: Array, tape: Tape, runs: slice, into: Array | None
    ) -> None:
        xp, d = tape.xp, folded(d_output)
        normalized, scale = folded(tape[self.name, "normalized"][runs]), folded(tape[self.name, "scale"][runs])
        product = xp.empty_like(d) if into is None else folded(into)
        affine_gradients(self.name, d, normalized, tape, product, runs, bias=self.centred)
        if into is None:
            return
        # d_x = (g - mean(g) - normalized mean(g normalized)) scale, where g = gain d_output.
        d_x, gain = folded(into), params[f"{self.name}/gain"][runs]
        column = xp.swapaxes(gain, 1, 2) * average
        along = xp.matmul(product, column)
        level = xp.matmul(d, column) if self.centred else None
        d_wide, gain = wide(d_output, gain)
        xp.multiply(d_wide, gain, out=d_x.reshape(d_wide.shape))
        if level is not None:
            d_x -= level
        d_x -= normalized * along
        d_x *= scale

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[y²] = 1 where units are many: the variance over units is E[x²] - E[x]²."""
        if moments.reason:
            return moments
        variance = moments.q - (moments.m**2 if self.centred else 0.0)
        return normalized_moments(self.name, moments, variance, laws, centred=self.centred)

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        """E[g_x²] = gain² E[g_y²] / variance; what the norm takes away are two directions of many."""
        if reason := gradient.reason or moments.reason:
            return unknown_gradient(reason)
        variance = moments.q - (moments.m**2 if self.centred else 0.0)
        return normalized_gradient(self.name, gradient, moments, variance, laws)

    def expect_jacobian(self, values: SingularValues, moments: Moments, laws: Mapping[str, Law]) -> SingularValues:
        return UNKNOWN_VALUES


def affine(name: str, units: int, *, bias: bool, trained: bool) -> tuple[WeightSpec, ...]:
    """Return gain and bias of a norm."""
    roles: tuple[Role, ...] = ("gain", "bias") if bias else ("gain",)
    fans = Fans(units, units)
    return tuple(
        WeightSpec(f"{name}/{role}", (1, units), fans, role, "hidden", part="norm", trained=trained) for role in roles
    )


def apply_affine(name: str, params: Params, tape: Tape, runs: slice, *, bias: bool) -> None:
    """Write ``gain normalized + bias`` into the norm's output, for some runs."""
    normalized, gain = wide(tape[name, "normalized"][runs], params[f"{name}/gain"][runs])
    out = tape[name, "preactivation"][runs]
    tape.xp.multiply(normalized, gain, out=out.reshape(normalized.shape))
    if bias:
        add_bias(out, params[f"{name}/bias"][runs])


def affine_gradients(
    name: str, d: Array, normalized: Array, tape: Tape, product: Array, runs: slice, *, bias: bool
) -> None:
    """Write the gradients of gain and bias; ``product`` receives ``d * normalized``. All are (runs, rows, units)."""
    ones = ones_for(tape, d.shape[1])
    tape.xp.multiply(d, normalized, out=product)
    tape.keep_gradient(f"{name}/gain", ones, product, runs)
    if bias:
        tape.keep_gradient(f"{name}/bias", ones, d, runs)


def normalized_moments(
    name: str, moments: Moments, variance: float | Array, laws: Mapping[str, Law], *, centred: bool
) -> Moments:
    """Return the moments of ``gain (x - mean) / sqrt(variance) + bias``."""
    gain, bias = laws.get(f"{name}/gain", FIXED), laws.get(f"{name}/bias", NONE)
    inverse = 1.0 / (variance + EPSILON)
    squares = gain.second_moment * variance * inverse + bias.second_moment
    few = np.asarray(moments.correlation)
    sizes, mean = inverse, moments.m if centred else 0.0
    products: float | Array = mean**2 if isinstance(mean, float) else 0.0
    if moments.squares is not None:
        sizes = outer(np.sqrt(of_few(np.broadcast_to(inverse, moments.squares.shape), few)))
        products = outer(of_few(np.broadcast_to(mean, moments.squares.shape), few))
    covariance = gain.second_moment * (moments.covariance - products) * sizes + bias.second_moment
    if moments.squares is None:
        q = float(squares)
        return Moments(q, bias.mean, covariance / q if q else covariance)
    return Moments.uneven(np.asarray(squares), bias.mean, np.asarray(covariance))


def normalized_gradient(
    name: str, gradient: Gradient, moments: Moments, variance: float | Array, laws: Mapping[str, Law]
) -> Gradient:
    """Return the gradient at ``x``, given that at ``gain (x - mean) / sqrt(variance) + bias``."""
    gain = laws.get(f"{name}/gain", FIXED).second_moment
    inverse = 1.0 / (variance + EPSILON)
    if moments.squares is None:
        return gradient.scaled(float(gain * inverse))
    few = np.asarray(moments.correlation)
    sizes = outer(np.sqrt(of_few(np.broadcast_to(inverse, moments.squares.shape), few)))
    squares = np.broadcast_to(gain * inverse * gradient.q, moments.squares.shape)
    return gradient.uneven(squares, gain * times(sizes, gradient.covariance))
