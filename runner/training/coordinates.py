"""Coordinates of a stack: the size of each layer's output on fixed samples, and of its change in the first steps."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from runner.config.trial import Trial
from runner.optimizers import Updater
from runner.training.blas import single_blas_thread
from runner.training.initialization import initialize, scales
from runner.training.samples import epoch_orders, part_arrays, probe_samples
from weightinit.arrays import Array, stream
from weightinit.coordinate_check import Kind
from weightinit.nn import Network, Sum, Tape
from weightinit.nn.layers import NOISE, Attention, Layer
from weightinit.nn.sites import MEASURED


def kinds(network: Network) -> dict[str, Kind]:
    """Return the layers that are measured, in forward order, each with its kind.

    Where the network has a depth, its last layer or block goes by the name ``last``, and of those between the first and
    the last there is none: networks of different depth so have the same layers.
    """
    return {shown: kind for _, shown, kind in _layers(network)}


def coordinates(trials: Sequence[Trial]) -> list[list[dict[str, float]]]:
    """Return for each trial, and each step from 0 to the plan's ``steps``, a size by layer.

    At step 0 it is the root mean square of the layer's output on the probe, later that of the output's change since
    then. The trials must share a signature. Raises the error of a scheme that can't initialize its run.
    """
    initialized, alive, failures = initialize(trials)
    if initialized is None or len(alive) < len(trials):
        raise next(iter(failures.values()))
    first = trials[0]
    network, plan, runs = first.network, first.plan, len(trials)
    x, y = part_arrays(first.dataset, "train", network.dtype.name)
    probe = probe_samples(first.dataset, plan.probe, plan.probe_source, network.dtype.name).x
    with single_blas_thread(), np.errstate(all="ignore"):
        flat, tape = network.flatten(initialized.params), network.tape(runs, plan.batch_size)
        state = network.state(runs, initialized.constants)
        state[NOISE] = np.array([stream(trial.plan.seed, NOISE).integers(2**63) for trial in trials], np.uint64)
        updater = Updater(
            [trial.optimizer for trial in trials],
            plan.steps,
            network.trained(flat),
            network.trained(tape.flat_gradient),
            network.kernel_parameters,
            scales(network, initialized),
        )
        params, probed = network.views(flat), network.tape(runs, probe.shape[1])

        def outputs() -> dict[str, Array]:
            network.forward(params, state, probe, probed, phase="probe")
            return {shown: _output(network, name, probed).astype(np.float64) for name, shown, _ in _layers(network)}

        start = outputs()
        found = [{layer: _rms(values) for layer, values in start.items()}]
        batches = _batches(trials, len(x))
        for step in range(plan.steps):
            chosen = next(batches)
            tape.step = step
            output = network.forward(params, state, x[chosen], tape)
            first.loss(output, y[chosen], tape.d_output)
            network.backward(params, tape.d_output, tape)
            updater.step(step)
            found.append({layer: _rms(values - start[layer]) for layer, values in outputs().items()})
    return [[{layer: float(sizes[layer][run]) for layer in sizes} for sizes in found] for run in range(runs)]


def _batches(trials: Sequence[Trial], samples: int) -> Iterator[Array]:
    """Yield the indices of a batch for each trial (runs, batch size), as training takes them."""
    orders, size = [epoch_orders(trial.plan, samples) for trial in trials], trials[0].plan.batch_size
    while True:
        order = np.stack([next(own) for own in orders])
        for start in range(0, samples - size + 1, size):
            yield order[:, start : start + size]


def _layers(network: Network) -> Iterator[tuple[str, str, Kind]]:
    """Yield each measured layer's name, the name that it is shown under, and its kind."""
    inputs = {spec.layer for spec in network.weights if spec.position == "input"}
    passed = set()
    for step in network.walk():
        names = [slot.path for slot in step.layer.slots(step.entering) if slot.quantity in MEASURED]
        if isinstance(step.layer, Attention):
            # In forward order: queries, keys and values, then the logits, and what is made of them.
            names = [*names[1:], f"{step.path}/logits", names[0]]
        for name in names:
            shown = _shown(name, network.depth)
            if shown is not None and name not in passed:
                passed.add(name)
                yield name, shown, _kind(name, step.layer, inputs)


def _kind(name: str, layer: Layer, inputs: Collection[str]) -> Kind:
    if isinstance(layer, Sum):
        return "stream"
    if isinstance(layer, Attention):
        return "query" if name.endswith("/query") else "logits" if name.endswith("/logits") else "hidden"
    return "output" if name == "output" else "input" if name in inputs else "hidden"


def _shown(name: str, depth: int | None) -> str | None:
    parts = re.fullmatch(r"(\w+)/(\d+)(/.*)?", name)
    if parts is None or depth is None or not name.startswith(("hidden/", "block/", "norm/")) or parts[2] == "1":
        return name
    return f"{parts[1]}/last{parts[3] or ''}" if int(parts[2]) == depth else None


def _output(network: Network, name: str, tape: Tape) -> Array:
    """Return the pre-activation of a layer, or its output where it has none; the logits of an attention."""
    if name.endswith("/logits"):
        attentions = (step.layer for step in network.walk() if isinstance(step.layer, Attention))
        return next(layer for layer in attentions if name == f"{layer.name}/logits").logits(tape)
    kept = tape.arrays.get((name, "preactivation"))
    return tape[name, "activation"] if kept is None else kept


def _rms(values: Array) -> Array:
    """Return the root mean square of each run (runs,)."""
    result: Array = np.sqrt(np.mean(values.reshape(len(values), -1) ** 2, axis=1))
    return result
