"""Best learning rates of a sweep: each group at the rate that suits it best, beside one rate that all share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from runner.analysis.comparison import Comparison, compare

RATE = "optimizer.learning_rate"


def at_best_rates(groups: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return of a comparison's groups, which differ in ``by`` and the learning rate, those at the best rate.

    The best has the best score on validation data, where a diverged run counts as worst, and of equals the least loss
    there. Rates at which runs failed come last.
    """
    keys = pd.DataFrame({"failed": groups["failed"], "score": -groups["validation"].fillna(-math.inf)})
    keys["loss"] = groups["validation_loss"].fillna(math.inf) if "validation_loss" in groups else 0.0
    ordered = groups.loc[keys.sort_values(["failed", "score", "loss"], kind="stable").index]
    chosen = ordered.drop_duplicates(list(by)).index
    return groups.loc[sorted(chosen)]


@dataclass(frozen=True, eq=False)
class Tuned:
    """Groups that differ in the swept settings beside the learning rate, which their tables have as a further column.

    ``best``: each at its own best rate; ``common``: all of a context at one, the best on average over its groups.
    Rates are chosen on validation data, where a diverged run counts as the worst.
    """

    best: Comparison
    common: Comparison


def compared(runs: pd.DataFrame, curves: pd.DataFrame) -> tuple[Comparison, Tuned | None]:
    """Return the comparison of a sweep's tables, and its groups at chosen learning rates where those were swept."""
    comparison = compare(runs, curves)
    return comparison, tuned(comparison, runs, curves)


def tuned(comparison: Comparison, runs: pd.DataFrame, curves: pd.DataFrame) -> Tuned | None:
    """Return the groups at chosen learning rates; None where no rate was swept, or nothing else.

    ``runs`` and ``curves``: the tables that ``comparison`` was made from.
    """
    by = [name for name in comparison.by if name != RATE]
    if len(by) in (0, len(comparison.by)):
        return None
    groups = comparison.groups[comparison.groups[RATE].notna()].copy()
    groups["validation"] = groups["validation"].fillna(-math.inf)
    best = at_best_rates(groups, by)
    # A rate that some group was not trained at can't be common to all.
    rates = groups.groupby(["context", RATE])["validation"].agg(["mean", "size"]).reset_index()
    rates = rates[rates["size"] == rates.groupby("context")["size"].transform("max")]
    shared = rates.loc[rates.groupby("context")["mean"].idxmax(), ["context", RATE]]
    common = groups.reset_index().merge(shared, on=["context", RATE]).set_index("index")

    def at(chosen: pd.DataFrame) -> Comparison:
        kept = comparison.runs.loc[comparison.runs["group"].isin(chosen.index), "key"]
        found = compare(runs[runs["key"].isin(kept)], curves[curves["key"].isin(kept)], by=by)
        return replace(found, groups=found.groups.assign(**{RATE: found.runs.groupby("group")[RATE].first()}))

    return Tuned(at(best), at(common))
