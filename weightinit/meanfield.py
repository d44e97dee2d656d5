"""Mean field: how second moments of wide layers' pre-activations and gradients go from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from weightinit import activations
from weightinit.activations import Activation
from weightinit.arrays import Array
from weightinit.gaussian import expectation

AnyActivation = str | Activation | Callable[..., Any]
Moments = TypeVar("Moments", float, Array)


def q_map(q: Moments, activation: AnyActivation, sigma_w2: float | Moments, sigma_b2: float | Moments = 0.0) -> Moments:
    """Second moment of the next layer's pre-activations, sigma_w2 E[phi(sqrt(q) z)²] + sigma_b2, of the shape of ``q``.

    ``sigma_w2``: variance of a weight times fan_in; ``sigma_b2``: variance of a bias. Poole et al. 2016, eq. 3.
    Raises ValueError for a negative or NaN q, and where E[phi²] doesn't exist.
    """
    return sigma_w2 * second_moment(q, activation) + sigma_b2


def chi(q: Moments, activation: AnyActivation, sigma_w2: float | Moments) -> Moments:
    """sigma_w2 E[phi'(sqrt(q) z)²], of the shape of ``q``: growth of a gradient's second moment by one layer back.

    At the fixed point q* it is the slope of the correlation map at c = 1: order below 1, chaos above (Poole et al.
    2016, Schoenholz et al. 2017). Errors as in ``q_map``.
    """
    return sigma_w2 * slope_second_moment(q, activation)


def second_moment(q: Moments, activation: AnyActivation) -> Moments:
    """E[phi(sqrt(q) z)²] for z ~ N(0, 1), shaped as ``q``: in closed form where there is one, else by quadrature."""
    phi = activations.get(activation)
    if phi.name not in _CLOSED_FORMS:
        return expectation(lambda z: phi.phi(z) ** 2, q=q, kinks=phi.kinks)
    moment: Moments = _CLOSED_FORMS[phi.name][0](_checked(q), **phi.parameters)
    return moment


def slope_second_moment(q: Moments, activation: AnyActivation) -> Moments:
    """E[phi'(sqrt(q) z)²] for z ~ N(0, 1), shaped as ``q``: in closed form where there is one, else by quadrature."""
    phi = activations.get(activation)
    if phi.name not in _CLOSED_FORMS:
        return expectation(lambda z: phi.dphi(z) ** 2, q=q, kinks=phi.kinks)
    moment: Moments = _CLOSED_FORMS[phi.name][1](_checked(q), **phi.parameters)
    return moment


# E[phi²] and E[phi'²] as functions of q and the activation's parameters (relu: Cho & Saul 2009; erf: Williams 1997).
_CLOSED_FORMS: Mapping[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "linear": (lambda q: q, lambda q: np.zeros_like(q) + 1.0),
    "relu": (lambda q: q / 2, lambda q: np.zeros_like(q) + 0.5),
    "leaky_relu": (lambda q, slope: q * (1 + slope**2) / 2, lambda q, slope: np.zeros_like(q) + (1 + slope**2) / 2),
    "erf": (
        lambda q: 2 / math.pi * np.arcsin(2 * q / (1 + 2 * q)),
        lambda q: 4 / math.pi / np.sqrt(1 + 4 * q),
    ),
    "sine": (
        lambda q, frequency: -np.expm1(-2 * frequency**2 * q) / 2,
        lambda q, frequency: frequency**2 * (1 + np.exp(-2 * frequency**2 * q)) / 2,
    ),
}


def _checked(q: Moments) -> Moments:
    if not np.all(np.asarray(q) >= 0):
        raise ValueError(f"q, a second moment, must be zero or positive; got {q}.")
    return q
