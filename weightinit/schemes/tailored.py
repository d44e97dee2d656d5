"""Schemes that tailor the activation to the network, so that deep plain networks keep inputs apart and train.

Such a scheme gives the network another activation before it draws the weights: ``network_for`` returns that network.
The parameters of the activation belong to the network, as those of any activation.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from numbers import Real
from typing import ClassVar, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from weightinit import activations
from weightinit.activations import Activation
from weightinit.arrays import Array
from weightinit.gaussian import expectation
from weightinit.meanfield.roots import bracketed_root
from weightinit.nn.layers import Nonlinearity
from weightinit.nn.network import Network
from weightinit.nn.tree import Node, Residual, Serial
from weightinit.nn.weights import WeightSpec
from weightinit.schemes.base import ByWeight, Rule
from weightinit.schemes.isometries import Delta
from weightinit.schemes.needs import require
from weightinit.schemes.rules import Orthogonal

Local: TypeAlias = Callable[[float], float]
STARTS = [(scale, shift) for scale in (1.0, 0.3, 0.1, 0.03) for shift in (0.0, 0.5, 1.0, -0.5, -1.0)]
"""Input scales and shifts from which the equations of ``transformation`` are solved, until one works."""


@runtime_checkable
class Tailoring(Protocol):
    """A scheme that asks for an activation of its own."""

    def network_for(self, network: Network) -> Network:
        """Return the network with that activation; raise ValueError for one that the scheme can't initialize."""


class Transformation(NamedTuple):
    """``output_scale (phi(input_scale z + input_shift) + output_shift)``."""

    input_scale: float
    input_shift: float
    output_scale: float
    output_shift: float


@dataclass(frozen=True)
class _Tailored(ByWeight):
    """Orthogonal weights that keep the rms of a unit, in convolutions at the centre; a tailored activation."""

    def network_for(self, network: Network) -> Network:
        require(self, network)
        if self._is_tailored(network):
            return network
        return network.with_activation(self.activation_for(network))

    @abstractmethod
    def activation_for(self, network: Network) -> Activation:
        """Return the activation, tailored to the network."""

    def rule_for(self, network: Network, second_moment: float = 1.0) -> Rule:
        """Return this rule; raise ValueError for a network that ``network_for`` has not returned."""
        if not self._is_tailored(network):
            raise ValueError(f"{self.name} draws weights for an activation of its own. Pass network_for(network).")
        return super().rule_for(network, second_moment)

    def rule(self, spec: WeightSpec) -> Rule:
        return Delta(preserve="rms") if spec.part == "convolution" else Orthogonal(preserve="rms")

    def _is_tailored(self, network: Network) -> bool:
        return all(activation.name.startswith(f"{self.name}_") for activation in network.activations)


@dataclass(frozen=True)
class TAT(_Tailored):
    """Leaky relu, times sqrt(2 / (1 + slope²)), with the slope at which independent inputs leave with correlation eta.

    ``eta``: correlation at the output of the network. A network in which relu leaves less has slope 0. Source: Zhang,
    Botev & Martens 2022, section 4.1.
    """

    eta: float = 0.9

    name: ClassVar[str] = "tat"
    needs: ClassVar[tuple[str, ...]] = ("level_chain", "leaky_relu")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.eta, Real) and 0 < self.eta < 1):
            raise ValueError(f"eta must be a correlation between 0 and 1; got {self.eta!r}. Pass eta=0.9.")

    def activation_for(self, network: Network) -> Activation:
        slope = leaky_slope(lambda local: maximal(network.layers, local, 0.0), self.eta)
        leaky = activations.leaky_relu(slope=slope)
        return transformed(self.name, leaky, Transformation(1.0, 0.0, math.sqrt(2.0 / (1.0 + slope**2)), 0.0))


@dataclass(frozen=True)
class DKS(_Tailored):
    """Deep kernel shaping: the activation shifted and scaled so that Q(1) = Q'(1) = 1, C(0) = 0 and C'(1) = ``zeta``.

    Q and C are the maps of second moment and correlation, C that of the whole network, the others those of a layer.
    Source: Martens et al. 2021, section "Summary of our method".
    """

    zeta: float = 1.5

    name: ClassVar[str] = "dks"
    needs: ClassVar[tuple[str, ...]] = ("level_chain", "smooth")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.zeta, Real) and 1 < self.zeta < math.inf):
            raise ValueError(f"zeta must be a slope above 1; got {self.zeta!r}. Pass zeta=1.5.")

    def activation_for(self, network: Network) -> Activation:
        phi = network.activations[0]
        slope = local_slope(lambda local: maximal(network.layers, local, 1.0), self.zeta)
        return transformed(self.name, phi, transformation(phi, slope))


def maximal(layers: Sequence[Node], local: Local, start: float) -> float:
    """Return the largest value that the network, or a residual branch alone, makes of ``start``.

    ``local``: map of one activation. A sum takes the mean of its parts by the squares of their factors.
    """
    return max(_through(layers, local, start), *(_through(branch, local, start) for branch in _branches(layers)), -1.0)


def leaky_slope(through: Callable[[Local], float], eta: float) -> float:
    """Return the negative slope of leaky relu whose correlation map takes 0 to eta ``through`` the network."""

    def reached(slope: float) -> float:
        return through(partial(leaky_correlation, slope=slope))

    return 0.0 if reached(0.0) <= eta else bracketed_root(lambda slope: reached(slope) - eta, 0.0, 1.0)


def leaky_correlation(c: float, *, slope: float) -> float:
    """Return the correlation behind leaky relu of inputs of correlation c (Zhang et al. 2022, eq. 9)."""
    c = min(max(c, -1.0), 1.0)
    spread = (1.0 - slope) ** 2 / (math.pi * (1.0 + slope**2))
    return c + spread * (math.sqrt(1.0 - c * c) - c * math.acos(c))


def local_slope(through: Callable[[Local], float], zeta: float) -> float:
    """Return the slope at 1 of each activation's map whose product, taken ``through`` the network, is zeta."""
    return bracketed_root(lambda slope: through(lambda x: slope * x) - zeta, 1.0, 1.0 + zeta)


@lru_cache(maxsize=64)
def transformation(phi: Activation, slope: float) -> Transformation:
    """Return the transformation of phi with Q(1) = Q'(1) = 1, C(0) = 0, C'(1) = ``slope``.

    Raises ValueError where none is found.
    """
    from scipy.optimize import root  # 0.3 s, which other schemes need not wait for

    for start in STARTS:
        with np.errstate(all="ignore"):
            found = root(partial(_misses, phi, slope), start, tol=1e-14)
        scale, shift = (float(x) for x in found.x)
        if np.abs(_misses(phi, slope, found.x)).max() < 1e-9 and abs(scale) > 1e-6:
            return _with_outputs(phi, abs(scale), shift)
    raise ValueError(
        f"dks finds no transformation of {phi.name} whose correlation map has the slope {slope:.6g}. "
        "Pass activation=tanh, gelu or softplus."
    )


def transformed(name: str, phi: Activation, parameters: Transformation) -> Activation:
    """Return the transformed activation, named after what transformed it."""
    kinks = tuple(sorted((kink - parameters.input_shift) / parameters.input_scale for kink in phi.kinks))
    return Activation(f"{name}_{phi.name}", partial(_value, phi), partial(_slope, phi), kinks, parameters._asdict())


def _value(
    phi: Activation,
    z: Array,
    out: Array,
    *,
    input_scale: float,
    input_shift: float,
    output_scale: float,
    output_shift: float,
) -> None:
    np.multiply(z, input_scale, out=out)
    out += input_shift
    phi.phi(out, out=out)
    out += output_shift
    out *= output_scale


def _slope(
    phi: Activation,
    z: Array,
    a: Array,
    out: Array,
    *,
    input_scale: float,
    input_shift: float,
    output_scale: float,
    output_shift: float,
) -> None:
    phi.dphi(z * input_scale + input_shift, out=out)
    out *= input_scale * output_scale


def _with_outputs(phi: Activation, scale: float, shift: float) -> Transformation:
    """Return the transformation with mean 0 and second moment 1 for a standard normal input."""
    mean, square = (_mean(phi, scale, shift, lambda z, a, slope, power=power: a**power) for power in (1, 2))
    return Transformation(scale, shift, 1.0 / math.sqrt(max(square - mean**2, 1e-300)), -mean)


def _misses(phi: Activation, slope: float, at: Sequence[float]) -> tuple[float, float]:
    """Return by what Q'(1) and C'(1) miss their values for an input scale and shift."""
    scale, shift = abs(float(at[0])), float(at[1])
    to = _with_outputs(phi, scale, shift)
    outer = to.output_scale**2 * scale
    q = _mean(phi, scale, shift, lambda z, a, slope: (a + to.output_shift) * slope * z)
    c = _mean(phi, scale, shift, lambda z, a, slope: slope**2)
    return outer * q - 1.0, outer * scale * c - slope


def _mean(phi: Activation, scale: float, shift: float, of: Callable[..., Array]) -> float:
    """Return E[of(z, phi(y), phi'(y))], y = scale z + shift, z standard normal."""

    def at(z: Array) -> Array:
        y = z * scale + shift
        return of(z, phi.phi(y), phi.dphi(y))

    return float(expectation(at, q=1.0, kinks=tuple((kink - shift) / scale for kink in phi.kinks)))


def _through(nodes: Sequence[Node], local: Local, x: float) -> float:
    for node in nodes:
        if isinstance(node, Serial):
            x = _through(node.children, local, x)
        elif isinstance(node, Residual):
            by, kept = node.end.branch_scale**2, node.end.skip_scale**2
            x = (by * _through(node.branch, local, x) + kept * _through(node.skip, local, x)) / (by + kept)
        elif isinstance(node, Nonlinearity):
            x = local(x)
    return x


def _branches(nodes: Sequence[Node]) -> list[Sequence[Node]]:
    found: list[Sequence[Node]] = []
    for node in nodes:
        if isinstance(node, Serial):
            found += _branches(node.children)
        elif isinstance(node, Residual):
            found += [node.branch, *_branches(node.branch)]
    return found
