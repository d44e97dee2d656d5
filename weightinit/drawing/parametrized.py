"""Parametrizations by a base model: how draws and learning rates follow the growth of each tensor from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from weightinit.arrays import Array
from weightinit.drawing.rules import TensorRule, settled_law
from weightinit.laws import Law
from weightinit.model import Model, ModelTensor
from weightinit.nn.weights import Position, WeightSpec
from weightinit.schemes.adaptive import scaled
from weightinit.schemes.base import ZERO, Rule
from weightinit.schemes.parametrizations import MuP, Sizes
from weightinit.schemes.rules import Constant

Family: TypeAlias = Literal["adam", "sgd"]
VECTORS: Final = ("bias", "gain", "position", "parameter")


class Growth(NamedTuple):
    """Growth of a tensor from the base model: of its inputs, of its outputs, and the place that this makes it."""

    inputs: float
    outputs: float
    position: Position

    @property
    def width(self) -> float:
        """How many times wider its layer is than that of the base."""
        return self.inputs if self.position == "output" else self.outputs


@dataclass(frozen=True)
class ParametrizedRule(TensorRule):
    """A parametrization for all tensors of a model; ``growth`` of each from the base model, by name."""

    growth: Mapping[str, Growth] = field(default_factory=dict, repr=False)

    def law_for(self, tensor: ModelTensor, spec: WeightSpec) -> Law:
        settled = settled_law(tensor)
        return settled if settled is not None else self._rule(spec).law(spec) if spec.role == "weight" else ZERO

    def draw(self, tensor: ModelTensor, spec: WeightSpec, rng: np.random.Generator) -> Array:
        if tensor.role in ("bias", "gain") or settled_law(tensor) is not None:
            return np.full(spec.shape, self.law_for(tensor, spec).mean)
        return self._rule(spec).draw(spec, rng)

    def reaches(self, tensor: ModelTensor, explicit: bool) -> bool:
        return tensor.role != "parameter"

    def rate(self, tensor: ModelTensor, spec: WeightSpec, optimizer: Family) -> float:
        """Return the factor of a tensor's learning rate: of Adam the size of updates, of SGD over that of gradients."""
        sizes = self._sizes(spec)
        return sizes.update if optimizer == "adam" else sizes.update / sizes.gradient

    def _rule(self, spec: WeightSpec) -> Rule:
        scheme = self._scheme
        if scheme.zero_output and self._growth(spec).position == "output":
            return Constant(0.0)
        return scaled(self._sizes(spec).variance, scheme.distribution)

    def _sizes(self, spec: WeightSpec) -> Sizes:
        """The parametrization's sizes; where it multiplies the output, which a model of one's own doesn't, its weights
        and their updates are smaller by that factor, and their gradients larger."""
        growth = self._growth(spec)
        network: Any = SimpleNamespace(width=growth.width * self._scheme.base_width)
        sizes = self._scheme.sizes(replace(spec, position=growth.position), network, self._scheme.scale or 1.0)
        factor = 1.0 / growth.width if growth.position == "output" and spec.role == "weight" else 1.0
        return Sizes(sizes.variance * factor**2, sizes.update * factor, sizes.gradient / factor)

    def _growth(self, spec: WeightSpec) -> Growth:
        return self.growth[spec.name.partition("[")[0]]

    @property
    def _scheme(self) -> MuP:
        assert isinstance(self.source, MuP)
        return self.source


@dataclass(frozen=True)
class ByBase:
    """A parametrization and the ``base`` model at which it is the standard one, translated by its adapter."""

    scheme: MuP
    base: Model

    def fitted(self, model: Model) -> ParametrizedRule:
        """Return the rule for one model.

        Raises ValueError where the base has other tensors, or the same sizes everywhere.
        """
        theirs = {tensor.name: tensor for tensor in self.base}
        missing = [tensor.name for tensor in model if tensor.name not in theirs]
        if missing or len(theirs) != len(model.tensors):
            odd = missing or [name for name in theirs if name not in {tensor.name for tensor in model}]
            raise ValueError(
                f"base must be the same model at another width; {len(odd)} tensors are in one of them alone ({odd[0]} "
                "...). Build both by one function, at the same depth."
            )
        growth = {tensor.name: growth_of(tensor, theirs[tensor.name]) for tensor in model}
        return ParametrizedRule("*", self.scheme, self.scheme.name, growth=growth)


def growth_of(tensor: ModelTensor, base: ModelTensor) -> Growth:
    """Return a tensor's growth by the shapes alone; a vector has outputs only, those of the layer that it belongs to.

    Raises ValueError for shapes of other axes.
    """
    if len(tensor.shape) != len(base.shape):
        raise ValueError(
            f"base must be the same model at another width; {tensor.name} has the shape {tensor.shape}, there "
            f"{base.shape}."
        )
    inputs, outputs = (_ratio(tensor, base, axes) for axes in (tensor.in_axes, tensor.out_axes))
    if tensor.role in VECTORS or len(tensor.laid_out) < 2 or tensor.role == "embedding":
        return Growth(1.0, outputs, "input" if outputs != 1 else "output")
    if inputs != 1 and outputs != 1:
        return Growth(inputs, outputs, "hidden")
    return Growth(inputs, outputs, "output" if inputs != 1 else "input")


def _ratio(tensor: ModelTensor, base: ModelTensor, axes: tuple[int, ...]) -> float:
    ratio = 1.0
    for axis in axes:
        ratio *= tensor.shape[axis] / base.shape[axis]
    return ratio
