"""Parametrizations: how initial weights, multipliers and learning rates follow the sizes of a network.

Tuned at base sizes, a learning rate so suits wider and deeper networks too. At its base sizes a parametrization is the
standard one: variance ``scale / fan_in``, no multiplier, one learning rate.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from numbers import Integral, Real
from typing import ClassVar, NamedTuple, get_args

import numpy as np

from weightinit.activations import Activation
from weightinit.arrays import Array
from weightinit.gains import gain
from weightinit.laws import Law
from weightinit.nn.layers import Attention, Sum
from weightinit.nn.network import Network
from weightinit.nn.weights import WeightSpec
from weightinit.schemes.adaptive import Drawn, scaled
from weightinit.schemes.base import ByWeight, Rule
from weightinit.schemes.initialized import Initialized
from weightinit.schemes.needs import require
from weightinit.schemes.rules import Constant


class Sizes(NamedTuple):
    """Sizes that belong to one weight: ``variance`` times fan_in, and the scales of its ``update`` and ``gradient``."""

    variance: float
    update: float
    gradient: float


@dataclass(frozen=True)
class Parametrization(Rule):
    """A rule whose learning rates and multipliers follow the sizes of the network.

    ``scale``: fan_in times the variance of a weight at the base sizes; None for the squared gain of the network's
    activation. ``base_width``: the width at which all is as in the standard parametrization. ``zero_output``,
    ``zero_query``: the weights of the output, and of the queries of attention, start at 0 (Yang et al. 2022, appendix
    D.2). Logits of attention are divided by a head's units instead of their root; ``heads`` count as the same at the
    base width.
    """

    scale: float | None = None
    base_width: int = 64
    distribution: Drawn = "normal"
    zero_output: bool = False
    zero_query: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_whole("base_width", self.base_width)
        if self.scale is not None and not (isinstance(self.scale, Real) and 0 < self.scale < math.inf):
            raise ValueError(f"scale must be a finite number above 0, or null; got {self.scale!r}. Pass scale=2.")
        if self.distribution not in get_args(Drawn):
            allowed = ", ".join(get_args(Drawn))
            raise ValueError(f"distribution must be one of {allowed}; got {self.distribution!r}. Pass normal.")

    @abstractmethod
    def sizes(self, spec: WeightSpec, network: Network, scale: float) -> Sizes:
        """Return the sizes of a weight; ``scale``: that of the base. Raises ValueError where the network has none."""

    def constants(self, network: Network) -> dict[str, float]:
        """Return the multipliers of the network, by name."""
        return {
            f"{layer.name}/logit_scale": (layer.units // layer.heads * layer.units / self.base_width) ** -0.5
            for layer in (step.layer for step in network.walk())
            if isinstance(layer, Attention) and layer.scale == "sqrt"
        }

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return scaled(self.scale or 1.0, self.distribution).draw(spec, rng)

    def law(self, spec: WeightSpec) -> Law:
        return scaled(self.scale or 1.0, self.distribution).law(spec)

    def rule_for(self, network: Network, second_moment: float = 1.0) -> Rule:
        """Return the rule that draws this network's weights, with its multipliers and scales."""
        require(self, network)
        activation = next(iter(network.activations), None)
        base = self.scale if self.scale is not None else _squared_gain(activation)
        sizes = {spec.name: self.sizes(spec, network, base) for spec in network.weights}
        rules = {
            spec.name: Constant(0.0) if self._is_zero(spec) else scaled(sizes[spec.name].variance, self.distribution)
            for spec in network.weights
            if spec.role == "weight"
        }
        return _Fitted(rules, self.constants(network), sizes, bias_std=self.bias_std)

    def _is_zero(self, spec: WeightSpec) -> bool:
        return (self.zero_output and spec.position == "output") or (self.zero_query and spec.part == "query")

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        return self.rule_for(network)(network, seeds)


@dataclass(frozen=True)
class MuP(Parametrization):
    """The maximal update parametrization: every layer's features change by as much in wide networks as in narrow ones.

    With m = width / base_width: hidden weights have variance scale / fan_in; the output's weights keep their variance,
    and the output has the multiplier 1/m. Sizes of updates are 1/m in hidden weights, else 1; gradients are 1/m, but
    for the output's biases. Adam's rate so is 1/m in hidden weights; that of SGD is m in input, output and biases.
    Source: Yang et al. 2022 (Tensor Programs V), table 8; Yang & Hu 2021.
    """

    name: ClassVar[str] = "mup"
    needs: ClassVar[tuple[str, ...]] = ("one_width",)

    def sizes(self, spec: WeightSpec, network: Network, scale: float) -> Sizes:
        m = self._widening(network)
        if spec.role == "scale" or (spec.role == "bias" and spec.position == "output"):
            return Sizes(0.0, 1.0, 1.0)
        if spec.role != "weight" or spec.position == "input":
            return Sizes(scale, 1.0, 1.0 / m)
        return Sizes(scale * m, 1.0, 1.0 / m) if spec.position == "output" else Sizes(scale, 1.0 / m, 1.0 / m)

    def constants(self, network: Network) -> dict[str, float]:
        multipliers = [spec.name for spec in network.constants if spec.name.endswith("/multiplier")]
        return super().constants(network) | dict.fromkeys(multipliers, 1.0 / self._widening(network))

    def _widening(self, network: Network) -> float:
        assert network.width is not None
        return network.width / self.base_width


@dataclass(frozen=True)
class _Deep(MuP):
    """muP, with residual branches divided by (depth / base_depth)^alpha, so that their updates add up as at the base.

    The n blocks change the stream by n^(1 - alpha) times what a weight of one changes. Updates on branches so are of
    size n^(alpha - 1), and gradients n^-alpha.
    """

    base_depth: int = 1

    needs: ClassVar[tuple[str, ...]] = ("one_width", "branches")
    alpha: ClassVar[float]

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_whole("base_depth", self.base_depth)

    def sizes(self, spec: WeightSpec, network: Network, scale: float) -> Sizes:
        sizes = super().sizes(spec, network, scale)
        if spec.branch is None:
            return sizes
        n = self._deepening(network)
        return Sizes(sizes.variance, sizes.update * n ** (self.alpha - 1.0), sizes.gradient * n**-self.alpha)

    def constants(self, network: Network) -> dict[str, float]:
        sums = [step.layer for step in network.walk() if isinstance(step.layer, Sum)]
        factor = self._deepening(network) ** -self.alpha
        return super().constants(network) | {f"{end.name}/branch_scale": end.branch_scale * factor for end in sums}

    def _deepening(self, network: Network) -> float:
        assert network.depth is not None
        return network.depth / self.base_depth


@dataclass(frozen=True)
class DepthMuP(_Deep):
    """muP over width, and residual branches over sqrt(depth).

    Adam's rate is 1/sqrt(depth) on branches, that of SGD stays. The theory is of branches of one layer. Source: Yang et
    al. 2023 (Tensor Programs VI), table 1.
    """

    name: ClassVar[str] = "depth_mup"
    alpha: ClassVar[float] = 0.5


@dataclass(frozen=True)
class CompleteP(_Deep):
    """muP over width, and residual branches over depth: all layers learn features in their nonlinearities too.

    Adam's rate does not depend on depth, its epsilon does. Source: Dey et al. 2025, table 1 with alpha = 1.
    """

    base_depth: int = 2

    name: ClassVar[str] = "completep"
    alpha: ClassVar[float] = 1.0


@dataclass(frozen=True)
class Spectral(Parametrization):
    """Spectral norms of weights and of their updates of the size sqrt(fan_out / fan_in), by each weight's own fans.

    Variance scale / fan_in min(1, fan_out / fan_in). SGD's rate is fan_out / fan_in, Adam's base_width / fan_in. For
    biases, gains and embeddings fan_in is base_width. Source: Yang, Simon & Bernstein 2023, parametrization 1.
    """

    name: ClassVar[str] = "spectral"
    needs: ClassVar[tuple[str, ...]] = ("own_output",)

    def sizes(self, spec: WeightSpec, network: Network, scale: float) -> Sizes:
        fan_in, fan_out = spec.fans.fan_in, spec.fans.fan_out
        if spec.role == "scale":
            return Sizes(0.0, 1.0, 1.0)
        update = self.base_width / fan_in if spec.role == "weight" and fan_in > 1 else 1.0
        return Sizes(scale * min(1.0, fan_out / fan_in), update, self.base_width / fan_out)


@dataclass(frozen=True)
class _Fitted(ByWeight):
    """A rule for each weight of one network, with multipliers and sizes by name."""

    rules: Mapping[str, Rule] = field(default_factory=dict)
    multipliers: Mapping[str, float] = field(default_factory=dict)
    sizes: Mapping[str, Sizes] = field(default_factory=dict)

    def rule(self, spec: WeightSpec) -> Rule:
        return self.rules[spec.name]

    def constants(self, network: Network) -> Mapping[str, float]:
        return self.multipliers

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        drawn = super().__call__(network, seeds)
        runs = len(seeds)
        return replace(
            drawn,
            learning_rate_scale={name: np.full(runs, sizes.update) for name, sizes in self.sizes.items()},
            gradient_scale={name: np.full(runs, sizes.gradient) for name, sizes in self.sizes.items()},
        )


@lru_cache(maxsize=64)
def _squared_gain(activation: Activation | None) -> float:
    """Return the factor of the variance that makes up for an activation, 1 for none; He's 2 for relu."""
    return 1.0 if activation is None else float(f"{gain(activation) ** 2:.10g}")


def _check_whole(name: str, value: object) -> None:
    """Raise ValueError unless a base size is a whole number of at least 1."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1; got {value!r}. Pass {name}=64.")
