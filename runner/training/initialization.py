"""Initialization of a stack: each scheme initializes its own runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runner.config.trial import Trial
from runner.optimizers import Scale
from runner.training.blas import single_blas_thread
from runner.training.samples import epoch_orders, part_arrays
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


def scales(network: Network, initialized: Initialized) -> list[Scale]:
    """Return the scales of all trained weights, in the order of a parameter vector; none where no weight has one."""
    if not initialized.learning_rate_scale and not initialized.gradient_scale:
        return []
    found: list[Scale] = []
    frozen = {spec.name for spec in network.weights if not spec.trained}
    for name, columns in network.slices.items():
        if name in frozen:
            continue
        update, gradient = (
            np.asarray(factors[name])[:, None] if name in factors else np.ones((len(initialized.notes), 1))
            for factors in (initialized.learning_rate_scale, initialized.gradient_scale)
        )
        if found and np.array_equal(update, found[-1].update) and np.array_equal(gradient, found[-1].gradient):
            columns = slice(found.pop().columns.start, columns.stop)
        found.append(Scale(columns, update, gradient))
    return found
