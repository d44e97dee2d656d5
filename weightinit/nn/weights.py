"""Weights of a network as names, shapes and roles, without arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weightinit.fans import Fans

Role = Literal["weight", "bias", "gain", "scale"]
Position = Literal["input", "hidden", "output"]


@dataclass(frozen=True)
class WeightSpec:
    """One named weight.

    ``name`` follows the structure (``hidden/3/weight``), so it means the same weight in a deeper network. ``shape`` has
    no runs axis: ``(*kernel, fan_in, fan_out)``, for a dense bias ``(1, fan_out)``. ``fans``: a bias has those of the
    weight beside it. ``position``: ``output`` for the layer of the network's output, ``input`` for the first other
    layer with weights, else ``hidden``.
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
