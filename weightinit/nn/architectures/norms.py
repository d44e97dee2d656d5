"""Norms by name, as architectures take them."""

from __future__ import annotations

from weightinit.nn.layers import BatchNorm, GroupNorm, LayerNorm
from weightinit.nn.tree import Node

GROUPS = 4  # of a group norm


def normed(norm: str, name: str, units: int) -> list[Node]:
    """Return the norm of this kind over ``units`` features: batch, layer, rms, group; nothing for none."""
    match norm:
        case "batch":
            return [BatchNorm(name, units)]
        case "layer" | "rms":
            return [LayerNorm(name, units, centred=norm == "layer")]
        case "group":
            return [GroupNorm(name, units, GROUPS if units % GROUPS == 0 else 1)]
    return []
