"""Network: a tree of named layers with named weights, without arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from weightinit.activations import Activation
from weightinit.arrays import Array, array_module
from weightinit.laws import Law
from weightinit.meanfield import SingularValues
from weightinit.nn import theory
from weightinit.nn.layers import BatchNorm, Embedding, Nonlinearity, Sum
from weightinit.nn.memory import Memory
from weightinit.nn.moments import Moments, Prediction, moments_of, spread
from weightinit.nn.outline import outline
from weightinit.nn.sites import Site, sites_of, trunk_of
from weightinit.nn.tape import Params, Phase, Shape, State, Tape
from weightinit.nn.tree import Node, Residual, Serial, Step, steps
from weightinit.nn.weights import ConstantSpec, StatisticSpec, WeightSpec

# Jacobian: largest number of samples, of rows (unless a single sample has more), and of elements per sample.
JACOBIANS, JACOBIAN_ROWS, JACOBIAN_SIZE = 4, 64, 1 << 18


@dataclass(frozen=True)
class Network:
    """A tree of layers, the last one named ``output`` and without a nonlinearity.

    ``entering``: shape of one sample, a number for plain features; ``layers``: the tree, one node after the other;
    ``dtype``: the type of every array. A parameter vector ``(runs, parameters)`` holds all weights of a run end to end.
    Those of role ``weight`` come first, so that decay takes a slice, and frozen ones last. Layers that name one weight
    share it. ``width``: units that all hidden sizes are proportional to, and ``depth``: hidden layers or residual
    blocks. By both parametrizations compare networks; each is None where the architecture has no such number.
    """

    entering: int | Shape
    layers: tuple[Node, ...]
    dtype: np.dtype[Any]
    width: int | None = None
    depth: int | None = None

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Leaves of the tree, in the order of their execution."""
        return steps(self.layers, self.in_shape)

    def walk(self) -> Iterator[Step]:
        """Yield every leaf with its path, its depth in the tree and whether it lies on the trunk."""
        yield from self.steps

    @cached_property
    def in_shape(self) -> Shape:
        """Shape of one sample."""
        return self.entering if isinstance(self.entering, tuple) else (self.entering,)

    @property
    def inputs(self) -> int:
        """Features of one sample."""
        return prod(self.in_shape)

    @property
    def takes_tokens(self) -> bool:
        """Whether the input holds numbers of tokens, which have no derivative."""
        return isinstance(self.steps[0].layer, Embedding)

    @property
    def out_shape(self) -> Shape:
        """Shape of the output of one sample."""
        return self.steps[-1].leaving

    @property
    def outputs(self) -> int:
        """Features of the network's output."""
        return prod(self.out_shape)

    @cached_property
    def weights(self) -> tuple[WeightSpec, ...]:
        """Weights in the order of their layers, each once."""
        return tuple({spec.name: spec for step in self.steps for spec in step.weights}.values())

    @cached_property
    def constants(self) -> tuple[ConstantSpec, ...]:
        """Multipliers that are not trained and may differ from run to run."""
        return tuple(spec for step in self.steps for spec in step.layer.constants)

    @cached_property
    def statistics(self) -> tuple[StatisticSpec, ...]:
        """Running statistics of the layers."""
        return tuple(spec for step in self.steps for spec in step.layer.statistics)

    @cached_property
    def activations(self) -> tuple[Activation, ...]:
        """Distinct activations, in the order of their first use."""
        found = [step.layer.activation for step in self.steps if isinstance(step.layer, Nonlinearity)]
        return tuple(dict.fromkeys(found))

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Places where the network is measured, in order: every layer that keeps a pre-activation or an activation."""
        return sites_of(self.steps)

    @cached_property
    def trunk(self) -> tuple[Site, ...]:
        """Sites by which the signal is followed through the network; see ``weightinit.nn.trunk``."""
        return trunk_of(self.steps, self.sites)

    @cached_property
    def gradient_quantity(self) -> str:
        """Name of the statistic by which gradients are followed along the trunk.

        ``gradient_std`` of the weights where each place has its own, else ``backward_norm`` of what is propagated.
        """
        plain = all(site.weight is not None and len(site.shape) == 1 for site in self.trunk)
        return "gradient_std" if plain else "backward_norm"

    @cached_property
    def shape(self) -> str:
        """Sizes of the layers as people write them: ``64-6x128-10``, ``64-[128]x8 residual-10``."""
        return outline(self.in_shape, self.layers, self.steps)

    @cached_property
    def parameters(self) -> int:
        """Number of weights of one run."""
        return sum(prod(spec.shape) for spec in self.weights)

    @cached_property
    def kernel_parameters(self) -> int:
        """Number of elements at the start of a parameter vector that belong to trained weights of role ``weight``."""
        return sum(prod(spec.shape) for spec in self.weights if spec.role == "weight" and spec.trained)

    @cached_property
    def multiplications(self) -> int:
        """Multiplications of one sample on its way forward: each weight once for every position that it serves."""
        return sum(
            prod(spec.shape) * prod(step.leaving[:-1])
            for step in self.steps
            for spec in step.weights
            if spec.role == "weight"
        )

    @cached_property
    def slices(self) -> Mapping[str, slice]:
        """Slice of each weight in a parameter vector."""
        start, slices = 0, {}
        for spec in sorted(self.weights, key=lambda spec: (not spec.trained, spec.role != "weight")):
            slices[spec.name] = slice(start, start := start + prod(spec.shape))
        return slices

    @cached_property
    def memory(self) -> Memory:
        """Plan of the memory that a stack of this network takes."""
        return Memory.of(self.steps)

    def with_activation(self, activation: Activation) -> Network:
        """Return the same network with another activation in each nonlinearity."""

        def changed(node: Node) -> Node:
            if isinstance(node, Serial):
                return replace(node, children=tuple(map(changed, node.children)))
            if isinstance(node, Residual):
                return replace(node, branch=tuple(map(changed, node.branch)), skip=tuple(map(changed, node.skip)))
            return replace(node, activation=activation) if isinstance(node, Nonlinearity) else node

        return replace(self, layers=tuple(map(changed, self.layers)))

    def views(self, flat: Array) -> Params:
        """Return the named weights as views (runs, *shape) of parameter vectors ``flat`` (runs, parameters)."""
        runs = flat.shape[0]
        return {spec.name: flat[:, self.slices[spec.name]].reshape(runs, *spec.shape) for spec in self.weights}

    def trained(self, flat: Array) -> Array:
        """Return the part of parameter vectors ``flat`` (runs, parameters) that is trained, as a view."""
        return flat[:, : sum(prod(spec.shape) for spec in self.weights if spec.trained)]

    def flatten(self, params: Params) -> Array:
        """Parameter vectors (runs, parameters) that hold a copy of ``params``."""
        runs = params[self.weights[0].name].shape[0]
        flat: Array = array_module(params[self.weights[0].name]).empty((runs, self.parameters), self.dtype)
        for name, view in self.views(flat).items():
            view[...] = params[name]
        return flat

    def state(
        self, runs: int, constants: Mapping[str, Array] | None = None, *, xp: ModuleType = np
    ) -> dict[str, Array]:
        """Return the state of ``runs`` runs before training: constants (runs,), running statistics (runs, *shape).

        ``constants``: by name, float64; one that is absent keeps its default. Each is cast once.
        """
        given = {name: xp.asarray(values, self.dtype) for name, values in (constants or {}).items()}
        kept = {spec.name: xp.full((runs, *spec.shape), spec.start, self.dtype) for spec in self.statistics}
        return given | kept

    def tape(
        self, runs: int, batch: int, *, phase: Phase = "train", of_weights: bool = True, xp: ModuleType = np
    ) -> Tape:
        """Return the memory for ``runs`` and ``batch`` samples.

        Phase ``evaluate`` has no memory for gradients; without those ``of_weights`` there are gradients of inputs.
        """
        trains = phase != "evaluate"
        flat = xp.zeros((runs if trains and of_weights else 0, self.parameters), self.dtype)
        gradient = dict(self.views(flat)) if of_weights else {}
        tape = Tape(runs, batch, xp, flat, gradient, xp.ones((1, 1, batch), self.dtype))
        self.memory.allocate(tape, self.dtype, gradients=trains)
        return tape

    def forward(self, params: Params, state: State, x: Array, tape: Tape, *, phase: Phase = "train") -> Array:
        """Return the output (runs, batch, *out_shape) for ``x`` (runs or 1, batch, *in_shape or inputs).

        ``state``: as ``Network.state`` returns it; what is absent is at its default. ``phase`` is for layers that keep
        running statistics or draw noise: ``train`` does both, ``probe`` takes the statistics of the batch and neither
        updates nor draws, ``evaluate`` takes the running ones.
        """
        tape.state, tape.phase = state, phase
        registers = [x.reshape(*x.shape[:2], *self.in_shape)]
        for step in self.steps:
            registers.append(step.forward(params, registers, tape))
        return registers[-1]

    def backward(self, params: Params, d_output: Array, tape: Tape, *, d_input: Array | None = None) -> Params:
        """Return the gradients (runs, *shape) of all weights by name, in the tape's memory, after ``forward``.

        ``d_input`` (runs, batch, *in_shape or inputs): receives the gradient of the input, if given.
        """
        entry = None if d_input is None else d_input.reshape(*d_input.shape[:2], *self.in_shape)
        gradients = [entry, *tape.gradients[:-1], d_output]
        for step, order in zip(reversed(self.steps), self.memory.backward, strict=True):
            d_step = gradients[order.target]
            if d_step is None or not (order.wanted or d_input is not None):
                continue
            if order.alone:
                source = order.sources[0]
                into = gradients[source.register] if source.wanted or d_input is not None else None
                step.layer.backward(params, d_step, tape, into=into)
                continue
            places = []
            for source in order.sources:
                asked = (source.wanted or d_input is not None) and not source.waits
                into = gradients[source.register] if asked else None
                places.append((into, into if into is None or not source.adds else tape.spare_like(into)))
            shared = {name: tape.gradient[name].copy() for name in order.shared if name in tape.gradient}
            if step.skip is None:
                step.layer.backward(params, d_step, tape, into=places[0][1])
            else:
                assert isinstance(step.layer, Sum)
                step.layer.part(params, d_step, tape, places[0][1], places[1][1])
            for name, before in shared.items():
                tape.gradient[name] += before
            for source, (into, written) in zip(order.sources, places, strict=True):
                if into is None or written is None:
                    continue
                if written is not into:
                    into += written
                if source.sum is not None:
                    end, d_sum = self.steps[source.sum - 1].layer, gradients[source.sum]
                    assert isinstance(end, Sum)
                    assert d_sum is not None
                    end.add_skip(d_sum, tape, into)
        if tape.helpers is not None:
            tape.helpers.wait()
        return tape.gradient

    def calibrated(self, state: State, tape: Tape) -> State:
        """Return a state whose running statistics are those of the batch that the tape has just passed."""
        found = dict(state)
        for step in self.steps:
            if isinstance(step.layer, BatchNorm):
                found |= step.layer.statistics_of(tape)
        return found

    @property
    def jacobian_samples(self) -> int:
        """Number of samples that a Jacobian is affordable at; 0 where it is too large, or where inputs are tokens."""
        if self.takes_tokens or self.outputs * self.inputs > JACOBIAN_SIZE:
            return 0
        return max(1, min(JACOBIANS, JACOBIAN_ROWS // self.outputs))

    def jacobian_tape(self, runs: int, samples: int, *, xp: ModuleType = np) -> Tape:
        """Return the memory for Jacobians at so many samples."""
        # A layer of one's own may write gradients of weights without asking.
        own = any(not type(step.layer).__module__.startswith("weightinit.") for step in self.walk())
        return self.tape(runs, samples * self.outputs, of_weights=own, xp=xp)

    def jacobian(
        self,
        params: Params,
        state: State,
        x: Array,
        *,
        dtype: np.dtype | type = np.float64,
        tape: Tape | None = None,
    ) -> Array:
        """Return the derivatives (runs, samples, outputs, inputs) of each output by each input, computed in ``dtype``.

        ``x``: samples (runs or 1, samples, inputs); ``tape``: a ``jacobian_tape`` of ``dtype``, made here if None. The
        backward pass takes each output as a separate sample, in phase ``evaluate``, in which samples do not act on each
        other.
        """
        xp, dtype = array_module(x), np.dtype(dtype)
        network = self if dtype == self.dtype else replace(self, dtype=dtype)
        params = {name: weight.astype(dtype, copy=False) for name, weight in params.items()}
        state = {name: values.astype(dtype, copy=False) for name, values in state.items()}
        runs, samples = len(next(iter(params.values()))), x.shape[1]
        tape = tape or network.jacobian_tape(runs, samples, xp=xp)
        network.forward(params, state, x.astype(dtype).repeat(self.outputs, axis=1), tape, phase="evaluate")
        d_output = tape.d_output.reshape(runs, samples * self.outputs, self.outputs)
        d_output[...] = xp.tile(xp.eye(self.outputs), (samples, 1))
        jacobian: Array = xp.empty((runs, samples * self.outputs, self.inputs), dtype)
        network.backward(params, tape.d_output, tape, d_input=jacobian)
        return jacobian.reshape(runs, samples, self.outputs, self.inputs)

    @cached_property
    def followed_shape(self) -> Shape:
        """Shape by which theory follows a sample: without positions where the first layer joins them."""
        return theory.followed_shape(self.steps)

    def moments_of(self, x: Array) -> Moments:
        """Return the moments of samples (samples, inputs) as ``expect`` takes them."""
        return moments_of(x, self.followed_shape, tokens=self.takes_tokens)

    def entering_moments(self, moments: Moments) -> Moments:
        """Return the moments of the input, by position where it has some; a token is a vector of size 1."""
        if self.takes_tokens and moments.squares is None:
            return spread(Moments(1.0, correlation=moments.correlation), (*self.in_shape, 1))
        return spread(moments, self.followed_shape)

    def expect(self, moments: Moments, laws: Mapping[str, Law]) -> tuple[Prediction, ...]:
        """Return the theory of every step for inputs of ``moments`` and weights of ``laws``, by weight's name.

        Constants that differ from their defaults are among the ``laws``, as laws without spread.
        """
        return theory.predictions(self.steps, self.entering_moments(moments), laws)

    def expect_jacobian(self, predictions: Sequence[Prediction], laws: Mapping[str, Law]) -> SingularValues:
        """Return the expected singular values of ``jacobian``, NaN where there is no theory.

        Where layers are not dense, only the mean of their squares. ``predictions``: the result of ``expect`` with the
        same ``laws``.
        """
        return theory.singular_values(self.steps, predictions, laws, self.jacobian_samples)
