"""Measurement of a stack: statistics of its layers, and the log that keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runner.records import Rows
from runner.training.samples import ProbeSamples
from weightinit.arrays import Array
from weightinit.laws import Law
from weightinit.nn import Loss, Network, Params, State, Sum, Tape
from weightinit.nn.layers import Attention
from weightinit.statistics import Reading, histogram, measure


@dataclass(eq=False)
class Log:
    """Measurements of a stack of ``runs``: rows of values (runs,), NaN where a run has none."""

    runs: int
    steps: list[int] = field(default_factory=list)
    quantities: list[str] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)

    def add(self, step: int, quantity: str, layer: str, values: Array, runs: Array) -> None:
        """Add a number for each of ``runs`` (indices in the whole stack)."""
        row = np.full(self.runs, np.nan)
        row[runs] = values
        self.steps.append(step)
        self.quantities.append(quantity)
        self.layers.append(layer)
        self.values.append(row)

    def rows(self) -> list[Rows]:
        """Return the rows of each run that have a number."""
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
    """Yield (quantity, layer, values (runs,)) of every site of the network, after a forward and a backward pass.

    Without a nonlinearity the activation of a layer is its output. ``laws``: of each run, by weight's name.
    """
    for site in network.sites:
        readings: dict[str, Any] = {"activation": site.output(tape)}
        if site.linear:
            readings["preactivation"] = site.preactivation(tape)
        if (backward := site.backward(tape)) is not None:
            readings["backward"] = backward
            if network.gradient_quantity == "backward_norm":
                readings["propagated"] = backward
        if site.activation is not None:
            readings["slope"] = site.activation.dphi(site.preactivation(tape))
        if site.weight is not None:
            name = site.weight.name
            readings |= {"weight": params[name], "gradient": tape.gradient[name]}
            if update is not None:
                readings["update"] = update[name]
            if laws is not None:
                readings["laws"] = tuple(laws[name])
        for quantity, values in measure(readings, ends=ends).items():
            yield quantity, site.name, values
    for step in network.walk() if ends else ():
        readings = {}
        if isinstance(step.layer, Sum):
            stream = tape[step.path, "activation"]
            readings = {"branch": step.layer.written(params, tape), "stream": stream}
            if stream.ndim == 4:
                readings["tokens"] = stream
        elif isinstance(step.layer, Attention):
            readings = {"attention": tape[step.path, "attention"]}
        for quantity, values in measure(readings, ends=ends).items():
            yield quantity, step.path, values


def probe(
    log: Log,
    prefix: str,
    step: int,
    network: Network,
    flat: Array,
    state: State,
    runs: Array,
    samples: ProbeSamples,
    loss: Loss,
    *,
    rows: int,
    laws: Mapping[str, Sequence[Law]] | None = None,
) -> tuple[list[dict[str, Array]], Array]:
    """Measure the stack on fixed samples, and add every statistic to ``log`` under ``prefix``.

    Returns arrays by run (histograms, singular values of the Jacobian), and the gradient of the loss at the output
    (runs, samples, outputs). ``flat``, ``state``: of ``runs``. The pass is of phase ``probe``: statistics of the probe
    itself, no noise. ``rows``: runs that are measured at a time; it bounds the memory and changes no number.
    """
    found: dict[tuple[str, str], list[Array]] = {}
    arrays: list[dict[str, Array]] = []
    gradients: list[Array] = []
    for start in range(0, len(runs), rows):
        part = slice(start, start + rows)
        params = network.views(flat[part])
        tape = network.tape(len(flat[part]), samples.x.shape[1])
        part_state = {name: values[part] for name, values in state.items()}
        output = network.forward(params, part_state, samples.x, tape, phase="probe")
        loss(output, samples.y, tape.d_output)
        network.backward(params, tape.d_output, tape)
        part_laws = None if laws is None else {name: law[part] for name, law in laws.items()}
        for quantity, layer, values in layer_statistics(network, params, tape, ends=True, laws=part_laws):
            found.setdefault((quantity, layer), []).append(values)
        part_arrays = _histograms(network, params, tape)
        if network.jacobian_samples:
            spectra = singular_values(network, params, network.calibrated(part_state, tape), samples.x)
            for quantity, values in measure({"singular_values": spectra}, ends=True).items():
                found.setdefault((quantity, ""), []).append(values)
            for kept, values in zip(part_arrays, spectra, strict=True):
                kept["singular_values"] = values
        arrays += part_arrays
        gradients.append(tape.d_output)
    for (quantity, layer), parts in found.items():
        log.add(step, f"{prefix}_{quantity}", layer, np.concatenate(parts), runs)
    return arrays, np.concatenate(gradients)


def singular_values(network: Network, params: Params, state: State, x: Array) -> Array:
    """Singular values (runs, samples, values), float64, of the network's Jacobian at the first few samples of ``x``.

    Running statistics are those of ``state``.

    Their number is that of the outputs or of the inputs, whichever is smaller. NaN where the Jacobian is not finite.
    """
    jacobian = network.jacobian(params, state, x[:, : network.jacobian_samples])
    runs, samples, *shape = jacobian.shape
    return Reading(jacobian.reshape(-1, *shape)).singular_values.reshape(runs, samples, -1)


def _histograms(network: Network, params: Params, tape: Tape) -> list[dict[str, Array]]:
    """Histograms of each run by name: ``histogram/QUANTITY/LAYER`` -> (2, bins)."""
    result: list[dict[str, Array]] = [{} for _ in range(tape.runs)]
    for site in network.sites:
        arrays = {}
        if site.weight is not None:
            arrays["weight"] = params[site.weight.name]
        arrays["preactivation"] = site.preactivation(tape)
        if site.weight is not None:
            arrays["gradient"] = tape.gradient[site.weight.name]
        for quantity, array in arrays.items():
            for run, counts in enumerate(histogram(array)):
                result[run][f"histogram/{quantity}/{site.name}"] = counts
    return result
