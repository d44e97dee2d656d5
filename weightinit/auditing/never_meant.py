"""What nobody means: memory never written, NaN, dead layers, tokens' scores that are far too loud."""

from __future__ import annotations

import math
import re
from typing import Final

import numpy as np

from weightinit.arrays import Array
from weightinit.auditing.expectations import BY_FANS
from weightinit.auditing.model_report import number
from weightinit.auditing.pieces import Piece, thinned
from weightinit.model import Model

ABSURD: Final = 1e12
"""Size that no initial value has: bits that mean something else, read as numbers."""

TINY: Final = 1e-12
"""Share of the largest element that random numbers of 24 bits never fall below, but for exact zeros."""

DEAD: Final = 1e-4
"""Share of its input's size that a layer of drawn weights passes on, below which it is dead."""

UNREADABLE: Final = ("unwritten", "not_finite")
"""Kinds of findings after which nothing else is said of a tensor's values."""

APART_BY_VALUE: Final = re.compile(r"(^|[._])(register|latent|query|queries)[a-z_]*$")
"""Names of learned tokens that nothing but their values tells apart: they have no positions."""

FAR_TOO_LOUD: Final = 5.0
"""Factor on its input's size from which on a layer without a law of its own is too loud."""

FEW_INPUTS: Final = 16
"""Fan-in below which large weights are usual: random frequencies of coordinates."""

UNSCALED: Final = ((1.0, "normal_'s own law, N(0, 1),"), (0.88, "trunc_normal_'s own law, std=1 cut at 2,"))
"""Stds that functions have without arguments."""

LOUD: Final = 2.0
"""Nats that the first loss lies above that of equal chances, from which on a head is too loud."""


def look_at_never_meant(piece: Piece, everything: Array, bad: int) -> bool:
    """Note memory that was never written, and NaN; whether there is any."""
    size = everything.size
    if bad:
        share = "all" if bad == size else f"{bad} of {size}"
        piece.fault("not_finite", f"{share} values are NaN or infinite: memory never written, or an overflow")
        return True
    if everything.dtype.kind != "f" or not size:
        return False
    values = np.abs(thinned(everything))
    smallest = float(np.finfo(everything.dtype).tiny) if everything.dtype.itemsize > 2 else 1e-37
    denormal = int(np.count_nonzero((values > 0) & (values < smallest)))
    largest = float(values.max())
    tiny = 0 if piece.tensor.role == "position" else int(np.count_nonzero((values > 0) & (values < TINY * largest)))
    if largest > ABSURD or denormal > max(2, size // 1000) or tiny > 2:
        low = float(values[values > 0].min())
        piece.fault("unwritten", f"holds sizes from {low:.1e} to {largest:.1e}: memory that was never written")
        piece.candidates = ()
        return True
    return False


def look_at_slices(piece: Piece, everything: Array) -> None:
    """Note experts stacked in one tensor, and learned tokens, that are equal: training can't part them."""
    tensor = piece.tensor
    if tensor.dtype.startswith("complex") and everything.any():
        parts = np.moveaxis(everything, tensor.order.index(len(tensor.shape) - 1), 0)
        for part, name in zip(parts, ("real", "imaginary"), strict=True):
            if not part.any():
                piece.fault("constant", f"its {name} part is 0 everywhere: drawn as real numbers, then cast")
                return
    experts = tensor.role == "parameter" and tensor.stacked and min(everything.shape[-2:]) > 1
    if experts and tensor.trained and not tensor.name.endswith("A_log"):  # log(1, 2, ...) of each head, on purpose
        slices, kind = everything.reshape(-1, math.prod(everything.shape[-2:])), "slices"
    elif tensor.role == "position" and len(tensor.shape) > 1 and APART_BY_VALUE.search(tensor.name.lower()):
        slices, kind = everything.reshape(-1, tensor.shape[-1]), "tokens"
    else:
        return
    if 1 < len(slices) <= 1 << 12 and (kind == "tokens" or slices[0].any()) and (slices == slices[0]).all():
        piece.fault("units", f"its {len(slices)} {kind} are equal: training can't part them; draw each for itself")


def look_at_heads(model: Model, pieces: list[Piece], family: str) -> None:
    """Note dead layers, heads whose scores are too loud, and ties that the configuration denies."""
    vocabulary = model.config.get("vocab_size")
    places = model.positions()
    for piece in pieces:
        tensor, exam = piece.tensor, piece.exam
        if exam is None or not math.isfinite(exam.std) or any(kind in UNREADABLE for kind, _, _ in piece.found):
            continue
        if tensor.role in BY_FANS and tensor.fans and exam.std > 0:
            passed = math.hypot(exam.std, exam.mean) * math.sqrt(piece.spec.fans.fan_in)
            if passed < DEAD:
                by = f", as {piece.expectation.label} says" if piece.given and piece.expectation else ""
                piece.fault(
                    "dead", f"std {number(exam.std)}{by}: passes {passed:.1e} of its input's size on, a dead layer"
                )
            elif passed > FAR_TOO_LOUD and piece.spec.fans.fan_in >= FEW_INPUTS and _of_no_fans(piece):
                error = 5 * math.sqrt(0.5 / max(piece.tensor.size, 1))
                own = next(
                    (f": {law} not scaled by anything" for std, law in UNSCALED if abs(exam.std / std - 1) < error), ""
                )
                piece.found = [each for each in piece.found if each[0] != "scale"]
                piece.fault(
                    "loud",
                    f"std {number(exam.std)} over {piece.spec.fans.fan_in} inputs makes outputs {passed:.2g} times as "
                    f"large as its input{own}",
                )
        if tensor.role == "embedding" and exam.std > 0 and "dense" not in tensor.used_as:
            rms = math.hypot(exam.std, exam.mean)
            if rms < DEAD / 10:
                piece.fault("dead", f"std {number(exam.std)}: the embedding is dead")
        key = next((k for k in ("tie_word_embeddings", "scale_decoder_outputs") if model.config.get(k) is False), None)
        denied = key is not None and "dense" in tensor.used_as
        if denied and tensor.role == "embedding":
            piece.fault("tied", f"tied to {tensor.also[-1]}, though the configuration says {key}=False")
        is_head = tensor.role == "embedding" and "dense" in tensor.used_as
        is_head |= tensor.role == "dense" and places[tensor.layer] == "output" and tensor.shape[0] == vocabulary
        if is_head and not denied:
            _loudness(piece, family, model)
        elif is_head:
            _loudness(piece, "", model)


def _of_no_fans(piece: Piece) -> bool:
    """Whether a layer's scale is a number that nobody said and its module doesn't have by itself."""
    if piece.given or piece.expectation is None or not piece.tensor.trained:
        return False
    return piece.expectation.label.startswith(("normal", "uniform(", "truncated_normal("))


def _loudness(piece: Piece, family: str, model: Model) -> None:
    """Scores of a head over normalized features: Gaussian of std sqrt(width) times the weights'."""
    exam = piece.exam
    assert exam is not None
    classes, width = (piece.tensor.shape[0], piece.tensor.shape[-1])
    spread = math.hypot(exam.std, exam.mean) * math.sqrt(width)
    if family in ("t5", "mt5"):  # it divides its features by the root of the width where head and embedding are tied
        spread /= math.sqrt(width)
    above = spread * spread / 2
    most = math.sqrt(2 * math.log(max(classes, 2)))
    if spread > most:  # beyond it the largest score alone counts (the random energy model)
        above = spread * most - math.log(classes)
    if above > LOUD:
        piece.fault(
            "loud",
            f"std {number(exam.std)} makes scores of std {spread:.3g} over features of rms 1: a first loss at least "
            f"about {above:.2g} above ln({classes}); a head wants a std of at most {number(1 / math.sqrt(width))}",
        )
