"""Judgement of a stack's initial networks, by references that its runs share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from runner.config.trial import Trial
from runner.training.measurement import Log
from runner.training.samples import ProbeSamples, part_arrays
from weightinit.arrays import Array
from weightinit.nn import LOSSES, Loss, Network
from weightinit.reference import (
    JACOBIAN,
    SAMPLES,
    Band,
    Batches,
    Draws,
    Judgement,
    Observation,
    Probe,
    Store,
    draws_of,
    judge,
)
from weightinit.reference import observe as observed
from weightinit.schemes import Initialized

FOLDER = "references"
# Names of the scatter of what is measured.
SCATTER = {
    "activation_rms": "predicted_scatter",
    "gradient_std": "predicted_gradient_scatter",
    "activation_correlation": "predicted_correlation_scatter",
    "jacobian_mean_s2": "predicted_jacobian_mean_s2_scatter",
    "jacobian_spread": "predicted_jacobian_spread_scatter",
}
GROWTH = "reference_growth_scatter"


@dataclass(frozen=True, eq=False)
class Judged:
    """Judgement of a run; its observation (of one network) and the band of its reference, where it was judged.

    ``trunk``: the first and the last hidden layer that everything goes through, if there is one.
    """

    judgement: Judgement
    trunk: tuple[str, ...] = ()
    observation: Observation | None = None
    band: Band | None = None

    @property
    def growth_scatter(self) -> float:
        """Standard deviation, over correct networks, of the growth of log rms from the first to the last hidden layer.

        NaN where it is not known.
        """
        return np.nan if self.band is None or not self.trunk else self.band.spread("activation_rms", *self.trunk)


def judge_stack(
    trials: Sequence[Trial], network: Network, flat: Array, initialized: Initialized, samples: ProbeSamples, loss: Loss
) -> list[Judged]:
    """Return the judgement of each run, whose parameters are ``flat`` (runs, parameters).

    Runs of the same laws share a reference, which is kept below the folder of outputs.
    """
    probe = _probe(samples, loss.name)
    store = _store(trials[0].outputs / FOLDER)
    trunk = tuple(network.trunk[place].name for place in (0, -1)) if network.trunk else ()
    groups: dict[object, list[int]] = {}
    for run, trial in enumerate(trials):
        alike = (repr(trial.config["scheme"]), *initialized.laws_of(run).items())
        groups.setdefault(alike, []).append(run)
    result: list[Judged] = [Judged(Judgement())] * len(trials)
    for runs in groups.values():
        draws = _draws(trials[runs[0]], network, initialized, runs[0])
        reference = store.get(network, draws, probe)
        if reference.band is None:
            for run in runs:
                result[run] = Judged(Judgement(reason=reference.reason))
            continue
        laws = {name: tuple(by_run[run] for run in runs) for name, by_run in initialized.laws.items()}
        constants = {name: values[runs] for name, values in initialized.constants.items()}
        observation = observed(network, network.views(flat[runs]), probe, laws, constants)
        for place, (run, judgement) in enumerate(zip(runs, judge(observation, reference.band), strict=True)):
            result[run] = Judged(judgement, trunk, observation.of(np.array([place])), reference.band)
    return result


def record(log: Log, judged: Sequence[Judged]) -> None:
    """Add to ``log`` where networks of the same laws lie: by layer their median and scatter.

    ``reference_activation_rms``, ``_gradient_std``, ``_activation_correlation``: the median, carried over from the
    reference's samples to the probe's. ``predicted_scatter``, ``predicted_gradient_scatter``: standard deviations of
    the logarithms; ``predicted_correlation_scatter``: of the correlation; ``reference_growth_scatter``: of the growth
    of log rms from the first hidden layer to the last. Of the network as a whole, ``reference_jacobian_mean_s2`` and
    ``_spread``, with ``predicted_jacobian_mean_s2_scatter``, of the logarithm, and ``_spread_scatter``.
    """
    measured = dict(zip(zip(log.quantities, log.layers, strict=True), log.values, strict=True))
    sites = next((run.observation.layers for run in judged if run.observation is not None), ())
    everyone = np.arange(len(judged))
    for name, scatter in SCATTER.items():
        layers = [""] if name in JACOBIAN else sites  # the last layer of an observation has the whole network's
        missing = np.full(len(judged), np.nan)
        found = np.array([measured.get((f"init_{name}", layer), missing) for layer in layers])  # (layers, runs)
        medians, scatters = np.full((2, *found.shape), np.nan)
        for index, run in enumerate(judged):
            if run.band is not None and run.observation is not None:
                start = -len(layers)
                medians[:, index] = run.band.usual(name, run.observation.values[name][:, start:], found[:, index])[0]
                scatters[:, index] = run.band.width(name)[start:]
        for place, layer in enumerate(layers):
            log.add(0, f"reference_{name}", layer, medians[place], everyone)
            log.add(0, scatter, layer, scatters[place], everyone)
    log.add(0, GROWTH, "", np.array([run.growth_scatter for run in judged]), everyone)


def _draws(trial: Trial, network: Network, initialized: Initialized, run: int) -> Draws | str:
    x, _ = part_arrays(trial.dataset, "train", network.dtype.name)
    batches = Batches(x, trial.plan.batch_size, trial.dataset.digest)
    return draws_of(network, trial.scheme, initialized.laws_of(run), batches)


@lru_cache(maxsize=4)
def _store(folder: Path) -> Store:
    return Store(folder)


@lru_cache(maxsize=16)
def _probe(samples: ProbeSamples, loss: str) -> Probe:
    return Probe(samples.x[:, :SAMPLES], samples.y[:, :SAMPLES], LOSSES[loss])
