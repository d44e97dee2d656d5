"""Scores of classifiers on classes of unequal size: balanced accuracy, macro F1, area under the ROC curve."""

from __future__ import annotations

import numpy as np

from weightinit.arrays import Array


def class_scores(outputs: Array, labels: Array) -> dict[str, Array]:
    """Return scores by name, each (runs,), of outputs (runs, samples, classes) for labels (samples,).

    They are scikit-learn's ``balanced_accuracy_score``, ``f1_score`` with ``average="macro"`` and ``roc_auc_score``; of
    more than two classes that is the mean area of each class against the rest. NaN where an output is not finite.
    """
    runs, _, classes = outputs.shape
    predicted = outputs.argmax(axis=-1)
    cells = (np.arange(runs)[:, None] * classes + labels) * classes + predicted
    table = np.bincount(cells.ravel(), minlength=runs * classes**2).reshape(runs, classes, classes)
    hits = np.diagonal(table, axis1=1, axis2=2)
    real, guessed = table.sum(axis=2), table.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.nanmean(hits / real, axis=1)
        f1 = np.nanmean(2 * hits / (real + guessed), axis=1)
    scores = {"balanced_accuracy": recall, "macro_f1": f1, "auc": _area(outputs.astype(np.float64), labels)}
    finite = np.isfinite(outputs).all(axis=(1, 2))
    return {name: np.where(finite, values, np.nan) for name, values in scores.items()}


def _area(outputs: Array, labels: Array) -> Array:
    """Area under the ROC curve (runs,): how often a sample of a class has a higher probability of it than another."""
    runs, samples, classes = outputs.shape
    areas: list[Array] = []
    if classes == 2:
        of_each = {1: outputs[..., 1] - outputs[..., 0]}
    else:
        shares = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
        total = shares.sum(axis=-1)
        of_each = {known: shares[..., known] / total for known in range(classes)}
    for known, values in of_each.items():
        of_class = labels == known
        positives = int(of_class.sum())
        if 0 < positives < samples:
            ranks = _ranks(values)[:, of_class].sum(axis=-1)
            areas.append((ranks - positives * (positives + 1) / 2) / (positives * (samples - positives)))
    # Along the last axis, where a run's sum has the same order alone and in a stack.
    return np.stack(areas, axis=-1).mean(axis=-1) if areas else np.full(runs, np.nan)


def _ranks(values: Array) -> Array:
    """Return ranks from 1 along the last axis; equal values share their mean rank.

    ``scipy.stats.rankdata`` has the same bits, but takes half a second to import, in each worker.
    """
    order = np.argsort(values, axis=-1)
    sorted_values = np.take_along_axis(values, order, axis=-1)
    place, most = np.arange(values.shape[-1]), values.shape[-1] - 1
    differ = sorted_values[..., 1:] != sorted_values[..., :-1]
    middle: Array = np.broadcast_to(place, values.shape)
    if not differ.all():
        edge = np.ones((*values.shape[:-1], 1), bool)
        first = np.maximum.accumulate(np.where(np.concatenate([edge, differ], axis=-1), place, 0), axis=-1)
        ends = np.where(np.concatenate([differ, edge], axis=-1), place, most)
        middle = (first + np.minimum.accumulate(ends[..., ::-1], axis=-1)[..., ::-1]) / 2
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, middle + 1.0, axis=-1)
    return ranks
