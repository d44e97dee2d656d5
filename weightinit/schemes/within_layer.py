"""Within-layer initialization: weights and biases scaled and centred, unit by unit, to a batch of data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weightinit.arrays import Array
from weightinit.laws import UNKNOWN
from weightinit.nn.network import Network
from weightinit.schemes.initialized import Initialized
from weightinit.schemes.measured import Pass
from weightinit.schemes.rules import VarianceScaling


@dataclass(frozen=True)
class WithinLayer:
    """Normal weights, scaled and centred so that each unit's pre-activation has mean 0 and variance 1 on the batch.

    Mean and variance are taken over samples and positions, layer by layer; the bias takes the mean away, where there is
    one. Embeddings and positions stay as drawn. A unit that is constant on the batch keeps its weights. The law of the
    weights depends on the data and is unknown.

    Source: Krähenbühl et al. 2016, "Data-dependent initializations of convolutional neural networks", algorithm 1.
    """

    name: ClassVar[str] = "within_layer"

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        """Return the initial state of one run for each of ``seeds``; raise ValueError without a ``batch``."""
        if batch is None:
            raise ValueError(
                "within_layer measures a batch of data; got none. Pass batch=..., (runs or 1, samples, inputs)."
            )
        start = VarianceScaling(scale=1.0)(network, seeds)
        params, laws = start.params, dict(start.laws)
        fitted = {spec.name for spec in network.weights if spec.part in ("embedding", "positions")}
        by_batch = Pass(network, params, batch)
        for specs in by_batch.layers():
            for spec in specs:
                if spec.name in fitted or spec.layer == "embedding":
                    continue
                fitted.add(spec.name)
                z = by_batch.output(spec, "preactivation")
                # Units first, so that a run's sums don't depend on the other runs.
                by_unit = np.ascontiguousarray(z.reshape(len(z), -1, z.shape[-1]).swapaxes(1, 2), np.float64)
                mean, std = by_unit.mean(axis=2), by_unit.std(axis=2)
                varies = (std > 0) & np.isfinite(std)
                std = np.where(varies, std, 1.0)
                weight, bias = params[spec.name], f"{spec.layer}/bias"
                weight /= std.reshape(len(std), *[1] * (weight.ndim - 2), -1).astype(weight.dtype)
                laws[spec.name] = (UNKNOWN,) * len(seeds)
                if bias in params:
                    params[bias][...] = np.where(varies, -mean / std, 0.0)[:, np.newaxis]
                    laws[bias] = (UNKNOWN,) * len(seeds)
                by_batch.again()
        return Initialized(params, laws, {}, {}, notes=((),) * len(seeds))
