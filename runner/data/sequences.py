"""Sequences of tokens made on the spot: copying, sorting, sums."""

from __future__ import annotations

import hashlib
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
        modulus,
        Parts(validation, test, split_seed),
        f"sums modulo {modulus}",
    )


def _symbols(name: str, samples: int, length: int, symbols: int, seed: int) -> Array:
    check_whole(0, seed=seed)
    return stream(seed, name).integers(0, symbols, (samples, length))


def _recalled(name: str, given: Array, wanted: Array, symbols: int, parts: Parts, source: str) -> Dataset:
    x = np.concatenate([given, np.full(given.shape, symbols)], axis=1)
    y = np.concatenate([np.full(wanted.shape, NONE), wanted], axis=1)
    return _dataset(name, x, y, x[:, 0], symbols + 1, symbols, parts, source)


def _dataset(
    name: str, x: Array, y: Array, labels: Array, tokens: int, classes: int, parts: Parts, source: str
) -> Dataset:
    """Return the data set of tokens ``x`` and their targets ``y``, whose parts have the ``labels`` in proportion."""
    check_parts(parts.validation, parts.test, parts.split_seed)
    digest = hashlib.sha256(repr((tokens, classes)).encode())
    for array in (x, y):
        digest.update(np.ascontiguousarray(array, np.int64).data)
    names = tuple(str(number) for number in range(classes))
    rows = split(labels, names, *parts)
    by_part = dict(zip(("train", "validation", "test"), rows, strict=True))
    arrays: dict[str, Any] = {}
    for part, chosen in by_part.items():
        arrays |= {f"x_{part}": x[chosen].astype(np.float64), f"y_{part}": y[chosen].astype(np.int64)}
    features = x.shape[1]
    return Dataset(
        name=name,
        task="classification",
        **arrays,
        classes=names,
        target_mean=np.zeros(0),
        target_std=np.ones(0),
        feature_names=tuple(f"token{i}" for i in range(features)),
        image_shape=None,
        digest=digest.hexdigest(),
        source=source,
        preparation=Preparation(np.zeros(features), np.ones(features), False),
        examples=x[by_part["train"][:EXAMPLES]].astype(np.float64),
        tokens=tokens,
    )
