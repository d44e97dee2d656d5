"""Judgement of networks: whether they are ones that their laws draw, and if not, which layer is at fault."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from weightinit.arrays import Array
from weightinit.reference.band import FAMILIES, Band, State, states
from weightinit.reference.observation import Observation

ALARM = 3.0
"""Deviation beyond which a network is out of the ordinary: the joint 1% line of activations and gradients."""

LOSES = 10 * ALARM
"""Deviation of a layer's size beyond which it may be why a later layer is zero or infinite."""

STATES: tuple[State, ...] = ("zero", "infinite")

Quantity = Literal[
    "weight_rms",
    "response",
    "evenness",
    "activation_rms",
    "activation_correlation",
    "gradient_std",
    "jacobian_mean_s2",
    "jacobian_spread",
]
Fault = Quantity | State | Literal["alive", "copied"]


@dataclass(frozen=True, eq=False)
class Judgement:
    """Judgement of one network.

    ``deviation``: of each family (``activation``, ``gradient``), 3 |z| / line for the layer of the largest |z|, so that
    chance takes one network in 200 beyond 3; infinite where a layer is in a state that no correct network has; NaN
    where nothing could be judged. ``layer``, ``fault``: the layer that alarms and what of it, if one does: the size of
    its weights, activations or gradient, the correlation of its activations, its size or its units given what entered
    it (``response``, ``evenness``), the Jacobian of the network up to it, ``zero`` or ``infinite`` weights, activations
    or gradient, ``alive`` where those of all others are not, a copy of another layer's weights (``copied``). ``z``: by
    quantity and layer (layers,). ``died``: the share of correct networks with a layer that is zero or infinite, where
    this one has such a layer and it is no alarm. ``reason``: why nothing was judged.
    """

    deviation: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(FAMILIES, math.nan))
    layer: str = ""
    fault: Fault | None = None
    z: Mapping[str, Array] = field(default_factory=dict)
    died: float = math.nan
    reason: str = ""

    @property
    def alarm(self) -> bool:
        """Whether a layer is out of the ordinary."""
        return self.fault is not None


def judge(observation: Observation, band: Band) -> list[Judgement]:
    """Return the judgement of each observed network, by the range of correct ones."""
    z = {name: band.z(name, observation.values[name]) for names in FAMILIES.values() for name in names}
    unseen = {family: _unseen(family, observation, band) for family in FAMILIES}
    lost = [(name, state) for name in ("activation_rms", "gradient_std") for state in STATES]
    dead = np.stack([states(observation.values[name], state) for name, state in lost])
    expected = np.stack([band.share(name, state) for name, state in lost])
    result = []
    for run in range(observation.runs):
        of_run = {name: values[run] for name, values in z.items()}
        found = {family: _family(family, of_run, band, unseen[family][run]) for family in FAMILIES}
        deviation = {family: distance for family, (distance, _, _) in found.items()}
        layer, fault = next(
            ((observation.layers[place], fault) for distance, place, fault in found.values() if distance > ALARM),
            ("", None),
        )
        is_dead = dead[:, run].any()
        died = float(expected[dead[:, run]].max()) if is_dead and fault is None else math.nan
        result.append(Judgement(deviation, layer, fault, of_run, died))
    return result


def _family(
    family: str, z: Mapping[str, Array], band: Band, unseen: Mapping[int, Fault]
) -> tuple[float, int, Fault | None]:
    """Return the deviation of a family, its layer's place and its fault."""
    names = FAMILIES[family]
    sizes = np.abs(np.stack([z[name] for name in names]))
    sizes = np.where(np.isnan(sizes), -1.0, sizes)
    which, place = np.unravel_index(sizes.argmax(), sizes.shape)
    largest, line = float(sizes[which, place]), band.line[family]
    deviation = ALARM * largest / line if largest >= 0 else math.nan
    first = min(unseen, default=None) if family == "activation" else max(unseen, default=None)
    # What is lost in a layer is lost behind it too; a layer before it, far out of size, may be what loses it.
    if first is None or (deviation > LOSES and family == "activation" and place < first):
        return (deviation if first is None else math.inf), int(place), names[which]  # type: ignore[return-value]
    return math.inf, first, unseen[first]


def _unseen(family: str, observation: Observation, band: Band) -> list[dict[int, Fault]]:
    """Return by network the layers in a state that no network of the reference has there, by place."""
    reference = band.observation
    found: list[dict[int, Fault]] = [{} for _ in range(observation.runs)]

    def add(where: Array, fault: Fault) -> None:
        for run, place in zip(*np.nonzero(where), strict=True):
            found[run].setdefault(int(place), fault)

    sizes = ("weight_rms", "activation_rms") if family == "activation" else ("gradient_std",)
    if family == "activation":
        copied = observation.values["copied"] > 0
        add(copied & ~(reference.values["copied"] > 0).any(axis=0), "copied")
        silent = observation.values["response"] == 0
        add(silent & ~(reference.values["response"] == 0).any(axis=0), "zero")
    for size in sizes:
        shown, usual = observation.values[size], reference.values[size]
        for state in STATES:
            add(states(shown, state) & ~states(usual, state).any(axis=0), state)
        add(_alive(shown) & ~_alive(usual).any(axis=0), "alive")
    return found


def _alive(values: Array) -> Array:
    alive: Array = np.isfinite(values) & (values != 0)
    return alive
