"""Loss and score of the networks of a stack on a part of the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from runner.training.class_scores import class_scores
from weightinit.arrays import Array
from weightinit.nn import Loss, Network, State, Tape

# Outputs (runs, samples, ...) of some runs on samples that they share; the next call may write over them.
Outputs: TypeAlias = Callable[[slice, Array], Array]


def outputs_of(network: Network, flat: Array, state: State) -> Outputs:
    """Return the outputs of runs with parameters ``flat`` (runs, parameters); memory is kept from call to call."""
    tapes: dict[tuple[int, int], Tape] = {}

    def outputs(runs: slice, x: Array) -> Array:
        params = network.views(flat[runs])
        part_state = {name: values[runs] for name, values in state.items()}
        shape = len(flat[runs]), len(x)
        if shape not in tapes:
            tapes[shape] = network.tape(*shape, phase="evaluate")
        return network.forward(params, part_state, x[None], tapes[shape], phase="evaluate")

    return outputs


def evaluate(
    outputs: Outputs,
    runs: int,
    x: Array,
    y: Array,
    loss: Loss,
    batch_size: int,
    rows: int,
    regression: bool,
    *,
    further: dict[str, Array] | None = None,
) -> tuple[Array, Array]:
    """Return (loss, score) of each run (runs,) on samples ``x`` (n, inputs), ``y`` (n, outputs), float64.

    The runs come ``rows`` at a time. The score is the accuracy, by token where tokens have targets; for a regression
    R²: 1 minus the squared error over the squared error of the mean. ``further``, of samples with a class each, gets
    ``class_scores`` by name.
    """
    losses, scores = [], []
    found: dict[str, list[Array]] = {}
    for start in range(0, runs, rows):
        part = slice(start, min(start + rows, runs))
        count = part.stop - start
        total, right = np.zeros(count), np.zeros(count)
        kept = []
        for first in range(0, len(x), batch_size):
            chunk, target = x[first : first + batch_size], y[None, first : first + batch_size]
            output = outputs(part, chunk)
            total += loss(output, target) * len(chunk)
            if further is not None:
                kept.append(output.copy())
            if regression:
                right += np.square(output - target, dtype=np.float64).reshape(count, -1).sum(axis=1)
            else:
                told = target.any(axis=-1)
                hits = (output.argmax(axis=-1) == target.argmax(axis=-1)) & told
                right += hits.reshape(count, -1).sum(axis=1)
        if further is not None:
            for name, values in class_scores(np.concatenate(kept, axis=1), y.argmax(axis=-1)).items():
                found.setdefault(name, []).append(values)
        losses.append(total / len(x))
        spread = np.square(y - y.mean(axis=0), dtype=np.float64).sum()
        scores.append(1.0 - right / spread if regression else right / y.any(axis=-1).sum())
    if further is not None:
        further |= {name: np.concatenate(parts) for name, parts in found.items()}
    return np.concatenate(losses), np.concatenate(scores)
