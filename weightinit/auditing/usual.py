"""What is usual where nobody said the law: known laws, starts of zero that are meant, and the one among its likes."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Final

import numpy as np

from weightinit.auditing.expectations import BY_FANS, PACKED
from weightinit.auditing.explanations import KNOWN, Explanation
from weightinit.auditing.families import Expectation, constant
from weightinit.auditing.model_report import number
from weightinit.auditing.named_laws import rule
from weightinit.auditing.pieces import Piece
from weightinit.auditing.tests_of_law import largest_z
from weightinit.fans import Fans

NEGLIGIBLE: Final = 1e-5
"""Std up to which biases may be drawn without a word: of no effect beside weights."""

ABOUT_ONE: Final = 0.1
"""Distance from 1 up to which a norm's factor may be drawn, as in DCGAN (Radford et al. 2016)."""

SCALED: Final = ("const", "xavier", "xavier(mode='fan_out')", "glorot_normal")
"""Rules whose std, times one factor for all, may be that of layers without a known law."""


def settle(pieces: list[Piece], alpha: float) -> None:
    """Decide on departures from what is usual, of tensors whose law nobody said: known laws and meant ones pass."""
    judged = [piece for piece in pieces if piece.exam is not None and piece.expectation is not None]
    votes = _votes(judged)
    unsaid = [piece for piece in judged if not piece.given]
    for piece in unsaid:
        if piece.spec.role == "weight" and len(piece.shape) > 1:
            _known_laws(piece, votes)
    for piece in unsaid:
        if piece.spec.role == "bias":
            _bias(piece)
        elif piece.spec.role == "gain":
            _gain(piece, judged)
        elif _of_norm(piece):
            _settle_on(piece, piece.exam.mean)  # type: ignore[union-attr]
        else:
            _zeros(piece, judged)
    layers = [piece for piece in unsaid if piece.tensor.role in BY_FANS]
    tables = [piece for piece in unsaid if piece.tensor.role == "embedding"]
    _one_rule(layers, alpha)
    for piece in tables:
        if _kinds(piece) == {"scale"}:  # of embeddings any scale is usual
            _accept(piece, piece.exam.explained[0])  # type: ignore[union-attr]
    _swapped(layers)
    _likes(layers + tables, alpha)
    _packed(unsaid)


def _votes(pieces: list[Piece]) -> Counter[str]:
    """How many tensors each law explains; a mistake in a law speaks for that law too."""
    votes: Counter[str] = Counter()
    for piece in pieces:
        if piece.exam is not None:
            votes.update({_base(each.name) for each in piece.exam.explained})
    return votes


def _base(name: str) -> str:
    return name.partition(" over all groups")[0]


def _kinds(piece: Piece) -> set[str]:
    exam = piece.exam
    assert exam is not None
    return {finding.kind for finding in exam.findings} | ({"law"} if exam.differs else set())


def _accept(piece: Piece, explanation: Explanation) -> None:
    """Take an explanation for the law that was meant."""
    exam = piece.exam
    assert exam is not None
    piece.expectation = Expectation(explanation.law, explanation.name)
    exam.tensor = replace(exam.tensor, law=explanation.law, label=explanation.name)
    exam.differs, exam.mean_z, exam.std_z = "", math.nan, math.nan
    exam.findings = [each for each in exam.findings if each.kind not in ("law", "scale", "dependent")]


def _known_laws(piece: Piece, votes: Counter[str]) -> None:
    exam = piece.exam
    assert exam is not None
    kinds = _kinds(piece)
    if "law" in kinds and exam.explained:
        mistakes = {mistake.name for mistake in exam.tensor.mistakes}
        likely = [each for each in exam.explained if each.name in KNOWN or each.name in mistakes]
        if not exam.differs:  # a kernel that is written down: the identity, Dirac's
            _accept(piece, exam.explained[0])
        elif likely and (packed := next((each for each in likely if each.name.startswith(PACKED)), None)):
            _accept(piece, packed)
            if piece.part and piece.part.name == "q":
                _note_packed(piece)
        elif likely and (best := max(likely, key=lambda each: votes[_base(each.name)])).name not in mistakes:
            _accept(piece, best)
        elif likely:
            exam.explained = (best, *(each for each in exam.explained if each is not best))
    elif "dependent" in kinds and exam.explained:
        _accept(piece, exam.explained[0])


def _bias(piece: Piece) -> None:
    exam = piece.exam
    assert exam is not None
    if exam.std == 0 or exam.std < NEGLIGIBLE:
        _settle_on(piece, exam.mean if exam.std == 0 else 0.0)


def _of_norm(piece: Piece) -> bool:
    """Whether a table holds gains of 1 or shifts of 0 of a norm, a row for each condition."""
    exam = piece.exam
    assert exam is not None
    table = piece.tensor.role == "embedding" and "norm" in piece.tensor.layer.lower()
    return table and not exam.std and exam.mean in (0, 1)


def _gain(piece: Piece, pieces: list[Piece]) -> None:
    """A norm's factor of one value that isn't 1: meant where all its likes have it."""
    exam = piece.exam
    assert exam is not None
    if exam.findings and 0 < exam.std < ABOUT_ONE and abs(exam.mean - 1) < ABOUT_ONE:
        exam.findings, exam.differs = [], ""
        piece.note("scale", f"drawn about 1, std {number(exam.std)}, where 1 everywhere is usual")
    if exam.std or exam.mean == 1:
        return
    likes = [other for other in pieces if other.exam is not None and _gains_alike(other, piece)]
    if len(likes) > 1 and all(other.exam.mean == exam.mean and not other.exam.std for other in likes if other.exam):
        _settle_on(piece, exam.mean)
    elif exam.mean == 0 and piece.tensor.kind != "PReLU":
        exam.findings = []
        piece.fault("zeros", "is 0 everywhere, expected 1: the norm passes nothing on")


def _gains_alike(one: Piece, other: Piece) -> bool:
    """Whether two gains are of one class of norms, and of one place in it if the class is the framework's own.

    A class that isn't may multiply by 1 + gain.
    """
    if one.tensor.role != "gain" or one.tensor.kind != other.tensor.kind:
        return False
    return _leaf(one) == _leaf(other) or not one.tensor.default.known


def _zeros(piece: Piece, pieces: list[Piece]) -> None:
    """Weights that are all zero: meant in a model's last layer, and where all its likes in other blocks are zero."""
    exam = piece.exam
    assert exam is not None
    if "zeros" not in _kinds(piece) or exam.std or exam.mean:
        return
    likes = [other for other in pieces if _leaf(other) == _leaf(piece) and other.exam is not None]
    alike = len(likes) > 1 and all(not other.exam.std and not other.exam.mean for other in likes if other.exam)
    exam.findings = [each for each in exam.findings if each.kind != "zeros"]
    if alike or piece.spec.position == "output":
        _settle_on(piece, 0.0)
        piece.note("zeros", "starts at 0" + (", as all its likes do" if alike else ": the last layer"))
    else:
        piece.fault("zeros", "all values are 0: never written, or set to zero; nothing passes it")


def _settle_on(piece: Piece, value: float) -> None:
    exam = piece.exam
    assert exam is not None
    piece.expectation = constant(value)[0]
    exam.tensor = replace(exam.tensor, law=piece.expectation.law)
    exam.findings, exam.differs, exam.explained = [], "", ()


def _leaf(piece: Piece) -> tuple[str, ...]:
    """The last parts of a name's pattern: ``bn2``, ``weight``."""
    return tuple(piece.pattern.split(".")[-2:])


def _one_rule(weights: list[Piece], alpha: float) -> None:
    """Layers without a known law: one std for all of them, or one factor on a rule's, is a rule of its own."""
    free = [piece for piece in weights if _kinds(piece) == {"scale"}]
    known = Counter(
        piece.expectation.label.removeprefix(PACKED)
        for piece in weights
        if not _kinds(piece) and piece.expectation and piece.exam
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
            _accept(free[i], free[i].exam.explained[0])  # type: ignore[union-attr]
            free[i].note("scale", "of no known std, but like its likes")
    rest = [piece for piece in free if _kinds(piece) == {"scale"}]
    if 3 * len(rest) > len(weights) > 3:
        for piece in rest:
            exam = piece.exam
            assert exam is not None
            _accept(piece, exam.explained[0])
            piece.note("scale", "of no std known here, as many in this model: give its laws to have it judged")
    if known:
        name, count = known.most_common(1)[0]
        for piece in free:
            if count > 1 and name in KNOWN and _kinds(piece) == {"scale"}:
                assert piece.exam is not None
                law = rule(name).law(piece.spec)
                piece.expectation = Expectation(law, f"{name}, as {count} of its likes")
                piece.exam.tensor = replace(piece.exam.tensor, law=law)


def _swapped(weights: list[Piece]) -> None:
    """A known law with its fans swapped, in few layers among many that have them right."""
    telling = [
        piece for piece in weights
        if piece.spec.fans.fan_in != piece.spec.fans.fan_out and not _kinds(piece) and piece.expectation
    ]  # fmt: skip
    labels = Counter(piece.expectation.label for piece in telling if piece.expectation)
    for piece in telling:
        assert piece.expectation is not None
        assert piece.exam is not None
        label = piece.expectation.label
        other = label.replace("(mode='fan_out')", "") if "fan_out" in label else f"{label}(mode='fan_out')"
        if label in KNOWN and labels[other] > 2 * labels[label]:
            law = rule(other).law(piece.spec)
            fans = piece.spec.fans
            piece.fault(
                "law",
                f"std {number(piece.exam.std)}, expected {number(law.std)} = {other}, as {labels[other]} of its likes: "
                f"its fans are swapped, {tuple(Fans(*reversed(fans)))} for {tuple(fans)}",
            )


def _likes(weights: list[Piece], alpha: float) -> None:
    """The few of a group of tensors alike whose std is not that of the others."""
    groups: dict[tuple[object, ...], list[Piece]] = {}
    for piece in weights:
        if piece.exam is not None and piece.exam.std > 0 and not _kinds(piece):
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


def _packed(pieces: list[Piece]) -> None:
    """Queries, keys and values that the module draws as one matrix."""
    for piece in pieces:
        part, exam = piece.part, piece.exam
        first = piece.tensor.kind == "MultiheadAttention" and part is not None and part.name == "q"
        if first and exam and exam.std > 0 and not _kinds(piece) and exam.tensor.law == piece.tensor.default:
            _note_packed(piece)


def _note_packed(piece: Piece) -> None:
    assert piece.exam is not None
    alone = number(rule("glorot_uniform").law(piece.spec).std)
    said = f"q, k and v are drawn as one matrix: std {number(piece.exam.std)} where Glorot's law gives each {alone}"
    piece.note("packed", f"{said}: half the variance")
