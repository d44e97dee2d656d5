"""Schemes initialize stacks of networks; rules are the schemes that draw each weight by itself."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Protocol, runtime_checkable

import numpy as np

from weightinit.arrays import Array, stream
from weightinit.initializers import normal, ones, zeros
from weightinit.laws import Law
from weightinit.nn.network import Network
from weightinit.nn.weights import WeightSpec
from weightinit.schemes.initialized import Initialized

ZERO = Law("constant", 0.0, 0.0, (0.0, 0.0))
ONE = Law("constant", 1.0, 0.0, (1.0, 1.0))


class Scheme(Protocol):
    """A function that initializes networks."""

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        """Return the initial state of one run for each of ``seeds``.

        ``batch``: samples ``(runs | 1, samples, inputs)`` for schemes that use data. The state of a run depends on the
        network, its seed and its part of the batch, never on other runs.
        """


@runtime_checkable
class Ruled(Scheme, Protocol):
    """A scheme that knows its rule, and so the laws of the weights, before it draws."""

    def rule_for(self, network: Network, second_moment: float = 1.0) -> Rule:
        """Return the rule that draws this network's weights, for inputs of this second moment.

        Raises ValueError for a network that the scheme can't initialize.
        """


@dataclass(frozen=True)
class Rule(ABC):
    """A scheme that draws each weight by itself, from the stream of the weight's name below the run's seed.

    A subclass defines the draw, in float64, and its law. Biases are zeros, or N(0, ``bias_std``²), where ``bias_std``
    is the sigma_b of mean-field theory (Poole et al. 2016). Weights of role gain and scale are 1.
    """

    bias_std: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        if not (isinstance(self.bias_std, Real) and 0 <= self.bias_std < math.inf):
            raise ValueError(
                f"bias_std must be a finite number, zero or positive; got {self.bias_std!r}. Pass bias_std=0."
            )

    @abstractmethod
    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        """Draw float64 values of ``spec.shape`` for a weight of role ``weight``."""

    @abstractmethod
    def law(self, spec: WeightSpec) -> Law:
        """Return the law of :meth:`draw`."""

    def draw_bias(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        """Draw float64 values of ``spec.shape`` for a bias; ``spec.fans`` are those of the weight beside it."""
        if self.bias_std == 0:
            return zeros(rng, spec.shape, dtype=np.float64)
        return normal(rng, spec.shape, std=self.bias_std, dtype=np.float64)

    def bias_law(self, spec: WeightSpec) -> Law:
        """Return the law of :meth:`draw_bias`."""
        return ZERO if self.bias_std == 0 else Law("normal", 0.0, float(self.bias_std))

    def rule_for(self, network: Network, second_moment: float = 1.0) -> Rule:
        """Return this rule, or a variant fitted to the network as a whole."""
        return self

    def laws(self, network: Network) -> dict[str, Law]:
        """Return the law of each of the network's weights, by name."""
        rule = self.rule_for(network)
        by_role = {"weight": rule.law, "bias": rule.bias_law}
        return {spec.name: by_role.get(spec.role, _law_of_ones)(spec) for spec in network.weights}

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        """Return the initial state of one run for each of ``seeds``; ``batch`` has no effect."""
        rule = self.rule_for(network)
        by_role = {"weight": rule.draw, "bias": rule.draw_bias}
        params: dict[str, Array] = {}
        for spec in network.weights:
            draw = by_role.get(spec.role, _draw_ones)
            params[spec.name] = np.empty((len(seeds), *spec.shape), network.dtype)
            for run, seed in enumerate(seeds):
                params[spec.name][run] = draw(spec, stream(seed, spec.name))  # the one cast
        laws = {name: (law,) * len(seeds) for name, law in self.laws(network).items()}
        return Initialized(params, laws, {}, {}, ((),) * len(seeds))


def _draw_ones(spec: WeightSpec, rng: np.random.Generator) -> Array:
    return ones(rng, spec.shape, dtype=np.float64)


def _law_of_ones(spec: WeightSpec) -> Law:
    return ONE
