"""Phases, depth scales, and the critical variances between order and chaos."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from weightinit import activations
from weightinit.activations import Activation
from weightinit.meanfield.fixed_points import (
    CRITICAL,
    NOISE,
    FixedPoint,
    brackets,
    c_star,
    check_variances,
    fixed_point,
    moments_by_q,
    passes_zero,
    q_limit,
    q_star,
    within_reach,
    zero_point,
)
from weightinit.meanfield.maps import (
    AnyActivation,
    chi,
    q_slope,
    second_moment,
    slope_covariance,
    slope_second_moment,
)
from weightinit.meanfield.roots import bracketed_root

Phase = Literal["ordered", "critical", "chaotic"]


@dataclass(frozen=True)
class DepthScales:
    """Limits of signals in a deep network, and the number of layers to reach them.

    ``q``: second moment of pre-activations in the long run, 0 where they vanish, infinity where they explode.
    ``chi``: growth of a gradient's second moment by one layer back. ``c``: the correlation that inputs end up with.
    ``xi_q``, ``xi_c``: layers in which the distance of q and c to there changes by a factor e; infinity where it does
    so only like a power of depth.
    """

    q: float
    chi: float
    c: float
    xi_q: float
    xi_c: float

    @property
    def phase(self) -> Phase:
        """Ordered: gradients vanish and inputs grow alike; chaotic: gradients explode and neighbours part."""
        if abs(self.chi - 1) <= CRITICAL:
            return "critical"
        return "ordered" if self.chi < 1 else "chaotic"

    @property
    def trainable_depth(self) -> float:
        """About how many layers can be trained, 6 xi_c, on the evidence of Schoenholz et al. 2017, figure 5."""
        return 6 * self.xi_c


def depth_scales(
    activation: AnyActivation, sigma_w2: float, sigma_b2: float = 0.0, *, start: float = 1.0
) -> DepthScales:
    """Depth scales for layers of these variances; ``start`` is the second moment of the first pre-activations.

    xi_q = 1/|log slope of q_map at q*|, xi_c = 1/|log sigma_w2 E[phi'(x) phi'(y)]| at c* (Schoenholz et al. 2017,
    section 3). In the ordered phase, and wherever q goes to 0 or infinity with c to 1, xi_c is 1/|log chi|, the
    depth scale of gradients. Raises ValueError as ``q_star``.
    """
    check_variances(sigma_w2, sigma_b2)
    phi = activations.get(activation)
    limit = q_limit(phi, sigma_w2, sigma_b2, start=start)
    q = within_reach(phi, limit)
    point = max(c_star(phi, sigma_w2, sigma_b2, q=q), key=lambda point: (point.stable, point.value))
    return DepthScales(
        q=limit,
        chi=float(chi(q, phi, sigma_w2)),
        c=point.value,
        xi_q=_scale(q_slope(q, phi, sigma_w2)),
        xi_c=_scale(sigma_w2 * slope_covariance(point.value, phi, q)),
    )


@dataclass(frozen=True)
class CriticalPoint:
    """Variances at which chi = 1 at the fixed point ``q_star`` of the second moment."""

    sigma_w2: float
    sigma_b2: float
    q_star: FixedPoint

    @property
    def holds(self) -> bool:
        """True where signals stay at ``q_star``; otherwise they drift away, and the point is critical on paper only."""
        q = self.q_star
        return q.stable or q.extent is not None or (q.value > 0 and q.slope <= 1 + CRITICAL)


def critical_point(
    activation: AnyActivation, *, q: float | None = None, sigma_b2: float | None = None
) -> CriticalPoint | None:
    """The variances between order and chaos that have this fixed point ``q``, or this ``sigma_b2``; None: none have.

    chi = 1 asks for sigma_w2 = 1 / E[phi'²], and q = q_map(q) for sigma_b2 = q - sigma_w2 E[phi²] (Schoenholz et al.
    2017, section 3), which for some activations is negative. Of several with one sigma_b2, that with a stable q*, and
    of those with the smallest. Where every q* would do (relu, sigma_b2 = 0) it is 1.

    With neither, the point at which a change of q too is kept, neither damped nor amplified: slope 1 of ``q_map``
    (Roberts, Yaida & Hanin 2022, chapter 5: relu (2, 0), tanh (1, 0), gelu (1.98305826, 0.17292239)).
    Raises ValueError for both, and for a q or sigma_b2 that is negative or not finite.
    """
    phi = activations.get(activation)
    if q is not None and sigma_b2 is not None:
        raise ValueError("critical_point takes q or sigma_b2, not both: each determines the other.")
    if q is not None:
        if not 0 <= q < math.inf:
            raise ValueError(f"q, a second moment, must be zero or positive, and finite; got {q}.")
        return _critical_at(phi, q)
    grid, second, growth, slope = moments_by_q(phi)
    with np.errstate(divide="ignore"):
        bias_share = 1 - second / slope / grid  # of q, where chi = 1
    if sigma_b2 is None:
        # Where no bias can be, q is out of reach, and its slope may be mere rounding.
        target, values = _slope_excess, np.where(bias_share > -NOISE, growth / slope - 1, math.nan)
    else:
        check_variances(0.0, sigma_b2)
        target, values = partial(_critical_surplus, sigma_b2), bias_share - sigma_b2 / grid
    if (np.abs(values) < NOISE).all():
        return _critical_at(phi, 1.0)
    found = [_critical_at(phi, bracketed_root(partial(target, phi), *ends)) for ends in brackets(grid, values)]
    if not sigma_b2:
        found.append(_critical_at(phi, 0.0))
    points = [point if sigma_b2 is None else replace(point, sigma_b2=sigma_b2) for point in found if point]
    return min(points, key=_preference, default=None)


def _preference(point: CriticalPoint) -> tuple[bool, bool, float]:
    """Smaller is better: stable before unstable, signals of some size before vanishing ones, then the smallest q."""
    return not point.q_star.stable, point.q_star.value == 0, point.q_star.value


def _critical_at(phi: Activation, q: float) -> CriticalPoint | None:
    slope = float(slope_second_moment(q, phi) if q else moments_by_q(phi)[3][0])
    if slope < NOISE:  # it is flat there
        return None
    sigma_w2 = 1 / slope
    if q == 0:
        return CriticalPoint(sigma_w2, 0.0, zero_point(phi, sigma_w2)) if passes_zero(phi) else None
    sigma_b2 = q - sigma_w2 * float(second_moment(q, phi))
    if abs(sigma_b2) < NOISE * q:
        sigma_b2 = 0.0
    if sigma_b2 < 0:
        return None
    every = [point for point in q_star(phi, sigma_w2, sigma_b2) if point.extent]
    point = replace(every[0], value=q) if every else fixed_point(q, phi, sigma_w2, sigma_b2)
    return CriticalPoint(sigma_w2, sigma_b2, point)


def _slope_excess(phi: Activation, q: float) -> float:
    """Slope of the q map minus 1, at the sigma_w2 with chi = 1."""
    return float(q_slope(q, phi, 1.0)) / float(slope_second_moment(q, phi)) - 1


def _critical_surplus(sigma_b2: float, phi: Activation, q: float) -> float:
    """Excess of q over its map, relative to q, at the sigma_w2 with chi = 1."""
    return 1 - (float(second_moment(q, phi)) / float(slope_second_moment(q, phi)) + sigma_b2) / q


def _scale(slope: float) -> float:
    if slope == 0:
        return 0.0
    rate = abs(math.log(abs(slope)))
    return 1 / rate if rate > NOISE else math.inf
