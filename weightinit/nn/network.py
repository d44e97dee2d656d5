"""Network: named layers and named weights, without arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from weightinit.activations import Activation
from weightinit.arrays import Array, array_module
from weightinit.laws import Law
from weightinit.meanfield import SingularValues
from weightinit.nn.layers import Layer, Nonlinearity
from weightinit.nn.moments import Gradient, Moments, Prediction
from weightinit.nn.tape import Params, Phase, State, Tape
from weightinit.nn.weights import WeightSpec


@dataclass(frozen=True)
class Network:
    """Layers in order, the last one named ``output`` and without a nonlinearity.

    ``inputs``: features of the data; ``dtype``: the type of every array. A parameter vector ``(runs, parameters)``
    holds all weights of a run end to end. Those of role ``weight`` come first, so that decay takes a slice.
    """

    inputs: int
    layers: tuple[Layer, ...]
    dtype: np.dtype[Any]

    @cached_property
    def weights(self) -> tuple[WeightSpec, ...]:
        """Weights in the order of their layers."""
        return tuple(spec for layer in self.layers for spec in layer.weights)

    @cached_property
    def activations(self) -> tuple[Activation, ...]:
        """Distinct activations, in the order of their first use."""
        return tuple(dict.fromkeys(layer.activation for layer in self.layers if isinstance(layer, Nonlinearity)))

    @property
    def outputs(self) -> int:
        """Features of the network's output."""
        return self.layers[-1].units

    @cached_property
    def shape(self) -> str:
        """Sizes of the layers as people write them: ``64-6x128-10``."""
        return _shape_text([self.inputs, *(spec.shape[-1] for spec in self.weights if spec.role == "weight")])

    @cached_property
    def parameters(self) -> int:
        """Number of weights of one run."""
        return sum(prod(spec.shape) for spec in self.weights)

    @cached_property
    def kernel_parameters(self) -> int:
        """Number of elements at the start of a parameter vector that belong to weights of role ``weight``."""
        return sum(prod(spec.shape) for spec in self.weights if spec.role == "weight")

    @cached_property
    def slices(self) -> Mapping[str, slice]:
        """Slice of each weight in a parameter vector."""
        start, slices = 0, {}
        for spec in sorted(self.weights, key=lambda spec: spec.role != "weight"):
            slices[spec.name] = slice(start, start := start + prod(spec.shape))
        return slices

    def views(self, flat: Array) -> Params:
        """Return the named weights as views (runs, *shape) of parameter vectors ``flat`` (runs, parameters)."""
        runs = flat.shape[0]
        return {spec.name: flat[:, self.slices[spec.name]].reshape(runs, *spec.shape) for spec in self.weights}

    def flatten(self, params: Params) -> Array:
        """Parameter vectors (runs, parameters) that hold a copy of ``params``."""
        runs = params[self.weights[0].name].shape[0]
        flat: Array = array_module(params[self.weights[0].name]).empty((runs, self.parameters), self.dtype)
        for name, view in self.views(flat).items():
            view[...] = params[name]
        return flat

    def tape(self, runs: int, batch: int, *, phase: Phase = "train", xp: ModuleType = np) -> Tape:
        """Return the memory for ``runs`` and ``batch`` samples; phase ``evaluate`` has no memory for gradients."""
        trains = phase == "train"
        flat = xp.zeros((runs if trains else 0, self.parameters), self.dtype)
        tape = Tape(runs, batch, xp, flat, self.views(flat), xp.ones((1, 1, batch), self.dtype))
        shared = xp.empty(
            runs * batch * max(layer.units for layer in self.layers) if phase == "train" else 0, self.dtype
        )
        for layer in self.layers:
            shape = (runs, batch, layer.units)
            getattr(tape, layer.quantity)[layer.name] = xp.empty(shape, self.dtype)
            if trains:
                memory = shared[: prod(shape)] if layer.quantity == "activation" else xp.empty(prod(shape), self.dtype)
                getattr(tape, f"d_{layer.quantity}")[layer.name] = memory.reshape(shape)
        return tape

    def forward(self, params: Params, state: State, x: Array, tape: Tape, *, phase: Phase = "train") -> Array:
        """Return the output (runs, batch, outputs) for ``x`` (runs or 1, batch, inputs).

        ``state`` and ``phase`` are for layers that keep running statistics or draw noise; dense layers do neither.
        """
        for layer in self.layers:
            x = layer.forward(params, x, tape)
        return x

    def backward(self, params: Params, d_output: Array, tape: Tape, *, d_input: Array | None = None) -> Params:
        """Return the gradients (runs, *shape) of all weights by name, in the tape's memory, after ``forward``.

        ``d_input`` (runs, batch, inputs): receives the gradient of the input, if given.
        """
        gradient = d_output
        for layer, before in zip(self.layers[:0:-1], self.layers[-2::-1], strict=True):
            into = getattr(tape, f"d_{before.quantity}")[before.name]
            layer.backward(params, gradient, tape, into=into)
            gradient = into
        self.layers[0].backward(params, gradient, tape, into=d_input)
        return tape.gradient

    def jacobian(self, params: Params, state: State, x: Array) -> Array:
        """Return the derivatives (runs, samples, outputs, inputs) of each output by each input, float64.

        ``x``: samples (runs or 1, samples, inputs). The backward pass takes each output as a separate sample.
        """
        xp = array_module(x)
        double = replace(self, dtype=np.dtype(np.float64))
        params = {name: weight.astype(xp.float64) for name, weight in params.items()}
        runs, samples = len(next(iter(params.values()))), x.shape[1]
        tape = double.tape(runs, samples * self.outputs, xp=xp)
        double.forward(params, state, x.astype(xp.float64).repeat(self.outputs, axis=1), tape)
        tape.d_output[...] = xp.tile(xp.eye(self.outputs), (samples, 1))
        jacobian: Array = xp.empty((runs, samples * self.outputs, self.inputs))
        double.backward(params, tape.d_output, tape, d_input=jacobian)
        return jacobian.reshape(runs, samples, self.outputs, self.inputs)

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> tuple[Prediction, ...]:
        """Return the theory of every layer for inputs of ``moments`` and weights of ``laws``, by weight's name."""
        inputs = []
        for layer in self.layers:
            inputs.append(moments)
            moments = layer.expect(moments, laws)
        outputs, gradient = [*inputs[1:], moments], Gradient()
        predictions = []
        for layer, before, after in zip(self.layers[::-1], inputs[::-1], outputs[::-1], strict=True):
            predictions.append(Prediction(layer.name, layer.quantity, before, after, gradient))
            gradient = layer.expect_gradient(gradient, before, laws)
        return tuple(predictions[::-1])

    def expect_jacobian(self, predictions: Sequence[Prediction], laws: Mapping[str, Law]) -> SingularValues:
        """Return the expected singular values of ``jacobian``, NaN where there is no theory.

        ``predictions``: the result of ``expect`` with the same ``laws``.
        """
        values = SingularValues()
        for layer, prediction in zip(self.layers, predictions, strict=True):
            values = layer.expect_jacobian(values, prediction.input, laws)
        return values.among(min(1.0, self.inputs / self.outputs))


def _shape_text(widths: list[int]) -> str:
    hidden = [(width, len(list(group))) for width, group in groupby(widths[1:-1])]
    middle = [f"{count}x{width}" if count > 1 else str(width) for width, count in hidden]
    return "-".join([str(widths[0]), *middle, str(widths[-1])])
