"""Sequences of tokens: copying, sorting and sums, made on the spot, and the characters of a text."""

from __future__ import annotations

import hashlib
import re
import string
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from runner.data.dataset import EXAMPLES, Dataset, check_parts, check_whole, split
from weightinit.arrays import Array, stream
from weightinit.predictor import Preparation

NONE = -1  # target of a token that has none


class Parts(NamedTuple):
    """Fractions of all samples for validation and test, drawn at random by ``split_seed``."""

    validation: float
    test: float
    split_seed: int


def copying(
    *,
    samples: int = 2000,
    length: int = 8,
    symbols: int = 8,
    seed: int = 0,
    validation: float = 0.1,
    test: float = 0.15,
    split_seed: int = 0,
) -> Dataset:
    """Return random symbols with as many blanks behind them, whose targets are the symbols in their order."""
    check_whole(2, samples=samples, length=length, symbols=symbols)
    given = _symbols("copying", samples, length, symbols, seed)
    parts = Parts(validation, test, split_seed)
    return _recalled("copying", given, given, symbols, parts, f"{length} of {symbols} symbols to copy")


def sorting(
    *,
    samples: int = 2000,
    length: int = 8,
    symbols: int = 8,
    seed: int = 0,
    validation: float = 0.1,
    test: float = 0.15,
    split_seed: int = 0,
) -> Dataset:
    """Return random symbols with as many blanks behind them, whose targets are the symbols in ascending order."""
    check_whole(2, samples=samples, length=length, symbols=symbols)
    given = _symbols("sorting", samples, length, symbols, seed)
    parts = Parts(validation, test, split_seed)
    return _recalled("sorting", given, np.sort(given, axis=1), symbols, parts, f"{length} symbols to sort")


def modular_addition(*, modulus: int = 31, validation: float = 0.1, test: float = 0.15, split_seed: int = 0) -> Dataset:
    """Return all pairs of numbers below ``modulus`` and a sign; the target of the sign is their sum modulo ``modulus``.

    Source: Power et al. 2022, who train on part of all pairs.
    """
    check_whole(3, modulus=modulus)
    first, second = (grid.ravel() for grid in np.indices((modulus, modulus)))
    x = np.stack([first, second, np.full(len(first), modulus)], axis=1)
    y = np.full(x.shape, NONE)
    y[:, -1] = (first + second) % modulus
    return _dataset(
        "modular_addition",
        x,
        y,
        y[:, -1],
        modulus + 1,
        _numbers(modulus),
        Parts(validation, test, split_seed),
        f"sums modulo {modulus}",
    )


def text(*, length: int = 32, validation: float = 0.1, test: float = 0.15, split_seed: int = 0) -> Dataset:
    """Return pieces of ``length`` characters of English prose; the target of each is the character that follows it.

    The prose describes data sets, in about 35,000 characters. It is reduced to lowercase letters and spaces,
    as text8 is (Mahoney 2011).
    """
    check_whole(2, length=length)
    pages = sorted(resources.files("sklearn.datasets.descr").iterdir(), key=lambda page: page.name)
    prose = " ".join(page.read_text(encoding="utf-8") for page in pages if page.name.endswith(".rst"))
    letters = " " + string.ascii_lowercase
    codes = np.array([letters.index(letter) for letter in re.sub(r"[^a-z]+", " ", prose.lower())])
    pieces = (len(codes) - 1) // length
    x, y = (codes[start : start + pieces * length].reshape(pieces, length) for start in (0, 1))
    parts = Parts(validation, test, split_seed)
    same = np.zeros(pieces, np.int64)
    return _dataset("text", x, y, same, len(letters), ("space", *letters[1:]), parts, "prose by character", ahead=True)


def _symbols(name: str, samples: int, length: int, symbols: int, seed: int) -> Array:
    check_whole(0, seed=seed)
    return stream(seed, name).integers(0, symbols, (samples, length))


def _recalled(name: str, given: Array, wanted: Array, symbols: int, parts: Parts, source: str) -> Dataset:
    x = np.concatenate([given, np.full(given.shape, symbols)], axis=1)
    y = np.concatenate([np.full(wanted.shape, NONE), wanted], axis=1)
    return _dataset(name, x, y, x[:, 0], symbols + 1, _numbers(symbols), parts, source)


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(count))


def _dataset(
    name: str,
    x: Array,
    y: Array,
    labels: Array,
    tokens: int,
    classes: tuple[str, ...],
    parts: Parts,
    source: str,
    *,
    ahead: bool = False,
) -> Dataset:
    """Return the data set of tokens ``x`` and their targets ``y``, whose parts have the ``labels`` in proportion.

    ``ahead``: as of ``Form``.
    """
    check_parts(parts.validation, parts.test, parts.split_seed)
    digest = hashlib.sha256(repr((tokens, len(classes))).encode())
    for array in (x, y):
        digest.update(np.ascontiguousarray(array, np.int64).data)
    rows = split(labels, classes, *parts)
    by_part = dict(zip(("train", "validation", "test"), rows, strict=True))
    arrays: dict[str, Any] = {}
    for part, chosen in by_part.items():
        arrays |= {f"x_{part}": x[chosen].astype(np.float64), f"y_{part}": y[chosen].astype(np.int64)}
    features = x.shape[1]
    return Dataset(
        name=name,
        task="classification",
        **arrays,
        classes=classes,
        target_mean=np.zeros(0),
        target_std=np.ones(0),
        feature_names=tuple(f"token{i}" for i in range(features)),
        image_shape=None,
        digest=digest.hexdigest(),
        source=source,
        preparation=Preparation(np.zeros(features), np.ones(features), False),
        examples=x[by_part["train"][:EXAMPLES]].astype(np.float64),
        tokens=tokens,
        ahead=ahead,
    )
