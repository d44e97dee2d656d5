"""Reference stack: many networks of the same laws, sent through the same samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from weightinit.nn import Network
from weightinit.reference.band import Band
from weightinit.reference.draws import Draws
from weightinit.reference.observation import Observation, Probe, Tapes, networks_at_once, observe

NETWORKS = 200
"""Networks of a reference. One more lies beyond all of them by chance in half a percent of cases."""

BUDGET = 4e11
"""Floating-point operations that a reference may take: ten to fifteen seconds of a core."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Observed networks of a network's laws, or the ``reason`` why there are none."""

    observation: Observation | None
    reason: str = ""

    @cached_property
    def band(self) -> Band | None:
        """Range of correct networks, if they were observed."""
        return None if self.observation is None else Band(self.observation)


def operations(network: Network, probe: Probe, networks: int = NETWORKS) -> float:
    """Return the floating-point operations of a reference: forward, and twice that backward, also for the Jacobian."""
    samples = probe.x.shape[1] + network.jacobian_samples * network.outputs
    return 6.0 * networks * int(samples) * network.multiplications


def reference(
    network: Network, draws: Draws, probe: Probe, *, networks: int = NETWORKS, budget: float = BUDGET
) -> Reference:
    """Return the reference of ``draws``; one without an observation where it would take more than ``budget``."""
    if operations(network, probe, networks) > budget:
        return Reference(None, f"a reference of {networks} networks of {network.shape} takes too long")
    at_once = networks_at_once(network, probe.x.shape[1])
    tapes: dict[int, Tapes] = {}
    parts = [
        observe(network, drawn.params, probe, drawn.laws, drawn.constants, tapes)
        for drawn in draws.stacks(network, networks, at_once)
    ]
    return Reference(
        Observation(
            parts[0].layers,
            {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values},
            parts[0].samples,
        )
    )
