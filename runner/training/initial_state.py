"""Labels of a run's initial state: signal, deviation from correct networks, weight audit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from runner.training.judging import Judged
from runner.training.measurement import Log
from weightinit.arrays import Array
from weightinit.auditing import Report, audit_stack
from weightinit.meanfield import signal_stability
from weightinit.nn import Network
from weightinit.reference import JACOBIAN
from weightinit.schemes import Initialized

# The chance of a false alarm in a run's audit: sweeps have thousands of runs.
LEVEL = 1e-6


def initial(
    log: Log,
    network: Network,
    judged: Sequence[Judged],
    reasons: Sequence[str],
    audits: Sequence[tuple[dict[str, str], int | None]],
) -> list[tuple[dict[str, float], dict[str, str]]]:
    """Return by run, after its initial state was measured, predicted and judged, numbers for its summary, and labels.

    Numbers: ``init_activation_deviation`` and ``init_gradient_deviation``, the largest of all layers from the reference
    (``weightinit.reference.Judgement``): 3 is the joint 1% line; infinite for a layer that is zero or infinite where
    those of correct networks are not; ``expected_deaths``, the share of correct networks with a zero or infinite layer,
    where this one has such a layer too; ``init_jacobian_mean_s2`` and ``_spread`` with what is ``predicted_`` of them;
    ``audit_faults``, tensors that don't follow the law that the scheme declares. A number that doesn't exist is absent.

    Labels: ``measured_fate`` and ``predicted_fate`` of the signal (``weightinit.meanfield.Stability``), of networks
    with hidden layers; ``alarm_layer`` and ``alarm_fault`` where a deviation is above 3; ``not_judged``, why there is
    none; ``no_theory``, the ``reasons`` why theory has no number; those of the ``audits``, as ``audited`` returns them.
    """
    table = dict(zip(zip(log.quantities, log.layers, strict=True), log.values, strict=True))
    layers = [*(site.name for site in network.trunk), "output"]
    gradient = network.gradient_quantity
    missing = np.full(log.runs, math.nan)

    def by_layer(quantity: str) -> Array:
        return np.array([table.get((quantity, layer), missing) for layer in layers])

    rms, expected_rms = by_layer("init_activation_rms"), by_layer("predicted_activation_rms")
    std, expected_std = by_layer(f"init_{gradient}"), by_layer(f"predicted_{gradient}")
    numbers = {
        f"{prefix}_{name}": table.get((f"{prefix}_{name}", ""), missing)
        for name in JACOBIAN
        for prefix in ("init", "predicted")
    }
    result = []
    for run in range(log.runs):
        judgement = judged[run].judgement
        of_run = {name: float(values[run]) for name, values in numbers.items()}
        of_run |= {f"init_{family}_deviation": deviation for family, deviation in judgement.deviation.items()}
        of_run["expected_deaths"] = judgement.died
        summary = {name: value for name, value in of_run.items() if not math.isnan(value)}
        found, faults = audits[run]
        labels = dict(found)
        if faults is not None:
            summary["audit_faults"] = float(faults)
        if judgement.fault is not None:
            labels |= {"alarm_layer": judgement.layer, "alarm_fault": judgement.fault}
        if judgement.reason:
            labels["not_judged"] = judgement.reason
        if reasons[run]:
            labels["no_theory"] = reasons[run]
        if len(layers) > 1:
            labels["measured_fate"] = _signal(rms[:-1, run], std[:-1, run], judged[run].growth_scatter)
            labels["predicted_fate"] = _signal(expected_rms[:-1, run], expected_std[:-1, run], 0.0)
        result.append((summary, labels))
    return result


def _signal(rms: Array, gradient: Array, scatter: float) -> str:
    """Return the label of a signal with this rms in each hidden layer, and this std of the weights' gradients."""
    with np.errstate(all="ignore"):
        growth, back = np.log(rms[-1] / rms[0]), np.log(gradient[0] / gradient[-1])
    return signal_stability(float(rms[-1]), float(growth), float(back), len(rms) - 1, scatter=scatter).label


def audited(network: Network, initialized: Initialized) -> list[tuple[dict[str, str], int | None]]:
    """Return by run labels of whether its weights follow the laws that its scheme declares, and how many do not.

    ``audit``: follows, differs, or unknown (and None) where no law is declared; of the first tensor that differs, its
    name as ``audit_tensor`` and the kind of its first ``weightinit.auditing`` finding as ``audit_finding``.
    """
    arrays = {spec.name: initialized.params[spec.name] for spec in network.weights}
    return [_labels(report) for report in audit_stack(arrays, initialized.laws, network.weights, level=LEVEL)]


def _labels(report: Report) -> tuple[dict[str, str], int | None]:
    if report.verdict == "unjudged":
        return {"audit": "unknown"}, None
    faults = [tensor for tensor in report.tensors if tensor.findings]
    if not faults:
        return {"audit": "follows"}, 0
    found = {"audit_tensor": faults[0].name, "audit_finding": str(faults[0].findings[0].kind)}
    return {"audit": "differs", **found}, len(faults)
