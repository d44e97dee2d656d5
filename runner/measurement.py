"""What is measured of a stack, and the log that it is written to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from runner.records import Rows
from weightinit.arrays import Array
from weightinit.laws import Law
from weightinit.nn import Loss, Moments, Network, Params, Tape
from weightinit.schemes import Initialized
from weightinit.statistics import histogram, measure


@dataclass(eq=False)
class Log:
    """Measurements of a stack of ``runs``, each a row of values (runs,); NaN where a run has none."""

    runs: int
    steps: list[int] = field(default_factory=list)
    quantities: list[str] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)

    def add(self, step: int, quantity: str, layer: str, values: Array, runs: Array) -> None:
        """Takes one number of each of ``runs`` (indices in the whole stack)."""
        row = np.full(self.runs, np.nan)
        row[runs] = values
        self.steps.append(step)
        self.quantities.append(quantity)
        self.layers.append(layer)
        self.values.append(row)

    def rows(self) -> list[Rows]:
        """The rows of each run, without those where it has no number."""
        table = np.array(self.values).reshape(len(self.values), self.runs)
        steps = np.array(self.steps, np.int64)
        quantities, layers = tuple(self.quantities), tuple(self.layers)
        result = []
        for run in range(self.runs):
            present = np.flatnonzero(~np.isnan(table[:, run]))
            if len(present) == len(steps):
                result.append(Rows(steps, quantities, layers, table[:, run].copy()))
            else:
                names = tuple(quantities[i] for i in present), tuple(layers[i] for i in present)
                result.append(Rows(steps[present], *names, table[present, run]))
        return result


def layer_statistics(
    network: Network,
    params: Params,
    tape: Tape,
    *,
    ends: bool,
    update: Params | None = None,
    laws: Mapping[str, Sequence[Law]] | None = None,
) -> Iterable[tuple[str, str, Array]]:
    """(quantity, layer, values (runs,)) of every layer with weights, off a tape that has gone forward and backward.

    The output's activation is the output itself. ``laws``: of each run, by weight's name.
    """
    activations = {layer.name: layer.activation for layer in network.layers if hasattr(layer, "activation")}
    for spec in network.weights:
        if spec.role != "weight":
            continue
        z = tape.preactivation[spec.layer]
        readings: dict[str, Any] = {
            "weight": params[spec.name],
            "gradient": tape.gradient[spec.name],
            "preactivation": z,
            "activation": tape.activation.get(spec.layer, z),
        }
        if spec.layer in activations:
            readings["slope"] = activations[spec.layer].dphi(z)
        if update is not None:
            readings["update"] = update[spec.name]
        if laws is not None:
            readings["laws"] = tuple(laws[spec.name])
        for quantity, values in measure(readings, ends=ends).items():
            yield quantity, spec.layer, values


def probe(
    log: Log,
    prefix: str,
    step: int,
    network: Network,
    flat: Array,
    runs: Array,
    x: Array,
    y: Array,
    loss: Loss,
    *,
    rows: int,
    laws: Mapping[str, Sequence[Law]] | None = None,
) -> list[dict[str, Array]]:
    """Measures the stack on fixed samples: every statistic into ``log`` under ``prefix``; returns histograms by run.

    ``flat``: parameter vectors (n, parameters) of ``runs``; ``x`` (1, samples, inputs), ``y`` (1, samples, outputs) shared
    by all; ``rows`` runs go through at a time, which bounds the memory and changes no number.
    """
    found: dict[tuple[str, str], list[Array]] = {}
    histograms: list[dict[str, Array]] = []
    for start in range(0, len(runs), rows):
        part = slice(start, start + rows)
        params = network.views(flat[part])
        tape = network.tape(len(flat[part]), x.shape[1])
        output = network.forward(params, {}, x, tape)
        loss(output, y, tape.d_output)
        network.backward(params, tape.d_output, tape)
        own = None if laws is None else {name: law[part] for name, law in laws.items()}
        for quantity, layer, values in layer_statistics(network, params, tape, ends=True, laws=own):
            found.setdefault((quantity, layer), []).append(values)
        histograms += _histograms(network, params, tape)
    for (quantity, layer), parts in found.items():
        log.add(step, f"{prefix}_{quantity}", layer, np.concatenate(parts), runs)
    return histograms


def _histograms(network: Network, params: Params, tape: Tape) -> list[dict[str, Array]]:
    """By run: ``QUANTITY/LAYER`` -> (2, bins)."""
    result: list[dict[str, Array]] = [{} for _ in range(tape.runs)]
    for spec in network.weights:
        if spec.role != "weight":
            continue
        arrays = {
            "weight": params[spec.name],
            "preactivation": tape.preactivation[spec.layer],
            "gradient": tape.gradient[spec.name],
        }
        for quantity, array in arrays.items():
            for run, counts in enumerate(histogram(array)):
                result[run][f"{quantity}/{spec.layer}"] = counts
    return result


def predict(log: Log, network: Network, initialized: Initialized, x: Array) -> None:
    """Writes what theory expects of each run at initialization, for inputs with the second moment of ``x``.

    ``predicted_preactivation_rms``, ``predicted_activation_rms`` and, of the activations, ``predicted_scatter``: the
    standard deviation of log rms over networks of this width. What no theory covers is absent.
    """
    second_moment = float(np.mean(np.square(x, dtype=np.float64)))
    names = tuple(initialized.laws)
    expected = [
        _expected(network, second_moment, names, tuple(initialized.laws[name][run] for name in names))
        for run in range(log.runs)
    ]
    quantities = ("predicted_preactivation_rms", "predicted_activation_rms", "predicted_scatter")
    for index, (layer, *_) in enumerate(expected[0]):
        for column, quantity in enumerate(quantities, start=1):
            log.add(0, quantity, layer, np.array([rows[index][column] for rows in expected]), np.arange(log.runs))


@lru_cache(maxsize=256)
def _expected(
    network: Network, second_moment: float, names: tuple[str, ...], laws: tuple[Law, ...]
) -> tuple[tuple[str, float, float, float], ...]:
    """(layer, rms of pre-activations, rms of activations, scatter) by layer; kept, since seeds of a scheme share it."""
    preactivation: dict[str, Moments] = {}
    activation: dict[str, Moments] = {}
    moments_of = {"preactivation": preactivation, "activation": activation}
    for prediction in network.expect(Moments(second_moment), dict(zip(names, laws, strict=True))):
        moments_of[prediction.quantity][prediction.layer] = prediction.moments
    result = []
    for layer, moments in preactivation.items():
        last = activation.get(layer, moments)
        result.append((layer, moments.rms, last.rms, last.scatter))
    return tuple(result)
