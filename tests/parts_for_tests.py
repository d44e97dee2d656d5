"""Parts of a user's own, one of each kind and some of them broken, for tests to name as ``_target_``.

The first half are the examples of ``docs/extending.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from runner.data import Dataset, Samples, source
from runner.data.sequences import copying
from runner.optimizers import Block, Optimizer, Signature
from weightinit import initializers
from weightinit.activations import Activation
from weightinit.arrays import Array
from weightinit.laws import Law
from weightinit.nn import Network, WeightSpec
from weightinit.nn.architectures import mlp
from weightinit.schemes import Rule


def squareplus(z, b=4.0):
    """Half of z + sqrt(z² + b), a smooth relu (Barron 2021)."""
    return (z + np.sqrt(z * z + b)) / 2


def dsquareplus(z, b=4.0):
    """Derivative of squareplus."""
    return (1 + z / np.sqrt(z * z + b)) / 2


def steep(slope: float = 2.0) -> Activation:
    """Return phi(z) = slope tanh(z), with its derivative from phi(z)."""

    def value(z: Array, out: Array) -> None:
        np.tanh(z, out=out)
        out *= slope

    def derivative(z: Array, a: Array, out: Array) -> None:
        np.multiply(a, a, out=out)
        out /= -slope
        out += slope

    return Activation("steep", value, derivative)


@dataclass(frozen=True, kw_only=True)
class SignSGD(Optimizer):
    """w -= rate sign(g) (Bernstein et al. 2018); decays nothing."""

    slots: ClassVar[int] = 0  # arrays of the size of the weights that an update keeps
    normalizes: ClassVar[bool] = True  # a larger gradient makes no larger step

    @classmethod
    def update(cls, block: Block, hyper: Mapping[str, Array], signature: Signature) -> None:
        change = np.sign(block.gradient, out=block.gradient)
        change *= hyper["rate"]
        block.weight -= change


def pyramid(inputs: int, outputs: int, activation: Activation, *, dtype: str, top: int = 32, depth: int = 3) -> Network:
    """Return a multilayer perceptron in which each hidden layer is half as wide as the one before."""
    widths = [max(2, top >> layer) for layer in range(depth)]
    return mlp(inputs, outputs, activation, widths=widths, dtype=dtype)


@source
def blobs(*, samples: int = 300, distance: float = 3.0, seed: int = 0) -> Samples:
    """Two Gaussian clouds in the plane."""
    rng = np.random.default_rng(seed)
    label = np.arange(samples) % 2
    x = rng.standard_normal((samples, 2)) + distance * label[:, None]
    return Samples("blobs", "classification", x, label, "two Gaussian clouds")


@dataclass(frozen=True)
class SmallOutput(Rule):
    """He's weights, those of the output ``shrink`` times smaller: training starts from no opinion."""

    shrink: float = 10.0

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return initializers.normal(rng, spec.shape, std=self.std(spec), dtype=np.float64)

    def law(self, spec: WeightSpec) -> Law:
        return Law("normal", 0.0, self.std(spec))

    def std(self, spec: WeightSpec) -> float:
        std = (2 / spec.fans.fan_in) ** 0.5
        return std / self.shrink if spec.position == "output" else std


# What follows is broken, each in a way of its own.


def averaged(z):
    return z.mean(-1)


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def scalar_only(z):
    return z if z > 0 else 0.0


def text() -> str:
    return "text"


def anything(**arguments: object) -> dict[str, object]:
    return arguments


def sized(inputs: int, outputs: int, activation: Activation, *, dtype: str) -> tuple[int, int]:
    return inputs, outputs


def refusing() -> Dataset:
    raise ValueError("distance must be positive; got -1")


def echoes(*, samples: int = 100) -> Dataset:
    """Return symbols to copy whose blank is a class too, so that outputs may share the weights of the embedding."""
    given = copying(samples=samples, length=4, symbols=5)
    return replace(given, classes=(*given.classes, "blank"))
