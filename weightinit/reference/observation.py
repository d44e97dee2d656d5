"""Observation of networks: what each layer shows of a probe's samples, forward and backward."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np

from weightinit.arrays import Array
from weightinit.laws import Law
from weightinit.nn import Loss, Network, Params, Tape
from weightinit.reference.response import response

SAMPLES = 64
JACOBIAN = ("jacobian_mean_s2", "jacobian_spread")
QUANTITIES = (
    *("weight_rms", "activation_rms", "gradient_std", "activation_correlation"),
    *("response", "evenness", "copied", *JACOBIAN),
)
NO_BIAS = Law("constant", 0.0, 0.0)
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
    """Numbers that the ``layers`` (sites) of a stack show: by name of ``QUANTITIES``, (runs, layers), float64.

    ``weight_rms``, ``activation_rms``, ``activation_correlation``, ``gradient_std``: as in ``weightinit.statistics``;
    ``response``, ``evenness``: of the pre-activations given the layer's input (``weightinit.reference.response``);
    ``copied``: 1 where the layer's weights equal those of a layer before it, else 0; ``jacobian_mean_s2``,
    ``jacobian_spread``: of the network from its input to its last layer, which has them. What is no finite number is
    infinite; NaN is what a layer does not have. ``samples``: number of
    samples of the probe.
    """

    layers: tuple[str, ...]
    values: Mapping[str, Array]
    samples: int

    @property
    def runs(self) -> int:
        """Number of networks."""
        return len(next(iter(self.values.values())))

    def of(self, runs: Array) -> Observation:
        """Return the observation of some of the networks."""
        return Observation(self.layers, {name: values[runs] for name, values in self.values.items()}, self.samples)


class Tapes(NamedTuple):
    """Memory for networks on a probe, and for their Jacobians, where these are affordable."""

    probe: Tape
    jacobian: Tape | None

    @classmethod
    def of(cls, network: Network, runs: int, samples: int) -> Tapes:
        """Return the memory for so many networks and samples."""
        points = network.jacobian_samples
        return cls(network.tape(runs, samples), network.jacobian_tape(runs, points) if points else None)


def networks_at_once(network: Network, samples: int) -> int:
    """Return the number of networks whose weights, gradients and activations stay in the cache."""
    elements = 2 * network.parameters + network.memory.elements(samples)
    return max(1, CACHE // (network.dtype.itemsize * elements))


def observe(
    network: Network,
    params: Params,
    probe: Probe,
    laws: Mapping[str, Sequence[Law]],
    constants: Mapping[str, Array] | None = None,
    tapes: dict[int, Tapes] | None = None,
) -> Observation:
    """Return what networks of these ``params`` (runs, *shape) show of the probe; ``laws`` by weight and run.

    ``constants``: (runs,) by name, of those that are not at their defaults; ``tapes``: by number of networks, kept
    for the next call: new memory for each takes a sixth of the time. A network shows the same bits alone or in any
    stack.
    """
    runs, samples = len(next(iter(params.values()))), probe.x.shape[1]
    layers = tuple(site.name for site in network.sites)
    values = {name: np.full((runs, len(layers)), np.nan) for name in QUANTITIES}
    step = networks_at_once(network, samples)
    tapes = {} if tapes is None else tapes
    for start in range(0, runs, step):
        part = slice(start, start + step)
        some = {name: array[part] for name, array in params.items()}
        count = len(next(iter(some.values())))
        if count not in tapes:
            tapes[count] = Tapes.of(network, count, samples)
        tape, jacobian_tape = tapes[count]
        state = network.state(count, {name: array[part] for name, array in (constants or {}).items()})
        with np.errstate(all="ignore"):
            output = network.forward(some, state, probe.x, tape, phase="probe")
            probe.loss(output, probe.y, tape.d_output)
            network.backward(some, tape.d_output, tape)
        for name, found in _shown(network, some, tape, {name: law[part] for name, law in laws.items()}).items():
            values[name][part] = found
        if jacobian_tape is not None:
            x, after = probe.x[:, : network.jacobian_samples], network.calibrated(state, tape)
            with np.errstate(all="ignore"):
                jacobian = network.jacobian(some, after, x, dtype=network.dtype, tape=jacobian_tape)
                for name, numbers in zip(JACOBIAN, _squared_singular_values(jacobian), strict=True):
                    values[name][part, -1] = numbers
    return Observation(layers, values, samples)


@np.errstate(all="ignore")
def _shown(network: Network, params: Params, tape: Tape, laws: Mapping[str, Sequence[Law]]) -> dict[str, Array]:
    columns = {name: np.full((tape.runs, len(network.sites)), np.nan) for name in QUANTITIES}
    for place, site in enumerate(network.sites):
        rms, correlation = _rms_and_correlation(site.output(tape))
        columns["activation_rms"][:, place] = _lost_is_infinite(rms)
        columns["activation_correlation"][:, place] = correlation
        if site.weight is not None:
            weight, gradient = params[site.weight.name], tape.gradient[site.weight.name]
            columns["weight_rms"][:, place] = _lost_is_infinite(_rms(weight))
            columns["gradient_std"][:, place] = _lost_is_infinite(_std(gradient))
            columns["copied"][:, place] = 0.0
            entered = tape.input.get((site.name, "preactivation"))
            # Of tokens and positions, weights are picked and added, not multiplied.
            if weight.ndim == 3 and site.linear and entered is not None and entered.dtype.kind == "f":
                size, evenness = response(
                    _folded(entered),
                    _folded(site.preactivation(tape)),
                    laws[site.weight.name],
                    laws.get(f"{site.name}/bias", (NO_BIAS,) * tape.runs),
                )
                columns["response"][:, place], columns["evenness"][:, place] = size, evenness
    weighed = {site.weight.name: place for place, site in enumerate(network.sites) if site.weight is not None}
    for before, after in combinations(weighed, 2):
        one, other = params[before], params[after]
        if one.shape == other.shape:
            start = (slice(None), 0)  # few weights tell most layers apart
            for run in np.flatnonzero((one[start] == other[start]).reshape(tape.runs, -1).all(axis=1)):
                if np.array_equal(one[run], other[run]):
                    columns["copied"][run, weighed[after]] = 1.0
    return columns


def _lost_is_infinite(sizes: Array) -> Array:
    """Return sizes with infinity for NaN, which stands for what is not there."""
    return np.where(np.isnan(sizes), np.inf, sizes)


def _folded(x: Array) -> Array:
    """Return features with positions among the samples."""
    return x.reshape(len(x), -1, x.shape[-1])


# The statistics of the same names take several passes more, for minima, maxima and exact zeros of a std.


def _rms(x: Array) -> Array:
    """Return the rms (runs,), float64, over all elements of each run."""
    values, scale = _float64(x.reshape(len(x), 1, -1))
    rms: Array = scale * np.sqrt(_products(values) / values.shape[-1])
    return rms


def _std(x: Array) -> Array:
    """Return the std (runs,), float64, over all elements of each run."""
    values, scale = _float64(x.reshape(len(x), 1, -1))
    square, mean = _products(values) / values.shape[-1], values.mean(axis=(1, 2))
    std: Array = scale * np.sqrt(np.maximum(square - mean**2, 0.0))
    return std


def _rms_and_correlation(x: Array) -> tuple[Array, Array]:
    """Return rms, and E[x x'] / E[x²] over units and pairs of samples (runs,), of ``x`` (runs, samples, ...)."""
    values, scale = _float64(x)
    runs, samples = x.shape[:2]
    values = values.reshape(runs, samples, -1)
    total = _products(values.reshape(runs, 1, -1))
    together = _products(np.ones((1, 1, samples)) @ values)
    return scale * np.sqrt(total / values[0].size), (together - total) / ((samples - 1) * total)


def _squared_singular_values(jacobian: Array) -> tuple[Array, Array]:
    """Return mean of s², and mean over samples of Var(s²) / mean(s²)² (runs,), of (runs, samples, outputs, inputs)."""
    values, scale = _float64(jacobian)
    if values.shape[-2] > values.shape[-1]:
        values = values.swapaxes(-1, -2)
    gram = values @ values.swapaxes(-1, -2)
    number = gram.shape[-1]
    mean = np.trace(gram, axis1=-2, axis2=-1) / number
    spread = (gram * gram).sum((-2, -1)) / (number * mean**2) - 1
    return scale**2 * mean.mean(-1), spread.mean(-1)


def _products(rows: Array) -> Array:
    """Return the squared norms (runs,) of ``rows`` (runs, 1, n)."""
    norms: Array = (rows @ rows.swapaxes(1, 2))[:, 0, 0]
    return norms


def _float64(x: Array) -> tuple[Array, Array]:
    """Return values as float64 whose squares stay in its range, and what they are to be multiplied with (runs,)."""
    values, scale = x.astype(np.float64), np.ones(len(x))
    if x.dtype == np.float64:
        largest = np.abs(values).reshape(len(x), -1).max(axis=1)
        scale = np.where(np.isfinite(largest) & (largest > 0), largest, 1.0)
        values /= scale.reshape(-1, *[1] * (x.ndim - 1))
    return values, scale
