"""Schemes of residual networks: branches that start small or at zero."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Final

from weightinit.nn.weights import WeightSpec
from weightinit.schemes.base import ByWeight, Rule, check_finite
from weightinit.schemes.rules import Constant, VarianceScaling

ZEROS: Final = Constant(0.0)
HE: Final = VarianceScaling(scale=2.0)


@dataclass(frozen=True)
class Fixup(ByWeight):
    """He's weights; on each of L residual branches of m weights times L^(-1/(2m - 2)), the last one 0; the output 0.

    The paper's multipliers are the trained factors of ``architecture.trained_scale``; they start at 1. Source: Zhang,
    Dauphin & Ma 2019, section 3 ("Fixup initialization").
    """

    name: ClassVar[str] = "fixup"
    needs: ClassVar[tuple[str, ...]] = ("branches", "own_output")

    def rule(self, spec: WeightSpec) -> Rule:
        if spec.position == "output" or spec.ends_branch:
            return ZEROS
        if spec.branch is None:
            return HE
        return VarianceScaling(gain=math.sqrt(2.0) * spec.branch.count ** (-0.5 / (spec.branch.length - 1)))


@dataclass(frozen=True)
class SkipInit(VarianceScaling):
    """He's weights, and trained factors of residual branches that start at ``alpha``, or at 1/sqrt(branches) for None.

    Source: De & Smith 2020, section 3.
    """

    scale: float | None = 2.0
    alpha: float | None = 0.0

    name: ClassVar[str] = "skipinit"
    needs: ClassVar[tuple[str, ...]] = ("trained_scales",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha is not None:
            check_finite(alpha=self.alpha)

    def start(self, spec: WeightSpec) -> float:
        if spec.role != "scale":
            return 1.0
        return self.alpha if self.alpha is not None else _of(spec) ** -0.5


@dataclass(frozen=True)
class ReZero(VarianceScaling):
    """Weights of any size, and trained factors of residual branches that start at 0.

    Source: Bachlechner et al. 2021, eq. 1.
    """

    scale: float | None = 1.0

    name: ClassVar[str] = "rezero"
    needs: ClassVar[tuple[str, ...]] = ("trained_scales",)

    def start(self, spec: WeightSpec) -> float:
        return 0.0 if spec.role == "scale" else 1.0


@dataclass(frozen=True)
class LayerScale(VarianceScaling):
    """Weights of any size, and trained factors of each unit of a residual branch that start at ``epsilon``.

    Source: Touvron et al. 2021 (CaiT), section 2: .1 up to 18 blocks, 1e-5 for 24, 1e-6 beyond.
    """

    scale: float | None = 1.0
    epsilon: float = 0.1

    name: ClassVar[str] = "layerscale"
    needs: ClassVar[tuple[str, ...]] = ("unit_scales",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite(epsilon=self.epsilon)

    def start(self, spec: WeightSpec) -> float:
        return float(self.epsilon) if spec.role == "scale" else 1.0


@dataclass(frozen=True)
class ZeroGamma(VarianceScaling):
    """He's weights, and gain 0 of the norm that ends a residual branch (Goyal et al. 2017, section 5.1)."""

    scale: float | None = 2.0

    name: ClassVar[str] = "zero_gamma"
    needs: ClassVar[tuple[str, ...]] = ("branch_norms",)

    def start(self, spec: WeightSpec) -> float:
        return 0.0 if spec.role == "gain" and spec.ends_branch else 1.0


def _of(spec: WeightSpec) -> int:
    """Return the number of residual branches of a weight's network, 1 where there are none."""
    return 1 if spec.branch is None else spec.branch.count
