"""Splits that keep groups of samples together, such as the rows of one patient."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from weightinit.arrays import Array


def split_groups(
    labels: Array, groups: Array, fractions: Mapping[str, float], rng: np.random.Generator
) -> dict[str, Array]:
    """Return the row numbers of the parts of these ``fractions``, and of the ``training`` part that has the rest.

    Groups, the larger ones first and equal ones in random order, go to the part that lacks most samples of their
    classes. The rows of a part are in random order. Parts come near their fractions where no group is large.
    """
    count = int(groups.max()) + 1
    classes = np.zeros((count, int(labels.max()) + 1))
    np.add.at(classes, (groups, labels), 1)
    totals = classes.sum(axis=0)
    shares = {**fractions, "training": 1 - sum(fractions.values())}
    lacking = np.tile(totals, (len(shares), 1))  # (parts, classes), of each part as if it were the whole
    order = rng.permutation(count)
    chosen = np.empty(count, np.int64)
    for group in order[np.argsort(-classes[order].sum(axis=1), kind="stable")]:
        chosen[group] = part = int(np.argmax(lacking @ (classes[group] / totals)))
        lacking[part] -= classes[group] / list(shares.values())[part]
    rows = rng.permutation(len(labels))
    return {part: rows[chosen[groups[rows]] == index] for index, part in enumerate(shares)}
