"""The law of a weight: the distribution that its elements were drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Family = Literal["constant", "normal", "uniform", "truncated_normal", "orthogonal", "sparse", "unknown"]


@dataclass(frozen=True)
class Law:
    """Distribution of one weight tensor's elements.

    ``mean`` and ``std`` are those of the elements as drawn (after truncation, where there is one); ``support`` is
    the closed interval that holds every element. ``family`` names the shape of the distribution; ``unknown`` is the
    honest answer of a scheme that depends on data or iterates, and theory then says nothing.
    """

    family: Family
    mean: float = 0.0
    std: float = math.nan
    support: tuple[float, float] = (-math.inf, math.inf)

    @property
    def second_moment(self) -> float:
        """E[w²] of one element."""
        return self.mean**2 + self.std**2

    @property
    def known(self) -> bool:
        """Whether theory can use this law."""
        return self.family != "unknown"


UNKNOWN = Law("unknown")
