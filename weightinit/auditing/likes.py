"""Tensors beside their likes: one rule for all of them, and the few that depart from it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Final

import numpy as np

from weightinit.auditing.expectations import OF_SINES, PACKED
from weightinit.auditing.explanations import KNOWN, Explanation
from weightinit.auditing.families import Expectation
from weightinit.auditing.model_report import number
from weightinit.auditing.named_laws import rule
from weightinit.auditing.pieces import Piece
from weightinit.auditing.tests_of_law import largest_z
from weightinit.fans import Fans

SCALED: Final = ("const", "xavier", "xavier(mode='fan_out')", "glorot_normal")
"""Rules whose std, times one factor for all, may be that of layers without a known law."""

QUIET: Final = 0.5
"""Share of the usual std below which that of a last layer is taken to be small on purpose."""


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


def one_rule(weights: list[Piece], alpha: float) -> None:
    """Layers without a known law: one std for all of them, or one factor on a rule's, is a rule of its own."""
    free = [piece for piece in weights if kinds(piece) == {"scale"}]
    known = Counter(
        piece.expectation.label.removeprefix(PACKED)
        for piece in weights
        if not kinds(piece) and piece.expectation and piece.exam
    )
    limit = largest_z(alpha)
    errors = np.array([math.sqrt(0.5 / math.prod(piece.shape)) for piece in free])
    best: list[int] = []
    for name in SCALED:
        stds = np.array([1.0 if name == "const" else rule(name).law(piece.spec).std for piece in free])
        logs = np.log([piece.exam.std if piece.exam else math.nan for piece in free]) - np.log(stds)
        for i in range(len(free)):
            near = np.flatnonzero(abs(logs - logs[i]) <= limit * np.hypot(errors, errors[i])).tolist()
            best = max(best, near, key=len)
    if len(best) > 1 and 2 * len(best) >= len(free):
        for i in best:
            accept(free[i], free[i].exam.explained[0])  # type: ignore[union-attr]
            free[i].note("scale", "of no known std, but like its likes")
    rest = [piece for piece in free if kinds(piece) == {"scale"}]
    if 3 * len(rest) > len(weights) > 3:
        for piece in rest:
            exam = piece.exam
            assert exam is not None
            accept(piece, exam.explained[0])
            piece.note("scale", "of no std known here, as many in this model: give its laws to have it judged")
    if known:
        name, count = known.most_common(1)[0]
        for piece in free:
            if count > 1 and name in KNOWN and kinds(piece) == {"scale"}:
                assert piece.exam is not None
                law = rule(name).law(piece.spec)
                piece.expectation = Expectation(law, f"{name}, as {count} of its likes")
                piece.exam.tensor = replace(piece.exam.tensor, law=law)


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
    for piece in telling:
        assert piece.expectation is not None
        assert piece.exam is not None
        label = piece.expectation.label
        other = _other_way(label)
        if label in KNOWN and labels[other] > 2 * labels[label] and not _is_transposed(piece):
            law = rule(other).law(piece.spec)
            fans = piece.spec.fans
            piece.fault(
                "law",
                f"std {number(piece.exam.std)}, expected {number(law.std)} = {other}, as {labels[other]} of its likes: "
                f"its fans are swapped, {tuple(Fans(*reversed(fans)))} for {tuple(fans)}",
            )


def quiet(layers: list[Piece]) -> None:
    """A last layer, of the model or of one of its parts, drawn much smaller than usual: a start near zero is meant."""
    parts: dict[str, list[Piece]] = {}
    for piece in layers:
        parts.setdefault(piece.name.partition(".")[0], []).append(piece)
    ends = [part[-1] for part in parts.values() if len(part) > 1 and part[-1].tensor.block is None]
    for piece in layers:
        exam = piece.exam
        last = piece.spec.position == "output" or any(piece is end for end in ends)
        if last and exam and kinds(piece) == {"scale"} and exam.tensor.law and exam.std < QUIET * exam.tensor.law.std:
            usual = number(exam.tensor.law.std)
            accept(piece, exam.explained[0])
            piece.note("scale", f"std {number(exam.std)} where {usual} is usual: a last layer that starts near zero")


def likes(weights: list[Piece], alpha: float) -> None:
    """The few of a group of tensors alike whose std is not that of the others."""
    groups: dict[tuple[object, ...], list[Piece]] = {}
    for piece in weights:
        if piece.exam is not None and piece.exam.std > 0 and not kinds(piece) and not _is_first_of_sines(piece):
            groups.setdefault((piece.pattern, piece.shape), []).append(piece)
    for group in groups.values():
        if len(group) < 3:
            continue
        stds = np.array([piece.exam.std if piece.exam else math.nan for piece in group])
        logs, error = np.log(stds), math.sqrt(0.5 / math.prod(group[0].shape))
        off = abs(logs - np.median(logs)) > largest_z(alpha) * error * math.sqrt(1 + 1 / len(group))
        if 0 < 3 * off.sum() <= len(group):
            usual = float(np.exp(np.median(logs)))
            for piece, std in ((group[i], stds[i]) for i in np.flatnonzero(off)):
                count = len(group) - int(off.sum())
                label = piece.expectation.label if piece.expectation else ""
                looks = f", like {label}: its fans are swapped" if "fan_out" in label else ""
                said = f"std {number(std)}, expected {number(usual)} as its {count} likes have"
                piece.fault("scale", f"{said}: {std / usual:.3g} times theirs{looks}")
