"""Response of a layer: its pre-activations, given what entered it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weightinit.arrays import Array
from weightinit.laws import Law

SAMPLES = 16
"""Samples that the response is taken from: enough to see a factor of 1.2, and few enough to be quick."""

RIDGE = 1e-4
"""Share of the input's total second moment below which a direction of the inputs is left out."""


def response(x: Array, z: Array, weights: Sequence[Law], biases: Sequence[Law]) -> tuple[Array, Array]:
    """Return ``size`` and ``evenness`` (runs,), float64, of the pre-activations z = x W + b, given x.

    ``x`` (runs or 1, samples, fan_in); ``z`` (runs, samples, units); the laws of W and b by run. Where the elements of
    W and b are independent, each unit has the second moments K = Var[w] x x' + Var[b] + (means)² over samples, and the
    units are independent given x, Gaussian for a normal law. With M = (K + ridge)^-1 z z' / units, ``size`` is tr M
    over its expectation: 1, whatever entered. ``evenness`` is tr M² / (tr M)² over what it is for such units: 1,
    whatever entered, more where units are alike. Orthogonal units scatter less: not at all where there are as many of
    them as inputs, since z z' then is x x'. A law that is not known counts as of variance 1 / fan_in.
    NaN where x is zero or not finite.
    """
    x, z = (array[:, :SAMPLES].astype(np.float64) for array in (x, z))
    fan_in, units, samples = x.shape[2], z.shape[2], x.shape[1]

    def column(values: Sequence[float]) -> Array:
        return np.array(values).reshape(-1, 1, 1)

    variance = column([law.std**2 if law.known else 1.0 / fan_in for law in weights])
    shift = column([law.mean if law.known else 0.0 for law in weights])
    offset = column([law.mean if law.known else 0.0 for law in biases])
    spread = column([law.std**2 if law.known else 0.0 for law in biases])
    bound = np.array([law.family == "orthogonal" for law in weights])
    scatter = np.where(bound, max(0.0, 1 - units / fan_in), 1.0) / units  # of M, of independent units 1 / units
    with np.errstate(all="ignore"):
        mean = shift * x.sum(axis=2, keepdims=True) + offset
        expected = variance * (x @ x.swapaxes(1, 2)) + spread + mean * mean.swapaxes(1, 2)
        measured = z @ z.swapaxes(1, 2) / units
        total = np.trace(expected, axis1=1, axis2=2).reshape(-1, 1, 1)
        expected, measured = expected / total, measured / total
    valid = np.isfinite(expected).all((1, 2)) & np.isfinite(measured).all((1, 2))
    ridge = np.eye(samples)
    expected, measured = (np.where(valid[:, None, None], array, ridge) for array in (expected, measured))
    whitening = np.linalg.inv(expected + RIDGE * ridge)
    trace, square = _traces(whitening @ measured)
    usual, usual_square = _traces(whitening @ expected)
    with np.errstate(all="ignore"):
        size = trace / usual
        among = usual**2 + 2 * scatter * usual_square  # the expected (tr M)²
        evenness = square / trace**2 / (1 - (1 - scatter) * (usual**2 - usual_square) / among)
    return np.where(valid, size, np.nan), np.where(valid, evenness, np.nan)


def _traces(matrices: Array) -> tuple[Array, Array]:
    """Return tr M and tr M² of each of the ``matrices`` M (runs, n, n)."""
    return np.trace(matrices, axis1=1, axis2=2), (matrices * matrices.swapaxes(1, 2)).sum((1, 2))
