"""Comparisons err as rarely as they say: made-up sweeps, through the lab's own tests, intervals and sentences."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from runner.analysis.comparison import compare
from runner.analysis.pairs import against_best
from runner.report.sentences import answer, evidence
from tests.error_rates import BUDGET, DIFFERENT, IDENTICAL, SCHEMES, SEEDS, Setting, coverage, power, sweeps, told_apart
from weightinit.arrays import Array


def at_most(share: float, sweeps: int) -> float:
    """Share that so many sweeps exceed once in 10,000 such tests, where the true one is ``share``."""
    return float(stats.binom.ppf(0.9999, sweeps, share)) / sweeps


@pytest.mark.parametrize("name", IDENTICAL)
@pytest.mark.parametrize("schemes", SCHEMES)
def test_identical_schemes_are_rarely_told_apart(name: str, schemes: int) -> None:
    for seeds in SEEDS:
        rate = told_apart(IDENTICAL[name], schemes, seeds, 400, np.random.default_rng(seeds))
        assert rate <= at_most(0.05, 400), seeds


@pytest.mark.slow
@pytest.mark.parametrize("name", IDENTICAL)
@pytest.mark.parametrize("schemes", SCHEMES)
@pytest.mark.parametrize("seeds", SEEDS)
def test_identical_schemes_are_told_apart_in_one_sweep_of_twenty_at_most(name: str, schemes: int, seeds: int) -> None:
    rate = told_apart(IDENTICAL[name], schemes, seeds, 20_000, np.random.default_rng([schemes, seeds]))
    assert rate <= 0.055


# Intervals of one sweep are not independent: they share its seeds and its best.
@pytest.mark.parametrize("name", DIFFERENT)
def test_intervals_hold_the_truth(name: str) -> None:
    for schemes in SCHEMES:
        shares = coverage(DIFFERENT[name], schemes, 5, 400, np.random.default_rng(schemes))[:3]
        assert min(share for share in shares if not math.isnan(share)) >= 1 - at_most(0.06, 400), schemes


@pytest.mark.slow
@pytest.mark.parametrize("name", DIFFERENT)
@pytest.mark.parametrize("schemes", SCHEMES)
@pytest.mark.parametrize("seeds", SEEDS)
def test_intervals_hold_the_truth_in_93_of_100(name: str, schemes: int, seeds: int) -> None:
    shares = coverage(DIFFERENT[name], schemes, seeds, 10_000, np.random.default_rng([schemes, seeds]))[:3]
    assert min(share for share in shares if not math.isnan(share)) >= 0.93


@pytest.mark.parametrize(("steps", "spread"), [(120.0, 0.3), (210.0, 0.3), (300.0, 0.3), (250.0, 0.5)])
def test_twice_as_slow_comes_out_as_the_ratio_of_mean_steps_within_the_budget(steps: float, spread: float) -> None:
    setting, rng = Setting(steps=steps, spread=spread, slower=2.0), np.random.default_rng(1)
    *_, many = sweeps(setting, 2, 200_000, 1, rng)
    true = many[0].mean() / many[1].mean()
    assert true < 2
    pairs = against_best(*sweeps(setting, 2, 10, 2_000, rng))
    ratios = np.where(pairs["best"] % 2, pairs["ratio"], 1 / pairs["ratio"])
    assert np.median(ratios) == pytest.approx(true, rel=0.02)
    for seeds in (5, 10):
        _, _, held, *_ = coverage(setting, 2, seeds, 4_000, rng)
        assert held >= 0.93 - (at_most(0.07, 4_000) - 0.07)


def test_a_real_difference_is_found() -> None:
    """One and a half times what the pairs scatter, by ten seeds."""
    assert power(1.5, 2, 10, 1_000, np.random.default_rng(2)) >= 1 - at_most(0.05, 1_000)


# --------------------------------------------------------------------------------------- from tables to sentences

CLAIM = re.compile(r"\bbetter\b|\bworse\b|\bfaster\b|\bslower\b|more often|\bis best\b")


def recorded(score: Array, steps: Array, lost: Array) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of one sweep, with no more in them than a comparison needs; arrays (schemes, seeds)."""
    schemes, seeds = score.shape
    places = [(scheme, seed) for scheme in range(schemes) for seed in range(seeds)]
    keys = [hashlib.sha256(f"{place}".encode()).hexdigest() for place in places]
    flat_lost = lost.ravel()
    runs = pd.DataFrame({
        "key": keys, "name": "run", "scheme": [f"scheme{scheme}" for scheme, _ in places],
        "seed": [seed for _, seed in places], "training.threshold": 0.5,
        "fate": np.where(flat_lost, "diverged", "finished"), "diverged_at_step": np.where(flat_lost, 3.0, math.nan),
        "error": None, "validation_accuracy": score.ravel(), "test_accuracy": score.ravel(),
        "steps_to_loss_0.5": np.where(steps.ravel() < BUDGET, steps.ravel(), math.nan),
    })  # fmt: skip
    curves = pd.DataFrame({"key": keys, "step": int(BUDGET), "quantity": "train_loss", "layer": "", "value": 0.1})
    return runs, curves.astype({"key": "category", "quantity": "category", "layer": "category"})


def claims(said: Sequence[str]) -> bool:
    return any(CLAIM.search(line) for line in said)


@pytest.mark.parametrize("name", ["accuracy .95 of 270 samples", "half of the runs arrive", "one run in ten diverges"])
def test_sentences_claim_what_tests_show_and_nothing_else(name: str) -> None:
    made = 15
    groups, score, _, steps = sweeps(IDENTICAL[name], 2, 5, made, np.random.default_rng(3))
    told = 0
    for sweep in range(made):
        rows = slice(2 * sweep, 2 * sweep + 2)
        comparison = compare(*recorded(score[rows], steps[rows], np.isnan(score[rows])))
        shown = bool((comparison.pairs[["p", "speed_p", "diverged_p"]] < 0.05).any(axis=None))
        assert claims(evidence(comparison)) == claims([answer(comparison)]) == shown, evidence(comparison)
        told += shown
    assert len(groups) == 2 * made
    assert told / made <= at_most(0.05, made)
