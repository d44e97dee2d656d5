"""Moments of the input-output Jacobian's singular values: how evenly a network passes on small changes."""

from __future__ import annotations

import math
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

    Dynamical isometry is a mean of 1 and a relative variance of 0. A Jacobian has as many values as outputs here, some
    of them zero where it has fewer inputs.
    """

    mean: float = 1.0
    relative_variance: float = 0.0

    def after_weights(
        self, sigma_w2: float, weights: Weights = "gaussian", shape: tuple[int, int] | None = None
    ) -> SingularValues:
        """Return the singular values of the Jacobian followed by weights of variance sigma_w2 / fan_in.

        ``shape``: (fan_in, fan_out), by default square with many units. The mean of s^4 over the squared mean of s²
        goes from r to 1 + r fan_out/fan_in for ``gaussian`` weights. Orthogonal ones take it to r fan_out/fan_in where
        they add units, and leave fan_out/fan_in of r - 1 where they drop some (free compression, Nica & Speicher 1996).
        Sizes are corrected for few outputs: one value has no variance.
        """
        ratio = 1.0 + self.relative_variance
        fan_in, fan_out = shape or (1, 1)
        size = {n: (n - 1) * (n + 2) / n if shape else 1.0 for n in (fan_in, fan_out)}
        if weights == "gaussian":
            ratio = 1.0 + size[fan_out] / fan_in * ratio
        elif fan_out >= fan_in:
            ratio *= fan_out / fan_in
        else:
            ratio = 1.0 + size[fan_out] / size[fan_in] * (ratio - 1.0)
        return SingularValues(sigma_w2 * self.mean, ratio - 1.0)

    def after_slopes(self, second: float, fourth: float) -> SingularValues:
        """Return the singular values after an activation with E[phi'²] = ``second`` and E[phi'⁴] = ``fourth``."""
        spread = fourth / second**2 - 1.0 if second else math.nan
        return SingularValues(second * self.mean, self.relative_variance + spread)

    def among(self, share: float) -> SingularValues:
        """Return the ``share`` of the values that is not zero by shape alone."""
        return SingularValues(self.mean / share, (1.0 + self.relative_variance) * share - 1.0)


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
    values = SingularValues()
    for mu_1, mu_2 in zip(first.tolist(), second.tolist(), strict=True):
        values = values.after_weights(sigma_w2, weights).after_slopes(mu_1, mu_2)
    return values
