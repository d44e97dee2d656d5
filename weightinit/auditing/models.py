"""The audit of a model: each of its parameters, with what its module knows of it, against what it should be."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np

from weightinit.arrays import Array
from weightinit.auditing.buffers import look_at_buffers
from weightinit.auditing.copies import copies
from weightinit.auditing.elements import Elements, elements_of
from weightinit.auditing.examination import TESTS, examine
from weightinit.auditing.expectations import ModelLaws, choose
from weightinit.auditing.expected import Expected
from weightinit.auditing.families import Expectation, Expectations
from weightinit.auditing.judging import hold_against_law
from weightinit.auditing.matrices import in_order, repeats
from weightinit.auditing.model_findings import report_on
from weightinit.auditing.model_report import ModelReport, number
from weightinit.auditing.never_meant import look_at_copies, look_at_heads, look_at_never_meant, look_at_slices
from weightinit.auditing.pieces import LARGEST, Piece, Values, not_finite, pieces_of, thinned, whole
from weightinit.auditing.relations import look_at_relations
from weightinit.auditing.tests_of_law import fit
from weightinit.auditing.tokens import look_at_tokens
from weightinit.auditing.unnatural import made_unnatural
from weightinit.auditing.usual import settle
from weightinit.laws import UNKNOWN, Law
from weightinit.model import Model

LEAST: Final = 64
"""Elements from which on their last bits tell what type they were drawn in."""

FEW: Final = 8
"""Numbers in a bias up to which it was written, not drawn, where each comes again."""

DRAWN: Final = 16
"""Sizes of elements that are different, from which on these were drawn: the identity has two."""


@np.errstate(all="ignore")  # weights of absurd size overflow and then fail their tests
def audit_model(model: Model, expected: ModelLaws = None, *, level: float = 1e-3) -> ModelReport:
    """Return a report on whether the parameters of a model are what they should be; it changes nothing.

    ``expected``: a family (``gpt2``) with the model's own configuration, ``pytorch`` for each module's own default, a
    scheme's name or rule for weights, laws by patterns of names, or rules in order. None holds each tensor against what
    can be known of it: the family that its configuration names, the scale there, its module's default, the laws that
    are usual; and looks for what is never meant. ``level``: the chance that honest draws raise any false alarm
    (Bonferroni over tensors and tests).

    Raises ValueError for an unknown family or law and a level outside (0, 1), TypeError for what is no law.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level}. Pass level=0.001.")
    chosen = choose(model, expected)
    pieces = pieces_of(model, chosen.of)
    alpha = level / (TESTS * len(pieces))
    values = Values(pieces)
    again = copies(Values([piece for piece in pieces if piece.comparable]))
    for piece in pieces:
        if piece.name in values:
            _judge(piece, again.get(piece.name), alpha)
        else:
            piece.remark = "on the meta device" if piece.tensor.size else "not yet there"
    look_at_copies(pieces)
    settle(pieces, alpha)
    look_at_heads(model, pieces, chosen.family)
    look_at_relations(pieces, alpha)
    look_at_tokens(model, pieces)
    return report_on(model, pieces, chosen, level, alpha, look_at_buffers(model))


def _judge(piece: Piece, copy: tuple[str, bool] | None, alpha: float) -> None:
    everything = whole(piece)
    bad = not_finite(everything)
    values = everything if bad and everything.size < 1 << 24 else thinned(everything)
    if piece.tensor.padding is not None:
        values = _without_padding(piece, everything, values)
    if look_at_never_meant(piece, everything, bad):
        copy = None
    elif not bad:
        look_at_slices(piece, everything)
    if everything.size < 2 and piece.spec.role == "weight":  # one number tells no law
        piece.candidates = ()
    expectation = piece.expectation = _best(values, piece.candidates, alpha)
    through = expectation.through if expectation else None
    if through is not None and not bad:
        values = _through(piece, everything, through)
    law = expectation.law if expectation else UNKNOWN
    tensor = Expected(
        values,
        piece.shape,
        replace(piece.spec, shape=values.shape),
        piece.tensor.fans,
        law if law.known else None,
        expectation.label if expectation else "",
        expectation.source if expectation else None,
        expectation.mistakes if expectation else (),
    )
    exam = piece.exam = examine(tensor, copy)
    exam.not_finite = bad
    if not exam.elements.values.size or not np.isfinite(exam.elements.values).any():
        return
    hold_against_law(exam, alpha)
    if any(finding.kind == "trained" for finding in exam.findings) and (said := made_unnatural(exam)):
        exam.findings = [finding for finding in exam.findings if finding.kind != "trained"]
        exam.find("law", said, "")
    if not exam.findings and through is None and everything.ndim == 2 and LARGEST < everything.size <= 1 << 28:
        _equal_rows(piece, everything)
    distinct = np.unique(exam.elements.values[: 8 * FEW]).size if piece.tensor.role == "bias" and exam.std > 0 else 0
    piece.written = 0 < distinct <= min(FEW, exam.elements.size // 3)
    repeated = exam.repeated_units or exam.repeated_inputs or in_order(exam.elements.values)
    if exam.std > 0 and exam.elements.size >= LEAST and not repeated and _sizes(exam.elements) >= DRAWN:
        piece.grain = exam.elements.spacing
        bits, most = exam.elements.grid_bits, 8 if piece.grain >= 2.0**-7 else 10  # rounding alone leaves more
        piece.coarse = exam.elements.grid_in_words if bits is not None and bits <= most else ""
        piece.mean = float(everything.mean(dtype=np.float64))
    exam.let_go()
    exam.tensor = replace(exam.tensor, values=np.empty(0))


def _sizes(elements: Elements) -> int:
    return int(np.unique(np.abs(elements.values[:1024])).size)


def _through(piece: Piece, everything: Array, through: object) -> Array:
    assert callable(through)
    result: Array = np.atleast_1d(through(piece.tensor.from_layout(everything)))
    return result


def _without_padding(piece: Piece, everything: Array, values: Array) -> Array:
    """The values without the row that stands for no token, which is noted where it isn't zero."""
    place = piece.tensor.padding
    assert place is not None
    row = everything[place]
    if row.any():
        rms = math.sqrt(float(np.mean(np.square(row.astype(np.float64)))))
        piece.fault("padding", f"row {place} stands for padding and should be zero; it was drawn, rms {number(rms)}")
        return values
    if len(everything) < 2:
        return values
    return thinned(np.delete(everything, place, axis=0)) if values is everything else values[values.any(axis=1)]


def _equal_rows(piece: Piece, everything: Array) -> None:
    """Equal inputs or units anywhere in a tensor that was thinned."""
    for kind, vectors in (("inputs", everything), ("units", everything.T)):
        found = repeats(vectors)
        if found.equal and found.chance(2.0**-7) < 1e-9:
            piece.fault(
                kind, f"{found.equal} of {found.first.size} {kind} equal an earlier one: training can't part them"
            )


def _best(values: Array, candidates: Expectations, alpha: float) -> Expectation | None:
    """The first law that the values follow, else the first."""
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    elements = elements_of(np.atleast_1d(values))
    return next((each for each in candidates if _follows(elements, each.law, alpha)), candidates[0])


def _follows(elements: Elements, law: Law, alpha: float) -> bool:
    low, high = elements.range
    if law.std == 0:
        return low == high == law.mean
    return low < high and law.family in ("normal", "uniform", "truncated_normal") and fit(elements, law).passes(alpha)
