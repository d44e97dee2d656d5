"""Where a learning rate was swept: each scheme at the rate that serves it best, beside one rate that all share."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pandas as pd

from runner.analysis.comparison import Comparison, compare

RATE = "optimizer.learning_rate"


@dataclass(frozen=True, eq=False)
class Tuned:
    """Groups that differ in what was swept beside the learning rate; their tables have it as a column more.

    ``own``: each at its own best rate; ``common``: all of a context at one, the best on average over its groups.
    Rates are chosen on validation data, where a diverged run counts as the worst.
    """

    own: Comparison
    common: Comparison


def tuned(comparison: Comparison, runs: pd.DataFrame, curves: pd.DataFrame) -> Tuned | None:
    """The groups at chosen learning rates; None where no rate was swept, or nothing else.

    ``runs`` and ``curves``: what ``comparison`` compares.
    """
    by = [name for name in comparison.by if name != RATE]
    if len(by) in (0, len(comparison.by)):
        return None
    groups = comparison.groups[comparison.groups[RATE].notna()].copy()
    groups["validation"] = groups["validation"].fillna(-math.inf)
    own = groups.loc[groups.groupby(by, sort=False, dropna=False)["validation"].idxmax()]
    # A rate that some group was not trained at can't be common to all.
    rates = groups.groupby(["context", RATE])["validation"].agg(["mean", "size"]).reset_index()
    rates = rates[rates["size"] == rates.groupby("context")["size"].transform("max")]
    best = rates.loc[rates.groupby("context")["mean"].idxmax(), ["context", RATE]]
    common = groups.reset_index().merge(best, on=["context", RATE]).set_index("index")

    def at(chosen: pd.DataFrame) -> Comparison:
        kept = comparison.runs.loc[comparison.runs["group"].isin(chosen.index), "key"]
        found = compare(runs[runs["key"].isin(kept)], curves[curves["key"].isin(kept)], by=by)
        return replace(found, groups=found.groups.assign(**{RATE: found.runs.groupby("group")[RATE].first()}))

    return Tuned(at(own), at(common))
