"""Importance of what a search chose: how much worse runs are predicted without knowing it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from runner.analysis.search import Search
from weightinit.arrays import Array

LEAST = 20  # runs
EACH = 4  # runs for each number that is fitted


@dataclass(frozen=True)
class Importance:
    """Share of the variance of the runs' ranks that is lost without ``key``, with a 95% confidence interval.

    Each run is predicted from the others by least squares: numbers by their rank and its square, choices one by one.
    Without effect a share is near 0, or below: knowing the key then only adds noise.
    """

    key: str
    share: float
    low: float
    high: float


def importances(search: Search) -> list[Importance]:
    """Return the importance of each key that a search chose, the largest first; none where its runs are too few.

    A run that diverged counts as the worst.
    """
    runs = search.comparison.runs
    if search.metric not in runs:
        return []
    runs = runs[runs["fate"] != "failed"]
    ascending = search.metric == "validation_loss"
    ranks = runs[search.metric].rank(ascending=ascending, na_option="bottom").to_numpy(np.float64)
    terms = {key: _terms(runs[name]) for key in search.keys if (name := key.lstrip("+")) in runs}
    fitted = 1 + sum(table.shape[1] for table in terms.values())
    if len(runs) < max(LEAST, EACH * fitted) or np.ptp(ranks) == 0:
        return []
    whole = _errors(list(terms.values()), ranks)
    scale = np.var(ranks)
    found = []
    for key in terms:
        lost = (_errors([table for other, table in terms.items() if other != key], ranks) - whole) / scale
        reach = float(stdtrit(len(runs) - fitted, 0.975)) * float(np.std(lost, ddof=1)) / math.sqrt(len(runs))
        share = float(np.mean(lost))
        found.append(Importance(key, share, share - reach, share + reach))
    return sorted(found, key=lambda one: -one.share)


def _terms(values: pd.Series) -> Array:
    """Return what a key enters a fit with (runs, terms): none where all runs have one value."""
    kinds = values.nunique(dropna=False)
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values) and kinds > 1:
        place = values.rank().to_numpy(np.float64)
        place = (place - place.mean()) / place.std()
        return np.stack([place, place**2][: kinds - 1], axis=1)
    codes, _ = pd.factorize(values, use_na_sentinel=False)
    return np.asarray(codes[:, None] == np.arange(1, kinds), np.float64)


def _errors(terms: list[Array], ranks: Array) -> Array:
    """Return each run's squared error, predicted from the others (runs,)."""
    q, _ = np.linalg.qr(np.concatenate([np.ones((len(ranks), 1)), *terms], axis=1))
    leverage = (q**2).sum(axis=1).clip(max=1 - 1e-9)
    predicted = ranks - (ranks - q @ (q.T @ ranks)) / (1 - leverage)
    return np.asarray((ranks - predicted.clip(ranks.min(), ranks.max())) ** 2)
