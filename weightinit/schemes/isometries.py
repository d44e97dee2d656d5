"""Schemes that make a network linear or isometric at the start."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np

from weightinit import initializers
from weightinit.arrays import Array
from weightinit.initializers import Preserve
from weightinit.laws import Law
from weightinit.nn.network import Network
from weightinit.nn.weights import WeightSpec
from weightinit.schemes.base import ByWeight, Rule
from weightinit.schemes.needs import odd_part
from weightinit.schemes.residual import ZEROS
from weightinit.schemes.rules import WRITTEN, Orthogonal

PAIRED: Final = "units are pairs of opposites, and the network is linear at the start"


@dataclass(frozen=True)
class DeltaOrthogonal(ByWeight):
    """Convolutions that are orthogonal at their centre and zero elsewhere; orthogonal dense weights; times ``gain``.

    Source: Xiao et al. 2018, algorithm 1.
    """

    gain: float = 1.0

    name: ClassVar[str] = "delta_orthogonal"
    needs: ClassVar[tuple[str, ...]] = ("convolutions", "square_kernels")

    def __post_init__(self) -> None:
        super().__post_init__()
        Orthogonal(self.gain)  # raises what it says of a gain

    def rule(self, spec: WeightSpec) -> Rule:
        return Delta(self.gain) if spec.part == "convolution" else Orthogonal(self.gain)


@dataclass(frozen=True)
class Mirrored(Rule):
    """Orthogonal weights w and -w for neighbouring units: the network computes a linear map at the start.

    Units 2i and 2i + 1 of each hidden layer have opposite pre-activations; what follows has opposite weights for the
    two, so that ``phi(z) - phi(-z) = c z`` is all that passes. ``slope`` is c, of the network's activation. Source:
    Balduzzi et al. 2017, section 4 ("looks linear").
    """

    gain: float = 1.0
    slope: float = 1.0  # fitted to the network

    name: ClassVar[str] = "mirrored"
    needs: ClassVar[tuple[str, ...]] = ("mirrored_chain", "mirrored_activation", "even_widths")

    def __post_init__(self) -> None:
        super().__post_init__()
        Orthogonal(self.gain)  # raises what it says of a gain

    def rule_for(self, network: Network, second_moment: float = 1.0) -> Rule:
        super().rule_for(network, second_moment)
        return replace(self, slope=odd_part(network.activations[0]) or 1.0)

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        kernel, gain = self._half(spec)
        half = initializers.orthogonal(rng, kernel, gain=gain, dtype=np.float64)
        signs = np.array([1.0, -1.0])
        if spec.position != "output":
            half = (half[..., np.newaxis] * signs).reshape(*kernel[:-1], -1)
        if spec.position != "input":
            half = (half[..., np.newaxis, :] * signs[:, np.newaxis]).reshape(*kernel[:-2], -1, half.shape[-1])
        return half

    def law(self, spec: WeightSpec) -> Law:
        kernel, gain = self._half(spec)
        size = max(math.prod(kernel[:-1]), kernel[-1])
        return Law("unknown", 0.0, gain / math.sqrt(size), (-gain, gain), PAIRED)

    def _half(self, spec: WeightSpec) -> tuple[tuple[int, ...], float]:
        """Return the shape of w and its gain."""
        *kernel, fan_in, fan_out = spec.shape
        fan_in //= 1 if spec.position == "input" else 2
        fan_out //= 1 if spec.position == "output" else 2
        return (*kernel, fan_in, fan_out), self.gain if spec.position == "input" else self.gain / self.slope


@dataclass(frozen=True)
class ZerO(ByWeight):
    """Zeros and ones alone: the identity, cut to shape where units get fewer, a Hadamard matrix where they get more.

    The Hadamard matrix of 2^m rows, m = ceil(log2(fan_out)), is multiplied by 2^(-(m - 1)/2) and cut to shape; a
    convolution has these at its centre. The last weight of a residual branch is 0. Nothing is drawn. Source: Zhao,
    Schäfer & Anandkumar 2022, algorithms 1 and 2.
    """

    name: ClassVar[str] = "zero"

    def rule(self, spec: WeightSpec) -> Rule:
        return ZEROS if spec.ends_branch else _IdentityHadamard()


def centre(spec: WeightSpec) -> tuple[int, ...]:
    """Return the place of the middle of a kernel, none for a matrix."""
    return tuple((size - 1) // 2 for size in spec.shape[:-2])


@dataclass(frozen=True)
class Delta(Rule):
    """``gain`` times an orthogonal matrix at the centre of a convolution, zero elsewhere; ``preserve`` as there."""

    gain: float = 1.0
    preserve: Preserve = "isometry"

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        values = np.zeros(spec.shape)
        matrix = initializers.orthogonal(rng, spec.shape[-2:], gain=self.gain, preserve=self.preserve, dtype=np.float64)
        values[centre(spec)] = matrix
        return values

    def law(self, spec: WeightSpec) -> Law:
        *kernel, fan_in, fan_out = spec.shape
        largest = self.gain * initializers.orthogonal_factor(fan_in, fan_out, self.preserve)
        std = largest / math.sqrt(max(fan_in, fan_out) * math.prod(kernel))
        return Law("delta_orthogonal", 0.0, std, (-largest, largest))


@dataclass(frozen=True)
class _IdentityHadamard(Rule):
    """``ZerO`` of one weight."""

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        fan_in, fan_out = spec.shape[-2:]
        values = np.zeros(spec.shape)
        if fan_out <= fan_in:
            values[centre(spec)] = np.eye(fan_in, fan_out)
        else:
            power = math.ceil(math.log2(fan_out))
            from scipy.linalg import hadamard  # 0.1 s, which other schemes need not wait for

            values[centre(spec)] = hadamard(2**power)[:fan_in, :fan_out] * 2.0 ** (-(power - 1) / 2)
        return values

    def law(self, spec: WeightSpec) -> Law:
        values = self.draw(spec, np.random.default_rng(0))
        support = (float(values.min()), float(values.max()))
        return Law("unknown", float(values.mean()), float(values.std()), support, WRITTEN)
