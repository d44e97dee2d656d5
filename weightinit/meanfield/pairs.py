"""Covariances of an activation over many pairs of inputs, whose second moments differ."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from weightinit import activations
from weightinit.activations import Activation
from weightinit.arrays import Array
from weightinit.gaussian import hermite_coefficients
from weightinit.meanfield.maps import closed_form, covariance, slope_covariance

DEGREE = 24  # of the polynomials in which an activation is expanded
KINK = activations.get("relu")


def pair_covariances(
    correlation: Array, q: Array, activation: Activation, sizes: Array, *, slopes: bool = False
) -> Array:
    """Return E[phi(x) phi(y)], or of slopes E[phi'(x) phi'(y)], for each pair of Gaussian inputs, (inputs, inputs).

    ``correlation``: of the pairs; ``q``: second moments of the inputs (inputs,); ``sizes``: E[phi(x)²], or of slopes,
    of each. In closed form where there is one. Else, with phi(sqrt(q) z) = sum of a_k(q) h_k(z) in Hermite polynomials,
    as the sum of a_k(q) a_k(q') c^k (Daniely et al. 2016) up to degree 24. What an activation has beyond is that of its
    kinks or steep places, and goes with the correlation as the kink of relu does: to a few thousandths of the sizes.
    """
    at = slope_covariance if slopes else covariance
    c = np.clip(correlation, -1.0, 1.0)
    if closed_form(activation):
        return np.asarray(at(c, activation, q[:, None], q))
    coefficients = hermite_coefficients(_function(activation, slopes), DEGREE, q=q, kinks=activation.kinks)
    kink = hermite_coefficients(_function(KINK, slopes), DEGREE, q=np.ones(1), kinks=KINK.kinks)
    beyond = np.sqrt(np.maximum(sizes - (coefficients**2).sum(1), 0.0))
    rest = at(np.maximum(c, 0.0), KINK) - _series(np.maximum(c, 0.0), kink)
    whole = at(1.0, KINK) - (kink**2).sum()
    result: Array = _series(c, coefficients) + np.multiply.outer(beyond, beyond) * rest / whole
    return result


def _function(activation: Activation, slopes: bool) -> Callable[[Array], Array]:
    return activation.dphi if slopes else activation.phi


def _series(c: Array, coefficients: Array) -> Array:
    """Return the sum over k of a_k a_k' c^k, for coefficients (inputs, degree + 1)."""
    total = np.zeros_like(c)
    for column in coefficients.T[::-1]:
        total *= c
        total += np.multiply.outer(column, column) if len(column) > 1 else column[0] ** 2
    return total
