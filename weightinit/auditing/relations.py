"""Faults that show only beside other tensors: of two factors, of gates, of branches, of tokens and their positions."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from weightinit.auditing.likes import alike, error_of
from weightinit.auditing.model_report import number
from weightinit.auditing.own_rules import BY_NUMBER
from weightinit.auditing.pieces import Piece
from weightinit.auditing.tests_of_law import largest_z
from weightinit.auditing.usual import HEADS
from weightinit.branches import LAST
from weightinit.model import INDEX

DROWNED: Final = 10.0
"""Size of positions, in that of the tokens they are added to, from which on these are lost; the same of biases."""

MANY: Final = 3
"""Layers alike from which on the one that departs from them is a fault."""

ENOUGH: Final = 256
"""Elements from which on a std tells residual scaling from chance."""


def look_at_relations(pieces: list[Piece], alpha: float) -> None:
    """Note what is wrong of tensors that are each right alone."""
    judged = [piece for piece in pieces if piece.exam is not None and math.isfinite(piece.exam.std)]
    _partly_there(pieces)
    _low_rank(judged)
    _gates(judged)
    _factors(judged)
    _zero_but_one([piece for piece in judged if not piece.given])
    _biases([piece for piece in judged if not piece.given])
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
    firsts = {piece.tensor.layer: piece for piece in pieces if piece.tensor.role == "lora_in" and _is_zero(piece)}
    for piece in pieces:
        if piece.tensor.role != "lora_out":
            continue
        exam = piece.exam
        if exam and exam.std and exam.tensor.law and not exam.tensor.law.std and not piece.given:
            exam.differs, exam.findings = "", []
            said = "the low-rank branch changes the model before it has learnt anything"
            piece.fault("scale", f"std {number(exam.std)}, expected 0 everywhere: {said}")
        if not _is_zero(piece):
            continue
        names = (piece.tensor.layer, re.sub("(?i)(lora_(embedding_)?)b", _first_factor, piece.tensor.layer))
        first = next((firsts[name] for name in names if name in firsts), None)
        if first is not None:
            first.found = [each for each in first.found if each[0] != "zeros"]
            first.fault("zeros", f"0, as is {piece.name}: the gradient of each factor is zero as long as the other is")


def _first_factor(found: re.Match[str]) -> str:
    return found[1] + ("A" if found[0].endswith("B") else "a")


def _gates(pieces: list[Piece]) -> None:
    """The bias of 1 that is meant for an LSTM's forget gate, at another gate."""
    gates: dict[str, dict[str, Piece]] = {}
    for piece in pieces:
        if piece.part is not None and piece.tensor.role == "bias" and piece.exam is not None and not piece.exam.std:
            gates.setdefault(piece.tensor.name, {})[piece.part.name] = piece
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


def _factors(pieces: list[Piece]) -> None:
    """Factors of zero, of a weight norm, and those of a branch that aren't what their likes in other blocks are."""
    alone = [piece for piece in pieces if piece.tensor.role == "parameter"]
    for piece in alone:
        if _is_zero(piece) and (piece.tensor.parametrized == "_WeightNorm" or piece.tensor.name.endswith("weight_g")):
            piece.fault("zeros", "is 0 everywhere: the length of its units, so that nothing passes the layer")
    for group in alike(piece for piece in alone if math.prod(piece.shape) > 1):
        values = Counter(piece.exam.mean for piece in group if piece.exam and not piece.exam.std)
        value, count = next(iter(values.most_common(1)), (0.0, 0))
        off = [piece for piece in group if piece.exam and (piece.exam.std or piece.exam.mean != value)]
        if not value or count < 2 or len(off) > 1 or (count < MANY and off and not _is_zero(off[0])):
            continue
        for piece in off:
            assert piece.exam is not None
            said = f"std {number(piece.exam.std)}" if piece.exam.std else f"is {number(piece.exam.mean)} everywhere"
            kind = "zeros" if _is_zero(piece) else "scale" if piece.exam.std else "constant"
            likes = next(other.name for other in group if other is not piece)
            piece.fault(kind, f"{said}, expected {number(value)} as {likes} has")


def _zero_but_one(pieces: list[Piece]) -> None:
    """A layer that is drawn where the same layer of all other modules alike starts at zero."""
    inside: dict[str, set[str]] = {}
    groups: dict[tuple[str, str, str], list[Piece]] = {}
    for piece in pieces:
        home, leaf = _home(piece)
        inside.setdefault(home, set()).add(leaf)
        if home and not leaf.isdigit() and piece.spec.role == "weight" and piece.part is None:
            groups.setdefault((leaf, piece.tensor.name.rpartition(".")[2], piece.tensor.kind), []).append(piece)
    for group in groups.values():
        zero = [piece for piece in group if _is_zero(piece)]
        if len(group) - len(zero) != 1 or len(zero) < MANY:
            continue
        (drawn,) = (piece for piece in group if not _is_zero(piece))
        has, homes = inside[_home(drawn)[0]], [inside[_home(piece)[0]] for piece in zero]
        if len(has) > 1 and all(has <= other or other <= has for other in homes):
            drawn.fault(
                "scale",
                f"std {number(_rms(drawn))}, expected 0 as {zero[0].name} and {len(zero) - 1} others alike have",
            )


def _home(piece: Piece) -> tuple[str, str]:
    """The module that a layer lies in, and the layer's name there, with its number in a list."""
    parts = piece.tensor.layer.split(".")
    own = 2 if parts[-1].isdigit() else 1
    return ".".join(parts[:-own]), ".".join(parts[-own:])


def _biases(pieces: list[Piece]) -> None:
    """A constant bias whose likes in other layers are all zero, and one in which the layer's signal is lost."""
    constant = [
        piece for piece in pieces
        if piece.tensor.role == "bias" and math.prod(piece.shape) > 1  # one number is constant, drawn or not
        and piece.exam and not piece.exam.std and (piece.tensor.block or piece.spec.position != "output")
    ]  # fmt: skip
    alike: dict[str, list[Piece]] = {}
    for piece in constant:
        alike.setdefault(piece.pattern, []).append(piece)
    for group in alike.values():
        off = [piece for piece in group if not _is_zero(piece)]
        if off and 2 * len(off) < len(group):
            for piece in off:
                value = number(piece.exam.mean) if piece.exam else ""
                piece.fault("constant", f"is {value} everywhere, expected 0 as its {len(group) - len(off)} likes have")
    weights = {piece.tensor.layer: piece for piece in pieces if piece.spec.role == "weight" and len(piece.shape) > 1}
    for piece in constant:
        weight, size = weights.get(piece.tensor.layer), abs(piece.exam.mean) if piece.exam else 0.0
        if weight is None or piece.found or HEADS.search(piece.tensor.layer.lower()):
            continue
        passed = _rms(weight) * math.sqrt(weight.spec.fans.fan_in)
        if size > DROWNED * max(passed, 1.0):
            piece.fault(
                "loud",
                f"is {number(piece.exam.mean if piece.exam else 0)} everywhere, {size / passed:.0f} times what the "
                "weights beside it make of inputs of rms 1: what tells inputs apart is lost in it",
            )


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
        if not re.search(r"pos", piece.tensor.name.rpartition(".")[0].lower()):
            continue
        home = piece.tensor.layer.rpartition(".")[0]
        beside = [
            other for other in tables
            if other is not piece and other.tensor.layer.rpartition(".")[0] == home
            and other.tensor.shape[-1] == piece.tensor.shape[-1] and "pos" not in other.tensor.name.lower()
        ]  # fmt: skip
        largest = max(beside, key=_rms, default=None)
        if largest is not None and not piece.found and _rms(piece) > DROWNED * _rms(largest):
            piece.fault(
                "loud",
                f"std {number(_rms(piece))}, {_rms(piece) / _rms(largest):.0f} times that of {largest.name}: positions "
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
        base = max((_rms(piece) for piece in inside), default=0.0)
        blocks = inside[0].tensor.block
        assert blocks is not None
        scale = 1 / math.sqrt(2 * blocks.count)
        scaled = [piece for piece in inside if _has(piece, base * scale, alpha)]
        for piece in inside if blocks.count > 2 else ():
            if piece.spec.ends_branch and _has(piece, base * scale**2, alpha):
                piece.found = [each for each in piece.found if each[0] != "scale"]
                said = f"std {number(_rms(piece))} = {number(base)}/(2*{blocks.count})"
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
                said = f"std {number(_rms(piece))} = {words}: residual scaling of a layer that does not end its branch"
                piece.found = [each for each in piece.found if each[0] != "scale"]
                piece.fault("scale", said + lacks)
        for piece in lacking if {*map(id, scaled)} <= {*map(id, ends)} else ():
            piece.fault(
                "scale",
                f"std {number(_rms(piece))}, expected {number(base * scale)} = {words}, as {_patterns(scaled)} has: "
                "residual scaling not applied",
            )


def _has(piece: Piece, std: float, alpha: float) -> bool:
    return abs(math.log(_rms(piece) / std)) <= 2 * largest_z(alpha) * error_of(piece)


def _patterns(pieces: Iterable[Piece]) -> str:
    return ", ".join(dict.fromkeys(piece.pattern for piece in pieces))


def _is_zero(piece: Piece) -> bool:
    return piece.exam is not None and not piece.exam.std and not piece.exam.mean


def _rms(piece: Piece) -> float:
    return math.hypot(piece.exam.std, piece.exam.mean) if piece.exam else math.nan
