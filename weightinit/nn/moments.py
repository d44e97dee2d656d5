"""Records of theory: moments and gradients that ``expect`` passes from layer to layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

from weightinit.arrays import Array


@dataclass(frozen=True)
class Moments:
    """Expected moments of the units that enter or leave a layer, over the draw of the weights.

    ``second_moment``: E[x²] of one unit, NaN where no theory applies; ``mean``: E[x]; ``correlation``: E[x x'] / E[x²]
    for two inputs x, x' of the network, or an array of it for many pairs, NaN where unknown; ``relative_variance``:
    variance, over networks of this width, of the layer's mean square divided by its expectation squared (0 for data).
    """

    second_moment: float
    mean: float = 0.0
    correlation: float | Array = math.nan
    relative_variance: float = 0.0

    @property
    def rms(self) -> float:
        """Root of the second moment."""
        return math.sqrt(self.second_moment)

    @property
    def scatter(self) -> float:
        """Standard deviation, over networks, of the logarithm of the rms; to first order half that of the square."""
        return 0.5 * math.sqrt(self.relative_variance)


@dataclass(frozen=True)
class Gradient:
    """Expected gradient of the loss at a layer, relative to the gradient at the network's output.

    ``second_moment``: E[g²] of one unit over that of one output; ``correlation``: E[g g'] / E[g²] for two inputs of the
    network, or an array for many pairs, over that at the output; ``relative_variance`` as of ``Moments``. NaN where no
    theory applies.
    """

    second_moment: float = 1.0
    correlation: float | Array = 1.0
    relative_variance: float = 0.0


UNKNOWN_MOMENTS = Moments(math.nan, math.nan, math.nan, math.nan)
UNKNOWN_GRADIENT = Gradient(math.nan, math.nan, math.nan)


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
