"""A root of a function of one number, without the 0.3 s that it takes to import SciPy's."""

from __future__ import annotations

from collections.abc import Callable


def bracketed_root(f: Callable[[float], float], low: float, high: float) -> float:
    """Return the root of f between ``low`` and ``high``, to rounding (Chandrupatla 1997).

    Raises ValueError where f has the same sign at both ends.
    """
    a, b = low, high
    f_a, f_b = f(a), f(b)
    if f_a * f_b > 0:
        raise ValueError(f"the function must change its sign between {low:g} and {high:g}; got {f_a:g} and {f_b:g}.")
    share = 0.5
    while True:
        # a is the newest point, b the other end of the bracket, c the one before.
        x = a + share * (b - a)
        f_x = f(x)
        if (f_x > 0) == (f_a > 0):
            c, f_c = a, f_a
        else:
            c, f_c, b, f_b = b, f_b, a, f_a
        a, f_a = x, f_x
        best, f_best = (a, f_a) if abs(f_a) < abs(f_b) else (b, f_b)
        margin = (1e-15 * abs(best) + 1e-300) / abs(b - a) if a != b else 1.0
        if f_best == 0 or margin > 0.5:
            return best
        share = 0.5
        distance, height = (a - b) / (c - b), (f_a - f_b) / (f_c - f_b)
        if height**2 < distance and (1 - height) ** 2 < 1 - distance:  # inverse quadratic interpolation is safe
            share = f_a / (f_b - f_a) * f_c / (f_b - f_c) + (c - a) / (b - a) * f_a / (f_c - f_a) * f_b / (f_c - f_b)
        share = min(max(share, margin), 1 - margin)
