"""Nonlinearity: an activation of each feature."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.polynomial import Chebyshev

from weightinit.activations import Activation
from weightinit.arrays import Array
from weightinit.gaussian import expectation
from weightinit.laws import Law
from weightinit.meanfield import SingularValues, covariance, second_moment, slope_covariance, slope_second_moment
from weightinit.meanfield.pairs import pair_covariances
from weightinit.nn.layers.base import UNKNOWN_VALUES, Layer
from weightinit.nn.moments import Gradient, Moments, of_few, times, unknown_gradient, unknown_moments
from weightinit.nn.tape import Params, Shape, Slot, Tape

# Degree of the polynomial that interpolates an expectation over many pairs of inputs (accurate to about 1e-4), and the
# angle below which two inputs count as equal.
DEGREE, SAME = 8, 1e-4
# Degree of the polynomial that interpolates a function of many second moments in their logarithm.
NODES = 24


@dataclass(frozen=True)
class Nonlinearity(Layer):
    """``a = phi(z)`` of each of ``units`` features."""

    name: str
    units: int
    activation: Activation

    def slots(self, entering: Shape) -> tuple[Slot, ...]:
        return (Slot(self.name, "activation", entering, gradient="shared"),)

    def forward(self, params: Params, x: Array, tape: Tape) -> Array:
        key = self.name, "activation"
        tape.input[key] = x
        return self.activation.phi(x, out=tape.arrays[key])

    def backward(self, params: Params, d_output: Array, tape: Tape, *, into: Array | None) -> Array | None:
        key = self.name, "activation"
        return None if into is None else self.activation.backward(tape.input[key], tape.arrays[key], d_output, out=into)

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> Moments:
        """E[phi(z)²] for z ~ N(0, q)."""
        if moments.reason or math.isnan(moments.second_moment):
            return moments
        try:
            return self._even(moments) if moments.squares is None else self._uneven(moments)
        except (ValueError, OverflowError) as error:
            return unknown_moments(_why(error))

    def _even(self, moments: Moments) -> Moments:
        q = moments.second_moment
        phi, kinks = self.activation.phi, self.activation.kinks
        square = second_moment(q, self.activation)
        if q == 0.0 or square**2 == 0.0:  # or too small for the ratios below
            value = float(phi(np.zeros(1))[0])
            return Moments(value**2, value, 1.0)
        mean = expectation(phi, q=q, kinks=kinks)
        correlation = self._product(covariance, square, moments) / square
        return Moments(square, mean, correlation)

    def expect_gradient(self, gradient: Gradient, moments: Moments, laws: Mapping[str, Law]) -> Gradient:
        """E[g_z²] = E[phi'(z)²] E[g_a²]."""
        q = moments.second_moment
        if math.isnan(q) or math.isnan(gradient.second_moment):
            return unknown_gradient(gradient.reason or moments.reason)
        try:
            if moments.squares is not None:
                return self._uneven_gradient(gradient, moments)
            return self._even_gradient(gradient, moments)
        except (ValueError, OverflowError) as error:
            return unknown_gradient(_why(error))

    def _even_gradient(self, gradient: Gradient, moments: Moments) -> Gradient:
        q = moments.second_moment
        square = slope_second_moment(q, self.activation)
        if square**2 == 0.0 or q == 0.0:
            return gradient.scaled(square)
        alike = gradient.correlation * self._product(slope_covariance, square, moments) / square
        return replace(gradient.scaled(square), correlation=alike)

    def expect_jacobian(self, values: SingularValues, moments: Moments, laws: Mapping[str, Law]) -> SingularValues:
        q = moments.second_moment
        if math.isnan(q):
            return UNKNOWN_VALUES
        dphi, kinks = self.activation.dphi, self.activation.kinks
        try:
            fourth = expectation(lambda z: dphi(z) ** 4, q=q, kinks=kinks)
            return values.after_slopes(slope_second_moment(q, self.activation), fourth)
        except (ValueError, OverflowError):
            return UNKNOWN_VALUES

    def _uneven(self, moments: Moments) -> Moments:
        """Return the moments of phi(z) by sample and position."""
        assert moments.squares is not None
        phi, kinks = self.activation.phi, self.activation.kinks
        squares = by_size(lambda q: second_moment(q, self.activation), moments.squares)
        means = by_size(lambda q: expectation(phi, q=q, kinks=kinks), moments.squares)
        return Moments.uneven(squares, means, self._pairs(moments, squares))

    def _uneven_gradient(self, gradient: Gradient, moments: Moments) -> Gradient:
        assert moments.squares is not None
        squares = by_size(lambda q: slope_second_moment(q, self.activation), moments.squares)
        pairs = self._pairs(moments, squares, slopes=True)
        return gradient.uneven(squares * gradient.q, times(pairs, gradient.covariance))

    def _pairs(self, moments: Moments, squares: Array, *, slopes: bool = False) -> Array:
        """Return E[phi(z) phi(z')], or of slopes, of pairs that differ in size; ``squares``: E[phi(z)²]."""
        covariance = np.asarray(moments.covariance)
        assert moments.squares is not None
        q, after = (of_few(x, covariance).ravel() for x in (moments.squares, squares))
        sizes = np.sqrt(np.multiply.outer(q, q))
        with np.errstate(all="ignore"):
            correlation = np.where(sizes > 0, covariance.reshape(sizes.shape) / np.maximum(sizes, 1e-300), 0.0)
        return pair_covariances(correlation, q, self.activation, after, slopes=slopes).reshape(covariance.shape)

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


def _why(error: ValueError | OverflowError) -> str:
    """Return the reason for which an expectation has no number."""
    return (
        str(error).removesuffix(".") if isinstance(error, ValueError) else "its moments are larger than float64 holds"
    )


def by_size(function: Callable[[Array], Any], q: Array) -> Array:
    """Return a smooth function of second moments, interpolated in their logarithm where they are many."""
    flat = q.ravel()
    low, high = float(flat.min()), float(flat.max())
    if flat.size <= NODES or high <= 0.0:
        return np.asarray(function(flat), np.float64).reshape(q.shape)
    floor = max(low, 1e-9 * high)
    if high / floor < 1.0 + 1e-9:
        return np.full(q.shape, float(np.asarray(function(np.array([high])))[0]))
    logs = np.log(np.maximum(flat, floor))
    curve = Chebyshev.interpolate(lambda at: np.asarray(function(np.exp(at))), NODES, domain=[logs.min(), logs.max()])
    values = curve(logs)
    if low < floor:
        below = flat < floor
        values[below] = np.asarray(function(flat[below][:1] * 0.0))[0]
    return np.asarray(values).reshape(q.shape)
