"""Law of a weight: the distribution of its elements."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

Family = Literal[
    "constant", "normal", "uniform", "truncated_normal", "orthogonal", "delta_orthogonal", "sparse", "unknown"
]


@dataclass(frozen=True)
class Law:
    """Distribution of one weight tensor's elements.

    ``mean`` and ``std`` describe the elements as drawn, so after any truncation. ``support``: the closed interval that
    holds every element. ``family``: the shape of the distribution; ``orthogonal`` weights are so as matrices, and
    ``delta_orthogonal`` ones are convolutions that are orthogonal at their centre and zero elsewhere. Of weights that
    follow none, it is ``unknown``: there is no theory of them, for ``reason``.
    """

    family: Family
    mean: float = 0.0
    std: float = math.nan
    support: tuple[float, float] = (-math.inf, math.inf)
    reason: str = field(default="", repr=False, compare=False)

    @property
    def second_moment(self) -> float:
        """E[w²] of one element."""
        return self.mean**2 + self.std**2

    @property
    def known(self) -> bool:
        """True where theory can use this law."""
        return self.family != "unknown"


UNKNOWN = Law("unknown", reason="the scheme depends on data or iterates")
