"""Layers: the forward pass, the backward pass and the theory of each step, for a whole stack of runs.

Arrays are ``(runs, batch, features)``; the input of a network may have a single run, which all share. Every product is
a batched ``matmul`` with one gemm per run, so the numbers of a run do not depend on the other runs of its stack.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.polynomial import Chebyshev

from weightinit.activations import Activation
from weightinit.arrays import Array
from weightinit.fans import Fans
from weightinit.gaussian import expectation
from weightinit.laws import Law
from weightinit.meanfield import SingularValues, covariance, second_moment, slope_covariance, slope_second_moment
from weightinit.meanfield.jacobian import Weights
from weightinit.nn.moments import UNKNOWN_GRADIENT, UNKNOWN_MOMENTS, Gradient, Moments
from weightinit.nn.tape import Params, Tape
from weightinit.nn.weights import Position, WeightSpec


class Layer(Protocol):
    """One step of a network."""

    @property
    def name(self) -> str:
        """Name of the layer; an elementwise layer takes the name of the layer before it."""

    @property
    def quantity(self) -> str:
        """Name of the tape's dict that holds the layer's output."""

    @property
    def units(self) -> int:
        """Features that leave the layer."""

    @property
    def weights(self) -> tuple[WeightSpec, ...]:
        """Weights of the layer, in the order of their use."""

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        """Return the layer's output for ``x``, in the tape's memory."""

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        """Write the weights' gradients into the tape, and that of the input into ``into``; return ``into``.

        With None as ``into``, the gradient of the input is not computed.
        """

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """Return the moments of the output, from those of the input and the laws of the weights by name."""

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        """Return the gradient at the input, from that at the output and the moments of the input."""

    def expect_jacobian(self, values: SingularValues, moments: Moments, laws: Mapping[str, Law]) -> SingularValues:
        """Return the singular values of the output's Jacobian, from those of the input's and the input's moments."""


# Degree of the polynomial that interpolates an expectation over many pairs of inputs (accurate to about 1e-4), and the
# angle below which two inputs count as equal.
DEGREE, SAME = 8, 1e-4
# Families of laws whose elements are drawn independently.
INDEPENDENT = ("normal", "uniform", "truncated_normal")
UNKNOWN_VALUES = SingularValues(math.nan, math.nan)


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
        correlation = share * moments.correlation + (1.0 - share) if q else math.nan
        return Moments(q, bias.mean, correlation, share**2 * moments.relative_variance)

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        """E[g_x²] = fan_out Var[w] E[g_z²], as if the way back had independent weights (Schoenholz et al. 2017)."""
        weight = laws[f"{self.name}/weight"]
        if not weight.known or weight.mean != 0.0:
            return UNKNOWN_GRADIENT
        return replace(gradient, second_moment=self.fan_out * weight.second_moment * gradient.second_moment)

    def expect_jacobian(self, values: SingularValues, moments: Moments, laws: Mapping[str, Law]) -> SingularValues:
        """Singular values after orthogonal or independent weights; independent ones count as Gaussian."""
        weight = laws[f"{self.name}/weight"]
        if weight.family not in (*INDEPENDENT, "orthogonal") or weight.mean != 0.0:
            return UNKNOWN_VALUES
        kind: Weights = "orthogonal" if weight.family == "orthogonal" else "gaussian"
        return values.after_weights(self.fan_in * weight.second_moment, kind, (self.fan_in, self.fan_out))


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
        return None if into is None else self.activation.backward(z, a, d_output, out=into)

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[phi(z)²] for z ~ N(0, q), and its scatter over networks of this width.

        The mean square of ``units`` activations has the relative variance (E[phi⁴] / E[phi²]² - 1) / units. The
        variance of the layers before adds to that, times the squared slope of log E[phi²] in log q (delta method; exact
        for ReLU at first order, Hanin & Rolnick 2018). All inputs count as equal, which bounds a batch from above.
        """
        q = moments.second_moment
        if math.isnan(q):
            return UNKNOWN_MOMENTS
        phi, kinks = self.activation.phi, self.activation.kinks
        square = second_moment(q, self.activation)
        if q == 0.0 or square**2 == 0.0:  # or too small for the ratios below
            value = float(phi(np.zeros(1))[0])
            return Moments(value**2, value, 1.0)
        mean = expectation(phi, q=q, kinks=kinks)
        fourth = expectation(lambda z: phi(z) ** 4, q=q, kinks=kinks)
        step = 1e-3
        near = [second_moment(q * math.exp(sign * step), self.activation) for sign in (1, -1)]
        slope = math.log(near[0] / near[1]) / (2 * step)
        spread = (fourth / square**2 - 1.0) / self.units
        correlation = self._product(covariance, square, moments) / square
        return Moments(square, mean, correlation, slope**2 * moments.relative_variance + spread)

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        """E[g_z²] = E[phi'(z)²] E[g_a²]; its scatter grows by (3 E[phi'⁴] / E[phi'²]² - 1) / units."""
        q = moments.second_moment
        if math.isnan(q) or math.isnan(gradient.second_moment):
            return UNKNOWN_GRADIENT
        dphi, kinks = self.activation.dphi, self.activation.kinks
        square = slope_second_moment(q, self.activation)
        if square**2 == 0.0 or q == 0.0:
            return Gradient(gradient.second_moment * square, gradient.correlation, gradient.relative_variance)
        fourth = expectation(lambda z: dphi(z) ** 4, q=q, kinks=kinks)
        return Gradient(
            gradient.second_moment * square,
            gradient.correlation * self._product(slope_covariance, square, moments) / square,
            gradient.relative_variance + (3.0 * fourth / square**2 - 1.0) / self.units,
        )

    def expect_jacobian(self, values: SingularValues, moments: Moments, laws: Mapping[str, Law]) -> SingularValues:
        q = moments.second_moment
        if math.isnan(q):
            return UNKNOWN_VALUES
        dphi, kinks = self.activation.dphi, self.activation.kinks
        fourth = expectation(lambda z: dphi(z) ** 4, q=q, kinks=kinks)
        return values.after_slopes(slope_second_moment(q, self.activation), fourth)

    def _product(self, at: Callable[..., Any], square: float, moments: Moments) -> float | Array:
        """Return ``at(c, activation, q)`` for the correlations c of pairs of inputs, in the shape of ``correlation``.

        ``square``: its value at c = 1. NaN where a correlation is NaN.
        """
        angle = np.arccos(np.clip(moments.correlation, -1.0, 1.0))
        if np.isnan(angle).any():
            return moments.correlation

        def by_angle(angle: Array) -> Array:
            return np.asarray(at(np.cos(angle), self.activation, moments.second_moment))

        if angle.size <= DEGREE:
            product = by_angle(angle)
            return product if product.ndim else float(product)
        same = angle < SAME
        product = np.full(angle.shape, square)
        if not same.all():
            # The product is a smooth function of the angle, even where phi has kinks (Cho & Saul 2009).
            domain = [float(angle[~same].min()), float(angle[~same].max()) + SAME]
            product[~same] = Chebyshev.interpolate(by_angle, DEGREE, domain=domain)(angle[~same])
        return product
