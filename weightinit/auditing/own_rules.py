"""Rules of somebody's own, read off the layers that share them: one scale for likes in all blocks, or for most."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import numpy as np

from weightinit.auditing.explanations import KNOWN, Explanation, slip
from weightinit.auditing.families import Expectation
from weightinit.auditing.likes import accept, alike, error_of, kinds, of_depth, rms
from weightinit.auditing.model_report import number
from weightinit.auditing.named_laws import rule
from weightinit.auditing.pieces import Piece
from weightinit.auditing.tests_of_law import largest_z
from weightinit.auditing.usual_laws import PACKED
from weightinit.laws import Law

SCALED: Final = ("const", "xavier", "xavier(mode='fan_out')", "glorot_normal")
"""Rules whose std, times one factor for all, may be that of layers without a known law."""

LEAST: Final = 3
"""Layers of one use whose stds make a rule."""

AS_LIKES: Final = "as its "
"""Beginning of the name of a law that a layer's likes in other blocks have."""

BY_NUMBER: Final = ("normal(", "truncated_normal(", "uniform(")
"""Beginnings of names of laws whose scale is a number, not one of fans."""

ENOUGH: Final = 64
"""Elements from which on their measured std tells how far off their mean is."""

OFF_CENTRE: Final = 1.0
"""Answer to equal inputs, in that to independent ones, from which on weights are not centred."""


def own_rules(weights: list[Piece], alpha: float) -> None:
    """Take for meant what many layers without a known law have in common, and give the others its law."""
    _off_centre(weights, alpha)
    _sparse(weights)
    _no_slips(weights, alpha)
    slips = _slips(weights)
    _of_all(weights, alpha)
    _of_most([piece for piece in _free(weights) if id(piece) not in slips], alpha)
    _of_use([piece for piece in weights if id(piece) not in slips], alpha)
    _of_none(weights, slips)


def own_biases(biases: list[Piece], alpha: float) -> None:
    """Take for meant drawn biases that all layers have by one rule, and a last layer's: its outputs' priors."""
    several = [piece for piece in biases if math.prod(piece.shape) > 1]
    drawn = [piece for piece in several if piece.exam and piece.exam.std]
    odd = [piece for piece in biases if piece.exam and piece.exam.std and kinds(piece) and piece.exam.explained]
    if len(drawn) >= LEAST and len(drawn) == len(several):
        limit = largest_z(alpha)
        errors = np.array([error_of(piece) for piece in drawn])
        sizes = np.log([rms(piece) for piece in drawn])
        for power, fan in ((0.0, 0), (-0.5, 0), (-0.5, 1)):
            logs = sizes - power * np.log([piece.spec.fans[fan] for piece in drawn])
            if (abs(logs - np.average(logs, weights=errors**-2)) <= limit * errors).all():
                for piece in odd:
                    _of_its_own(piece, "by one rule in all layers")
                return
    for piece in odd:
        if piece.spec.position == "output":
            exam = piece.exam
            assert exam is not None
            said = f"drawn, mean {number(exam.mean)}, std {number(exam.std)}"
            accept(piece, exam.explained[0])
            piece.note("scale", f"{said}: in a last layer these may be priors of its outputs")


def _free(weights: Iterable[Piece]) -> list[Piece]:
    """Layers of a known family at a scale of their own."""
    return [piece for piece in weights if kinds(piece) == {"scale"}]


def _off_centre(weights: list[Piece], alpha: float) -> None:
    """Weights with a mean: beside it, what tells inputs apart is lost. In a last layer it is meant."""
    for piece in weights:
        exam = piece.exam
        if exam is None or not exam.std or not kinds(piece) <= {"scale", "law"} or piece.spec.position == "output":
            continue
        written_down = exam.explained and not exam.explained[0].law.known  # the identity, Dirac's
        size = math.prod(piece.shape)
        if written_down or size < ENOUGH:
            continue
        answer = exam.mean * math.sqrt(piece.spec.fans.fan_in) / exam.std
        if abs(answer) > OFF_CENTRE and abs(exam.mean) > largest_z(alpha) * exam.std / math.sqrt(size):
            exam.findings, exam.differs = [], ""
            piece.fault(
                "mean",
                f"mean {number(exam.mean)}, std {number(exam.std)}: not centred. Each unit answers the mean of its "
                f"{piece.spec.fans.fan_in} inputs {abs(answer):.3g} times as much as what tells them apart",
            )


def _sparse(weights: list[Piece]) -> None:
    """Sparse weights are meant where most layers are."""
    explained = [piece for piece in weights if piece.exam and "law" in kinds(piece) and piece.exam.explained]
    sparse = [piece for piece in explained if piece.exam.explained[0].law.family == "sparse"]  # type: ignore[union-attr]
    if len(sparse) > 1 and 2 * len(sparse) > len(weights):
        for piece in sparse:
            accept(piece, piece.exam.explained[0])  # type: ignore[union-attr]


def _no_slips(weights: list[Piece], alpha: float) -> None:
    """Slips in a law that fit each of several small likes, but not all of them together."""
    for group in _in_blocks(piece for piece in weights if "law" in kinds(piece)):
        exams = [piece.exam for piece in group if piece.exam and piece.exam.explained]
        if len(exams) < len(group) or any(each.name in KNOWN for exam in exams for each in exam.explained):
            continue
        std = math.sqrt(float(np.mean([exam.std**2 for exam in exams])))
        within = largest_z(alpha) * error_of(group[0]) / math.sqrt(len(group))
        if all(abs(math.log(std / exam.explained[0].law.std)) > within for exam in exams):
            for piece in group:
                accept(piece, Explanation(f"normal(std={std:.4g})", Law("normal", 0.0, std), ""))
                piece.note("scale", "of no known std, but like its likes")


def _slips(weights: list[Piece]) -> set[int]:
    """Layers whose std is one usual slip, whatever their fans; a number that one of them is near to doesn't count."""
    named: dict[str, list[Piece]] = {}
    free = {id(piece) for piece in _free(weights)}
    by_number = [piece for piece in weights if not kinds(piece) and _label(piece).startswith(BY_NUMBER)]
    for piece in (*_free(weights), *by_number):
        std = piece.exam.std if piece.exam else math.nan
        named.setdefault(slip(std, piece.spec.fans, error_of(piece)), []).append(piece)
    found = set()
    for name, pieces in named.items():
        if name and len({piece.spec.fans.fan_in for piece in pieces}) > 1 and free & {*map(id, pieces)}:
            found |= {id(piece) for piece in pieces}
            if {*map(id, by_number)} <= found:
                for piece in (piece for piece in pieces if id(piece) not in free):
                    piece.fault("scale", f"std {number(piece.exam.std if piece.exam else math.nan)}, it is {name}")
    return found


def _label(piece: Piece) -> str:
    return piece.expectation.label if piece.expectation else ""


def _of_all(weights: list[Piece], alpha: float) -> None:
    """One std, or one factor on a rule's, for all layers: also for those near a known law by chance."""
    drawn = [piece for piece in weights if piece.exam and piece.exam.std and kinds(piece) <= {"scale"}]
    free = _free(drawn)
    if len(drawn) < max(LEAST, len(weights)) or not free:
        return
    errors = np.array([error_of(piece) for piece in drawn])
    sizes = np.log([piece.exam.std if piece.exam else math.nan for piece in drawn])
    for name in SCALED:
        logs = sizes - np.log([1.0 if name == "const" else rule(name).law(piece.spec).std for piece in drawn])
        if (abs(logs - np.average(logs, weights=errors**-2)) <= largest_z(alpha) * errors).all():
            for piece in free:
                _of_its_own(piece, "like its likes")
            return


def _of_most(free: list[Piece], alpha: float) -> None:
    """One std for most of the layers without a known law, or one factor on a rule's."""
    limit = largest_z(alpha)
    errors = np.array([error_of(piece) for piece in free])
    best: list[int] = []
    for name in SCALED:
        stds = np.array([1.0 if name == "const" else rule(name).law(piece.spec).std for piece in free])
        logs = np.log([piece.exam.std if piece.exam else math.nan for piece in free]) - np.log(stds)
        for i in range(len(free)):
            near = np.flatnonzero(abs(logs - logs[i]) <= limit * np.hypot(errors, errors[i])).tolist()
            best = max(best, near, key=len)
    if len({free[i].tensor.name for i in best}) > 1 and 2 * len(best) >= len(free):
        for i in best:
            _of_its_own(free[i], "like its likes")


def _of_its_own(piece: Piece, words: str) -> None:
    accept(piece, piece.exam.explained[0])  # type: ignore[union-attr]
    piece.note("scale", f"of no known std, but {words}")


def _of_use(weights: list[Piece], alpha: float) -> None:
    """One std for a layer in all blocks, or one that falls with the root of the block's number."""
    for group in _in_blocks(piece for piece in weights if piece.exam and piece.exam.std and kinds(piece) <= {"scale"}):
        within = 2 * largest_z(alpha) * error_of(group[0])
        logs = np.log([piece.exam.std if piece.exam else math.nan for piece in group])
        for stds, words in ((logs, "like its likes"), (logs + of_depth(group), "falling with the depth")):
            usual = abs(stds - np.median(stds)) <= within
            if usual.sum() < LEAST or 3 * usual.sum() < 2 * len(group):
                continue
            law = Law("normal", 0.0, float(np.exp(np.median(stds))))
            known = not any(kinds(piece) for piece, fits in zip(group, usual, strict=True) if fits)
            for piece, fits in zip(group, usual, strict=True):
                if not kinds(piece) or piece.exam is None:
                    continue
                if fits:
                    _of_its_own(piece, words)
                elif stds is logs and not known:
                    piece.expectation = Expectation(law, f"{AS_LIKES}{usual.sum()} likes have")
                    piece.exam.tensor = replace(piece.exam.tensor, law=law)
            break


def _in_blocks(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """Layers of one use and shape in ``LEAST`` blocks or more."""
    return [group for group in alike(piece for piece in pieces if piece.tensor.block) if len(group) >= LEAST]


def _of_none(weights: list[Piece], slips: set[int]) -> None:
    """Layers that follow no rule here: too many are not judged, few are held against the law of most."""
    rest = [piece for piece in _free(weights) if id(piece) not in slips]
    if 3 * len(rest) > len(weights) > 3:
        for piece in rest:
            accept(piece, piece.exam.explained[0])  # type: ignore[union-attr]
            piece.note("scale", "of no std known here, as many in this model: give its laws to have it judged")
    known = Counter(
        piece.expectation.label.removeprefix(PACKED)
        for piece in weights
        if not kinds(piece) and piece.expectation and piece.exam
    )
    name, count = next(iter(known.most_common(1)), ("", 0))
    for piece in rest:
        if count > 1 and name in KNOWN and kinds(piece) == {"scale"} and not _beside_likes(piece):
            assert piece.exam is not None
            law = rule(name).law(piece.spec)
            piece.expectation = Expectation(law, f"{name}, as {count} of its likes")
            piece.exam.tensor = replace(piece.exam.tensor, law=law)


def _beside_likes(piece: Piece) -> bool:
    return _label(piece).startswith(AS_LIKES)
