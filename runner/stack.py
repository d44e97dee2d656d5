"""Which trials train together: a stack holds runs of equal shapes, each with its own seed, scheme and step sizes."""

from __future__ import annotations

from collections.abc import Sequence

from runner.trial import Trial

# Bytes of activations and gradients that a stack may hold: what stays near a core while a step passes over it.
CACHE = 4 * 2**20


def plan(trials: Sequence[Trial]) -> list[list[int]]:
    """Indices of the trials that share a stack, in order of their first; no stack outgrows the cache."""
    groups: dict[str, list[int]] = {}
    for index, trial in enumerate(trials):
        groups.setdefault(trial.signature, []).append(index)
    stacks = []
    for indices in groups.values():
        size = capacity(trials[indices[0]])
        stacks += [indices[start : start + size] for start in range(0, len(indices), size)]
    return stacks


def capacity(trial: Trial) -> int:
    """How many runs like ``trial`` a stack holds."""
    network, batch = trial.network, trial.plan.batch_size
    units = sum(layer.units for layer in network.layers)
    bytes_per_run = network.dtype.itemsize * (2 * batch * units + 3 * network.parameters)
    return max(4, min(64, CACHE // bytes_per_run))
