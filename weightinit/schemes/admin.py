"""Admin: skips of a post-norm transformer that weigh as much as the branches before them, measured on a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from weightinit.arrays import Array
from weightinit.nn.layers import Sum
from weightinit.nn.network import Network
from weightinit.schemes.initialized import Initialized
from weightinit.schemes.measured import Pass
from weightinit.schemes.needs import require
from weightinit.schemes.rules import VarianceScaling


@dataclass(frozen=True)
class Admin:
    """Glorot's weights, and skips times omega_i = sqrt(1 + sum over earlier branches of Var[branch]) on the batch.

    The 1 is the variance of the stream, which norms hold there; the authors' code measures that of the embedded input
    in its place, and scales embeddings so that it is 1 too. Branches are measured with the omegas before them in
    effect. The paper trains omega, a number for each unit; here it is a constant of the run. Source: Liu et al. 2020,
    section 4.3 ("Adaptive model initialization").
    """

    name: ClassVar[str] = "admin"
    needs: ClassVar[tuple[str, ...]] = ("attention", "post_norms")

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        """Return the initial state of one run for each of ``seeds``; raise ValueError without a ``batch``."""
        require(self, network)
        if batch is None:
            raise ValueError("admin measures a batch of data; got none. Pass batch=..., (runs or 1, samples, inputs).")
        start = VarianceScaling(scale=1.0, mode="fan_avg")(network, seeds)
        total = np.ones(len(seeds))
        constants: dict[str, Array] = {}
        read: dict[str, Array] = {}
        by_batch = Pass(network, start.params, batch, read)
        for step in by_batch.steps():
            if isinstance(step.layer, Sum):
                name = f"{step.path}/skip_scale"
                constants[name] = np.sqrt(total)
                read[name] = constants[name].astype(network.dtype)
                branch = by_batch.registers[step.source]
                total = total + branch.reshape(len(branch), -1).var(axis=1, dtype=np.float64)
        return Initialized(start.params, start.laws, constants, {}, notes=((),) * len(seeds))
