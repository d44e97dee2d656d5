"""What nobody means: memory never written, NaN, dead layers, tokens' scores that are far too loud."""

from __future__ import annotations

import math
import re
from typing import Final

import numpy as np

from weightinit.arrays import Array
from weightinit.auditing.likes import error_of, rms
from weightinit.auditing.matrices import in_order
from weightinit.auditing.model_report import number
from weightinit.auditing.pieces import Piece, thinned
from weightinit.auditing.tokens import are_tokens
from weightinit.auditing.usual_laws import BY_FANS
from weightinit.model import Model

ABSURD: Final = 1e12
"""Size that no initial value has: bits that mean something else, read as numbers."""

TINY: Final = 1e-12
"""Share of the largest element that random numbers of 24 bits never fall below, but for exact zeros."""

LEAST: Final = 16
"""Elements at the start of two slices that tell whether they may be equal."""

DEAD: Final = 1e-4
"""Share of its input's size that a layer of drawn weights passes on, below which it is dead."""

UNREADABLE: Final = ("unwritten", "not_finite")
"""Kinds of findings after which nothing else is said of a tensor's values."""

FAR_TOO_LOUD: Final = 5.0
"""Factor on its input's size from which on a layer without a law of its own is too loud."""

TOO_LOUD_EACH_STEP: Final = 2.5
"""The same of a recurrence, which applies it at each step."""

FEW_INPUTS: Final = 16
"""Fan-in below which large weights are usual: random frequencies of coordinates."""

UNSCALED: Final = ((1.0, "normal_'s own law, N(0, 1),"), (0.88, "trunc_normal_'s own law, std=1 cut at 2,"))
"""Stds that functions have without arguments."""

TIES: Final = ("tie_word_embeddings", "scale_decoder_outputs")
"""Keys of a configuration that deny where False that head and embedding are one."""

FOLLOWER: Final = re.compile(r"(^|[._])(target|teacher|ema|momentum|shadow|encoder_k|key_encoder)([._]|$)")
"""Paths of parts that start as a copy and follow it: targets, teachers, averages."""

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
        slices = everything.reshape(-1, math.prod(everything.shape[-2:]))
        if slices[0].any() and _all_equal(slices):
            piece.fault("units", f"its {len(slices)} slices are equal: training can't part them; draw each for itself")
        elif repeated := _repeated_slices(slices):
            piece.fault(
                "units", f"{repeated} of its {len(slices)} slices equal an earlier one: training can't part them"
            )
    elif are_tokens(tensor):
        tokens = everything.reshape(-1, tensor.shape[-1])
        piece.equal_tokens = len(tokens) if _all_equal(tokens) else 0
    elif everything.ndim == 2 and min(everything.shape) > 2 and tensor.trained and everything.any():
        if tensor.role == "parameter":
            for kind, vectors in (("inputs", everything), ("units", everything.T)):
                if _all_equal(vectors) and not in_order(vectors[0]):
                    piece.fault("units", f"its {len(vectors)} {kind} are equal: training can't part them")
        elif tensor.role == "dense" and _symmetric(everything):
            piece.fault("law", "is symmetric: half of its elements repeat the other half")


def _symmetric(x: Array) -> bool:
    """Whether a matrix equals its transpose, and is more than a diagonal."""
    corner = x[:LEAST, :LEAST]
    square = x.shape[0] == x.shape[1] and bool((corner == corner.T).all()) and bool(np.triu(corner, 1).any())
    return square and bool((x == x.T).all())


def _repeated_slices(slices: Array) -> int:
    """Number of slices that equal an earlier one, of drawn ones that are large enough to tell; not zeros."""
    if slices.shape[-1] < LEAST or len(slices) > 1 << 12:
        return 0
    seen: dict[bytes, list[int]] = {}
    repeated = 0
    for place, values in enumerate(slices):
        if values.min() == values.max() or in_order(values):
            continue
        earlier = seen.setdefault(values[:LEAST].tobytes(), [])
        repeated += any(np.array_equal(slices[other], values) for other in earlier)
        earlier.append(place)
    return repeated


def _all_equal(slices: Array) -> bool:
    return 1 < len(slices) <= 1 << 12 and bool((slices == slices[0]).all())


def look_at_copies(pieces: list[Piece]) -> None:
    """Take back what was found of copies that are meant: one is frozen, or follows the other by its name."""
    by_name = {piece.name: piece for piece in pieces}
    for piece in pieces:
        original = by_name.get((piece.exam and piece.exam.same_as) or "")
        if piece.exam is None or original is None:
            continue
        followers = [each for each in (piece, original) if FOLLOWER.search(each.tensor.layer.lower())]
        if len(followers) == 1 or piece.tensor.trained != original.tensor.trained:
            piece.exam.findings = [each for each in piece.exam.findings if each.kind != "copy"]
            piece.exam.same_as = None
            piece.note("copy", f"is a copy of {original.name}, which one of the two follows without training")


def look_at_heads(model: Model, pieces: list[Piece], family: str) -> None:
    """Note dead layers, heads whose scores are too loud, and ties that the configuration denies."""
    places = model.positions()
    for piece in pieces:
        tensor, exam = piece.tensor, piece.exam
        if exam is None or not math.isfinite(exam.std) or any(kind in UNREADABLE for kind, _, _ in piece.found):
            continue
        if tensor.role in BY_FANS and tensor.fans and exam.std > 0:
            passed = rms(piece) * math.sqrt(piece.spec.fans.fan_in)
            if passed < DEAD:
                by = f", as {piece.expectation.label} says" if piece.given and piece.expectation else ""
                piece.fault(
                    "dead", f"std {number(exam.std)}{by}: passes {passed:.1e} of its input's size on, a dead layer"
                )
            elif passed > _too_loud(piece) and piece.spec.fans.fan_in >= FEW_INPUTS and _of_no_fans(piece):
                error = 5 * error_of(piece)
                own = next(
                    (f": {law} not scaled by anything" for std, law in UNSCALED if abs(exam.std / std - 1) < error), ""
                )
                piece.found = [each for each in piece.found if each[0] != "scale"]
                said = (
                    f"std {number(exam.std)} over {piece.spec.fans.fan_in} inputs makes outputs {passed:.2g} times as "
                )
                said += f"large as its input{own}"
                if tensor.default.known:
                    piece.fault("loud", said)
                else:
                    piece.note(
                        "loud", f"{said}, unless {tensor.kind} scales it where it uses it: probe(model, sample) tells"
                    )
        is_table = tensor.role == "embedding" and exam.std > 0 and "dense" not in tensor.used_as
        if is_table and rms(piece) < DEAD / 10:
            piece.fault("dead", f"std {number(exam.std)}: the embedding is dead")
        frequencies = len(tensor.shape) == 2 and tensor.shape[0] < FEW_INPUTS
        unsaid = not (piece.given or piece.found or frequencies)
        if tensor.role in ("embedding", "position") and unsaid and rms(piece) > FAR_TOO_LOUD:
            piece.fault("loud", f"of rms {number(rms(piece))}: tokens and positions start at 1 at most")
        config = model.configurations(tensor.name, *tensor.also)[0]
        key = next((key for key in TIES if config.values.get(key) is False), None)
        is_tied = tensor.role == "embedding" and "dense" in tensor.used_as
        if is_tied and key is not None:
            piece.fault("tied", f"tied to {tensor.also[-1]}, though the configuration says {key}=False")
        vocabulary = config.values.get("vocab_size")
        last = tensor.role == "dense" and places[tensor.layer] == "output" and tensor.shape[0] == vocabulary
        if is_tied or last:
            _loudness(piece, divided=key is None and (family or config.family) in ("t5", "mt5"))


def _too_loud(piece: Piece) -> float:
    return TOO_LOUD_EACH_STEP if "weight_hh" in piece.tensor.name else FAR_TOO_LOUD


def _of_no_fans(piece: Piece) -> bool:
    """Whether a layer's scale is a number that nobody said and its module doesn't have by itself."""
    if piece.given or piece.expectation is None or not piece.tensor.trained:
        return False
    return piece.expectation.label.startswith(("normal", "uniform(", "truncated_normal("))


def _loudness(piece: Piece, *, divided: bool) -> None:
    """Scores of a head over normalized features: Gaussian of std sqrt(width) times the weights'.

    ``divided``: whether the features are divided by the root of the width before it, as T5's are where it is tied.
    """
    exam = piece.exam
    assert exam is not None
    classes, width = (piece.tensor.shape[0], piece.tensor.shape[-1])
    spread = rms(piece) * math.sqrt(width)
    if divided:
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
