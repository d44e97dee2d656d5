"""Weights, constants and running statistics of a network as names, shapes and roles, without arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from weightinit.fans import Fans

Role = Literal["weight", "bias", "gain", "scale"]
Position = Literal["input", "hidden", "output"]
Part = Literal[
    "dense", "convolution", "query", "key", "value", "out", "gate", "up", "embedding", "positions", "norm", "sum"
]


@dataclass(frozen=True)
class Branch:
    """Place of a weight among the residual branches of its network.

    ``index`` of ``count`` branches from 1. The branch has ``length`` weights of role ``weight``; ``place`` counts those
    up to this one, so that it is 0 for a norm at the start of a branch, and ``length`` for what stands at its end.
    """

    index: int
    count: int
    place: int
    length: int


@dataclass(frozen=True)
class WeightSpec:
    """One named weight.

    ``name`` follows the structure (``hidden/3/weight``), so it means the same weight in a deeper network. ``shape`` has
    no runs axis: ``(*kernel, fan_in, fan_out)``, for a dense bias ``(1, fan_out)``. ``fans``: a bias has those of the
    weight beside it. ``position``: ``output`` for the layer of the network's output, ``input`` for the first other
    layer with weights, else ``hidden``. ``branch``: its place in a residual branch, None on the trunk and on the way
    past a branch. ``part``: the kind of its layer, or its place in it. ``trained``: a frozen weight stays as it was
    initialized, and has no part in decay, in the clipping of gradients and in norms.
    """

    name: str
    shape: tuple[int, ...]
    fans: Fans
    role: Role
    position: Position
    branch: Branch | None = None
    part: Part = "dense"
    trained: bool = True

    @property
    def ends_branch(self) -> bool:
        """Whether this is the last weight of role ``weight`` of a residual branch, or stands behind it."""
        return self.branch is not None and self.branch.place == self.branch.length

    @property
    def layer(self) -> str:
        """Name of the layer that holds this weight: ``hidden/3``."""
        return self.name.rpartition("/")[0]


class ConstantSpec(NamedTuple):
    """Multiplier that is not trained, one number for each run; ``default`` where a scheme gives none."""

    name: str
    default: float
    doc: str


class StatisticSpec(NamedTuple):
    """Running statistic that a layer keeps beside its weights: its shape without runs, and its first value."""

    name: str
    shape: tuple[int, ...]
    start: float
