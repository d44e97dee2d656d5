"""Tensors of a model cut into what is judged by itself: parts that are packed, large ones thinned evenly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from weightinit.arrays import Array
from weightinit.auditing.examination import Examination
from weightinit.auditing.families import Expectation, Expectations
from weightinit.branches import branches_of
from weightinit.model import Model, ModelTensor, Part
from weightinit.nn.weights import Position, WeightSpec

LARGEST: Final = 1 << 19
"""Elements that are judged of one tensor; a larger one is thinned evenly, by whole inputs or outputs."""

NATIVE: Final = ("float16", "float32", "float64")
"""Types that NumPy reads where they lie."""

CHUNK: Final = 1 << 22
"""Elements that are looked at in one step where all of them are."""


@dataclass
class Piece:
    """A tensor, or one of the parts packed into it, with what it should be and what was found.

    ``given``: whether somebody said the law; else it is what is usual. ``found`` holds kind, weight and words of each
    finding. ``cloned``: whether it is part of a block that repeats another. ``equal_tokens``: how many learned tokens
    it holds that are all equal. ``written``: whether its elements are few numbers that come again. ``coarse``: words on
    random numbers of few bits; ``grain``: relative distance of neighbouring numbers as they were drawn; ``mean``: that
    of all values, also where the others are measured on some.
    """

    tensor: ModelTensor
    part: Part | None
    spec: WeightSpec
    candidates: Expectations
    given: bool
    expectation: Expectation | None = None
    exam: Examination | None = None
    remark: str = ""
    coarse: str = ""
    grain: float = 0.0
    mean: float = math.nan
    cloned: bool = False
    equal_tokens: int = 0
    written: bool = False
    found: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the tensor; of a part with its name in brackets."""
        return self.spec.name

    @property
    def pattern(self) -> str:
        """Pattern of the tensor's name; of a part with its name in brackets."""
        return self.tensor.pattern + (f"[{self.part.name}]" if self.part else "")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape as the framework has it, of a part as the library has it."""
        return self.spec.shape if self.part else self.tensor.shape

    @property
    def comparable(self) -> bool:
        """Whether a copy of this tensor would be a fault: not of what is never drawn."""
        if any(each.through is not None or each.law.std == 0 for each in self.candidates):
            return False
        return self.spec.role == "weight" or self.tensor.default.std > 0

    def fault(self, kind: str, words: str) -> None:
        """Note a fault."""
        self.found.append((kind, "fault", words))

    def note(self, kind: str, words: str) -> None:
        """Note what is worth knowing and no fault."""
        self.found.append((kind, "note", words))


def pieces_of(model: Model, laws_of: Callable[[ModelTensor, WeightSpec], tuple[Expectations, bool]]) -> list[Piece]:
    """Return the pieces of all tensors, in order, each with the laws that ``laws_of`` has for it."""
    places, branches = model.positions(), branches_of(model)
    result = []
    for tensor in model:
        position: Position = places[tensor.layer]
        specs: list[tuple[Part | None, WeightSpec]] = [(part, tensor.part(part)) for part in tensor.parts] or [
            (None, tensor.spec(position))
        ]
        branch = branches.get(tensor.name)
        specs = [(part, replace(spec, branch=branch)) for part, spec in specs]
        result += [Piece(tensor, part, spec, *laws_of(tensor, spec)) for part, spec in specs]
    return result


class Values(Mapping[str, Array]):
    """Values of pieces by name, read when they are asked for: laid out as the library has them, thinned."""

    def __init__(self, pieces: list[Piece]) -> None:
        self.pieces = {piece.name: piece for piece in pieces if piece.tensor.read is not None and piece.tensor.size}

    def __getitem__(self, name: str) -> Array:
        values = thinned(whole(self.pieces[name]))
        return values if self.pieces[name].tensor.dtype in NATIVE else values.copy()  # lets go of what was converted

    def __iter__(self) -> Iterator[str]:
        return iter(self.pieces)

    def __len__(self) -> int:
        return len(self.pieces)


def whole(piece: Piece) -> Array:
    """Return all values of a piece as the library has them, a view where that is possible."""
    read = piece.tensor.read
    if read is None:
        raise ValueError(f"{piece.name} has no values")
    values = piece.tensor.to_layout(read())
    return values if piece.part is None else values[..., piece.part.start : piece.part.stop]


def thinned(values: Array) -> Array:
    """Return at most about ``LARGEST`` of the values: whole inputs, or whole outputs where there are more of these."""
    if values.size <= LARGEST:
        return values
    step = -(-values.size // LARGEST)
    axis = -1 if values.ndim == 1 or values.shape[-1] > values.shape[-2] else -2
    if values.shape[axis] < step * 8 and values.ndim > 2:  # many kernels of few channels
        axis = int(np.argmax(values.shape))
    places = slice(None, None, min(step, max(values.shape[axis] // 8, 1)))
    return np.moveaxis(np.moveaxis(values, axis, 0)[places], 0, axis)


def not_finite(values: Array) -> int:
    """Return how many of the values are NaN or infinite."""
    if values.dtype.kind != "f":
        return 0
    rows = values.reshape(-1) if values.flags.c_contiguous else values
    step = max(1, CHUNK // max(1, math.prod(rows.shape[1:])))
    return (
        sum(
            int(part.size - np.count_nonzero(np.isfinite(part)))
            for part in (rows[start : start + step] for start in range(0, len(np.atleast_1d(rows)), step))
        )
        if rows.ndim
        else int(not np.isfinite(rows))
    )
