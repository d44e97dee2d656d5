"""Searches: sweeps in which the sweeper chooses each run's values as it goes, as Optuna's does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from runner.analysis.comparison import Comparison
from runner.scores import AUTO


@dataclass(frozen=True, eq=False)
class Search:
    """Runs of a search, best first.

    ``comparison``: its groups in one context, by the mean of ``metric``, the validation number that was searched for;
    ``best``: the row of the best run, None without any finished one; ``keys``: those that the sweeper chose values for;
    ``fixed``: overrides that all runs share.
    """

    comparison: Comparison
    metric: str
    best: dict[Any, Any] | None
    keys: tuple[str, ...]
    fixed: tuple[str, ...]


def search(comparison: Comparison, keys: Sequence[str], fixed: Sequence[str]) -> Search | None:
    """Return the search that a comparison's runs are, over these ``keys``; None where there are no keys."""
    if not keys:
        return None
    runs, groups = comparison.runs, comparison.groups
    asked = set(runs["report.score"].dropna()) if "report.score" in runs else set()
    score = asked.pop() if len(asked) == 1 else AUTO
    metric = "validation_loss" if score == AUTO else f"validation_{score}"
    ascending = metric == "validation_loss"
    best = None
    if metric in runs:
        finished = runs[(runs["fate"] == "finished") & runs[metric].notna()]
        ordered = finished.sort_values(metric, ascending=ascending, kind="stable")
        best = next(iter(ordered.head(1).to_dict("records")), None)
    value = groups[metric] if metric in groups else groups["validation"] * math.nan
    place = value.rank(method="first", ascending=ascending, na_option="bottom") - 1
    # The sweeper tried more where it found the scores good: tests of pairs would not hold.
    placed = groups.assign(place=place.astype(int), context=0, verdict="")
    found = replace(comparison, groups=placed, context=(), pairs=comparison.pairs.head(0))
    return Search(found, metric, best, tuple(keys), tuple(fixed))
