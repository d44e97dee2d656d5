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


def predict(log: Log, network: Network, initialized: Initialized, samples: ProbeSamples, d_output: Array) -> list[str]:
    """Add to ``log`` the theory of each run at initialization on these samples, where the laws are known.

    Returns why theory ends, for each run; empty where it doesn't. By layer: ``predicted_preactivation_rms``,
    ``predicted_activation_rms``, ``_mean`` and ``_correlation``; from the gradient ``d_output`` (runs, samples,
    outputs) measured at the output, ``predicted_backward_rms`` and the weights' ``predicted_gradient_std``. Of the
    network: ``predicted_jacobian_mean_s2`` and ``_spread``.
    """
    names = (*initialized.laws, *initialized.constants)
    laws = [tuple(initialized.laws_of(run).values()) for run in range(log.runs)]
    expected = [_expected(network, samples, names, run_laws) for run_laws in laws]
    d_output = d_output.astype(np.float64)
    everyone = np.arange(log.runs)
    uneven = network.gradient_quantity == "backward_norm"
    table: dict[tuple[str, str], Array] = {}
    widened = gram = np.empty(0)
    for run, (layers, jacobian, narrow, _) in enumerate(expected):
        if narrow is not widened:  # runs of the same laws share one array
            widened, gram = narrow, narrow.astype(np.float64)
        # Sum over pairs of samples of (input . input') (gradient . gradient'): the square of the weights' gradient.
        flat = d_output[run].reshape(len(d_output[run]), -1)
        squares = gram @ (flat @ flat.T).ravel() / network.outputs
        sizes = np.mean(flat**2, axis=1)
        for facts, square in zip(layers, squares, strict=True):
            rms = math.sqrt(np.mean(facts.backward * sizes))
            row = facts.numbers | {
                "backward_rms": rms,
                **({"backward_norm": rms * math.sqrt(facts.size)} if uneven else {}),
                "gradient_std": math.sqrt(max(square, 0.0)) if square == square else math.nan,
            }
            for name, value in row.items():
                table.setdefault((f"predicted_{name}", facts.layer), np.full(log.runs, np.nan))[run] = value
        for name, value in (("mean_s2", jacobian.mean), ("spread", jacobian.relative_variance)):
            table.setdefault((f"predicted_jacobian_{name}", ""), np.full(log.runs, np.nan))[run] = value
    for (quantity, layer), values in table.items():
        log.add(0, quantity, layer, values, everyone)
    return [reason for _, _, _, reason in expected]


@dataclass(frozen=True)
class _Facts:
    """Theory of a layer: numbers by name, and its size for one sample.

    ``backward``: mean square of its gradient over that at the output, by sample (samples,) where samples differ.
    """

    layer: str
    numbers: dict[str, float]
    backward: float | Array
    size: int


@lru_cache(maxsize=8)
def _expected(
    network: Network, samples: ProbeSamples, names: tuple[str, ...], laws: tuple[Law, ...]
) -> tuple[list[_Facts], SingularValues, Array, str]:
    """Return the theory of the layers, the Jacobian's singular values, an array (layers, samples²), and why it ends.

    The array times the Gram matrix of the output gradient gives the squared gradients of the weights. The result is
    cached, because all seeds of a scheme share it.
    """
    before: dict[str, Prediction] = {}
    after: dict[str, Moments] = {}
    by_name = dict(zip(names, laws, strict=True))
    predictions = network.expect(samples.moments_for(network), by_name)
    for prediction in predictions:
        if prediction.quantity:
            before.setdefault(prediction.layer, prediction)
            after[prediction.layer] = prediction.moments
    sites = {site.name: site for site in network.sites}
    pairs = samples.x.shape[1] ** 2
    facts, gram = [], np.empty((len(before), pairs), np.float32)
    for index, (layer, flow) in enumerate(before.items()):
        last, site = after[layer], sites[layer]
        numbers = {
            **({"preactivation_rms": flow.moments.rms} if site.linear else {}),
            "activation_rms": last.rms,
            "activation_mean": last.mean,
            "activation_correlation": last.pair_correlation,
        }
        facts.append(_Facts(layer, numbers, flow.gradient.by_sample, math.prod(site.shape)))
        # Weights that several positions share are beyond this theory.
        alike = flow.input.correlation * flow.gradient.correlation if len(site.shape) == 1 and site.weight else math.nan
        if np.size(alike) not in (1, pairs):
            alike = math.nan
        gram[index] = np.ravel(flow.input.second_moment * flow.gradient.second_moment * alike)
    reason = predictions[-1].moments.reason or predictions[0].gradient.reason
    return facts, network.expect_jacobian(predictions, by_name), gram, reason
