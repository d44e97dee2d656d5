"""Groups of runs in pairs: each against the best of its context, by score, by steps, and by how often runs diverge."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from runner.analysis.intervals import holm, intervals, p_more_often, p_values, ratios
from weightinit.arrays import Array

SIGNIFICANCE = 0.05
NOT_DISTINGUISHED = "not distinguished"  # the verdict on a difference whose p is not below that
AHEAD = ("best", NOT_DISTINGUISHED, "better")
TESTS = ["p", "speed_p", "diverged_p"]


def against_best(groups: pd.DataFrame, score: Array, resolution: Array, steps: Array) -> pd.DataFrame:
    """Return each group against the best of its context, and how sure it is that they differ, before ``corrected``.

    ``groups``: with ``context validation seeds diverged budget``; ``score`` (groups, replicates), more is better;
    ``resolution`` (groups,) of the score; ``steps`` (groups, replicates) to the threshold, at most the budget;
    of scores and steps those of runs that diverged are NaN.

    The best is the first of k groups with runs on validation data, which know of the score. So each p-value counts k/2
    times (``choices``), as many as there are pairs of groups for each pair with the best, and intervals are as much
    wider.
    """
    validation = groups["validation"].fillna(-math.inf).to_numpy()
    lost, among = (groups[name].to_numpy(int) for name in ("diverged", "seeds"))
    others, best, choices = list[int](), list[int](), list[float]()
    codes, contexts = pd.factorize(groups["context"])
    for rows in np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes, minlength=len(contexts)))[:-1]):
        chosen = int(rows[np.argmax(validation[rows])])
        others += [row for row in rows.tolist() if row != chosen]
        best += [chosen] * (len(rows) - 1)
        choices += [max(1.0, (among[rows] > 0).sum() / 2)] * (len(rows) - 1)
    table = pd.DataFrame({"group": np.array(others, int), "best": np.array(best, int)})
    factors, finest = np.array(choices), resolution[others]
    difference = score[others] - score[best]
    table["pairs"] = (~np.isnan(difference)).sum(axis=1)
    table["difference"], table["low"], table["high"] = intervals(difference, resolution=finest, choices=factors)
    table["p"] = p_values(difference, resolution=finest, choices=factors)
    # Of two groups that never arrive neither is faster.
    budget: Array = groups["budget"].to_numpy(np.float64)[others, None]
    arrive = ((steps[others] < budget) | (steps[best] < budget)).any(axis=1, keepdims=True)
    counted = np.where(arrive, steps[others], math.nan)
    table["speed_pairs"] = (~np.isnan(counted - steps[best])).sum(axis=1)
    found = ratios(counted, steps[best], choices=factors)
    table["ratio"], table["ratio_low"], table["ratio_high"], table["speed_p"] = found
    counts = list(zip(lost.tolist(), among.tolist(), strict=True))
    exact = [p_more_often(*counts[other], *counts[against]) for other, against in zip(others, best, strict=True)]
    table["choices"] = factors
    table["diverged_p"] = np.minimum(factors * np.array(exact, float), 1.0)
    return table


def corrected(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs with all their p-values corrected together by Holm's method."""
    p = holm(pairs[TESTS].to_numpy(np.float64).ravel())
    return pairs.assign(**dict(zip(TESTS, p.reshape(-1, len(TESTS)).T, strict=True)))


def verdicts(groups: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """Return each group's verdict; empty where there are too few common seeds.

    ``diverged``: it diverges more often than the best; else ``better``, ``worse`` or not distinguished by its score.
    """
    found = [""] * len(groups)
    share = (groups["diverged"] / groups["seeds"]).to_numpy()
    for pair in pairs.to_dict("records"):
        group, best = pair["group"], pair["best"]
        if pair["diverged_p"] < SIGNIFICANCE and share[group] > share[best]:
            found[group] = "diverged"
        elif not math.isnan(pair["p"]):
            sign = "better" if pair["difference"] > 0 else "worse"
            found[group] = sign if pair["p"] < SIGNIFICANCE else NOT_DISTINGUISHED
        if not pd.isna([pair[name] for name in TESTS]).all():
            found[best] = "best"
    return found


def places(groups: pd.DataFrame, score: Sequence[float] | Array) -> Array:
    """Return the order of the groups (n,), from 0: contexts as they came, in each what leads first, by steps.

    ``score`` (n,), more is better.
    """
    rank = groups["verdict"].map({"better": 0, "best": 1, NOT_DISTINGUISHED: 1, "worse": 2, "diverged": 3, "": 4})
    keys = pd.DataFrame({"context": groups["context"], "rank": rank, "index": groups.index})
    keys["first"] = np.where(rank == 1, groups["steps"], np.where(rank == 4, 0.0, -np.asarray(score)))
    return np.argsort(keys.sort_values(["context", "rank", "first", "index"]).index.to_numpy())
