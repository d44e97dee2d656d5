"""What a trial of several schemes says: each at its own best learning rate, ties told as such, one of them chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from runner.analysis.comparison import SIGNIFICANCE, STEPS, Comparison, compare
from runner.analysis.intervals import holm, log, p_values
from runner.modes.advise.shortlist import RATE, Shortlist


@dataclass(frozen=True, eq=False)
class Judgement:
    """What the trial showed: ``comparison`` of the schemes, each at its own best learning rate; ``rates``, these, by
    scheme; ``tried``: all learning rates; ``tied``: the schemes that accuracy can't tell from the best (indices into
    the comparison's groups); ``alike``: those of them that are as fast as the ``fastest``; ``chosen``: the simplest."""

    comparison: Comparison
    rates: Mapping[str, float]
    tried: Sequence[float]
    tied: Sequence[int]
    fastest: int
    alike: Sequence[int]
    chosen: int


def judge(shortlist: Shortlist, runs: pd.DataFrame, curves: pd.DataFrame) -> Judgement:
    """What the recorded runs of a plan say.

    Learning rates are chosen on validation data, where a diverged or failed run counts as worst. Of the schemes that
    test data can't tell from the best on validation data, the fastest to the threshold is chosen; of those that are not
    told from it either (paired over seeds, corrected by Holm), the simplest.
    """
    chosen = _own_best(runs)
    at_best = runs[runs[RATE] == runs["scheme"].map(chosen)]
    comparison = compare(at_best.drop(columns=RATE), curves)
    groups = comparison.groups
    names = comparison.runs.drop_duplicates("group").set_index("group")["scheme"]
    tied = groups.index[groups["verdict"].isin(["best", "tied", "better"])].tolist() or groups.index.tolist()
    steps = steps_by_seed(comparison)
    order = [candidate.name for candidate in shortlist.tried]
    ranked = sorted(tied, key=lambda group: (groups["steps"].fillna(math.inf)[group], order.index(names[group])))
    fastest = ranked[0]
    others = [group for group in ranked[1:] if math.isfinite(groups["steps"][group])]
    slower = log(steps.loc[others].to_numpy()) - log(steps.loc[fastest].to_numpy())
    p = holm(p_values(slower))
    alike = [fastest, *(group for group, value in zip(others, p, strict=True) if not value < SIGNIFICANCE)]
    if math.isinf(groups["steps"][fastest]):
        alike = ranked
    choice = min(alike, key=lambda group: order.index(names[group]))
    return Judgement(comparison, chosen, sorted(set(runs[RATE])), ranked, fastest, alike, choice)


def _own_best(runs: pd.DataFrame) -> dict[str, float]:
    """The learning rate at which each scheme did best on validation data; ties are broken by the validation loss."""
    metric = next((name for name in ("validation_accuracy", "validation_r2") if name in runs), None)
    finished = runs["fate"] == "finished"
    scored = pd.DataFrame({"scheme": runs["scheme"], "rate": runs[RATE]})
    scored["score"] = (
        runs[metric].where(finished, 0.0 if metric == "validation_accuracy" else -math.inf) if metric else 0
    )
    scored["loss"] = -runs["validation_loss"].where(finished, math.inf) if "validation_loss" in runs else -math.inf
    means = scored.groupby(["scheme", "rate"], sort=False).mean().reset_index()
    best = means.sort_values(["score", "loss"], ascending=False, kind="stable").drop_duplicates("scheme")
    return dict(zip(best["scheme"], best["rate"].astype(float), strict=True))


def steps_by_seed(comparison: Comparison) -> pd.DataFrame:
    """Steps to the threshold (groups, seeds), NaN where it was never reached."""
    runs, name = comparison.runs, f"{STEPS}{comparison.threshold:g}"
    values = runs[name] if name in runs else pd.Series(math.nan, runs.index)
    return runs.assign(steps=values.clip(lower=1)).pivot(index="group", columns="seed", values="steps")
