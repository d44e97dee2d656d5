"""Learned tokens that start equal: a fault unless something parts them, such as positions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from weightinit.auditing.pieces import Piece
from weightinit.model import Model, ModelTensor

BY_VALUE: Final = re.compile(r"(^|[._])(register|latent|query|queries|slot)[a-z_]*$")
"""Names of learned tokens of which none has a meaning of its own: only values and positions tell them apart."""

ALONE: Final = re.compile(r"register")
"""Names of tokens that nothing reads by their place, so that positions of others don't part them."""

PLACES: Final = re.compile(r"pos(ition|_|$|\.)|rotary|rope|inv_freq|freqs|alibi|relative|sinus")
"""Names of what tells places apart."""


def are_tokens(tensor: ModelTensor) -> bool:
    """Whether a tensor holds learned tokens, a row for each."""
    named = {"position": tensor.name, "embedding": tensor.layer}.get(tensor.role, "")
    return len(tensor.shape) > 1 and BY_VALUE.search(named.lower()) is not None


def look_at_tokens(model: Model, pieces: list[Piece]) -> None:
    """Note learned tokens that are equal, and say what is known of what parts them."""
    for piece in (piece for piece in pieces if piece.equal_tokens):
        _withdraw(piece)
        if (beside := _added_to(piece, pieces)) is not None:
            piece.remark = f"equal, told apart by {beside.name}"
            continue
        said = f"its {piece.equal_tokens} tokens are equal"
        place = None if ALONE.search(piece.name.lower()) else _place_elsewhere(model, piece, pieces)
        if place is not None:
            piece.note(
                "units",
                f"{said}: only their order can part them, and whether {place} gives them one is not known here; "
                "probe(model, sample) tells",
            )
        else:
            piece.fault("units", f"{said}: training can't part them; draw each for itself")


def _withdraw(piece: Piece) -> None:
    """Take back what was found of a table that is constant."""
    if piece.exam is not None:
        piece.exam.findings = [each for each in piece.exam.findings if each.kind not in ("zeros", "constant")]
    piece.found = [each for each in piece.found if each[0] not in ("zeros", "constant")]


def _added_to(piece: Piece, pieces: Iterable[Piece]) -> Piece | None:
    """Positions or other tokens of as many rows and the same width, that differ."""
    home = _home(piece)
    return next(
        (
            other for other in pieces
            if other is not piece and other.exam is not None and other.exam.std > 0 and not other.equal_tokens
            and other.tensor.role in ("position", "embedding") and _home(other) == home
            and other.tensor.shape[-1:] == piece.tensor.shape[-1:] and other.tensor.size == piece.tensor.size
        ),
        None,
    )  # fmt: skip


def _home(piece: Piece) -> str:
    """The module that tokens or a table of them lie in."""
    layer = piece.tensor.layer
    return layer.rpartition(".")[0] if piece.tensor.role == "embedding" else layer


def _place_elsewhere(model: Model, piece: Piece, pieces: list[Piece]) -> str | None:
    """The last in the model that tells places apart: positions, rotations, recurrence."""
    if buffer := next((each for each in reversed(model.buffers) if PLACES.search(each.name.lower())), None):
        return buffer.name
    for other in reversed(pieces):
        if other is not piece and (
            other.tensor.role == "recurrent" or (PLACES.search(other.name.lower()) and not other.equal_tokens)
        ):
            return other.tensor.name
    return None
