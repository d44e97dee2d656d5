"""Finite width: how far the size of a signal strays in one network, exactly, where that is possible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from weightinit import activations
from weightinit.meanfield.maps import AnyActivation


@dataclass(frozen=True)
class LogNorm:
    """``mean`` and ``variance``, over networks, of the logarithm of a growth in squared norm, and the share ``alive``.

    Both are those of networks whose signal is not zero altogether; by the central limit theorem over layers the
    logarithm is close to normal.
    """

    mean: float
    variance: float
    alive: float


def log_norm(activation: AnyActivation, widths: Sequence[int], sigma_w2: float) -> LogNorm:
    """Moments of log(mean square of the last layer's activations / mean square of the input), for relu and linear.

    ``widths``: units of each layer with that activation; weights are Gaussian of variance sigma_w2 / fan_in, biases
    zero. Exact at any width: given its input, a layer of n units grows the mean square by sigma_w2 / n times a
    chi-squared variable of n degrees of freedom (linear) or of as many as units fire, Binomial(n, 1/2) (relu), apart
    from all other layers. To first order in 1/n, at sigma_w2 = 2, the relu's mean is -sum 5/(2n), its variance sum 5/n
    (Hanin & Rolnick 2018; Hanin & Nica 2020). A linear output layer adds ``log_norm("linear", [outputs], sigma_w2)``.

    Raises ValueError for another activation, and for a width or sigma_w2 that is not positive.
    """
    name = activations.get(activation).name
    if name not in ("relu", "linear"):
        raise ValueError(
            f"the norm's exact moments are known for relu and linear; got {name!r}. "
            "Network.expect gives the scatter of any activation to first order in 1/width."
        )
    if not 0 < sigma_w2 < math.inf:
        raise ValueError(f"sigma_w2, a variance, must be positive and finite; got {sigma_w2}.")
    if len(widths) == 0 or min(widths) < 1:
        raise ValueError(f"widths must be one or more positive numbers; got {list(widths)}.")
    layer = _relu_layer if name == "relu" else _linear_layer
    layers = {n: layer(n) for n in set(widths)}
    return LogNorm(
        mean=sum(layers[n].mean for n in widths) + len(widths) * math.log(sigma_w2),
        variance=sum(layers[n].variance for n in widths),
        alive=math.prod(layers[n].alive for n in widths),
    )


def _linear_layer(n: int) -> LogNorm:
    return LogNorm(float(special.digamma(n / 2)) - math.log(n / 2), float(special.polygamma(1, n / 2)), 1.0)


def _relu_layer(n: int) -> LogNorm:
    firing = np.arange(1, n + 1)
    alive = -math.expm1(-n * math.log(2))
    share = special.gammaln(n + 1) - special.gammaln(firing + 1) - special.gammaln(n - firing + 1) - n * math.log(2)
    share = np.exp(share) / alive
    log_growth = special.digamma(firing / 2) - math.log(n / 2)
    mean = float((share * log_growth).sum())
    variance = float((share * (special.polygamma(1, firing / 2) + (log_growth - mean) ** 2)).sum())
    return LogNorm(mean, variance, alive)
