"""Expectations under a Gaussian, by quadrature that is exact across kinks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np
from numpy.polynomial import legendre

from weightinit.activations import find_kinks
from weightinit.arrays import Array

REACH = 12.0  # in standard deviations; the density out there is 2e-32
TOLERANCE = 1e-12  # of E|f|, on each panel: it bounds the error of a panel, and its halves, which count, are far nearer
MOST_PANELS = 4096  # of one expectation at a time

_NODES, _WEIGHTS = legendre.leggauss(16)
# No round numbers: a pole in the very middle of a panel would cancel, and pass for its principal value.
_EDGES = np.array([0.0, 0.807, 1.613, 2.517, 3.491, 4.703, 6.211, 8.507, REACH])
_EDGES = np.concatenate([-_EDGES[:0:-1], _EDGES])


@overload
def expectation(f: Callable[..., Any], *, q: float = 1.0, kinks: Sequence[float] | None = None) -> float: ...
@overload
def expectation(f: Callable[..., Any], *, q: Array, kinks: Sequence[float] | None = None) -> Array: ...
def expectation(
    f: Callable[..., Any], *, q: float | Array = 1.0, kinks: Sequence[float] | None = None
) -> float | Array:
    """E[f(sqrt(q) z)] for z ~ N(0, 1), to 1e-10 of E|f|; a float, or an array of the shape of ``q``.

    ``f`` maps float64 arrays to float64, elementwise. ``kinks``, in the units of f's argument, are where it is not
    smooth: () says nowhere; by default they are found, which takes ten times as long. Gauss-Legendre panels between
    the kinks, each halved until it agrees with its halves to 1e-12 of E|f|.

    Raises ValueError for a negative or non-finite q, and for an f that gives NaN or infinity, outgrows the Gaussian's
    tail, or doesn't converge (a pole, or noise); TypeError where f is not elementwise.
    """
    moments = np.asarray(q, np.float64)
    if not (np.isfinite(moments) & (moments >= 0)).all():
        raise ValueError(f"q, a second moment, must be zero or positive, and finite; got {q}.")
    scale = np.sqrt(moments.ravel())
    kinks = find_kinks(f) if kinks is None else kinks
    # A vanishing scale puts every kink but zero out of reach, as it should.
    breaks = np.asarray(kinks, np.float64) / np.maximum(scale, 1e-300)[:, None]
    result = _integrate(lambda case, z: f(scale[case, None] * z), breaks).reshape(moments.shape)
    return result if moments.ndim else float(result)


def _integrate(f: Callable[[Array, Array], Any], breaks: Array) -> Array:
    """E[f(case, z)] for each row ("case") of ``breaks`` (cases, points), which holds that case's kinks in z.

    ``f`` gets the case of each row (rows,) and its points (rows, nodes).
    """
    cases = len(breaks)
    edges = np.sort(np.concatenate([np.broadcast_to(_EDGES, (cases, _EDGES.size)), breaks.clip(-REACH, REACH)], 1), 1)
    case = np.repeat(np.arange(cases), edges.shape[1] - 1)
    low, high = edges[:, :-1].ravel(), edges[:, 1:].ravel()
    whole, samples = _panels(f, case, low, high)
    samples = np.abs(samples).reshape(cases, -1, _NODES.size)
    magnitude = ((samples * _WEIGHTS).sum(2) * np.diff(edges)).sum(1) / 2
    if (np.maximum(samples[:, 0, 0], samples[:, -1, -1]) > TOLERANCE * magnitude).any():
        raise ValueError(
            f"the function outgrows the Gaussian: too much of it lies beyond {REACH:g} standard deviations."
        )
    total = np.zeros(cases)
    for _ in range(45):  # a panel is 2e-14 wide by then: no more than rounding is left of it
        middle = (low + high) / 2
        case, low, high = np.repeat(case, 2), np.stack([low, middle], 1).ravel(), np.stack([middle, high], 1).ravel()
        halves, _ = _panels(f, case, low, high)
        refined = halves.reshape(-1, 2).sum(1)
        done = np.abs(refined - whole) <= TOLERANCE * magnitude[case[::2]]
        total += np.bincount(case[::2][done], refined[done], cases)
        if done.all():
            return total
        rest = np.repeat(~done, 2)
        case, low, high, whole = case[rest], low[rest], high[rest], halves[rest]
        if np.bincount(case).max() > MOST_PANELS:
            break
    raise ValueError(
        f"the expectation did not converge near {low[0]:.6g} standard deviations: the function has a pole there, "
        f"oscillates too fast, or is noise. Look at it around that point."
    )


def _panels(f: Callable[[Array, Array], Any], case: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Integrals of f times the Gaussian density over the panels (panels,), and the samples (panels, nodes)."""
    half = (high - low)[:, None] / 2
    z = (low + high)[:, None] / 2 + half * _NODES
    with np.errstate(all="ignore"):
        values = np.asarray(f(case, z), np.float64)
    if values.shape not in ((), z.shape):
        raise TypeError(f"the function must map arrays elementwise: it gave shape {values.shape} for {z.shape}.")
    if not np.isfinite(values).all():
        bad = z[~np.isfinite(np.broadcast_to(values, z.shape))][0]
        raise ValueError(f"the function has no expectation: it gives NaN or infinity at {bad:.4g} standard deviations.")
    samples = values * np.exp(z * z / -2) / math.sqrt(2 * math.pi)
    # A sum over the trailing axis: a matrix product's bits may depend on how many cases share it.
    return (samples * _WEIGHTS).sum(1) * half[:, 0], samples
