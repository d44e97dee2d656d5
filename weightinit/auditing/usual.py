"""What is usual where nobody said the law: known laws, starts of zero that are meant, and the one among its likes."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Final

from weightinit.auditing.expected import Mistake
from weightinit.auditing.explanations import KNOWN
from weightinit.auditing.families import constant
from weightinit.auditing.likes import accept, is_last, kinds, likes, quiet, swapped, transposed
from weightinit.auditing.model_report import number
from weightinit.auditing.named_laws import rule
from weightinit.auditing.own_rules import own_biases, own_rules
from weightinit.auditing.pieces import Piece
from weightinit.auditing.usual_laws import BY_FANS, PACKED

NEGLIGIBLE: Final = 1e-5
"""Std up to which biases may be drawn without a word: of no effect beside weights."""

ABOUT_ONE: Final = 0.1
"""Distance from 1 up to which a norm's factor may be drawn, as in DCGAN (Radford et al. 2016)."""


PASSES: Final = 0.5
"""Factor from which on a norm counts as one that passes its signal on."""

FAR: Final = 1.5
"""Ratio of stds of parameters alike from which on one departs: their elements need not be independent."""

MOST: Final = 3
"""Layers of a part from which on most of them are more than a few that have a law of their own."""

TIMES: Final = 2.0
"""Mean of a bias in its stds from which on it was drawn so on purpose: numbers drawn by mistake lie about 0."""

ENOUGH: Final = 16
"""Elements from which on that mean is none of chance."""


def settle(pieces: list[Piece], alpha: float) -> None:
    """Decide on departures from what is usual, of tensors whose law nobody said: known laws and meant ones pass."""
    judged = [piece for piece in pieces if piece.exam is not None and piece.expectation is not None]
    votes = _votes(judged)
    unsaid = [piece for piece in judged if not piece.given]
    for piece in unsaid:
        if piece.spec.role == "weight" and len(piece.shape) > 1 and piece.tensor.role != "lora_out":
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
    own_biases([piece for piece in unsaid if piece.tensor.role == "bias"], alpha)
    layers = [piece for piece in unsaid if piece.tensor.role in BY_FANS]
    tables = [piece for piece in unsaid if piece.tensor.role == "embedding"]
    own_rules(layers, alpha)
    for piece in tables:
        if kinds(piece) == {"scale"}:  # of embeddings any scale is usual
            accept(piece, piece.exam.explained[0])  # type: ignore[union-attr]
    _own_defaults(layers)
    transposed(layers)
    swapped(layers)
    quiet(layers, [piece for piece in unsaid if piece.spec.role == "bias"])
    likes(layers + tables, alpha)
    alone = [piece for piece in pieces if piece.tensor.role == "parameter" and not piece.given and len(piece.shape) > 1]
    likes(alone, alpha, FAR)
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


def _known_laws(piece: Piece, votes: Counter[str]) -> None:
    exam = piece.exam
    assert exam is not None
    found = kinds(piece)
    if "law" in found and exam.explained:
        mistakes = {mistake.name for mistake in exam.tensor.mistakes}
        likely = [each for each in exam.explained if each.name in KNOWN or each.name in mistakes]
        if not exam.differs:  # a kernel that is written down: the identity, Dirac's
            accept(piece, exam.explained[0])
        elif likely and (packed := next((each for each in likely if each.name.startswith(PACKED)), None)):
            accept(piece, packed)
            if piece.part and piece.part.name == "q":
                _note_packed(piece)
        elif likely:
            best = max(likely, key=lambda each: votes[_base(each.name)])
            best = next((each for each in likely if each.name in mistakes and each.law == best.law), best)
            if best.name not in mistakes:
                accept(piece, best)
            else:
                exam.explained = (best, *(each for each in exam.explained if each is not best))
    elif "dependent" in found and exam.explained:
        accept(piece, exam.explained[0])


def _own_defaults(layers: list[Piece]) -> None:
    """Layers at their modules' own default where a configuration names a scale: a fault where most of a part's are."""
    parts: dict[str, list[tuple[Piece, Mistake | None]]] = {}
    for piece in layers:
        named, law = next(iter(piece.candidates), None), piece.expectation.law if piece.expectation else None
        if named is None or not named.mistakes or kinds(piece):
            continue
        ignored = next((each for each in named.mistakes if each.law == law == piece.tensor.default), None)
        if piece.expectation is named:
            parts.setdefault(named.label, []).append((piece, None))
        elif ignored is not None:
            parts.setdefault(named.label, []).append((piece, ignored))
    for label, part in parts.items():
        defaults = [(piece, ignored) for piece, ignored in part if ignored is not None]
        most = len(defaults) >= MOST and 3 * len(defaults) > 2 * len(part)
        for piece, ignored in defaults:
            law = piece.candidates[0].law
            said = f"std {number(piece.exam.std if piece.exam else 0.0)}, expected {number(law.std)} = {label}"
            if most:
                piece.fault("law", f"{said}: {ignored.remark}")
            else:
                piece.note("law", f"{said}: {ignored.remark}, or meant so")


def _bias(piece: Piece) -> None:
    exam = piece.exam
    assert exam is not None
    if exam.std == 0 or exam.std < NEGLIGIBLE:
        _settle_on(piece, exam.mean if exam.std == 0 else 0.0)
    elif piece.written:
        exam.findings, exam.differs = [], ""
    elif abs(exam.mean) > TIMES * exam.std and math.prod(piece.shape) >= ENOUGH and not exam.not_finite:
        exam.findings, exam.differs = [], ""
        piece.note("scale", f"drawn about {number(exam.mean)}, std {number(exam.std)}: times of memory or of steps")


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
    known = [other for other in pieces if other.tensor.role == "gain" and other.tensor.default.mean == 1 and other.exam]
    none_passes = piece.tensor.default.mean == 1 and not any(
        abs(other.exam.mean) >= PASSES or other.exam.std for other in known if other.exam
    )
    if (
        len(likes) > 1
        and not none_passes
        and all(other.exam.mean == exam.mean and not other.exam.std for other in likes if other.exam)
    ):
        if exam.mean == 0 and (last := _last_beside(piece, pieces)) is not piece:
            exam.findings = []
            piece.fault(
                "zeros",
                f"is 0 everywhere: of the norms between a branch's convolutions only the last, {last.name}, may start "
                "at 0",
            )
        else:
            _settle_on(piece, exam.mean)
    elif none_passes and exam.mean:
        exam.findings = []
        piece.fault("constant", f"is {number(exam.mean)} everywhere, expected 1, as of no norm of this model")
    elif exam.mean == 0 and piece.tensor.kind != "PReLU":
        exam.findings = []
        piece.fault("zeros", "is 0 everywhere, expected 1: the norm passes nothing on")


def _last_beside(piece: Piece, pieces: list[Piece]) -> Piece:
    """The last norm between the convolutions of the module that holds this one too; itself elsewhere."""
    home = piece.tensor.layer.rpartition(".")[0]
    beside = [other for other in pieces if other.tensor.layer.rpartition(".")[0] == home]
    if piece.tensor.block is None or not any(other.tensor.role == "convolution" for other in beside):
        return piece
    return [other for other in beside if other.tensor.role == "gain" and other.tensor.kind == piece.tensor.kind][-1]


def _gains_alike(one: Piece, other: Piece) -> bool:
    """Whether two gains are of one class of norms, and of one place in it if the class is the framework's own.

    A class that isn't may multiply by 1 + gain.
    """
    if one.tensor.role != "gain" or one.tensor.kind != other.tensor.kind:
        return False
    return _leaf(one) == _leaf(other) or not one.tensor.default.known


def _zeros(piece: Piece, pieces: list[Piece]) -> None:
    """Weights that are all zero: meant in a model's last or only layer, and where all likes in other blocks are."""
    exam = piece.exam
    assert exam is not None
    if "zeros" not in kinds(piece) or exam.std or exam.mean:
        return
    alike = False
    for of in (_leaf, _place, lambda each: (each.pattern,)):
        likes = [other for other in pieces if of(other) == of(piece) and other.exam is not None]
        zero = sum(not other.exam.std and not other.exam.mean for other in likes if other.exam)
        alike |= zero > 1 and zero >= len(likes) - (piece.tensor.block is not None)
    exam.findings = [each for each in exam.findings if each.kind != "zeros"]
    only = not any(other.spec.role == "weight" and other.tensor.name != piece.tensor.name for other in pieces)
    prior = any(
        bias.tensor.role == "bias" and bias.tensor.layer == piece.tensor.layer and _is_prior(bias) for bias in pieces
    )
    scores = piece.tensor.role == "embedding" and piece.tensor.shape[-1] == 1
    if alike or only or prior or scores or is_last(piece):
        _settle_on(piece, 0.0)
        piece.note("zeros", "starts at 0" + (", as all its likes do" if alike else ": the last layer"))
    else:
        piece.fault("zeros", "all values are 0: never written, or set to zero; nothing passes it")


def _is_prior(bias: Piece) -> bool:
    """Whether a bias was written, and not left at zero."""
    return bias.exam is not None and (bias.written or bool(bias.exam.mean and not bias.exam.std))


def _settle_on(piece: Piece, value: float) -> None:
    exam = piece.exam
    assert exam is not None
    piece.expectation = constant(value)[0]
    exam.tensor = replace(exam.tensor, law=piece.expectation.law)
    exam.findings, exam.differs, exam.explained = [], "", ()


def _leaf(piece: Piece) -> tuple[str, ...]:
    """The last parts of a name's pattern: ``bn2``, ``weight``."""
    return tuple(piece.pattern.split(".")[-2:])


def _place(piece: Piece) -> tuple[str, ...]:
    """The last parts of a name, with the number of a layer in a list: ``mlp``, ``2``, ``weight``."""
    return (*piece.pattern.split(".")[-3:-2], *piece.name.split(".")[-2:])


def _packed(pieces: list[Piece]) -> None:
    """Queries, keys and values that the module draws as one matrix."""
    for piece in pieces:
        part, exam = piece.part, piece.exam
        first = piece.tensor.kind == "MultiheadAttention" and part is not None and part.name == "q"
        if first and exam and exam.std > 0 and not kinds(piece) and exam.tensor.law == piece.tensor.default:
            _note_packed(piece)


def _note_packed(piece: Piece) -> None:
    assert piece.exam is not None
    alone = number(rule("glorot_uniform").law(piece.spec).std)
    said = f"q, k and v are drawn as one matrix: std {number(piece.exam.std)} where Glorot's law gives each {alone}"
    piece.note("packed", f"{said}: half the variance")
