"""The maps of mean field theory: moments of one wide layer's pre-activations from those of the layer before."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from weightinit import activations
from weightinit.activations import Activation
from weightinit.arrays import Array
from weightinit.gaussian import correlated_expectation, expectation

AnyActivation = str | Activation | Callable[..., Any]
Moments = TypeVar("Moments", float, Array)

SMALLEST_Q = 1e-18  # stands for zero, where only a limit exists


def q_map(q: Moments, activation: AnyActivation, sigma_w2: float | Moments, sigma_b2: float | Moments = 0.0) -> Moments:
    """Second moment of the next layer's pre-activations, sigma_w2 E[phi(sqrt(q) z)²] + sigma_b2, of the shape of ``q``.

    ``sigma_w2``: variance of a weight times fan_in; ``sigma_b2``: variance of a bias. Poole et al. 2016, eq. 3.
    Raises ValueError for a negative or NaN q, and where E[phi²] doesn't exist.
    """
    return sigma_w2 * second_moment(q, activation) + sigma_b2


def q_slope(q: Moments, activation: AnyActivation, sigma_w2: float | Moments) -> Moments:
    """Slope of ``q_map`` in q, sigma_w2 E[z phi phi'] / sqrt(q) at sqrt(q) z, shaped as ``q``; its limit where q is 0.

    Equal to sigma_w2 E[phi'² + phi phi''] (Schoenholz et al. 2017, section 3), without a second derivative.
    """
    phi = activations.get(activation)
    q = np.maximum(_checked(q), SMALLEST_Q)
    if phi.name in _CLOSED_FORMS:
        slope = _CLOSED_FORMS[phi.name].growth(q, **phi.parameters)
    else:
        slope = expectation(lambda x: x * phi.phi(x) * phi.dphi(x), q=q, kinks=phi.kinks) / q
    result: Moments = sigma_w2 * slope
    return result


def chi(q: Moments, activation: AnyActivation, sigma_w2: float | Moments) -> Moments:
    """sigma_w2 E[phi'(sqrt(q) z)²], of the shape of ``q``: growth of a gradient's second moment by one layer back.

    At the fixed point q* it is the slope of the correlation map at c = 1: order below 1, chaos above (Poole et al.
    2016, Schoenholz et al. 2017). Errors as in ``q_map``.
    """
    return sigma_w2 * slope_second_moment(q, activation)


def c_map(
    c: Moments,
    activation: AnyActivation,
    sigma_w2: float,
    sigma_b2: float = 0.0,
    *,
    q: float | Moments,
    q_other: float | Moments | None = None,
) -> Moments:
    """Correlation of two inputs' pre-activations in the next layer, from that in this one (Poole et al. 2016, eq. 5).

    ``q``: second moment of the pre-activations that belong to the first input, ``q_other`` to the second (default: the
    same). Both are taken along, so that this holds on the way to the fixed point too. Shape: of c and q together.
    Raises ValueError for c outside [-1, 1] and where the next layer's pre-activations are zero.
    """
    phi = activations.get(activation)
    q, q_other = _both(q, q_other)
    product = sigma_w2 * covariance(c, phi, q, q_other) + sigma_b2
    correlation: Moments = np.clip(product / _next_size(phi, sigma_w2, sigma_b2, q, q_other), -1.0, 1.0)
    return correlation


def c_slope(
    c: Moments,
    activation: AnyActivation,
    sigma_w2: float,
    sigma_b2: float = 0.0,
    *,
    q: float | Moments,
    q_other: float | Moments | None = None,
) -> Moments:
    """Slope of ``c_map`` in c; at q* it is sigma_w2 E[phi'(x) phi'(y)] (Schoenholz et al. 2017, section 3).

    Arguments, shape and errors as in ``c_map``.
    """
    phi = activations.get(activation)
    q, q_other = _both(q, q_other)
    scale = sigma_w2 * np.sqrt(q * q_other) / _next_size(phi, sigma_w2, sigma_b2, q, q_other)
    slope: Moments = scale * slope_covariance(c, phi, q, q_other)
    return slope


def second_moment(q: Moments, activation: AnyActivation) -> Moments:
    """E[phi(sqrt(q) z)²] for z ~ N(0, 1), shaped as ``q``: in closed form where there is one, else by quadrature."""
    phi = activations.get(activation)
    if phi.name not in _CLOSED_FORMS:
        return expectation(lambda x: phi.phi(x) ** 2, q=q, kinks=phi.kinks)
    moment: Moments = _pair(phi, "product", 1.0, q, q)
    return moment


def slope_second_moment(q: Moments, activation: AnyActivation) -> Moments:
    """E[phi'(sqrt(q) z)²] for z ~ N(0, 1), shaped as ``q``: in closed form where there is one, else by quadrature."""
    phi = activations.get(activation)
    if phi.name not in _CLOSED_FORMS:
        return expectation(lambda x: phi.dphi(x) ** 2, q=q, kinks=phi.kinks)
    moment: Moments = _pair(phi, "slopes", 1.0, q, q)
    return moment


def covariance(
    c: Moments, activation: AnyActivation, q: float | Moments = 1.0, q_other: float | Moments | None = None
) -> Moments:
    """E[phi(x) phi(y)] for Gaussians of second moments q, q_other (default: q) and correlation c.

    In closed form for linear, relu, leaky_relu (Cho & Saul 2009, n = 1), erf (Williams 1997), sine and gelu (both by
    Stein's lemma), else by quadrature. Shape: of c and q together.
    """
    moment: Moments = _pair(activations.get(activation), "product", c, q, q_other)
    return moment


def slope_covariance(
    c: Moments, activation: AnyActivation, q: float | Moments = 1.0, q_other: float | Moments | None = None
) -> Moments:
    """E[phi'(x) phi'(y)], the derivative of ``covariance`` in E[x y]; arguments and shape as there."""
    moment: Moments = _pair(activations.get(activation), "slopes", c, q, q_other)
    return moment


def closed_form(activation: Activation) -> bool:
    """Return whether the moments of an activation have closed forms, which take arrays at once."""
    return activation.name in _CLOSED_FORMS


def _pair(phi: Activation, which: Literal["product", "slopes"], c: Any, q: Any, q_other: Any) -> Any:
    q_other = q if q_other is None else q_other
    if phi.name not in _CLOSED_FORMS:
        f = phi.phi if which == "product" else phi.dphi
        return correlated_expectation(f, c=c, q=q, q_other=q_other, kinks=phi.kinks)
    if not np.all(np.abs(c) <= 1):
        raise ValueError(f"c, a correlation, must lie between -1 and 1; got {c}.")
    closed: Callable[..., Any] = getattr(_CLOSED_FORMS[phi.name], which)
    return closed(c, _checked(q), _checked(q_other), **phi.parameters)


def _linear(c: Any, q: Any, r: Any) -> Any:
    return c * np.sqrt(q * r)


def _linear_slope(c: Any, q: Any, r: Any) -> Any:
    return 0.0 * (c + q + r) + 1.0


def _linear_growth(q: Any) -> Any:
    return 0.0 * q + 1.0


def _leaky_relu(c: Any, q: Any, r: Any, slope: float = 0.0) -> Any:
    return (1 + slope**2) * _arc_cosine(c, q, r) - 2 * slope * _arc_cosine(-c, q, r)


def _arc_cosine(c: Any, q: Any, r: Any) -> Any:
    """E[max(x, 0) max(y, 0)]."""
    return np.sqrt(q * r) * (np.sqrt((1 - c) * (1 + c)) + (math.pi - np.arccos(c)) * c) / (2 * math.pi)


def _leaky_relu_slope(c: Any, q: Any, r: Any, slope: float = 0.0) -> Any:
    angle = np.arccos(c) + 0.0 * (q + r)
    return ((1 + slope**2) * (math.pi - angle) + 2 * slope * angle) / (2 * math.pi)


def _leaky_relu_growth(q: Any, slope: float = 0.0) -> Any:
    return 0.0 * q + (1 + slope**2) / 2


def _erf(c: Any, q: Any, r: Any) -> Any:
    return 2 / math.pi * np.arctan2(2 * c * np.sqrt(q * r), np.sqrt(_determinant(c, 2 * q, 2 * r)))


def _erf_slope(c: Any, q: Any, r: Any) -> Any:
    return 4 / math.pi / np.sqrt(_determinant(c, 2 * q, 2 * r))


def _erf_growth(q: Any) -> Any:
    return 4 / math.pi / ((1 + 2 * q) * np.sqrt(1 + 4 * q))


def _sine(c: Any, q: Any, r: Any, frequency: float) -> Any:
    covariance = frequency**2 * np.abs(c) * np.sqrt(q * r)
    return np.sign(c) * np.exp(covariance - frequency**2 * (q + r) / 2) * -np.expm1(-2 * covariance) / 2


def _sine_slope(c: Any, q: Any, r: Any, frequency: float) -> Any:
    covariance, spread = frequency**2 * c * np.sqrt(q * r), frequency**2 * (q + r) / 2
    return frequency**2 * (np.exp(covariance - spread) + np.exp(-covariance - spread)) / 2


def _sine_growth(q: Any, frequency: float) -> Any:
    return frequency**2 * np.exp(-2 * frequency**2 * q)


def _gelu(c: Any, q: Any, r: Any) -> Any:
    covariance, determinant = c * np.sqrt(q * r), _determinant(c, q, r)
    density = 1 / (2 * math.pi * np.sqrt(determinant))  # E[N(x) N(y)], N the normal density
    both = 0.25 + np.arctan2(covariance, np.sqrt(determinant)) / (2 * math.pi)  # E[Phi(x) Phi(y)]
    rest = q * r * (1 + q * (1 - c) * (1 + c)) / (1 + q)
    return covariance * both + density * (rest + covariance**2 / (1 + r))


def _gelu_slope(c: Any, q: Any, r: Any) -> Any:
    covariance, determinant = c * np.sqrt(q * r), _determinant(c, q, r)
    density = 1 / (2 * math.pi * np.sqrt(determinant))
    both = 0.25 + np.arctan2(covariance, np.sqrt(determinant)) / (2 * math.pi)
    return both + covariance * density * (1 / (1 + q) + 1 / (1 + r) + 1 / determinant)


def _gelu_growth(q: Any) -> Any:
    root = np.sqrt(1 + 2 * q)
    rational = q * ((5 + 3 * q) / (1 + q) - 2 * q / root**2) / ((1 + q) * root)
    return 0.25 + (np.arctan2(q, root) + rational) / (2 * math.pi)


def _determinant(c: Any, q: Any, r: Any) -> Any:
    """det(I + covariance of x and y), without the difference of large numbers near c = 1."""
    return 1 + q + r + q * r * (1 - c) * (1 + c)


class _ClosedForms(NamedTuple):
    """Closed forms of an activation, with its parameters as keywords."""

    product: Callable[..., Any]  # E[phi(x) phi(y)] of c, q, q_other
    slopes: Callable[..., Any]  # E[phi'(x) phi'(y)] of c, q, q_other
    growth: Callable[..., Any]  # the derivative of E[phi(x)²] in q


_CLOSED_FORMS: Mapping[str, _ClosedForms] = {
    "linear": _ClosedForms(_linear, _linear_slope, _linear_growth),
    "relu": _ClosedForms(_leaky_relu, _leaky_relu_slope, _leaky_relu_growth),
    "leaky_relu": _ClosedForms(_leaky_relu, _leaky_relu_slope, _leaky_relu_growth),
    "erf": _ClosedForms(_erf, _erf_slope, _erf_growth),
    "sine": _ClosedForms(_sine, _sine_slope, _sine_growth),
    "gelu": _ClosedForms(_gelu, _gelu_slope, _gelu_growth),
}


def _both(q: Any, q_other: Any) -> tuple[Any, Any]:
    first = np.maximum(_checked(q), SMALLEST_Q)
    return first, first if q_other is None else np.maximum(_checked(q_other), SMALLEST_Q)


def _next_size(phi: Activation, sigma_w2: float, sigma_b2: float, q: Any, q_other: Any) -> Any:
    """Geometric mean of the next layer's two second moments."""
    first = q_map(q, phi, sigma_w2, sigma_b2)
    size = first if q_other is q else np.sqrt(first * q_map(q_other, phi, sigma_w2, sigma_b2))
    if not np.all(size > 0):
        raise ValueError("the next layer's pre-activations are all zero, and have no correlation.")
    return size


def _checked(q: Any) -> Any:
    if not np.all(np.asarray(q) >= 0):
        raise ValueError(f"q, a second moment, must be zero or positive; got {np.min(q):g}.")
    return q
