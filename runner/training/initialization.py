"""Initialization of a stack: each scheme initializes its own runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runner.config.trial import Trial
from runner.training.blas import single_blas_thread
from runner.training.samples import epoch_orders, part_arrays
from weightinit.arrays import Array
from weightinit.nn import Network
from weightinit.schemes import Initialized, merge


def initialize(trials: Sequence[Trial]) -> tuple[Initialized | None, list[int], dict[int, Exception]]:
    """Return the initial state of the runs that have one, the indices of these runs, and errors of the others by index.

    A scheme sees its own runs only. Where it raises, its runs are tried singly, so that a run fails alone.
    """
    network = trials[0].network
    groups: dict[str, list[int]] = {}
    for index, trial in enumerate(trials):
        groups.setdefault(repr(trial.config["scheme"]), []).append(index)
    parts: list[tuple[list[int], Initialized]] = []
    failures: dict[int, Exception] = {}
    with single_blas_thread(), np.errstate(all="ignore"):
        for indices in groups.values():
            try:
                parts.append((indices, _apply(network, [trials[index] for index in indices])))
            except Exception:
                for index in indices:
                    try:
                        parts.append(([index], _apply(network, [trials[index]])))
                    except Exception as error:  # a scheme may be foreign code
                        failures[index] = error
    alive = sorted(index for indices, _ in parts for index in indices)
    place = {index: position for position, index in enumerate(alive)}
    if not alive:
        return None, alive, failures
    placed = [([place[i] for i in indices], part) for indices, part in parts]
    defaults = {spec.name: spec.default for spec in network.constants}
    return merge(placed, len(alive), defaults), alive, failures


def _apply(network: Network, trials: Sequence[Trial]) -> Initialized:
    """Initialize trials of one scheme, with the first training batch of each.

    Raises TypeError or ValueError where the scheme does not return an initial state of this network.
    """
    x, _ = part_arrays(trials[0].dataset, "train", network.dtype.name)
    orders = np.stack([next(epoch_orders(trial.plan, len(x))) for trial in trials])
    batch = x[orders[:, : trials[0].plan.batch_size]]
    initialized = trials[0].scheme(network, [trial.seed for trial in trials], batch)
    if not isinstance(initialized, Initialized):
        raise TypeError(f"a scheme must return weightinit.schemes.Initialized; got {type(initialized).__name__}")
    initialized.check(network, len(trials))
    return initialized


def learning_rate_scale(network: Network, initialized: Initialized) -> Array | None:
    """Return the factor of each trained parameter's learning rate (runs, parameters); None where no weight has one."""
    if not initialized.learning_rate_scale:
        return None
    scale = np.ones_like(network.flatten(initialized.params))
    views = network.views(scale)
    for name, factor in initialized.learning_rate_scale.items():
        views[name][...] = np.asarray(factor).reshape(-1, *[1] * (views[name].ndim - 1))
    return network.trained(scale)
