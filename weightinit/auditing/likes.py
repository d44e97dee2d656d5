"""Tensors beside their likes: the few that depart from what these have."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import numpy as np

from weightinit.arrays import Array
from weightinit.auditing.explanations import KNOWN, Explanation
from weightinit.auditing.families import Expectation
from weightinit.auditing.model_report import number
from weightinit.auditing.named_laws import rule
from weightinit.auditing.pieces import LARGEST, Piece
from weightinit.auditing.tests_of_law import largest_z
from weightinit.auditing.usual_laws import OF_SINES
from weightinit.fans import Fans
from weightinit.laws import Law

HEADS: Final = re.compile(
    r"(^|[._/])(out(put)?s?|head|final|logits|classifier|score|readout|predictor)([._/]|$)|(proj|conv)_out$|out_(proj|conv)$"
    r"|(^|[._/])(log_?(var|std|sigma|scale)|sigma|offsets?|deltas?)([._/]|$)"
)
"""Layers outside of blocks that give an output of the model or of a part, wherever they are registered."""

MANY: Final = 3
"""Layers alike from which on the one that departs from them is a fault."""

QUIET: Final = 0.5
"""Share of the usual std below which that of a last layer is taken to be small on purpose."""


def is_last(piece: Piece) -> bool:
    """Return whether a layer gives an output of the model or of a part."""
    named = piece.tensor.block is None and HEADS.search(piece.tensor.layer.lower()) is not None
    return piece.spec.position == "output" or named


def kinds(piece: Piece) -> set[str]:
    """Return the kinds of what an examination found."""
    exam = piece.exam
    assert exam is not None
    return {finding.kind for finding in exam.findings} | ({"law"} if exam.differs else set())


def accept(piece: Piece, explanation: Explanation) -> None:
    """Take an explanation for the law that was meant."""
    exam = piece.exam
    assert exam is not None
    piece.expectation = Expectation(explanation.law, explanation.name)
    exam.tensor = replace(exam.tensor, law=explanation.law, label=explanation.name)
    exam.differs, exam.mean_z, exam.std_z = "", math.nan, math.nan
    exam.findings = [each for each in exam.findings if each.kind not in ("law", "scale", "dependent")]


def error_of(piece: Piece) -> float:
    """Return the relative standard error of a piece's std, measured on at most ``LARGEST`` elements."""
    return math.sqrt(0.5 / max(min(math.prod(piece.shape), LARGEST), 1))


def alike(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """Return pieces in groups of one use and shape: those that differ in the number of a block."""
    groups: dict[tuple[str, tuple[int, ...]], list[Piece]] = {}
    for piece in pieces:
        groups.setdefault((piece.pattern, piece.shape), []).append(piece)
    return list(groups.values())


def is_zero(piece: Piece) -> bool:
    """Return whether all values of a piece are 0."""
    return piece.exam is not None and not piece.exam.std and not piece.exam.mean


def rms(piece: Piece) -> float:
    """Return the root mean square of a piece's values; NaN where it has none."""
    return math.hypot(piece.exam.std, piece.exam.mean) if piece.exam else math.nan


def of_depth(pieces: list[Piece]) -> Array:
    """Return the logarithm that makes up for a std falling with the root of a block's number (Zhang et al. 2019)."""
    places = [piece.tensor.block.index if piece.tensor.block else 0 for piece in pieces]
    makes_up: Array = np.log1p(places) / 2
    return makes_up


def _is_first_of_sines(piece: Piece) -> bool:
    return piece.expectation is not None and piece.expectation.label == OF_SINES


def _is_transposed(piece: Piece) -> bool:
    return piece.tensor.role == "convolution" and piece.tensor.in_axes == (0,)


def _other_way(label: str) -> str:
    """The name of a law with its fans swapped."""
    return label.replace("(mode='fan_out')", "") if "fan_out" in label else f"{label}(mode='fan_out')"


def transposed(layers: list[Piece]) -> None:
    """Transposed kernels by a law whose fans PyTorch counts the other way round."""
    for piece in layers:
        label = piece.expectation.label if piece.expectation else ""
        if not _is_transposed(piece) or kinds(piece) or label not in KNOWN or not piece.tensor.default.known:
            continue
        other = _other_way(label)
        fan_in, fan_out = piece.spec.fans
        if other in KNOWN and fan_in != fan_out:
            piece.note(
                "law",
                f"std {number(piece.exam.std if piece.exam else math.nan)} is that of {other} with the fans that "
                f"PyTorch's nn.init counts for a transposed kernel, {(fan_out, fan_in)}: it takes outputs for inputs, "
                f"of which there are {fan_in} over the stride",
            )


def swapped(weights: list[Piece]) -> None:
    """A known law with its fans swapped, in few layers among many that have them right."""
    telling = [
        piece for piece in weights
        if piece.spec.fans.fan_in != piece.spec.fans.fan_out and not kinds(piece) and piece.expectation
    ]  # fmt: skip
    labels = Counter(piece.expectation.label for piece in telling if piece.expectation)
    uses = Counter((piece.pattern, piece.expectation.label) for piece in telling if piece.expectation)
    for piece in telling:
        assert piece.expectation is not None
        assert piece.exam is not None
        label = piece.expectation.label
        other = _other_way(label)
        if label in KNOWN and labels[other] > 2 * labels[label] and not _is_transposed(piece):
            law = rule(other).law(piece.spec)
            fans = piece.spec.fans
            said = (
                f"std {number(piece.exam.std)}, expected {number(law.std)} = {other}, as {labels[other]} of its likes"
            )
            pair = f"{tuple(Fans(*reversed(fans)))} for {tuple(fans)}"
            if uses[piece.pattern, label] > 1:  # in each block: as well a number of its own that is near by chance
                piece.note("law", f"{said}: its fans are swapped, {pair}, or it has a rule of its own in each block")
            else:
                piece.fault("law", f"{said}: its fans are swapped, {pair}")


def quiet(layers: list[Piece], biases: list[Piece]) -> None:
    """A last layer, of the model or of one of its parts, drawn much smaller than usual: a start near zero is meant.

    A bias beside it by the same law is part of that.
    """
    parts: dict[str, list[Piece]] = {}
    for piece in layers:
        parts.setdefault(piece.name.partition(".")[0], []).append(piece)
    ends = [part[-1] for part in parts.values() if len(part) > 1 and part[-1].tensor.block is None]
    for piece in layers:
        exam = piece.exam
        last = is_last(piece) or any(piece is end for end in ends)
        if last and exam and kinds(piece) == {"scale"} and exam.tensor.law and exam.std < QUIET * exam.tensor.law.std:
            usual = number(exam.tensor.law.std)
            accept(piece, exam.explained[0])
            piece.note("scale", f"std {number(exam.std)} where {usual} is usual: a last layer that starts near zero")
            for bias in (each for each in biases if each.tensor.layer == piece.tensor.layer and each.exam):
                if kinds(bias) and _small(bias, exam.std):
                    accept(bias, Explanation(f"as {piece.name}", Law("normal", 0.0, exam.std), ""))


def _small(bias: Piece, std: float) -> bool:
    """Whether a bias is drawn at no more than the size of its weights, but for chance in few elements."""
    exam = bias.exam
    return exam is not None and rms(bias) < std * (1 + 4 * error_of(bias))


def likes(weights: list[Piece], alpha: float, ratio: float = 1.0) -> None:
    """The few of a group of tensors alike whose std is not that of the others, by more than a ``ratio``."""
    settled = (p for p in weights if p.exam and p.exam.std > 0 and not kinds(p) and not _is_first_of_sines(p))
    for group in alike(settled):
        if len(group) < 3:
            continue
        stds = np.array([piece.exam.std if piece.exam else math.nan for piece in group])
        logs, error = np.log(stds), error_of(group[0])
        allowed = largest_z(alpha) * error * math.sqrt(1 + 1 / len(group))
        off = abs(logs - np.median(logs)) > max(allowed, math.log(ratio))
        deeper = logs + of_depth(group)
        if (abs(deeper - np.median(deeper)) <= 2 * allowed).all():
            continue
        if 0 < 3 * off.sum() <= len(group):
            usual = float(np.exp(np.median(logs)))
            for piece, std in ((group[i], stds[i]) for i in np.flatnonzero(off)):
                count = len(group) - int(off.sum())
                label = piece.expectation.label if piece.expectation else ""
                looks = f", like {label}: its fans are swapped" if "fan_out" in label else ""
                said = f"std {number(std)}, expected {number(usual)} as its {count} likes have"
                piece.fault("scale", f"{said}: {std / usual:.3g} times theirs{looks}")
