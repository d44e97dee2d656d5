"""Decision between schemes after a trial: each at its best learning rate, the fastest or simplest of equals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from runner.analysis.comparison import AHEAD, SIGNIFICANCE, STEPS, Comparison, compare
from runner.analysis.intervals import holm, log, p_values
from runner.modes.advise.shortlist import RATE, Shortlist


@dataclass(frozen=True, eq=False)
class Decision:
    """Result of the trial.

    ``comparison``: of the schemes, each at its best learning rate; ``rates``: these, by scheme; ``tried``: all learning
    rates. Of the comparison's groups: ``leading``, the best and those whose score is not distinguished from it;
    ``fastest`` of these; ``as_fast``, it and those not distinguished from it in speed; ``chosen``, the simplest.
    """

    comparison: Comparison
    rates: Mapping[str, float]
    tried: Sequence[float]
    leading: Sequence[int]
    fastest: int
    as_fast: Sequence[int]
    chosen: int


def decide(shortlist: Shortlist, runs: pd.DataFrame, curves: pd.DataFrame) -> Decision:
    """Return the decision that the recorded runs of a plan lead to.

    Learning rates are chosen on validation data, where a diverged or failed run counts as worst. Of the schemes that
    are not distinguished on test data from the best on validation data, the fastest to the threshold is chosen; of
    those not distinguished from it in speed (paired over seeds, corrected by Holm), the simplest.
    """
    rates = _best_rates(runs)
    at_best = runs[runs[RATE] == runs["scheme"].map(rates)]
    comparison = compare(at_best.drop(columns=RATE), curves)
    groups = comparison.groups
    names = comparison.runs.drop_duplicates("group").set_index("group")["scheme"]
    leading = groups.index[groups["verdict"].isin(AHEAD)].tolist() or groups.index.tolist()
    steps = steps_by_seed(comparison)
    order = [candidate.name for candidate in shortlist.tried]
    ranked = sorted(leading, key=lambda group: (groups["steps"].fillna(math.inf)[group], order.index(names[group])))
    fastest = ranked[0]
    others = [group for group in ranked[1:] if math.isfinite(groups["steps"][group])]
    slower = log(steps.loc[others].to_numpy()) - log(steps.loc[fastest].to_numpy())
    p = holm(p_values(slower))
    as_fast = [fastest, *(group for group, value in zip(others, p, strict=True) if not value < SIGNIFICANCE)]
    if math.isinf(groups["steps"][fastest]):
        as_fast = ranked
    return Decision(
        comparison=comparison,
        rates=rates,
        tried=sorted(set(runs[RATE])),
        leading=ranked,
        fastest=fastest,
        as_fast=as_fast,
        chosen=min(as_fast, key=lambda group: order.index(names[group])),
    )


def _best_rates(runs: pd.DataFrame) -> dict[str, float]:
    """Return the learning rate at which each scheme did best on validation data, by score and then by loss."""
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
    """Return steps to the threshold (groups, seeds), NaN where it was never reached."""
    runs, name = comparison.runs, f"{STEPS}{comparison.threshold:g}"
    values = runs[name] if name in runs else pd.Series(math.nan, runs.index)
    return runs.assign(steps=values.clip(lower=1)).pivot(index="group", columns="seed", values="steps")
