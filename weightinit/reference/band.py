"""Band of a reference: where the layers of correct networks lie, and from where on a network is no longer one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from weightinit.arrays import Array
from weightinit.reference.observation import Observation
from weightinit.reference.scales import floor, recorded, scaled, unscaled

State = Literal["zero", "infinite"]

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "activation": ("weight_rms", "response", "evenness", "activation_rms", "activation_correlation"),
    "gradient": ("gradient_std", "jacobian_mean_s2", "jacobian_spread"),
}
"""Quantities that are judged together, each family at half a percent."""

LEAST = 20
"""Networks of a reference that must show a number in a layer for that layer to be judged by it."""

LEVEL = 0.005
"""Chance that a correct network exceeds the line of a family."""

TAIL = 0.1
"""Share of the networks, those of the largest |z|, that the tail of its distribution is taken from."""


@dataclass(frozen=True, eq=False)
class Band:
    """Range of correct networks, measured on many of them: the ``observation`` of a reference.

    ``centre``, ``scatter``: median and standard deviation of each quantity on its scale (``scales``; of a size, of its
    logarithm) by layer (layers,), NaN where fewer than ``LEAST`` networks have one. ``line``: of each family of
    quantities, the |z| that the layers of a correct network exceed with a chance of half a percent. No smaller than the
    largest of the reference's own: of 200 networks a further one exceeds all with a chance of 1/201, whatever the
    distribution. That largest one differs much between references, so the line is no smaller than where an exponential
    tail, fitted to the upper tenth, has half a percent left. At least 1, where all networks are the same.
    """

    observation: Observation

    @cached_property
    def _scaled(self) -> Mapping[str, Array]:
        return {name: self._on_scale(name, values) for name, values in self.observation.values.items()}

    @cached_property
    def centre(self) -> Mapping[str, Array]:
        """Medians by quantity."""
        return {name: _over_networks(np.nanmedian, values) for name, values in self._scaled.items()}

    @cached_property
    def scatter(self) -> Mapping[str, Array]:
        """Standard deviations by quantity, at least ``scales.floor``."""
        return {
            name: np.maximum(_over_networks(np.nanstd, values, ddof=1), floor(name))
            for name, values in self._scaled.items()
        }

    @cached_property
    def line(self) -> Mapping[str, float]:
        """Line of each family, NaN where no layer is judged."""
        lines = {}
        for family, names in FAMILIES.items():
            largest = np.sort(np.concatenate([self._left_out(name) for name in names], axis=1).max(axis=1))
            largest = largest[largest >= 0]
            if len(largest) < LEAST:
                lines[family] = np.nan
                continue
            beyond = max(1, round(TAIL * len(largest)))
            start = largest[-beyond - 1]
            scale = float(np.mean(largest[-beyond:] - start))
            lines[family] = max(float(largest[-1]), float(start) + scale * math.log(TAIL / LEVEL), 1.0)
        return lines

    def z(self, name: str, values: Array) -> Array:
        """Return how far ``values`` (runs, layers) of a quantity lie from the centre, in units of the scatter."""
        distance: Array = (self._on_scale(name, values) - self.centre[name]) / self.scatter[name]
        return distance

    def usual(self, name: str, values: Array, measured: Array) -> Array:
        """Return the median of a quantity for other samples, on which networks of these ``values`` have ``measured``.

        All (runs, layers), of the last layers where there are fewer: a network lies as far from this median as from
        that of the reference.
        """
        distance = self._on_scale(name, values) - self.centre[name][-values.shape[1] :]
        return unscaled(name, self._on_scale(name, measured) - distance, self.observation.samples)

    def width(self, name: str) -> Array:
        """Return by layer (layers,) the standard deviation of a size's logarithm, of any other quantity itself."""
        samples = self.observation.samples
        return recorded(name, self.scatter[name], unscaled(name, self.centre[name], samples), samples)

    def share(self, name: str, state: State) -> Array:
        """Return the share of networks (layers,) whose ``name`` is ``zero`` or ``infinite``."""
        shares: Array = states(self.observation.values[name], state).mean(axis=0)
        return shares

    def spread(self, name: str, first: str, last: str) -> float:
        """Return the standard deviation over networks of the growth of a logarithm between two layers."""
        start, end = (self._scaled[name][:, self.observation.layers.index(layer)] for layer in (first, last))
        growth = end - start
        known = growth[~np.isnan(growth)]
        return float(np.std(known, ddof=1)) if len(known) >= LEAST else np.nan

    def _left_out(self, name: str) -> Array:
        """Return |z| (networks, layers) of each network by the scatter of all others; -1 where there is none.

        A network's own distance must not widen the scatter that it is measured by.
        """
        values = self._scaled[name]
        with np.errstate(all="ignore"):
            count = (~np.isnan(values)).sum(axis=0)
            distance = values - self.centre[name]
            squares = (count - 1) * self.scatter[name] ** 2
            mean = _over_networks(np.nanmean, values)
            others = (squares - count / (count - 1) * (values - mean) ** 2) / (count - 2)
            z = np.abs(distance) / np.sqrt(np.maximum(others, floor(name) ** 2))
        return np.where(np.isnan(z), -1.0, z)

    def _on_scale(self, name: str, values: Array) -> Array:
        return scaled(name, values, self.observation.samples)


def states(values: Array, state: State) -> Array:
    """Return where values are ``zero`` or ``infinite``."""
    where: Array = values == 0 if state == "zero" else np.isinf(values)
    return where


def _over_networks(moment: Callable[..., Array], values: Array, **options: int) -> Array:
    """Return a moment over networks (layers,), NaN where fewer than ``LEAST`` have a number."""
    enough = (~np.isnan(values)).sum(axis=0) >= LEAST
    result = np.full(values.shape[1], np.nan)
    if enough.any():
        result[enough] = moment(values[:, enough], axis=0, **options)
    return result
