"""Schemes initialize stacks of networks; rules are the schemes that draw each weight by itself."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from weightinit.arrays import Array, stream
from weightinit.initializers import constant, normal, zeros
from weightinit.laws import Law
from weightinit.nn.network import Network
from weightinit.nn.weights import WeightSpec
from weightinit.schemes.initialized import Initialized
from weightinit.schemes.needs import require

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
    is the sigma_b of mean-field theory (Poole et al. 2016). Weights of role gain and scale are ``start``, 1 by default.
    ``name``: in the lab; ``needs``: what a network must have, keys of ``weightinit.schemes.needs.NEEDS``.
    """

    name: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()

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

    def start(self, spec: WeightSpec) -> float:
        """Return the value at which a gain or a factor of a branch starts."""
        return 1.0

    def constants(self, network: Network) -> Mapping[str, float]:
        """Return the network's constants that differ from their defaults, by name."""
        return {}

    def stream(self, spec: WeightSpec) -> str:
        """Return the name of the stream that a weight is drawn from; weights drawn together share one."""
        return spec.name

    def rule_for(self, network: Network, second_moment: float = 1.0) -> Rule:
        """Return this rule, or a variant fitted to the network as a whole."""
        require(self, network)
        return self

    def laws(self, network: Network) -> dict[str, Law]:
        """Return the law of each of the network's weights, by name, and its constants as laws without spread."""
        rule = self.rule_for(network)
        fixed = {name: Law("constant", float(value), 0.0) for name, value in rule.constants(network).items()}
        return {spec.name: rule.law_of(spec) for spec in network.weights} | fixed

    def law_of(self, spec: WeightSpec) -> Law:
        """Return the law of a weight of any role."""
        match spec.role:
            case "weight":
                return self.law(spec)
            case "bias":
                return self.bias_law(spec)
        return _constant_law(self.start(spec))

    def draw_of(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        """Draw float64 values of ``spec.shape`` for a weight of any role."""
        match spec.role:
            case "weight":
                return self.draw(spec, rng)
            case "bias":
                return self.draw_bias(spec, rng)
        return constant(rng, spec.shape, value=self.start(spec), dtype=np.float64)

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        """Return the initial state of one run for each of ``seeds``; ``batch`` has no effect."""
        rule = self.rule_for(network)
        runs = len(seeds)
        params: dict[str, Array] = {}
        for spec in network.weights:
            params[spec.name] = np.empty((runs, *spec.shape), network.dtype)
            for run, seed in enumerate(seeds):
                params[spec.name][run] = rule.draw_of(spec, stream(seed, rule.stream(spec)))  # the one cast
        laws = {spec.name: (rule.law_of(spec),) * runs for spec in network.weights}
        constants = {name: np.full(runs, value) for name, value in rule.constants(network).items()}
        return Initialized(params, laws, constants, {}, (rule.notes(network),) * runs)

    def notes(self, network: Network) -> tuple[str, ...]:
        """Return sentences on the network's initial state for a person to read."""
        return ()


@dataclass(frozen=True)
class ByWeight(Rule):
    """A scheme that takes a rule for each weight of role weight, by its place in the network."""

    @abstractmethod
    def rule(self, spec: WeightSpec) -> Rule:
        """Return the rule that draws this weight."""

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return self.rule(spec).draw(spec, rng)

    def law(self, spec: WeightSpec) -> Law:
        return self.rule(spec).law(spec)


def check_finite(**numbers: object) -> None:
    """Raise ValueError unless each option, named as its key, is a finite number."""
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number; got {value!r}. Pass {name}=0.5.")


def _constant_law(value: float) -> Law:
    return Law("constant", float(value), 0.0, (float(value), float(value)))
