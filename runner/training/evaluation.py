"""Loss and score of the networks of a stack on a part of the data."""

from __future__ import annotations

import numpy as np

from runner.training.class_scores import class_scores
from weightinit.arrays import Array
from weightinit.nn import Loss, Network, State


def evaluate(
    network: Network,
    flat: Array,
    state: State,
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

    The score is the accuracy, by token where tokens have targets; for a regression R²: 1 minus the squared error over
    the squared error of the mean. ``further``, of samples with a class each, gets ``class_scores`` by name.
    """
    losses, scores = [], []
    found: dict[str, list[Array]] = {}
    for start in range(0, len(flat), rows):
        part = flat[start : start + rows]
        params = network.views(part)
        part_state = {name: values[start : start + rows] for name, values in state.items()}
        total, right = np.zeros(len(part)), np.zeros(len(part))
        tapes, outputs = {}, []
        for first in range(0, len(x), batch_size):
            chunk, target = x[None, first : first + batch_size], y[None, first : first + batch_size]
            size = chunk.shape[1]
            if size not in tapes:
                tapes[size] = network.tape(len(part), size, phase="evaluate")
            output = network.forward(params, part_state, chunk, tapes[size], phase="evaluate")
            total += loss(output, target) * size
            if further is not None:
                outputs.append(output.copy())
            if regression:
                right += np.square(output - target, dtype=np.float64).reshape(len(part), -1).sum(axis=1)
            else:
                told = target.any(axis=-1)
                hits = (output.argmax(axis=-1) == target.argmax(axis=-1)) & told
                right += hits.reshape(len(part), -1).sum(axis=1)
        if further is not None:
            for name, values in class_scores(np.concatenate(outputs, axis=1), y.argmax(axis=-1)).items():
                found.setdefault(name, []).append(values)
        losses.append(total / len(x))
        spread = np.square(y - y.mean(axis=0), dtype=np.float64).sum()
        scores.append(1.0 - right / spread if regression else right / y.any(axis=-1).sum())
    if further is not None:
        further |= {name: np.concatenate(parts) for name, parts in found.items()}
    return np.concatenate(losses), np.concatenate(scores)
