"""Samples that a stack sees: parts of the data as arrays, their order in training, and the probe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from runner.config.plan import Plan
from runner.data import Dataset
from weightinit.arrays import Array, stream
from weightinit.nn import Moments, Network
from weightinit.nn.moments import moments_of


@lru_cache(maxsize=32)
def part_arrays(dataset: Dataset, part: str, dtype: str) -> tuple[Array, Array]:
    """Return inputs (n, inputs) and targets (n, outputs) of a part as the dtype named; classes become one-hot rows.

    Targets of tokens are (n, tokens, classes), zero where a token has none.
    """
    x, y = getattr(dataset, f"x_{part}"), getattr(dataset, f"y_{part}")
    if dataset.task == "classification":
        y = np.eye(dataset.outputs + 1)[y, : dataset.outputs]  # a row of zeros where there is no target
    return np.ascontiguousarray(x, dtype), np.ascontiguousarray(y, dtype)


@dataclass(frozen=True, eq=False)
class ProbeSamples:
    """Fixed samples on which each run is measured: ``x`` (1, samples, inputs), targets ``y`` (1, samples, outputs)."""

    x: Array
    y: Array

    @cached_property
    def moments(self) -> Moments:
        """Moments of the inputs as plain features: second moment, and E[x x'] / E[x²] of every pair of samples."""
        return moments_of(self.x[0], (self.x.shape[-1],))

    def moments_for(self, network: Network) -> Moments:
        """Return the moments of the inputs as the network takes them: by position, where it has positions."""
        if len(network.followed_shape) == 1 and not network.takes_tokens:
            return self.moments
        return network.moments_of(self.x[0])


@lru_cache(maxsize=8)
def probe_samples(dataset: Dataset, count: int, source: str, dtype: str) -> ProbeSamples:
    """Return the first samples of a part, which the split has shuffled, or Gaussian inputs with training targets."""
    x, y = part_arrays(dataset, "validation" if source == "validation" else "train", dtype)
    if source == "gaussian":
        noise = stream(0, "probe").standard_normal((count, x.shape[1]))
        return ProbeSamples(noise.astype(x.dtype)[None], np.resize(y, (count, *y.shape[1:]))[None])
    return ProbeSamples(x[None, :count], y[None, :count])


def epoch_orders(plan: Plan, samples: int) -> Iterator[Array]:
    """Yield the order of the samples (samples,) in each epoch, from the stream ``batches`` of the plan's seed."""
    rng = stream(plan.seed, "batches")
    while True:
        yield rng.permutation(samples)
