"""Observation of networks: what each layer shows of a probe's samples, forward and backward."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from weightinit.arrays import Array
from weightinit.laws import Law
from weightinit.nn import Loss, Network, Params, Tape
from weightinit.reference.response import response
from weightinit.statistics import STATISTICS

SAMPLES = 64
QUANTITIES = (
    *("weight_rms", "activation_rms", "gradient_std", "activation_correlation"),
    *("response", "evenness", "copied"),
)
CACHE = 8 << 20  # bytes that a part of a stack may touch


@dataclass(frozen=True, eq=False)
class Probe:
    """Samples on which networks are compared: ``x`` (1, samples, inputs), ``y`` (1, samples, outputs), and the loss."""

    x: Array
    y: Array
    loss: Loss

    @cached_property
    def digest(self) -> str:
        """Hash of the samples and the name of the loss."""
        content = hashlib.sha256(self.loss.name.encode())
        for array in (self.x, self.y):
            content.update(f"{array.shape} {array.dtype}".encode() + np.ascontiguousarray(array).tobytes())
        return content.hexdigest()


@dataclass(frozen=True, eq=False)
class Observation:
    """What the ``layers`` with weights of a stack of networks show: by name of ``QUANTITIES``, (runs, layers), float64.

    ``weight_rms``, ``activation_rms``, ``activation_correlation``, ``gradient_std``: as in ``weightinit.statistics``;
    ``response``, ``evenness``: of the pre-activations given the layer's input (``weightinit.reference.response``);
    ``copied``: 1 where the layer's weights equal those of a layer before it, else 0.
    """

    layers: tuple[str, ...]
    values: Mapping[str, Array]

    @property
    def runs(self) -> int:
        """Number of networks."""
        return len(next(iter(self.values.values())))

    def of(self, runs: Array) -> Observation:
        """Return the observation of some of the networks."""
        return Observation(self.layers, {name: values[runs] for name, values in self.values.items()})


def networks_at_once(network: Network, samples: int) -> int:
    """Return the number of networks whose weights, gradients and activations stay in the cache."""
    elements = network.parameters + network.memory.elements(samples)
    return max(1, CACHE // (2 * network.dtype.itemsize * elements))


def observe(network: Network, params: Params, probe: Probe, laws: Mapping[str, Sequence[Law]]) -> Observation:
    """Return what networks of these ``params`` (runs, *shape) show of the probe; ``laws`` by weight and run.

    A network shows the same bits alone or in any stack.
    """
    runs, samples = len(next(iter(params.values()))), probe.x.shape[1]
    layers = tuple(spec.layer for spec in network.weights if spec.role == "weight")
    values = {name: np.empty((runs, len(layers))) for name in QUANTITIES}
    step = networks_at_once(network, samples)
    tape: Tape | None = None
    for start in range(0, runs, step):
        part = slice(start, start + step)
        some = {name: array[part] for name, array in params.items()}
        count = len(next(iter(some.values())))
        if tape is None or tape.runs != count:
            tape = network.tape(count, samples)
        with np.errstate(all="ignore"):
            output = network.forward(some, {}, probe.x, tape)
            probe.loss(output, probe.y, tape.d_output)
            network.backward(some, tape.d_output, tape)
        for name, found in _shown(network, some, tape, {name: law[part] for name, law in laws.items()}).items():
            values[name][part] = found
    return Observation(layers, values)


def _shown(network: Network, params: Params, tape: Tape, laws: Mapping[str, Sequence[Law]]) -> dict[str, Array]:
    weights = [spec for spec in network.weights if spec.role == "weight"]
    no_bias = (ZERO,) * tape.runs
    columns: dict[str, list[Array]] = {name: [] for name in QUANTITIES}
    for spec in weights:
        z = tape[spec.layer, "preactivation"]
        activation = tape.arrays.get((spec.layer, "activation"), z)
        entered = tape.input[spec.layer, "preactivation"]
        size, evenness = response(entered, z, laws[spec.name], laws.get(f"{spec.layer}/bias", no_bias))
        columns["weight_rms"].append(STATISTICS["weight_rms"].function(params[spec.name]))
        columns["activation_rms"].append(STATISTICS["activation_rms"].function(activation))
        columns["activation_correlation"].append(STATISTICS["activation_correlation"].function(activation))
        columns["gradient_std"].append(STATISTICS["gradient_std"].function(tape.gradient[spec.name]))
        columns["response"].append(size)
        columns["evenness"].append(evenness)
        columns["copied"].append(np.zeros(tape.runs))
    for (_, before), (index, after) in combinations(enumerate(weights), 2):
        one, other = params[before.name], params[after.name]
        if one.shape == other.shape:
            start = (slice(None), 0)  # few weights tell most layers apart
            alike = (one[start] == other[start]).reshape(tape.runs, -1).all(axis=1)
            for run in np.flatnonzero(alike):
                columns["copied"][index][run] = max(columns["copied"][index][run], np.array_equal(one[run], other[run]))
    return {name: np.stack(arrays, axis=1) for name, arrays in columns.items()}


ZERO = Law("constant", 0.0, 0.0)
