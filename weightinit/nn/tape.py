"""Tape: the work memory of a stack of runs, and the dicts of arrays that layers read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Literal, TypeAlias

from weightinit.arrays import Array

Params: TypeAlias = Mapping[str, Array]
State: TypeAlias = Mapping[str, Array]
Phase: TypeAlias = Literal["train", "evaluate"]


@dataclass(eq=False)
class Tape:
    """Work memory of one stack, allocated once and reused at every step.

    By layer, each ``(runs, batch, units)``: ``preactivation``, ``activation``, and the gradients of the loss
    ``d_preactivation`` and ``d_activation``. ``input`` refers to the input of a layer with weights. All
    ``d_activation`` share their memory, so each lasts until the next is computed. By weight: ``gradient``, views into
    ``flat_gradient`` ``(runs, parameters)``. ``ones`` is ``(1, 1, batch)``; ``xp`` is the module of the arrays.
    """

    runs: int
    batch: int
    xp: ModuleType
    flat_gradient: Array
    gradient: Params
    ones: Array
    input: dict[str, Array] = field(default_factory=dict)
    preactivation: dict[str, Array] = field(default_factory=dict)
    activation: dict[str, Array] = field(default_factory=dict)
    d_preactivation: dict[str, Array] = field(default_factory=dict)
    d_activation: dict[str, Array] = field(default_factory=dict)

    @property
    def d_output(self) -> Array:
        """Gradient of the loss with respect to the network's output."""
        return self.d_preactivation["output"]
