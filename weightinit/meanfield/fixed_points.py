"""Fixed points of the maps, with their stability: where second moments and correlations end up in deep networks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise

import numpy as np

from weightinit import activations
from weightinit.activations import Activation
from weightinit.arrays import Array
from weightinit.meanfield.maps import (
    AnyActivation,
    c_map,
    c_slope,
    q_map,
    q_slope,
    second_moment,
    slope_second_moment,
)
from weightinit.meanfield.roots import bracketed_root

NOISE = 1e-11  # relative to q: what quadrature and rounding may leave of zero
CRITICAL = 1e-6  # how far a slope may be off 1 and still count as 1: it matters after a million layers

# From 2e-18 to 1.5e14, which stand for zero and infinity, by decades; neighbours are 21% apart.
_BLOCKS = 10.0 ** (np.arange(-216, 168).reshape(32, 12) / 12 + 0.25)
_MIDDLE = 17  # the block that holds q = 1


@dataclass(frozen=True)
class FixedPoint:
    """A fixed point: its ``value``, the ``slope`` of the map there, and whether it attracts from both sides.

    ``extent``: the closed interval whose every point is fixed, where there is one (``value`` is then one of them, and
    none is stable: what is pushed off stays where it was pushed).
    """

    value: float
    slope: float
    stable: bool
    extent: tuple[float, float] | None = None


def q_star(activation: AnyActivation, sigma_w2: float, sigma_b2: float = 0.0) -> tuple[FixedPoint, ...]:
    """All fixed points of ``q_map``, ascending; none where second moments grow without bound from everywhere.

    Zero is one where nothing lifts the signal off it (phi(0) = sigma_b2 = 0). For relu with sigma_w2 = 2 and no bias
    every q is fixed: one point of ``extent`` (0, inf). Looked for from 2e-18 to 1e14, as far as the activation has
    moments there; two that lie within 21% of each other may be missed. Poole et al. 2016, section 2.
    Raises ValueError for a negative or non-finite variance.
    """
    check_variances(sigma_w2, sigma_b2)
    phi = activations.get(activation)
    grid, second, _, _ = moments_by_q(phi)
    surplus = (sigma_w2 * second + sigma_b2) / grid - 1
    if (np.abs(surplus) < NOISE).all():
        return (FixedPoint(1.0, 1.0, stable=False, extent=(0.0, math.inf)),)
    points = [zero_point(phi, sigma_w2)] if sigma_b2 == 0 and passes_zero(phi) else []
    points += [
        fixed_point(bracketed_root(partial(surplus_at, phi, sigma_w2, sigma_b2), low, high), phi, sigma_w2, sigma_b2)
        for low, high in brackets(grid, surplus)
    ]
    return tuple(points)


def q_limit(activation: AnyActivation, sigma_w2: float, sigma_b2: float = 0.0, *, start: float = 1.0) -> float:
    """Limit of a second moment under ``q_map``: the next fixed point on its way, or infinity.

    ``start``: the second moment of the first layer's pre-activations. For activations whose E[phi²] grows with q, as
    all do whose |phi| is larger the farther from zero.
    """
    if not 0 <= start < math.inf:
        raise ValueError(f"start, a second moment, must be zero or positive, and finite; got {start}.")
    phi = activations.get(activation)
    points = [point.value for point in q_star(phi, sigma_w2, sigma_b2)]
    surplus = surplus_at(phi, sigma_w2, sigma_b2, within_reach(phi, start))
    if abs(surplus) < NOISE or start in points:
        return start
    if surplus > 0:
        return min((point for point in points if point > start), default=math.inf)
    return max((point for point in points if point < start), default=0.0)


def c_star(
    activation: AnyActivation, sigma_w2: float, sigma_b2: float = 0.0, *, q: float | None = None
) -> tuple[FixedPoint, ...]:
    """All fixed points of ``c_map``, ascending, at the second moment ``q``; default: where q = 1 ends up (``q_limit``).

    The map is a power series in c of coefficients that are not negative and sum to 1 (Hermite). So it is convex for
    c > 0: c = 1 is always fixed, and alone while its slope is at most 1; above that one more lies in [0, 1), and
    attracts. For c < 0 only -1 can be fixed, where phi is odd and there is no bias. A linear network keeps every c:
    one point of ``extent`` (-1, 1). A q of zero or infinity stands for the limit. Poole et al. 2016, section 3.
    """
    check_variances(sigma_w2, sigma_b2)
    phi = activations.get(activation)
    q = within_reach(phi, q_limit(phi, sigma_w2, sigma_b2) if q is None else q)
    step = partial(c_map, activation=phi, sigma_w2=sigma_w2, sigma_b2=sigma_b2, q=q)
    slope = partial(c_slope, activation=phi, sigma_w2=sigma_w2, sigma_b2=sigma_b2, q=q)
    from_zero, last = step(0.0), slope(1.0)
    if from_zero < NOISE and abs(slope(0.0) - 1) < NOISE:
        return (FixedPoint(1.0, 1.0, stable=False, extent=(-1.0, 1.0)),)
    points = []
    if last > 1 + CRITICAL:

        def excess(c: float) -> float:  # of the mean slope from c to 1, which rises with c and is 1 at c*
            return float((1 - step(c)) / (1 - c) if c < 1 else last) - 1

        c = 0.0 if from_zero < NOISE else bracketed_root(excess, 0.0, 1.0)
        points.append(FixedPoint(c, float(slope(c)), stable=True))
    if step(-1.0) < NOISE - 1:
        points.insert(0, FixedPoint(-1.0, float(slope(-1.0)), stable=False))
    return (*points, FixedPoint(1.0, float(last), stable=not points))


def fixed_point(q: float, phi: Activation, sigma_w2: float, sigma_b2: float) -> FixedPoint:
    """The fixed point that ``q`` > 0 is known to be, with its slope and stability."""
    slope = float(q_slope(q, phi, sigma_w2))
    below, above = (surplus_at(phi, sigma_w2, sigma_b2, q * (1 + step)) for step in (-1e-3, 1e-3))
    return FixedPoint(float(q), slope, stable=below > 0 > above and slope > -1)


def zero_point(phi: Activation, sigma_w2: float) -> FixedPoint:
    """The fixed point at q = 0 of an activation that passes zero, without bias."""
    grid, second, _, _ = moments_by_q(phi)
    surplus = sigma_w2 * second / grid - 1
    seen = surplus[np.abs(surplus) > NOISE]
    return FixedPoint(0.0, float(surplus[0]) + 1, stable=bool(seen.size and seen[0] < 0))


def passes_zero(phi: Activation) -> bool:
    """True where phi(0) = 0."""
    return not phi.phi(np.zeros(1)).any()


def brackets(grid: Array, values: Array) -> list[tuple[float, float]]:
    """Pairs of neighbours on the grid between which the values change their sign, beyond noise."""
    clear = np.flatnonzero((np.abs(values) > NOISE) & np.isfinite(values))
    return [(float(grid[i]), float(grid[j])) for i, j in pairwise(clear) if (values[i] > 0) != (values[j] > 0)]


@lru_cache(maxsize=64)
def moments_by_q(phi: Activation) -> tuple[Array, Array, Array, Array]:
    """A grid of q, and on it E[phi²], its derivative in q and E[phi'²], as far to both sides of 1 as they are found.

    Some activations outgrow the Gaussian at large q; others, given as differences, are rounding alone at small q.
    """
    rows: dict[int, Array] = {}
    for way in (range(_MIDDLE, len(_BLOCKS)), range(_MIDDLE - 1, -1, -1)):
        for i in way:
            try:
                q = _BLOCKS[i]
                rows[i] = np.stack([q, second_moment(q, phi), q_slope(q, phi, 1.0), slope_second_moment(q, phi)])
            except ValueError:
                if i == _MIDDLE:
                    raise
                break
    grid, second, growth, slope = np.concatenate([rows[i] for i in sorted(rows)], 1)
    return grid, second, growth, slope


def surplus_at(phi: Activation, sigma_w2: float, sigma_b2: float, q: float) -> float:
    """Growth of q by a layer, relative to q."""
    return float(q_map(q, phi, sigma_w2, sigma_b2)) / q - 1


def within_reach(phi: Activation, q: float) -> float:
    """``q``, or the end of the grid for what lies beyond it: zero and infinity."""
    grid, _, _, _ = moments_by_q(phi)
    return min(max(q, float(grid[0])), float(grid[-1]))


def check_variances(sigma_w2: float, sigma_b2: float) -> None:
    """Raise ValueError unless the arguments are variances."""
    for name, variance in (("sigma_w2", sigma_w2), ("sigma_b2", sigma_b2)):
        if not 0 <= variance < math.inf:
            raise ValueError(f"{name}, a variance, must be zero or positive, and finite; got {variance}.")
