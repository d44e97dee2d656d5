"""Moments of the input-output Jacobian's singular values: how evenly a network passes on small changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from weightinit import activations
from weightinit.arrays import Array
from weightinit.gaussian import expectation
from weightinit.meanfield.maps import AnyActivation, slope_second_moment

Weights = Literal["gaussian", "orthogonal"]


@dataclass(frozen=True)
class SingularValues:
    """Squared singular values s²: their ``mean``, and their variance over the square of it (``relative_variance``).

    Dynamical isometry is a mean of 1 and a relative variance of 0.
    """

    mean: float
    relative_variance: float


def jacobian_moments(
    activation: AnyActivation,
    sigma_w2: float,
    q: float | Sequence[float] | Array,
    *,
    depth: int | None = None,
    weights: Weights = "gaussian",
) -> SingularValues:
    """Moments of s² for the Jacobian of ``depth`` square layers of many units, from input to last activation.

    ``q``: second moments of the layers' pre-activations, one each, or one for all ``depth`` (such as q*). With mu_k =
    E[phi'^(2k)], mean = prod sigma_w2 mu_1 and relative variance = sum mu_2/mu_1² - 1 - s_1, where s_1 of the weights'
    S-transform is -1 for ``gaussian`` and 0 for ``orthogonal`` (Pennington, Schoenholz & Ganguli 2017, moments m_1 and
    m_2). For relu that is 2 and 1 a layer, whatever q. One network strays from it by a few times depth / width.

    Raises ValueError for unknown weights, and where depth is missing or q doesn't fit it.
    """
    if weights not in get_args(Weights):
        raise ValueError(f"weights must be one of {', '.join(get_args(Weights))}; got {weights!r}.")
    moments = np.asarray(q, np.float64)
    if moments.ndim == 0 and depth is None:
        raise ValueError("one q for all layers needs their number. Pass depth.")
    if depth is not None:
        if depth < 1 or moments.shape not in ((), (depth,)):
            raise ValueError(f"depth must be positive, and q one number or depth many; got {depth} and {q}.")
        moments = np.broadcast_to(moments, depth)
    phi = activations.get(activation)
    first = slope_second_moment(moments, phi)
    second = expectation(lambda x: phi.dphi(x) ** 4, q=moments, kinks=phi.kinks)
    spread = second / first**2 - 1 + (1 if weights == "gaussian" else 0)
    return SingularValues(float(np.prod(sigma_w2 * first)), float(spread.sum()))
