"""Zeros among the elements of an array: by rounding, of a sparse law, of whole units or inputs, of padding."""

from __future__ import annotations

import math
import re

import numpy as np
from scipy.special import pdtrc

from weightinit.auditing.elements import Elements
from weightinit.auditing.examination import Examination
from weightinit.auditing.explanations import Explanation
from weightinit.auditing.tests_of_law import fit
from weightinit.laws import Law


def too_many_zeros(elements: Elements, std: float, alpha: float) -> bool:
    """Whether elements of a continuous law of this std have more zeros than rounding makes with chance ``alpha``.

    They are counted by twos: a uniform number that rounds to zero makes both normal ones of a pair zero (Box & Muller
    1958; PyTorch draws a pair at eight places' distance, one of 2^25 elements in float32).
    """
    expected = elements.size * elements.chance_of_zero(std)
    return bool(elements.zeros) and float(pdtrc((elements.zeros - 1) // 2, expected)) < alpha


def sparse_law(exam: Examination, alpha: float) -> Explanation | None:
    """Return the law of a weight whose units have equally many nonzero elements, at places that differ, all normal.

    PyTorch's ``sparse_`` sets as many zeros to each input.
    """
    places = exam.matrix != 0
    if not exam.tensor.is_weight or _in_vectors(exam) or bool((places == places[:, :1]).all()):
        return None
    counts = (np.count_nonzero(exam.matrix, axis=axis) for axis in (0, 1))
    nonzero, units = next(((n, i == 0) for i, n in enumerate(counts) if n.min() == n.max()), (None, True))
    if nonzero is None:
        return None
    drawn = exam.elements.part(exam.values[exam.values != 0])
    std = math.hypot(drawn.std, drawn.mean)
    if not drawn.range[0] < drawn.range[1] or not fit(drawn, Law("normal", 0.0, std)).passes(alpha):
        return None
    name = f"sparse(nonzero={nonzero[0]}, std={std:.4g})" if units else f"sparse, {nonzero[0]} nonzero an input"
    return Explanation(name, Law("sparse", 0.0, std * math.sqrt(nonzero[0] / exam.matrix.shape[0 if units else 1])), "")


def zeros_in_words(exam: Examination) -> str:
    """Return which values are zero: whole units or inputs, or how many."""
    vectors = _in_vectors(exam)
    if not vectors:
        return f"{exam.elements.zeros} of {exam.values.size} values are zero"
    said = []
    for kind, places in vectors.items():
        size = exam.values.shape[-1 if kind == "units" else -2]
        verb = "is zero, number" if len(places) == 1 else "are zero, the first number"
        said.append(f"{len(places)} of {size} {kind} {verb} {places[0]}")
    return " and ".join(said)


def padding(exam: Examination) -> int | None:
    """Return the place of the one zero vector of an embedding (known by its name), if there is no other zero."""
    places = [place for places in _in_vectors(exam).values() for place in places]
    embedding = re.search(r"emb|wte|token", exam.tensor.spec.name.lower())
    return places[0] if embedding and len(places) == 1 else None


def _in_vectors(exam: Examination) -> dict[str, list[int]]:
    """The places of zero ``units`` and ``inputs``; nothing if there are zeros elsewhere too."""
    if not exam.tensor.is_weight:
        return {}
    by_input = np.moveaxis(exam.values, -2, 0).reshape(exam.values.shape[-2], -1)
    units, inputs = (np.flatnonzero(~vectors.any(axis=1)).tolist() for vectors in (exam.matrix.T, by_input))
    filled = (by_input.shape[0] - len(inputs)) * (exam.matrix.shape[1] - len(units))
    kernel = exam.values.size // (by_input.shape[0] * exam.matrix.shape[1])
    if exam.values.size - exam.elements.zeros != filled * kernel:
        return {}
    return {kind: places for kind, places in (("units", units), ("inputs", inputs)) if places}
