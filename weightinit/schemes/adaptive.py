"""Schemes fitted by theory to the network's activation and to the size of its inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from numbers import Real
from typing import Final, Literal, TypeAlias, get_args

import numpy as np

from weightinit import activations
from weightinit.activations import Activation
from weightinit.arrays import Array
from weightinit.meanfield import CriticalPoint, critical_point
from weightinit.nn.moments import Moments
from weightinit.nn.network import Network
from weightinit.nn.tree import Step
from weightinit.nn.weights import WeightSpec
from weightinit.schemes.base import ONE, ZERO, ByWeight, Rule
from weightinit.schemes.initialized import Initialized, merge
from weightinit.schemes.rules import Orthogonal, VarianceScaling

_INSTEAD: Final = "Take scheme=autoinit (AutoInit), which keeps the second moment level in any network."

Drawn: TypeAlias = Literal["normal", "uniform", "truncated_normal", "orthogonal"]


@dataclass(frozen=True)
class Critical:
    """The edge of chaos of the network's activation: Var W = sigma_w2 / fan_in, b ~ N(0, sigma_b2), such that chi = 1.

    ``sigma_b2``: take the critical point with this variance of biases. ``q``: take the critical point whose
    pre-activations keep the second moment q. With neither, take the point that keeps changes of q too (Roberts, Yaida
    & Hanin 2022): (2, 0) for relu, (1, 0) for tanh. ``distribution``: orthogonal matrices have the same variance.
    Sources: Poole et al. 2016, Schoenholz et al. 2017.
    """

    sigma_b2: float | None = None
    q: float | None = None
    distribution: Drawn = "normal"

    def __post_init__(self) -> None:
        _check(self.distribution, sigma_b2=self.sigma_b2, q=self.q)
        if self.q is not None and self.sigma_b2 is not None:
            raise ValueError(
                f"q and sigma_b2 determine each other; got both, {self.q:g} and {self.sigma_b2:g}. Pass sigma_b2=null."
            )
        _critical_point(activations.get("relu"), self.q, self.sigma_b2)  # raises what it says of its arguments

    def point(self, network: Network) -> CriticalPoint:
        """Return the critical point of the network's activation; raise ValueError where there is none as requested."""
        if len(network.activations) > 1:
            names = ", ".join(activation.name for activation in network.activations)
            raise ValueError(f"critical needs one activation in all layers; got {names}. {_INSTEAD}")
        phi = (network.activations or (activations.linear(),))[0]
        return self.point_of(phi, any(spec.role == "bias" for spec in network.weights))

    def point_of(self, phi: Activation, biases: bool) -> CriticalPoint:
        """Return the critical point of an activation; raise ValueError where there is none as requested.

        ``biases``: whether the layers have any, as a point with a variance of biases needs.
        """
        point = _critical_point(phi, self.q, self.sigma_b2)
        if point is None:
            raise ValueError(f"{phi.name} has no critical point{self._asked}. {_other_points(phi)}")
        if point.sigma_b2 > 0 and not biases:
            raise ValueError(
                f"the critical point of {phi.name}{self._asked} needs biases, of variance {point.sigma_b2:.6g}, and "
                "this network has none. Pass architecture.bias=true."
            )
        return point

    def rule_for(self, network: Network, second_moment: float = 1.0) -> Rule:
        """Return the rule that draws weights and biases with the variances of the critical point."""
        return self.rule_at(self.point(network))

    def rule_at(self, point: CriticalPoint) -> Rule:
        """Return the rule that draws weights and biases with the variances of a critical point."""
        return scaled(point.sigma_w2, self.distribution, math.sqrt(point.sigma_b2))

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        """Return the initial state of one run for each of ``seeds``; ``batch`` has no effect."""
        initialized = self.rule_for(network)(network, seeds)
        point = self.point(network)
        if point.holds:
            return initialized
        q = point.q_star
        note = (
            f"signals drift off this critical point: what is not at q = {q.value:.4g} moves away from it by a factor "
            f"{q.slope:.4g} a layer"
        )
        return replace(initialized, notes=((note,),) * len(seeds))

    @property
    def _asked(self) -> str:
        if self.q is not None:
            return f" at q={self.q:g}"
        return f" at sigma_b2={self.sigma_b2:g}" if self.sigma_b2 is not None else " at which changes of q are kept"


@dataclass(frozen=True)
class AutoInit:
    """Weights whose variance gives the pre-activations of every layer the second moment ``q``; zero biases.

    Theory supplies the moments that enter each layer, from those of the batch or, without a batch, from a second
    moment of 1. Every activation so gets its gain, as ``weightinit.gain`` returns it, and nothing is measured on the
    network itself. Source: Bingham & Miikkulainen 2023, section 3.
    """

    q: float = 1.0
    distribution: Drawn = "normal"

    def __post_init__(self) -> None:
        _check(self.distribution, q=self.q)
        if not 0 < self.q < math.inf:
            raise ValueError(f"q, a second moment, must be positive and finite; got {self.q}. Pass q=1.")

    def rule_for(self, network: Network, second_moment: float = 1.0) -> Rule:
        """Return a rule for each weight; raise ValueError at a layer without theory or with a zero signal."""
        registers = [network.entering_moments(Moments(second_moment))]
        rules: dict[str, Rule] = {}
        for step in network.walk():
            names = [spec.name for spec in step.weights if spec.role == "weight" and spec.name not in rules]
            # Of several weights the first ones see the input, and the last one decides what leaves the layer.
            known = registers[step.source].second_moment
            rules |= dict.fromkeys(
                names, scaled(self.q / known if len(names) > 1 and known else 1.0, self.distribution)
            )
            for name in names[-1:]:
                rules[name] = scaled(1.0, self.distribution)
                scale = self.q / _expected(step, registers, rules).second_moment
                rules[name] = scaled(scale, self.distribution)
            registers.append(_expected(step, registers, rules))
        return _Each(rules)

    def __call__(self, network: Network, seeds: Sequence[int], batch: Array | None = None) -> Initialized:
        """Return the initial state of one run for each of ``seeds``, for inputs of the size of its ``batch``."""
        places: dict[float, list[int]] = {}
        for run, second_moment in enumerate(_second_moments(None if network.takes_tokens else batch, len(seeds))):
            places.setdefault(second_moment, []).append(run)
        parts = [
            (runs, self.rule_for(network, second_moment)(network, [seeds[run] for run in runs]))
            for second_moment, runs in places.items()
        ]
        return merge(parts, len(seeds))


@dataclass(frozen=True)
class _Each(ByWeight):
    """A rule for every weight, by its name."""

    rules: Mapping[str, Rule] = field(default_factory=dict)

    def rule(self, spec: WeightSpec) -> Rule:
        return self.rules[spec.name]


@lru_cache(maxsize=256)
def _critical_point(phi: Activation, q: float | None, sigma_b2: float | None) -> CriticalPoint | None:
    return critical_point(phi, q=q, sigma_b2=sigma_b2)


def _other_points(phi: Activation) -> str:
    """Sentence on the options that do have a critical point."""
    for arguments, q, sigma_b2 in (("sigma_b2=null q=null", None, None), ("sigma_b2=0", None, 0.0), ("q=1", 1.0, None)):
        if point := _critical_point(phi, q, sigma_b2):
            at = f"sigma_w2 = {point.sigma_w2:.6g}, sigma_b2 = {point.sigma_b2:.4g} and q = {point.q_star.value:.4g}"
            return f"It has another at {at}: pass {arguments}."
    return f"Nor has it others near. {_INSTEAD}"


def _check(distribution: str, **numbers: float | None) -> None:
    if distribution not in get_args(Drawn):
        raise ValueError(
            f"distribution must be one of {', '.join(get_args(Drawn))}; got {distribution!r}. Pass distribution=normal."
        )
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, Real | None):
            raise TypeError(f"{name} must be a number; got {value!r}.")


def scaled(scale: float, distribution: Drawn, bias_std: float = 0.0) -> Rule:
    """Weights of variance ``scale`` / fan_in."""
    if distribution == "orthogonal":
        return Orthogonal(gain=math.sqrt(scale), preserve="rms", bias_std=bias_std)
    return VarianceScaling(scale=scale, distribution=distribution, bias_std=bias_std)


def _expected(step: Step, registers: Sequence[Moments], rules: Mapping[str, Rule]) -> Moments:
    """Return the moments of the output of a step with weights of these rules and zero biases."""
    by_role = {"bias": ZERO}
    laws = {
        spec.name: rules[spec.name].law(spec) if spec.role == "weight" else by_role.get(spec.role, ONE)
        for spec in step.weights
    }
    try:
        after = step.expect(registers, laws)
    except ValueError as error:
        raise ValueError(f"autoinit needs theory of every layer; {step.path} has none: {error}") from error
    if not after.second_moment > 0:
        known = f" ({after.reason})" if after.reason else ""
        size = f"unknown{known}" if math.isnan(after.second_moment) else "zero"
        raise ValueError(f"autoinit needs a signal of known size in every layer; what leaves {step.path} is {size}.")
    return after


def _second_moments(batch: Array | None, runs: int) -> list[float]:
    """Mean square of each run's part of the batch, to six digits, so that rounding does not give each run a new law."""
    if batch is None:
        return [1.0] * runs
    means = np.mean(np.square(batch, dtype=np.float64), axis=(1, 2))
    return [float(f"{mean:.5e}") for mean in np.broadcast_to(means, runs)]
