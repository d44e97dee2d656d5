"""Signs of what was done to weights that no law explains: clamped, sorted, of low rank, in part at another scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from weightinit.arrays import Array
from weightinit.auditing.examination import Examination
from weightinit.auditing.model_report import number

PILED: Final = 0.01
"""Share of the elements that are one number, from which on they were clamped to it; a drawn number comes once."""

FEW_UNITS: Final = 0.25
"""Share of a matrix's units or inputs up to which those of another size are the few."""

APART: Final = 2.0
"""Ratio of sizes of units from which on they are of another scale; drawn ones of ``LONG`` elements differ by half."""

LONG: Final = 64

MOST: Final = 1024
"""Length of a matrix's shorter side up to which its rank is counted."""


def made_unnatural(exam: Examination) -> str:
    """Return in words what was done to drawn weights; empty if they show nothing of that."""
    if exam.values.ndim < 2 or not exam.elements.std > 0 or exam.elements.size < LONG:
        return ""
    tests: tuple[Callable[[Examination], Iterator[str]], ...] = (
        _clamped,
        _of_one_sign,
        _sorted,
        _one_tap,
        _low_rank,
        _in_part,
    )
    return next((said for test in tests for said in test(exam)), "")


def _clamped(exam: Examination) -> Iterator[str]:
    inside = np.unique(exam.values, return_counts=True)[1][1:-1]
    ends = {end: int(np.count_nonzero(exam.values == end)) for end in exam.elements.range}
    often = max(PILED * exam.elements.size, 4 * int(inside.max(initial=0)))  # numbers of few bits come often
    if sum(ends.values()) > often and exam.elements.size >= 2 * LONG:
        at = " or ".join(number(end) for end, count in ends.items() if count > 1)
        share = sum(ends.values()) / exam.elements.size
        yield f"{share:.0%} of its values are {at}: clamped, where a law is cut by drawing again"


def _of_one_sign(exam: Examination) -> Iterator[str]:
    if exam.elements.range[0] >= 0 or exam.elements.range[1] <= 0:
        yield "all its values are of one sign: an absolute value or a square was taken"


def _sorted(exam: Examination) -> Iterator[str]:
    """In the order of their memory, on any axis first."""
    flat = exam.values.reshape(-1, exam.values.shape[-1])
    if any(
        bool((steps >= 0).all() or (steps <= 0).all()) for steps in (np.diff(flat.ravel()), np.diff(flat.T.ravel()))
    ):
        yield "its values are sorted: they were drawn for themselves, but not left in their order"


def _one_tap(exam: Examination) -> Iterator[str]:
    taps = exam.values.reshape(-1, *exam.values.shape[-2:])
    if len(taps) > 1 and bool((taps == taps[0]).all()):
        yield f"the {len(taps)} taps of its kernel are equal: drawn once and repeated"


def _low_rank(exam: Examination) -> Iterator[str]:
    most = min(exam.matrix.shape)
    if not 2 < most <= MOST:
        return
    singular = np.linalg.svd(exam.matrix, compute_uv=False)
    rounding = exam.elements.spacing * np.abs(exam.matrix).max() * sum(math.sqrt(side) for side in exam.matrix.shape)
    rank = int(np.count_nonzero(singular > 4 * rounding))
    if 0 < rank <= most // 2:
        yield f"a matrix of rank {rank} where {most} is usual: a product of factors, not drawn"


def _in_part(exam: Examination) -> Iterator[str]:
    inputs: Array = np.moveaxis(exam.values, -2, 0).reshape(exam.values.shape[-2], -1)
    for kind, vectors in (("units", exam.matrix.T), ("inputs", inputs)):
        if vectors.shape[1] < LONG or len(vectors) < 4:
            continue
        sizes = np.sqrt(np.square(vectors).mean(axis=1))
        usual = float(np.median(sizes))
        if not usual > 0:
            continue
        off = np.flatnonzero((sizes > APART * usual) | (sizes * APART < usual))
        if 0 < len(off) <= FEW_UNITS * len(sizes):
            ratio, one = float(np.median(sizes[off])) / usual, len(off) == 1
            verb, first = ("is", "number") if one else ("are", "the first number")
            yield (
                f"{len(off)} of {len(sizes)} {kind} {verb} {ratio:.3g} times the size of the others, {first} {off[0]}: "
                "drawn in parts, or written over"
            )
            return
