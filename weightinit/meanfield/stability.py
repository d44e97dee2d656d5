"""Stability of a signal and of its gradient on their way through the layers: one definition for all who use it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

Label: TypeAlias = Literal[
    "stable", "decays", "grows", "vanishes", "explodes", "gradient vanishes", "gradient explodes", "unknown"
]

LEVEL = math.log(1.5) / 2  # change of log rms up to which a signal is level: a factor of 1.5 in the mean square
SMALL = math.log(10) / 2  # change of log rms that chance can excuse: a factor of ten in the mean square
EXTREME = math.log(1000)  # change of log rms beyond which a signal vanishes or explodes
GRADIENT = math.log(10)  # change of a gradient's log std, beyond that of its signal, from which on it is lost
ERRORS = 3  # standard errors that chance explains


@dataclass(frozen=True)
class Stability:
    """Label of a signal, and ``factor``: of its mean square from one layer to the next (NaN: unknown, or one layer).

    ``stable``: signal and gradient keep their size; ``decays``, ``grows``: the signal changes, slowly or fast, but
    neither it nor its gradient is lost; ``vanishes``, ``explodes``: the signal is lost; ``gradient vanishes``,
    ``gradient explodes``: the gradient is lost on its way back; ``unknown``: it can't be judged.
    """

    label: Label
    factor: float

    @property
    def trainable(self) -> bool:
        """Whether signal and gradient get through."""
        return self.label in ("stable", "decays", "grows")


def signal_stability(
    rms: float, growth: float, gradient: float, layers: int, *, scatter: float = 0.0, networks: int = 1
) -> Stability:
    """Return the stability of a signal from the first hidden layer to the last, and of its gradient on the way back.

    ``rms``: of the last hidden layer's activations; ``growth``: change of the logarithm of the rms from the first
    hidden layer over the ``layers`` after it; ``gradient``: change of the logarithm of the gradient's std from the last
    hidden layer back to the first (NaN: unknown); ``scatter``: standard deviation of ``growth`` over networks (NaN:
    unknown; 0 for theory), of which so many ``networks`` were averaged.

    A signal is level if its mean square changes by less than a factor of 1.5 in all. So is one that changes by less
    than a factor of ten where that is within three standard errors of what chance does to a level one; where chance is
    unknown, it can't be judged. A larger change is one, whatever its cause. A signal vanishes or explodes if its rms
    changes more than a thousandfold, and decays or grows in between. A gradient vanishes or explodes if its std changes
    more than tenfold, beyond the change of a signal that decays or grows.
    """
    if rms == 0:
        return Stability("vanishes", 0.0)
    if math.isinf(rms):
        return Stability("explodes", math.inf)
    if math.isnan(growth):
        return Stability("unknown", math.nan)
    rate = 2 * growth / layers if layers else math.nan
    factor = math.inf if rate > 700 else math.exp(rate)
    if abs(growth) > EXTREME:
        return Stability("explodes" if growth > 0 else "vanishes", factor)
    level = abs(growth) <= LEVEL
    if not level and abs(growth) <= SMALL:
        if math.isnan(scatter):
            return Stability("unknown", factor)
        # Where theory expects a level mean square, the logarithm of the rms falls: of a log-normal one, by its variance
        level = abs(growth + scatter**2) <= ERRORS * scatter / math.sqrt(networks)
    if abs(gradient) > GRADIENT + (0.0 if level else abs(growth)):
        return Stability("gradient explodes" if gradient > 0 else "gradient vanishes", factor)
    if level:
        return Stability("stable", factor)
    return Stability("grows" if growth > 0 else "decays", factor)
