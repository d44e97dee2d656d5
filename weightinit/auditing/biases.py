"""Biases beside their likes, and beside the signal of their layers."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

from weightinit.auditing.likes import HEADS, MANY, alike, is_last, rms
from weightinit.auditing.model_report import number
from weightinit.auditing.pieces import Piece

DROWNED: Final = 10.0
"""Size of a bias, in that of its layer's signal, from which on the signal is lost; so of positions added to tokens."""

CLOSES: Final = 3.0
"""Size of a negative bias, in that of its layer's signal, from which on a relu passes nearly nothing."""

NEAR: Final = 0.1
"""Size of a signal below which a negative bias is held against this: zero weights have none."""


def look_at_biases(pieces: list[Piece]) -> None:
    """Note biases that were written and aren't what their likes are, and those in which a layer's signal is lost."""
    written = [
        piece for piece in pieces
        if piece.tensor.role == "bias" and math.prod(piece.shape) > 1  # one number is constant, drawn or not
        and piece.exam and (not piece.exam.std or piece.written)
        and (piece.tensor.block or piece.spec.position != "output")
    ]  # fmt: skip
    for group in alike(written):
        values = Counter((piece.exam.mean, piece.exam.std) for piece in group if piece.exam)
        usual, count = values.most_common(1)[0]
        off = [piece for piece in group if piece.exam and (piece.exam.mean, piece.exam.std) != usual]
        if 2 * count > len(group) and (usual == (0, 0) or (count >= MANY and len(off) == 1)):
            for piece in off:
                value = number(piece.exam.mean) if piece.exam else ""
                said = f"is {value} {'everywhere' if not usual[1] else 'in the mean'}, expected {number(usual[0])}"
                piece.fault("constant", f"{said} as its {count} likes have")
    constant = [piece for piece in written if piece.exam and not piece.exam.std]
    weights = {piece.tensor.layer: piece for piece in pieces if piece.spec.role == "weight" and len(piece.shape) > 1}
    for piece in constant:
        weight = weights.get(piece.tensor.layer)
        if weight is not None and not piece.found and not HEADS.search(piece.tensor.layer.lower()):
            passed = _passed(weight)
            if passed:  # a gate may begin with its bias alone
                _beside_weights(piece, passed)
    beside = ((piece, weights.get(piece.tensor.layer)) for piece in pieces if piece.tensor.role == "bias")
    lost = [
        (piece, passed) for piece, weight in beside
        if weight is not None and not is_last(piece) and piece.exam and piece.exam.std
        and not piece.found and 0 < CLOSES * (passed := _passed(weight)) < rms(piece)
    ]  # fmt: skip
    for piece, passed in lost if len(lost) >= MANY else ():
        piece.fault(
            "loud",
            f"std {number(rms(piece))}, {rms(piece) / passed:.2g} times what the weights beside it make of inputs of "
            f"rms 1, as in {len(lost)} layers: what tells inputs apart is lost in biases",
        )


def _passed(weight: Piece) -> float:
    """Size of a layer's signal for inputs of rms 1."""
    return rms(weight) * math.sqrt(weight.spec.fans.fan_in)


def _beside_weights(piece: Piece, passed: float) -> None:
    """A constant bias beside the signal of its layer."""
    mean = piece.exam.mean if piece.exam else 0.0
    if abs(mean) > DROWNED * max(passed, 1.0):
        piece.fault(
            "loud",
            f"is {number(mean)} everywhere, {abs(mean) / passed:.0f} times what the weights beside it make of inputs "
            "of rms 1: what tells inputs apart is lost in it",
        )
    elif mean < -CLOSES * max(passed, NEAR):
        piece.note(
            "dead",
            f"is {number(mean)} everywhere, {abs(mean) / passed:.2g} times what the weights beside it make of inputs "
            "of rms 1: before a relu its units are dead, before a sigmoid closed",
        )
