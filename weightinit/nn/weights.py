"""What a network says of each of its weights, without any array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weightinit.fans import Fans

Role = Literal["weight", "bias", "gain", "scale"]
Position = Literal["input", "hidden", "output"]


@dataclass(frozen=True)
class WeightSpec:
    """One named weight.

    ``name`` follows the structure (``hidden/3/weight``), so that it means the same weight in a deeper network;
    ``shape`` has no runs axis and is laid out ``(*kernel, fan_in, fan_out)``, a dense bias ``(1, fan_out)``;
    ``fans`` of a bias are those of the weight beside it; ``position`` is that of the layer: the one that
    makes the network's output is ``output``, of the others the first that has weights is ``input``.
    """

    name: str
    shape: tuple[int, ...]
    fans: Fans
    role: Role
    position: Position

    @property
    def layer(self) -> str:
        """Name of the layer that holds this weight: ``hidden/3``."""
        return self.name.rpartition("/")[0]
