"""Records of theory: moments and gradients that ``expect`` passes from layer to layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from weightinit.arrays import Array


@dataclass(frozen=True)
class Moments:
    """Expected moments of the units that enter or leave a layer, over the draw of the weights.

    ``second_moment``: E[x²] of one unit, NaN where no theory applies; ``mean``: E[x]; ``correlation``: E[x x'] / E[x²]
    for two inputs x, x' of the network, or an array of it for many pairs, NaN where unknown; ``relative_variance``:
    variance, over networks of this width, of the layer's mean square divided by its expectation squared (0 for data);
    ``reason``: why theory has no number, where it has none.
    """

    second_moment: float
    mean: float = 0.0
    correlation: float | Array = math.nan
    relative_variance: float = 0.0
    reason: str = ""

    @property
    def rms(self) -> float:
        """Root of the second moment."""
        return math.sqrt(self.second_moment)

    @property
    def scatter(self) -> float:
        """Standard deviation, over networks, of the logarithm of the rms; to first order half that of the square."""
        return 0.5 * math.sqrt(self.relative_variance)

    def scaled(self, square: float) -> Moments:
        """Return the moments of units multiplied by a factor of this square."""
        return replace(self, second_moment=square * self.second_moment, mean=math.sqrt(square) * self.mean)

    def plus(self, other: Moments, units: int) -> Moments:
        """Return the moments of the sum with ``units`` whose weights have mean zero and no share in these ones."""
        total = self.second_moment + other.second_moment
        if total == 0.0:
            return replace(self, second_moment=total)
        share = other.second_moment / total
        spread = other.relative_variance + 2.0 / units
        return Moments(
            total,
            self.mean + other.mean,
            (1.0 - share) * self.correlation + share * other.correlation,
            _together(share, self.relative_variance, spread) + 4.0 * share * (1.0 - share) / units,
        )


@dataclass(frozen=True)
class Gradient:
    """Expected gradient of the loss at a layer, relative to the gradient at the network's output.

    ``second_moment``: E[g²] of one unit over that of one output; ``correlation``: E[g g'] / E[g²] for two inputs of the
    network, or an array for many pairs, over that at the output; ``relative_variance`` as of ``Moments``. NaN where no
    theory applies, for ``reason``.
    """

    second_moment: float = 1.0
    correlation: float | Array = 1.0
    relative_variance: float = 0.0
    reason: str = ""

    def scaled(self, square: float) -> Gradient:
        """Return the gradient at what is multiplied by a factor of this square."""
        return replace(self, second_moment=square * self.second_moment)

    def __add__(self, other: Gradient) -> Gradient:
        """Return the gradient where two parts that are independent on average meet."""
        if reason := self.reason or other.reason:
            return unknown_gradient(reason)
        total = self.second_moment + other.second_moment
        if total == 0.0:
            return self
        share = other.second_moment / total
        return Gradient(
            total,
            (1.0 - share) * self.correlation + share * other.correlation,
            _together(share, self.relative_variance, other.relative_variance),
        )


def _together(share: float, one: float, other: float) -> float:
    """Return the relative variance of a sum of which ``share`` is the other; the smaller variance is common to both."""
    return (1.0 - share) ** 2 * one + share**2 * other + 2.0 * share * (1.0 - share) * min(one, other)


def unknown_moments(reason: str) -> Moments:
    """Return moments that theory does not know, with the reason."""
    return Moments(math.nan, math.nan, math.nan, math.nan, reason)


def unknown_gradient(reason: str) -> Gradient:
    """Return a gradient that theory does not know, with the reason."""
    return Gradient(math.nan, math.nan, math.nan, reason)


@dataclass(frozen=True)
class Prediction:
    """Theory of one layer. ``layer`` and ``quantity`` name the array of the tape that it predicts.

    ``input``: moments of the layer's input; ``moments``: of its output; ``gradient``: with respect to its output.
    """

    layer: str
    quantity: str
    input: Moments
    moments: Moments
    gradient: Gradient
