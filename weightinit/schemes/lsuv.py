"""Layer-sequential unit variance: weights scaled layer by layer to a batch of data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, get_args

import numpy as np

from weightinit.arrays import Array
from weightinit.laws import UNKNOWN
from weightinit.nn.network import Network
from weightinit.schemes.initialized import Initialized
from weightinit.schemes.measured import Pass
from weightinit.schemes.rules import Orthogonal

Quantity = Literal["preactivation", "activation"]


@dataclass(frozen=True)
class LSUV:
    """Orthogonal weights, divided layer by layer by the std of the layer's output on the batch.

    The std is taken over samples and units. Each run repeats this until the variance differs from 1 by less than
    ``tolerance``, at most ``max_iterations`` times. ``measure``: the output is the pre-activation, which needs a single
    division, or the activation, which may need more or fail; a note then tells. Biases are zeros. The law of the
    weights depends on the data and is unknown.

    Source: Mishkin & Matas 2016, "All you need is a good init", algorithm 1.
    """

    tolerance: float = 0.1
    max_iterations: int = 10
    measure: Quantity = "preactivation"

    def __post_init__(self) -> None:
        if not (isinstance(self.tolerance, Real) and 0 < self.tolerance < math.inf):
            raise ValueError(f"tolerance must be a positive number; got {self.tolerance!r}. Pass tolerance=0.1.")
        if not isinstance(self.max_iterations, Integral) or self.max_iterations < 1:
            raise ValueError(
                f"max_iterations must be a whole number from 1; got {self.max_iterations!r}. Pass max_iterations=10."
            )
        if self.measure not in get_args(Quantity):
            raise ValueError(
                f"measure must be one of {', '.join(get_args(Quantity))}; got {self.measure!r}. "
                "Pass measure=preactivation."
            )

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        """Return the initial state of one run for each of ``seeds``; raise ValueError without a ``batch``."""
        if batch is None:
            raise ValueError("lsuv measures a batch of data; got none. Pass batch=..., (runs or 1, samples, inputs).")
        start = Orthogonal()(network, seeds)
        params, laws = start.params, dict(start.laws)
        notes: list[tuple[str, ...]] = [()] * len(seeds)
        by_batch = Pass(network, params, batch)
        for weights in by_batch.layers():
            laws |= dict.fromkeys((spec.name for spec in weights), (UNKNOWN,) * len(seeds))
            for spec in weights:
                weight, off = params[spec.name], np.ones(len(seeds), bool)
                for iteration in range(self.max_iterations + 1):
                    if iteration:
                        by_batch.again()
                    output = by_batch.output(spec, self.measure)
                    std = output.reshape(len(seeds), -1).std(axis=1, dtype=np.float64)
                    off &= ~(np.abs(std**2 - 1) < self.tolerance)
                    divided = off & (std > 0) & np.isfinite(std)
                    if iteration == self.max_iterations or not divided.any():
                        break
                    weight[divided] /= std[divided].reshape(-1, *[1] * (weight.ndim - 1)).astype(weight.dtype)
                for run in np.flatnonzero(off):
                    notes[run] += (f"{spec.layer}: the variance of its {self.measure}s is {std[run] ** 2:.3g}, not 1",)
        return Initialized(params, laws, {}, {}, tuple(notes))
