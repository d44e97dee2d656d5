"""What theory says of a layer's signal: the record that ``expect`` hands from layer to layer."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Moments:
    """Expected moments of the units that enter or leave a layer, over the draw of the weights.

    ``second_moment``: E[x²] of one unit, NaN where no theory applies; ``relative_variance``: variance, over networks of
    this width, of the layer's mean square divided by its expectation squared (0 for data that is given).
    """

    second_moment: float
    relative_variance: float = 0.0

    @property
    def rms(self) -> float:
        """Root of the second moment."""
        return math.sqrt(self.second_moment)

    @property
    def scatter(self) -> float:
        """Standard deviation, over networks, of the logarithm of the rms; to first order half that of the square."""
        return 0.5 * math.sqrt(self.relative_variance)


UNKNOWN_MOMENTS = Moments(math.nan, math.nan)


@dataclass(frozen=True)
class Prediction:
    """What theory expects at one layer: its name, which array of the tape it speaks of, and the moments."""

    layer: str
    quantity: str
    moments: Moments
