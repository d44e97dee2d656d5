"""What is said of each run's initial state: measurement beside theory, and an audit of its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from runner.text import number
from runner.training.measurement import Log
from weightinit.arrays import Array
from weightinit.auditing import audit
from weightinit.nn import Network
from weightinit.schemes import Initialized

# The chance of a false alarm in a run's audit: sweeps have thousands of runs.
LEVEL = 1e-6
EACH = " at each layer"
JACOBIAN = ("jacobian_mean_s2", "jacobian_spread")


def initial(log: Log, network: Network, initialized: Initialized) -> list[tuple[dict[str, float], dict[str, str]]]:
    """By run, after its initial state was measured and predicted: numbers for its summary, and words.

    Numbers: ``init_activation_deviation`` and ``init_gradient_deviation``, the largest of all layers from theory, in
    units of the scatter that this width explains (3 is much; of gradients more is usual where samples stay apart, since
    theory takes the loss's gradient to be independent of the activations); ``init_jacobian_mean_s2`` and ``_spread``
    with what is ``predicted_`` of them; ``audit_faults``, tensors that don't follow the law that the scheme declares.
    One that doesn't exist is absent. Words: ``measured_fate`` and ``predicted_fate`` of the signal (or of the gradient
    where the signal is stable), of networks with hidden layers; ``audit``: follows, unknown, or what differs.
    """
    table = dict(zip(zip(log.quantities, log.layers, strict=True), log.values, strict=True))
    layers = [spec.layer for spec in network.weights if spec.role == "weight"]
    missing = np.full(log.runs, math.nan)

    def by_layer(quantity: str) -> Array:
        return np.array([table.get((quantity, layer), missing) for layer in layers])

    rms, expected_rms = by_layer("init_activation_rms"), by_layer("predicted_activation_rms")
    std, expected_std = by_layer("init_gradient_std"), by_layer("predicted_gradient_std")
    scatter = by_layer("predicted_scatter")
    numbers = {
        "init_activation_deviation": _largest(deviation(rms, expected_rms, scatter, level_mean=True)),
        "init_gradient_deviation": _largest(deviation(std, expected_std, by_layer("predicted_gradient_scatter"))),
    }
    for name in JACOBIAN:
        for prefix in ("init", "predicted"):
            numbers[f"{prefix}_{name}"] = table.get((f"{prefix}_{name}", ""), missing)
    result = []
    for run in range(log.runs):
        words, faults = audited(network, initialized, run)
        own = {name: float(values[run]) for name, values in numbers.items() if not math.isnan(values[run])}
        said = {"audit": words}
        if len(layers) > 1:
            spread = math.sqrt(max(scatter[-2, run] ** 2 - scatter[0, run] ** 2, 0.0))  # without theory 0
            said["measured_fate"] = _fate(rms[:-1, run], std[:-1, run], spread)
            said["predicted_fate"] = _fate(expected_rms[:-1, run], expected_std[:-1, run], 0.0)
        result.append((own | ({} if faults is None else {"audit_faults": float(faults)}), said))
    return result


def deviation(measured: Any, expected: Any, scatter: Any, *, level_mean: bool = False) -> Array:
    """How far sizes lie from what theory expects, in units of the scatter of their logarithm; NaN without theory.

    ``level_mean``: of a log-normal size whose mean square is as expected, the logarithm lies lower by its variance.
    Below a scatter of .01 that counts as one, since theory has errors of that size.
    """
    with np.errstate(all="ignore"):
        shift = np.square(scatter) if level_mean else 0.0
        distance: Array = np.abs(np.log(np.divide(measured, expected)) + shift) / np.maximum(scatter, 0.01)
    return np.where(np.isfinite(distance), distance, math.nan)


def _largest(distances: Array) -> Array:
    """The largest of each column, NaN where it has none."""
    largest = np.where(np.isnan(distances), -1.0, distances).max(axis=0)
    return np.where(largest < 0, math.nan, largest)


def _fate(rms: Array, gradient: Array, scatter: float) -> str:
    """The fate of a signal with this rms in each hidden layer, and of the gradients of their weights."""
    with np.errstate(all="ignore"):
        growth, back = np.log(rms[-1] / rms[0]), np.log(gradient[0] / gradient[-1])
    return signal_fate(float(rms[-1]), float(growth), len(rms) - 1, float(back), scatter)


def signal_fate(rms: float, growth: float, between: int, gradient: float, scatter: float = 0.0, runs: int = 1) -> str:
    """What becomes of the activations' mean square from the first hidden layer to the last, in a few words.

    ``rms``: of the last one; ``growth``: of its logarithm over ``between`` layers; ``gradient``: growth of the
    logarithm of the gradient's std on its way back; ``scatter``: of ``growth`` over networks, ``runs`` of which were
    averaged.
    Stable where the mean square changes by less than a factor 1.5 in all, or within three standard errors of what
    scatter explains; then the gradient's std may still change more than tenfold on its way back.
    """
    if rms == 0:
        return "vanishes"
    if math.isinf(rms):
        return "explodes"
    if math.isnan(growth):
        return "unknown"
    error = 3 * scatter / math.sqrt(runs)
    # Where theory expects a level mean square, the logarithm of the rms falls: of a log-normal one, by its variance.
    if abs(growth + scatter**2) <= error or abs(growth) <= math.log(1.5) / 2:
        if abs(gradient) <= max(math.log(10), error) or math.isnan(gradient):
            return "stable"
        return "gradient explodes" if gradient > 0 else "gradient vanishes"
    factor = math.exp(2 * growth / between)
    if abs(growth) > math.log(1000):
        return f"{'explodes' if growth > 0 else 'vanishes'}, x{number(factor, 2)}"
    if abs(abs(math.log2(factor)) - 1) < 0.15:
        return f"{'doubles' if growth > 0 else 'halves'}{EACH}"
    return f"x{number(factor, 2)}{EACH}"


def audited(network: Network, initialized: Initialized, run: int) -> tuple[str, int | None]:
    """Whether a run's weights follow the laws that its scheme declares, and how many tensors don't.

    ``follows``, ``differs: ...`` with the first fault, or ``unknown`` (None) where no law is declared.
    """
    laws: Mapping[str, Any] = {name: own[run] for name, own in initialized.laws.items()}
    arrays = {spec.name: initialized.params[spec.name][run] for spec in network.weights}
    report = audit(arrays, laws, specs=network.weights, level=LEVEL)
    if report.verdict == "unjudged":
        return "unknown", None
    faults = [tensor for tensor in report.tensors if tensor.findings]
    if not faults:
        return "follows", 0
    first = faults[0].findings[0].measured
    count = f"{len(faults)} of {len(report.tensors)} tensors"
    return f"differs: {count}; {faults[0].name}: {first[0].lower()}{first[1:]}", len(faults)
