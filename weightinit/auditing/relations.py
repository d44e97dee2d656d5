"""Faults that show only beside other tensors: of two factors, of gates, of branches, of tokens and their positions."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from weightinit.auditing.biases import DROWNED, look_at_biases
from weightinit.auditing.likes import MANY, alike, error_of, is_zero, rms
from weightinit.auditing.model_report import number
from weightinit.auditing.never_meant import FAR_TOO_LOUD
from weightinit.auditing.own_rules import BY_NUMBER
from weightinit.auditing.pieces import Piece
from weightinit.auditing.tests_of_law import largest_z
from weightinit.auditing.usual_laws import BY_FANS
from weightinit.branches import LAST
from weightinit.model import INDEX

POSITIONS: Final = re.compile(r"pos|wpe")
"""Names of tables of positions."""


ENOUGH: Final = 256
"""Elements from which on a std tells residual scaling from chance."""


def look_at_relations(pieces: list[Piece], alpha: float) -> None:
    """Note what is wrong of tensors that are each right alone."""
    judged = [piece for piece in pieces if piece.exam is not None and math.isfinite(piece.exam.std)]
    _partly_there(pieces)
    _low_rank(judged)
    _gates(judged)
    _factors(judged)
    _zero_behind_zero([piece for piece in judged if not piece.given])
    _zero_but_one([piece for piece in judged if not piece.given])
    look_at_biases([piece for piece in judged if not piece.given])
    _repeated(pieces)
    _drowned(judged)
    _residual_scaling([piece for piece in judged if not piece.given], alpha)


def _partly_there(pieces: list[Piece]) -> None:
    """Tensors of the meta device in a model that has left it."""
    if any(piece.exam is not None for piece in pieces):
        for piece in pieces:
            if piece.exam is None and piece.tensor.read is None and piece.tensor.size:
                piece.fault("unwritten", "has no memory, it is still on the meta device: materialize and initialize it")


def _low_rank(pieces: list[Piece]) -> None:
    """Low-rank branches whose two factors both start at zero, or neither."""
    firsts = {piece.tensor.layer: piece for piece in pieces if piece.tensor.role == "lora_in" and is_zero(piece)}
    for piece in pieces:
        if piece.tensor.role != "lora_out":
            continue
        exam = piece.exam
        if exam and exam.std and exam.tensor.law and not exam.tensor.law.std and not piece.given:
            exam.differs, exam.findings = "", []
            said = "the low-rank branch changes the model before it has learnt anything"
            piece.fault("scale", f"std {number(exam.std)}, expected 0 everywhere: {said}")
        if not is_zero(piece):
            continue
        names = (piece.tensor.layer, re.sub(r"(?i)(lora[._](embedding_)?)(b|up)\b", _first_factor, piece.tensor.layer))
        first = next((firsts[name] for name in names if name in firsts), None)
        if first is not None:
            first.found = [each for each in first.found if each[0] != "zeros"]
            first.fault("zeros", f"0, as is {piece.name}: the gradient of each factor is zero as long as the other is")


def _first_factor(found: re.Match[str]) -> str:
    return found[1] + {"B": "A", "b": "a"}.get(found[3], "down")


def _gates(pieces: list[Piece]) -> None:
    """The bias of 1 that is meant for an LSTM's forget gate, at another gate."""
    gates: dict[str, dict[str, Piece]] = {}
    for piece in pieces:
        if piece.part is not None and piece.tensor.role == "bias" and piece.exam is not None and not piece.exam.std:
            gates.setdefault(piece.tensor.name, {})[piece.part.name] = piece
    _forget_gates(gates)
    for parts in gates.values():
        if "f" not in parts or (parts["f"].exam and parts["f"].exam.mean):
            continue
        for name, piece in parts.items():
            if piece.exam is not None and piece.exam.mean > 0:
                piece.fault(
                    "constant",
                    f"{number(piece.exam.mean)} everywhere where the forget gate's bias is 0: this is gate {name}, "
                    f"their order is {', '.join(part.name for part in piece.tensor.parts)}",
                )


def _forget_gates(gates: dict[str, dict[str, Piece]]) -> None:
    """Forget gates whose biases are 0 in some layers of a recurrence, and not in others."""
    layers: dict[str, dict[str, list[Piece]]] = {}
    for name, parts in gates.items():
        if "f" in parts:
            place = re.sub(r"bias_[ih]h", "", name.rpartition(".")[2])
            layers.setdefault(parts["f"].tensor.layer, {}).setdefault(place, []).append(parts["f"])
    for places in layers.values():
        zero = [pieces for pieces in places.values() if all(is_zero(piece) for piece in pieces)]
        other = [piece for pieces in places.values() for piece in pieces if not is_zero(piece)]
        for first, *_ in zero if other else ():
            first.fault("constant", f"0 everywhere, where {other[0].name} is {number(rms(other[0]))}: its forget gate")


def _factors(pieces: list[Piece]) -> None:
    """Factors of zero, of a weight norm, and those of a branch that aren't what their likes in other blocks are."""
    alone = [piece for piece in pieces if piece.tensor.role == "parameter"]
    for piece in alone:
        if is_zero(piece) and _is_length(piece):
            piece.fault("zeros", "is 0 everywhere: the length of its units, so that nothing passes the layer")
        elif _is_length(piece) and rms(piece) > FAR_TOO_LOUD:
            said = f"of rms {number(rms(piece))}: the length of its units, so that outputs are that times their input"
            piece.fault("loud", said)
    for group in alike(piece for piece in alone if math.prod(piece.shape) > 1):
        values = Counter(piece.exam.mean for piece in group if piece.exam and not piece.exam.std)
        drawn = [piece for piece in group if piece.exam and piece.exam.std]
        if len(drawn) > 1 and len(group) - len(drawn) == 1 == values[0.0]:
            (zero,) = (piece for piece in group if is_zero(piece))
            zero.fault("zeros", f"is 0 everywhere, where {len(drawn)} others alike are drawn")
        value, count = next(iter(values.most_common(1)), (0.0, 0))
        off = [piece for piece in group if piece.exam and (piece.exam.std or piece.exam.mean != value)]
        if not value or count < 2 or len(off) > 1 or (count < MANY and off and not is_zero(off[0])):
            continue
        for piece in off:
            assert piece.exam is not None
            said = f"std {number(piece.exam.std)}" if piece.exam.std else f"is {number(piece.exam.mean)} everywhere"
            kind = "zeros" if is_zero(piece) else "scale" if piece.exam.std else "constant"
            likes = next(other.name for other in group if other is not piece)
            piece.fault(kind, f"{said}, expected {number(value)} as {likes} has")


def _zero_behind_zero(pieces: list[Piece]) -> None:
    """Two layers of one module, the second on the first's outputs, that both start at zero."""
    weights = [piece for piece in pieces if piece.tensor.role in BY_FANS and piece.part is None]
    for first, second in pairwise(weights):
        (inputs, outputs), (taken, _) = first.spec.fans, second.spec.fans
        chained = first.tensor.place[0] == second.tensor.place[0] != "" and outputs == taken != inputs
        if chained and is_zero(first) and is_zero(second):
            first.found = [each for each in first.found if each[0] != "zeros"]
            first.fault("zeros", f"0, as is {second.name}: the gradient of each is zero as long as the other is")


def _is_length(piece: Piece) -> bool:
    return piece.tensor.parametrized == "_WeightNorm" or piece.tensor.name.endswith("weight_g")


def _zero_but_one(pieces: list[Piece]) -> None:
    """A layer that is drawn where the same layer of all other modules alike starts at zero."""
    inside: dict[str, set[str]] = {}
    groups: dict[tuple[str, ...], list[Piece]] = {}
    for piece in pieces:
        home, leaf = piece.tensor.place
        inside.setdefault(home, set()).add(leaf)
        if home and not leaf.isdigit() and piece.spec.role == "weight" and piece.part is None:
            tensor = piece.tensor
            key = leaf, tensor.name.rpartition(".")[2], tensor.kind, tensor.holder
            groups.setdefault(key, []).append(piece)
    blocks = alike(p for p in pieces if p.tensor.block and p.spec.role == "weight" and p.part is None)
    for group in (*groups.values(), *(group for group in blocks if len(group) >= MANY)):
        zero = [piece for piece in group if is_zero(piece)]
        in_blocks = len({piece.tensor.block.path for piece in group if piece.tensor.block}) == 1
        if len(group) - len(zero) != 1 or len(zero) < (MANY - 1 if in_blocks else MANY):
            continue
        (drawn,) = (piece for piece in group if not is_zero(piece))
        has, homes = inside[drawn.tensor.place[0]], [inside[piece.tensor.place[0]] for piece in zero]
        if len(has) > 1 and all(has <= other or other <= has for other in homes):
            others = "another" if len(zero) == 2 else f"{len(zero) - 1} others"
            drawn.fault("scale", f"std {number(rms(drawn))}, expected 0 as {zero[0].name} and {others} alike have")


def _repeated(pieces: list[Piece]) -> None:
    """Blocks of a list that are one module."""
    for piece in pieces:
        again = [name for name in piece.tensor.also if INDEX.sub("*", name) == piece.tensor.pattern]
        if again and piece.spec.role == "weight":
            piece.note("tied", f"the same memory as {again[0]}: a list that repeats one module shares its weights")


def _drowned(pieces: list[Piece]) -> None:
    """Positions far larger than the tokens that they are added to."""
    tables = [piece for piece in pieces if piece.tensor.role == "embedding" and piece.exam and piece.exam.std > 0]
    for piece in tables:
        if not POSITIONS.search(piece.tensor.layer.lower()):
            continue
        home = piece.tensor.layer.rpartition(".")[0]
        beside = [
            other for other in tables
            if other is not piece and other.tensor.layer.rpartition(".")[0] == home
            and other.tensor.shape[-1] == piece.tensor.shape[-1] and not POSITIONS.search(other.tensor.layer.lower())
        ]  # fmt: skip
        largest = max(beside, key=rms, default=None)
        if largest is not None and not piece.found and rms(piece) > DROWNED * rms(largest):
            piece.fault(
                "loud",
                f"std {number(rms(piece))}, {rms(piece) / rms(largest):.0f} times that of {largest.name}: positions "
                "drown the tokens that they are added to",
            )


def _residual_scaling(pieces: list[Piece], alpha: float) -> None:
    """Weights at 1/sqrt(2 x blocks) of the others' std: of all layers that end a branch, and of no others."""
    of_numbers = [
        piece for piece in pieces
        if piece.spec.branch and piece.tensor.block and piece.expectation and piece.exam and piece.exam.std > 0
        and piece.expectation.label.startswith(BY_NUMBER)
        and piece.tensor.role == "dense" and math.prod(piece.shape) >= ENOUGH
    ]  # fmt: skip
    for path in dict.fromkeys(piece.tensor.block.path for piece in of_numbers if piece.tensor.block):
        inside = [piece for piece in of_numbers if piece.tensor.block and piece.tensor.block.path == path]
        base = max((rms(piece) for piece in inside), default=0.0)
        blocks = inside[0].tensor.block
        assert blocks is not None
        scale = 1 / math.sqrt(2 * blocks.count)
        scaled = [piece for piece in inside if _has(piece, base * scale, alpha)]
        for piece in inside if blocks.count > 2 else ():
            if piece.spec.ends_branch and _has(piece, base * scale**2, alpha):
                piece.found = [each for each in piece.found if each[0] != "scale"]
                said = f"std {number(rms(piece))} = {number(base)}/(2*{blocks.count})"
                piece.fault("scale", f"{said}: residual scaling applied twice")
        if blocks.count < 3 or not scaled or any(not _has(p, base, alpha) for p in inside if p not in scaled):
            continue
        ends = [
            piece for piece in inside if piece.spec.ends_branch or LAST.fullmatch(piece.tensor.layer.rpartition(".")[2])
        ]
        words = f"{number(base)}/sqrt(2*{blocks.count})"
        lacking = [piece for piece in ends if piece not in scaled]
        for piece in scaled:
            if piece not in ends:
                lacks = f", and {_patterns(lacking)} lacks it" if lacking else ""
                said = f"std {number(rms(piece))} = {words}: residual scaling of a layer that does not end its branch"
                piece.found = [each for each in piece.found if each[0] != "scale"]
                piece.fault("scale", said + lacks)
        for piece in lacking if {*map(id, scaled)} <= {*map(id, ends)} else ():
            piece.fault(
                "scale",
                f"std {number(rms(piece))}, expected {number(base * scale)} = {words}, as {_patterns(scaled)} has: "
                "residual scaling not applied",
            )


def _has(piece: Piece, std: float, alpha: float) -> bool:
    return abs(math.log(rms(piece) / std)) <= 2 * largest_z(alpha) * error_of(piece)


def _patterns(pieces: Iterable[Piece]) -> str:
    return ", ".join(dict.fromkeys(piece.pattern for piece in pieces))
