"""Sequences of tokens made on the spot: copying, sorting, sums."""

from __future__ import annotations

import hashlib

import numpy as np

from runner.data.dataset import Dataset, check_whole
from weightinit.arrays import Array, stream
from weightinit.predictor import Preparation

NONE = -1  # target of a token that has none


def copying(*, samples: int = 2000, length: int = 8, symbols: int = 8, seed: int = 0, split_seed: int = 0) -> Dataset:
    """Return random symbols with as many blanks behind them, whose targets are the symbols in their order."""
    check_whole(2, samples=samples, length=length, symbols=symbols)
    given = _symbols("copying", samples, length, symbols, seed)
    return _recalled("copying", given, given, symbols, split_seed, f"{length} of {symbols} symbols to copy")


def sorting(*, samples: int = 2000, length: int = 8, symbols: int = 8, seed: int = 0, split_seed: int = 0) -> Dataset:
    """Return random symbols with as many blanks behind them, whose targets are the symbols in ascending order."""
    check_whole(2, samples=samples, length=length, symbols=symbols)
    given = _symbols("sorting", samples, length, symbols, seed)
    return _recalled("sorting", given, np.sort(given, axis=1), symbols, split_seed, f"{length} symbols to sort")


def modular_addition(*, modulus: int = 31, split_seed: int = 0) -> Dataset:
    """Return all pairs of numbers below ``modulus`` and a sign; the target of the sign is their sum modulo ``modulus``.

    Source: Power et al. 2022, who train on part of all pairs.
    """
    check_whole(3, modulus=modulus)
    first, second = (grid.ravel() for grid in np.indices((modulus, modulus)))
    x = np.stack([first, second, np.full(len(first), modulus)], axis=1)
    y = np.full(x.shape, NONE)
    y[:, -1] = (first + second) % modulus
    return _dataset("modular_addition", x, y, modulus + 1, modulus, split_seed, f"sums modulo {modulus}")


def _symbols(name: str, samples: int, length: int, symbols: int, seed: int) -> Array:
    check_whole(0, seed=seed)
    return stream(seed, name).integers(0, symbols, (samples, length))


def _recalled(name: str, given: Array, wanted: Array, symbols: int, split_seed: int, source: str) -> Dataset:
    x = np.concatenate([given, np.full(given.shape, symbols)], axis=1)
    y = np.concatenate([np.full(wanted.shape, NONE), wanted], axis=1)
    return _dataset(name, x, y, symbols + 1, symbols, split_seed, source)


def _dataset(name: str, x: Array, y: Array, tokens: int, classes: int, split_seed: int, source: str) -> Dataset:
    """Return the data set: a tenth for validation, 15% for the test, at random."""
    check_whole(0, split_seed=split_seed)
    digest = hashlib.sha256(repr((tokens, classes)).encode())
    for array in (x, y):
        digest.update(np.ascontiguousarray(array, np.int64).data)
    order = stream(split_seed, "split/test").permutation(len(x))
    cuts = round(0.15 * len(x)), round(0.25 * len(x))
    parts = {"test": order[: cuts[0]], "validation": order[cuts[0] : cuts[1]], "train": order[cuts[1] :]}
    arrays: dict[str, Array] = {}
    for part, rows in parts.items():
        arrays |= {f"x_{part}": x[rows].astype(np.float64), f"y_{part}": y[rows].astype(np.int64)}
    features = x.shape[1]
    return Dataset(
        name=name,
        task="classification",
        **arrays,
        classes=tuple(str(number) for number in range(classes)),
        target_mean=np.zeros(0),
        target_std=np.ones(0),
        feature_names=tuple(f"token{i}" for i in range(features)),
        image_shape=None,
        digest=digest.hexdigest(),
        source=source,
        preparation=Preparation(np.zeros(features), np.ones(features), False),
        examples=x[parts["train"][:5]].astype(np.float64),
        tokens=tokens,
    )
