"""Expectations under one Gaussian and under two correlated ones, by quadrature that is exact across kinks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.polynomial import legendre

from weightinit.activations import find_kinks
from weightinit.arrays import Array

REACH = 12.0  # in standard deviations; the density out there is 2e-32
TOLERANCE = 1e-12  # of E|f|, on each panel: it bounds the error of a panel, and its halves, which count, are far nearer
MOST_PANELS = 4096  # of one expectation at a time
CASES_AT_ONCE = 16  # of two variables: about 5 MB of points

_NODES, _WEIGHTS = legendre.leggauss(16)
_WEIGHTS /= math.sqrt(2 * math.pi)  # the density's constant
# No round numbers: a pole in the very middle of a panel would cancel, and pass for its principal value.
_HALF_EDGES = np.array([0.0, 0.807, 1.613, 2.517, 3.491, 4.703, 6.211, 8.507, REACH])
_EDGES = np.concatenate([-_HALF_EDGES[:0:-1], _HALF_EDGES])
# Of two variables each smooths the other's panels; those that are too wide are halved.
_WIDE_HALF_EDGES = np.array([0.0, 2.117, 5.011, REACH])
_WIDE_EDGES = np.concatenate([-_WIDE_HALF_EDGES[:0:-1], _WIDE_HALF_EDGES])
# Seen from sixty standard deviations, what a function does near 0 falls between the nodes: panels lead down to it.
_FAR = 64.0
_LADDER = 1.307 * 16.0 ** np.arange(10)
_SMALLEST = 1e-300  # in place of a vanishing scale: it puts every kink but zero out of reach, as it should

Function = Callable[..., Any]
Kinks = Sequence[float] | None


@overload
def expectation(f: Function, *, q: float = 1.0, kinks: Kinks = None) -> float: ...
@overload
def expectation(f: Function, *, q: Array, kinks: Kinks = None) -> Array: ...
@overload
def expectation(
    f: Function, *, q: float | Array = 1.0, kinks: Kinks = None, return_error: Literal[True]
) -> tuple[Any, Any]: ...
def expectation(f: Function, *, q: float | Array = 1.0, kinks: Kinks = None, return_error: bool = False) -> Any:
    """E[f(sqrt(q) z)] for z ~ N(0, 1), to 1e-10 of E|f|; a float, or an array of the shape of ``q``.

    ``f`` maps float64 arrays to float64, elementwise. ``kinks``, in the units of f's argument, are where it is not
    smooth: () says nowhere; by default they are found, which takes ten times as long. Gauss-Legendre panels between
    the kinks, each halved until it agrees with its halves to 1e-12 of E|f|. ``return_error``: also gives an estimate
    of the error from above, what the first halving changed and 1e-12 of E|f| for each panel that needed more.

    Raises ValueError for a negative or non-finite q, and for an f that gives NaN or infinity, outgrows the Gaussian's
    tail, or doesn't converge (a pole, or noise); TypeError where f is not elementwise.
    """
    moments = _second_moments(q)
    scale = np.sqrt(moments.ravel())
    breaks = _breaks(find_kinks(f) if kinks is None else kinks, scale)
    mean, error, _ = _integrate(lambda case, z: f(scale[case, None] * z), breaks)
    return _shaped(moments.shape, (mean, error) if return_error else mean)


@overload
def correlated_expectation(
    f: Function,
    g: Function | None = None,
    *,
    c: float,
    q: float = 1.0,
    q_other: float | None = None,
    kinks: Kinks = None,
    kinks_other: Kinks = None,
) -> float: ...
@overload
def correlated_expectation(
    f: Function,
    g: Function | None = None,
    *,
    c: float | Array,
    q: float | Array = 1.0,
    q_other: float | Array | None = None,
    kinks: Kinks = None,
    kinks_other: Kinks = None,
) -> Any: ...
@overload
def correlated_expectation(
    f: Function,
    g: Function | None = None,
    *,
    c: float | Array,
    q: float | Array = 1.0,
    q_other: float | Array | None = None,
    kinks: Kinks = None,
    kinks_other: Kinks = None,
    return_error: Literal[True],
) -> tuple[Any, Any]: ...
def correlated_expectation(
    f: Function,
    g: Function | None = None,
    *,
    c: float | Array,
    q: float | Array = 1.0,
    q_other: float | Array | None = None,
    kinks: Kinks = None,
    kinks_other: Kinks = None,
    return_error: bool = False,
) -> Any:
    """E[f(x) g(y)] for Gaussians x, y of second moments ``q``, ``q_other`` and correlation ``c``.

    To 1e-10 of sqrt(E[f²] E[g²]); a float, or an array of the shape that c, q and q_other have together. Without ``g``
    it is f; ``q_other`` defaults to q. ``kinks`` of f, ``kinks_other`` of g, and ``return_error`` as in
    ``expectation``; f g must be square-integrable each.

    In u = (x + y) / sqrt(2 + 2c) and v = (x - y) / sqrt(2 - 2c), of unit scale, which are independent: panels of u end
    on the kinks of f and g, which are lines in (u, v), and panels of v where two of these cross, so that the inner
    integral is analytic in between, however near c comes to 1.

    Raises ValueError for a correlation outside [-1, 1]; otherwise as ``expectation``.
    """
    correlation = np.asarray(c, np.float64)
    if not (np.abs(correlation) <= 1).all():
        raise ValueError(f"c, a correlation, must lie between -1 and 1; got {c}.")
    moments = _second_moments(q), _second_moments(q if q_other is None else q_other)
    correlation, first, second = np.broadcast_arrays(correlation, *moments)
    kinks = find_kinks(f) if kinks is None else kinks
    if g is None:
        g, kinks_other = f, kinks
    elif kinks_other is None:
        kinks_other = find_kinks(g)
    symmetric = ((first == second) & (correlation >= 0)).ravel() & (g is f)
    flat = correlation.ravel(), np.sqrt(first.ravel()), np.sqrt(second.ravel())
    mean, error = np.empty((2, correlation.size))
    for even in (True, False):
        cases = np.flatnonzero(symmetric == even)
        for start in range(0, cases.size, CASES_AT_ONCE):
            part = cases[start : start + CASES_AT_ONCE]
            mean[part], error[part] = _pair(f, g, kinks, kinks_other, *(argument[part] for argument in flat), even=even)
    return _shaped(correlation.shape, (mean, error) if return_error else mean)


def hermite_coefficients(f: Function, degree: int, *, q: Array, kinks: Sequence[float]) -> Array:
    """Return a_k = E[f(sqrt(q) z) h_k(z)], (len(q), degree + 1), for the Hermite polynomials h_k with E[h_k²] = 1.

    To about 1e-6 of sqrt(E[f²]), by panels between the ``kinks`` that are not refined.
    """
    scale = np.sqrt(_second_moments(q))
    edges = np.concatenate([np.broadcast_to(_EDGES, (len(scale), _EDGES.size)), _breaks(kinks, scale)], 1)
    edges = np.sort(edges.clip(-REACH, REACH), 1)
    half = (edges[:, 1:] - edges[:, :-1])[..., None] / 2
    z = ((edges[:, 1:] + edges[:, :-1])[..., None] / 2 + half * _NODES).reshape(len(scale), -1)
    weights = (half * _WEIGHTS).reshape(z.shape) * np.exp(z * z * -0.5)
    weighed = np.asarray(f(scale[:, None] * z), np.float64) * weights
    before, polynomial = np.zeros_like(z), np.ones_like(z)
    coefficients = np.empty((len(scale), degree + 1))
    for k in range(degree + 1):
        coefficients[:, k] = (weighed * polynomial).sum(1)
        following = (z * polynomial - math.sqrt(k) * before) / math.sqrt(k + 1)
        before, polynomial = polynomial, following
    return coefficients


def _pair(
    f: Function, g: Function, kinks: Sequence[float], kinks_other: Sequence[float], *arrays: Array, even: bool
) -> tuple[Array, Array]:
    """E[f(x) g(y)] and its error, by case, for ``arrays``: correlations, standard deviations of x and of y.

    ``even``: says that the inner integral is even in v, so that half of it will do.
    """
    c, scale, scale_other = arrays
    other = np.copysign(scale_other, c)  # a negative correlation is a positive one with -y, for which u is the wider
    along, across = np.sqrt((1 + np.abs(c)) / 2), np.sqrt((1 - np.abs(c)) / 2)
    breaks = _breaks(kinks, scale), _breaks(kinks_other, other)

    def mean_square(h: Function, scale: Array, breaks: Array) -> Array:
        return _integrate(lambda case, z: h(scale[case, None] * z) ** 2, breaks)[0]

    size = mean_square(f, scale, breaks[0])
    if not even:
        size = np.sqrt(size * mean_square(g, other, breaks[1]))
    gaps = (_positions(kinks, scale)[:, :, None] - _positions(kinks_other, other)[:, None, :]).reshape(c.size, -1)
    crossings = np.concatenate([gaps / 2, _ladder(scale), _ladder(other)], 1) / np.maximum(across, _SMALLEST)[:, None]

    inner_error = np.zeros(c.size)

    def inner(case: Array, points: Array) -> Array:
        case, v = np.repeat(case, points.shape[1]), points.ravel()
        a, shift = along[case, None], (across[case] * v)[:, None]
        left, right = scale[case, None], other[case, None]
        lines = np.concatenate([(breaks[0][case] - shift) / a, (breaks[1][case] + shift) / a], 1)
        slack = np.exp(v * v / 4)  # far out, where the density will make little of it, less precision is needed
        mean, error, _ = _integrate(
            lambda row, u: f(left[row] * (a[row] * u + shift[row])) * g(right[row] * (a[row] * u - shift[row])),
            lines,
            _WIDE_EDGES,
            size[case] * slack,
        )
        np.maximum.at(inner_error, case, error / slack * math.sqrt(2))  # E[slack] = sqrt 2
        return mean.reshape(points.shape)

    edges = _WIDE_HALF_EDGES if even else _WIDE_EDGES
    mean, error, _ = _integrate(inner, crossings, edges, size)
    return (2 * mean, 2 * error + inner_error) if even else (mean, error + inner_error)


def _integrate(
    f: Callable[[Array, Array], Any], breaks: Array, edges: Array = _EDGES, size: Array | None = None
) -> tuple[Array, Array, Array]:
    """E[f(case, z)], its error and E|f| for each row ("case") of ``breaks`` (cases, points), that case's kinks in z.

    ``f`` gets the case of each row (rows,) and its points (rows, nodes). ``edges``: the panels to start from;
    ``size``: what the tolerance is relative to, in place of E|f|.
    """
    cases = len(breaks)
    low, high = edges[0], edges[-1]
    edges = np.sort(np.concatenate([np.broadcast_to(edges, (cases, edges.size)), breaks.clip(low, high)], 1), 1)
    case, panel = np.nonzero(edges[:, 1:] > edges[:, :-1])  # a kink on an edge leaves an empty panel
    low, high = edges[case, panel], edges[case, panel + 1]
    whole, samples = _panels(f, case, low, high)
    if size is None:
        samples = np.abs(samples)
        size = np.bincount(case, (samples * _WEIGHTS).sum(1) * (high - low) / 2, cases)
        if ((low == -REACH) & (samples[:, 0] > TOLERANCE * size[case])).any() or (
            (high == REACH) & (samples[:, -1] > TOLERANCE * size[case])
        ).any():
            raise ValueError(
                f"the function outgrows the Gaussian: too much of it lies beyond {REACH:g} standard deviations."
            )
    total, error = np.zeros(cases), np.finfo(float).eps * size
    for level in range(45):  # a panel is 2e-14 wide by then: no more than rounding is left of it
        middle = (low + high) / 2
        case, low, high = np.repeat(case, 2), np.stack([low, middle], 1).ravel(), np.stack([middle, high], 1).ravel()
        halves, _ = _panels(f, case, low, high)
        refined = halves.reshape(-1, 2).sum(1)
        change = np.abs(refined - whole)
        done = change <= TOLERANCE * size[case[::2]]
        total += np.bincount(case[::2][done], refined[done], cases)
        if level:  # near an unknown kink halves may agree by accident: count on no better than was asked for
            change = TOLERANCE * size[case[::2]]
        error += np.bincount(case[::2][done], change[done], cases)
        if done.all():
            return total, error, size
        rest = np.repeat(~done, 2)
        case, low, high, whole = case[rest], low[rest], high[rest], halves[rest]
        if np.bincount(case).max() > MOST_PANELS:
            break
    raise ValueError(
        f"the expectation did not converge near {low[0]:.6g} standard deviations: the function has a pole there, "
        f"oscillates too fast, or is noise. Look at it around that point."
    )


def _panels(f: Callable[[Array, Array], Any], case: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Integrals of f times the Gaussian density over panels (panels,), and its samples (panels, nodes), unscaled."""
    half = (high - low)[:, None] / 2
    z = (low + high)[:, None] / 2 + half * _NODES
    with np.errstate(all="ignore"):
        values = np.asarray(f(case, z), np.float64)
    if values.shape not in ((), z.shape):
        raise TypeError(f"the function must map arrays elementwise: it gave shape {values.shape} for {z.shape}.")
    if not np.isfinite(values).all():
        bad = z[~np.isfinite(np.broadcast_to(values, z.shape))][0]
        raise ValueError(f"the function has no expectation: it gives NaN or infinity at {bad:.4g} standard deviations.")
    samples = values * np.exp(z * z * -0.5)
    # A sum over the trailing axis: a matrix product's bits may depend on how many cases share it.
    return (samples * _WEIGHTS).sum(1) * half[:, 0], samples


def _breaks(kinks: Sequence[float], scale: Array) -> Array:
    """Ends that panels must have, in standard deviations (cases, points), for ``scale`` (cases,) of either sign."""
    return np.concatenate([_positions(kinks, scale), _ladder(scale)], 1)


def _positions(kinks: Sequence[float], scale: Array) -> Array:
    return np.asarray(kinks, np.float64) / np.copysign(np.maximum(np.abs(scale), _SMALLEST), scale)[:, None]


def _ladder(scale: Array) -> Array:
    """Ends of panels that lead down to 0, (cases, points); out of reach, or none, where it is not far."""
    scale = np.abs(scale)[:, None]
    largest = scale.max(initial=0.0)
    if largest <= _FAR:
        return np.empty((len(scale), 0))
    steps = _LADDER[largest > _LADDER]
    steps = np.concatenate([-steps, steps])
    # By the case's own scale alone, so that its bits don't depend on the others.
    return np.where((scale > _FAR) & (np.abs(steps) < scale), steps / np.maximum(scale, 1.0), 2 * REACH)


def _second_moments(q: float | Array) -> Array:
    moments = np.asarray(q, np.float64)
    if not (np.isfinite(moments) & (moments >= 0)).all():
        raise ValueError(f"q, a second moment, must be zero or positive, and finite; got {q}.")
    return moments


def _shaped(shape: tuple[int, ...], results: Array | tuple[Array, ...]) -> Any:
    """Each result in that shape, as a float where it is ()."""
    if isinstance(results, tuple):
        return tuple(_shaped(shape, result) for result in results)
    return results.reshape(shape) if shape else float(results[0])
