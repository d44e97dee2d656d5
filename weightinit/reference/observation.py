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
    units = sum(layer.units for layer in network.layers)
    return max(1, CACHE // (network.dtype.itemsize * 2 * (network.parameters + samples * units)))


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


@np.errstate(all="ignore")
def _shown(network: Network, params: Params, tape: Tape, laws: Mapping[str, Sequence[Law]]) -> dict[str, Array]:
    weights = [spec for spec in network.weights if spec.role == "weight"]
    no_bias = (Law("constant", 0.0, 0.0),) * tape.runs
    columns: dict[str, list[Array]] = {name: [] for name in QUANTITIES}
    for spec in weights:
        z = tape.preactivation[spec.layer]
        activation = tape.activation.get(spec.layer, z)
        size, evenness = response(tape.input[spec.layer], z, laws[spec.name], laws.get(f"{spec.layer}/bias", no_bias))
        rms, correlation = _rms_and_correlation(activation)
        columns["weight_rms"].append(_rms_and_std(params[spec.name])[0])
        columns["activation_rms"].append(rms)
        columns["activation_correlation"].append(correlation)
        columns["gradient_std"].append(_rms_and_std(tape.gradient[spec.name])[1])
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


# The statistics of the same names take several passes more, for minima, maxima and exact zeros of a std.


def _rms_and_std(x: Array) -> tuple[Array, Array]:
    """Return rms and std (runs,), float64, over all elements of each run."""
    values, scale = _float64(x.reshape(len(x), 1, -1))
    square = _products(values) / values.shape[-1]
    mean = values.mean(axis=(1, 2))
    return scale * np.sqrt(square), scale * np.sqrt(np.maximum(square - mean**2, 0.0))


def _rms_and_correlation(x: Array) -> tuple[Array, Array]:
    """Return rms, and E[x x'] / E[x²] over units and pairs of samples (runs,), of ``x`` (runs, samples, units)."""
    values, scale = _float64(x)
    runs, samples, units = x.shape
    total = _products(values.reshape(runs, 1, -1))
    together = _products(np.ones((1, 1, samples)) @ values)
    return scale * np.sqrt(total / (samples * units)), (together - total) / ((samples - 1) * total)


def _products(rows: Array) -> Array:
    """Return the squared norms (runs,) of ``rows`` (runs, 1, n)."""
    norms: Array = (rows @ rows.swapaxes(1, 2))[:, 0, 0]
    return norms


def _float64(x: Array) -> tuple[Array, Array]:
    """Return values as float64 whose squares stay in its range, and what they are to be multiplied with (runs,)."""
    values, scale = x.astype(np.float64), np.ones(len(x))
    if x.dtype == np.float64:
        largest = np.abs(values).max(axis=(1, 2))
        scale = np.where(np.isfinite(largest) & (largest > 0), largest, 1.0)
        values /= scale[:, None, None]
    return values, scale
