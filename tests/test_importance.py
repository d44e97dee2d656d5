"""Importance of what a search chose, on made runs whose scores depend on known keys."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from runner.analysis.importance import importances
from runner.report.search import search_lines


def searched(runs: pd.DataFrame, *keys: str) -> Any:
    """Return what importance reads of a search."""
    best = runs.iloc[0].to_dict()
    return SimpleNamespace(
        comparison=SimpleNamespace(runs=runs), metric="validation_loss", keys=keys, best=best, fixed=()
    )


def made(rng: np.random.Generator, count: int, effect: float) -> pd.DataFrame:
    """Runs whose loss depends on the rate, not on scheme and width; one in ten diverges at the largest rates."""
    rate = 10 ** rng.uniform(-3, 0, count)
    loss = effect * (np.log10(rate) + 2) ** 2 + 0.3 * rng.normal(size=count)
    lost = (rate > 10**-0.3) & (effect > 0)
    return pd.DataFrame(
        {
            "optimizer.learning_rate": rate,
            "scheme": rng.choice(["he", "xavier", "orthogonal"], count),
            "architecture.width": rng.integers(8, 64, count),
            "fate": np.where(lost, "diverged", "finished"),
            "validation_loss": np.where(lost, np.nan, loss),
        }
    )


KEYS = ("+optimizer.learning_rate", "scheme", "architecture.width")


def test_what_matters_is_told_from_what_does_not() -> None:
    rng = np.random.default_rng(0)
    shares, sure = [], dict.fromkeys(KEYS, 0)
    for _ in range(100):
        found = {one.key: one for one in importances(searched(made(rng, 40, 1.0), *KEYS))}
        shares.append(found[KEYS[0]])
        for key, one in found.items():
            sure[key] += one.low > 0
    assert sure[KEYS[0]] >= 99
    assert max(sure["scheme"], sure["architecture.width"]) <= 5  # 2.5 in expectation at most
    truth = np.mean([one.share for one in shares])
    assert np.mean([one.low < truth < one.high for one in shares]) > 0.85
    without = [one for _ in range(50) for one in importances(searched(made(rng, 40, 0.0), *KEYS))]
    assert np.mean([one.low > 0 for one in without]) <= 0.04


def test_too_few_runs_tell_nothing_and_a_table_says_the_rest() -> None:
    runs = made(np.random.default_rng(1), 60, 1.0)
    assert importances(searched(runs.head(19), KEYS[0])) == []
    assert importances(searched(runs.head(27), *KEYS)) == []  # seven numbers are fitted
    assert importances(searched(runs.assign(validation_loss=1.0, fate="finished"), *KEYS)) == []
    lines = search_lines(searched(runs, *KEYS))
    (header,) = (number for number, line in enumerate(lines) if line.startswith("importance"))
    assert lines[header + 1].startswith("learning rate  ")
    alone = importances(searched(runs.assign(scheme="he"), *KEYS))
    assert next(one for one in alone if one.key == "scheme").share == 0
