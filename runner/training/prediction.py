"""Predictions: theory of each layer at initialization, in the units of the measurements."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from runner.training.measurement import Log
from runner.training.samples import ProbeSamples
from weightinit.arrays import Array
from weightinit.laws import Law
from weightinit.meanfield import SingularValues
from weightinit.nn import Moments, Network, Prediction
from weightinit.schemes import Initialized


def predict(log: Log, network: Network, initialized: Initialized, samples: ProbeSamples, d_output: Array) -> None:
    """Add to ``log`` the theory of each run at initialization on these samples, where the laws are known.

    By layer: ``predicted_preactivation_rms``, ``predicted_activation_rms``, ``_mean`` and ``_correlation``;
    from the gradient ``d_output`` (runs, samples, outputs) measured at the output, ``predicted_backward_rms`` and the
    weights' ``predicted_gradient_std``. Of the network: ``predicted_jacobian_mean_s2`` and ``_spread``.
    """
    names = (*initialized.laws, *initialized.constants)
    laws = [tuple(initialized.laws_of(run).values()) for run in range(log.runs)]
    expected = [_expected(network, samples, names, run_laws) for run_laws in laws]
    d_output = d_output.astype(np.float64)
    everyone = np.arange(log.runs)
    table: dict[tuple[str, str], Array] = {}
    for run, (layers, jacobian, gram) in enumerate(expected):
        # Sum over pairs of samples of (input . input') (gradient . gradient'): the square of the weights' gradient.
        squares = gram @ (d_output[run] @ d_output[run].T).ravel() / network.outputs
        rms = np.sqrt(np.mean(d_output[run] ** 2))
        for facts, square in zip(layers, squares, strict=True):
            row = facts.numbers | {
                "backward_rms": facts.backward * rms,
                "gradient_std": math.sqrt(max(square, 0.0)) if square == square else math.nan,
            }
            for name, value in row.items():
                table.setdefault((f"predicted_{name}", facts.layer), np.full(log.runs, np.nan))[run] = value
        for name, value in (("mean_s2", jacobian.mean), ("spread", jacobian.relative_variance)):
            table.setdefault((f"predicted_jacobian_{name}", ""), np.full(log.runs, np.nan))[run] = value
    for (quantity, layer), values in table.items():
        log.add(0, quantity, layer, values, everyone)


@dataclass(frozen=True)
class _Facts:
    """Theory of a layer: numbers by name, and the rms of its gradient over that at the output."""

    layer: str
    numbers: dict[str, float]
    backward: float


@lru_cache(maxsize=8)
def _expected(
    network: Network, samples: ProbeSamples, names: tuple[str, ...], laws: tuple[Law, ...]
) -> tuple[list[_Facts], SingularValues, Array]:
    """Return the theory of the layers with weights, the Jacobian's singular values, and an array (layers, samples²).

    The array times the Gram matrix of the output gradient gives the squared gradients of the weights. The result is
    cached, because all seeds of a scheme share it.
    """
    before: dict[str, Prediction] = {}
    after: dict[str, Moments] = {}
    by_name = dict(zip(names, laws, strict=True))
    predictions = network.expect(samples.moments, by_name)
    for prediction in predictions:
        if prediction.quantity:
            before.setdefault(prediction.layer, prediction)
            after[prediction.layer] = prediction.moments
    pairs = samples.x.shape[1] ** 2
    facts, gram = [], np.empty((len(before), pairs), np.float32)
    for index, (layer, flow) in enumerate(before.items()):
        last = after[layer]
        numbers = {
            "preactivation_rms": flow.moments.rms,
            "activation_rms": last.rms,
            "activation_mean": last.mean,
            "activation_correlation": _off_diagonal_mean(last.correlation),
        }
        facts.append(_Facts(layer, numbers, math.sqrt(flow.gradient.second_moment)))
        alike = flow.input.correlation * flow.gradient.correlation
        gram[index] = np.ravel(flow.input.second_moment * flow.gradient.second_moment * alike)
    return facts, network.expect_jacobian(predictions, by_name), gram


def _off_diagonal_mean(correlation: float | Array) -> float:
    """Return the mean over pairs of different samples."""
    matrix = np.asarray(correlation)
    if matrix.ndim == 0:
        return float(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (matrix.size - len(matrix)))
