"""Decision between schemes after a trial: each at its best learning rate, the fastest or simplest of equals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from runner.analysis.best_rates import RATE, at_best_rates
from runner.analysis.comparison import Comparison, compare
from runner.analysis.pairs import NOT_DISTINGUISHED, SIGNIFICANCE
from runner.modes.advise.shortlist import Shortlist


@dataclass(frozen=True, eq=False)
class Decision:
    """Result of the trial.

    ``comparison``: of the schemes by validation data, each at its best learning rate; ``rates``: these, by scheme;
    ``tried``: all learning rates. Of the comparison's groups: ``leading``, the best and those whose score is not
    distinguished from it; ``fastest`` of these, those that the comparison leaves after speed; ``chosen``, the simplest.
    """

    comparison: Comparison
    rates: Mapping[str, float]
    tried: Sequence[float]
    leading: Sequence[int]
    fastest: Sequence[int]
    chosen: int

    @property
    def schemes(self) -> Mapping[int, str]:
        """The scheme of each of the comparison's groups."""
        return _schemes(self.comparison)


def decide(shortlist: Shortlist, runs: pd.DataFrame, curves: pd.DataFrame) -> Decision:
    """Return the decision that the recorded runs of a plan lead to; test data take no part.

    Learning rates are chosen by ``at_best_rates``. Of the best scheme on
    validation data and those not distinguished from it, those are left that are faster to the threshold than the best;
    where none is, the best and those not distinguished from it in speed. Of these the simplest is chosen.
    """
    tried = at_best_rates(compare(runs, curves, by=["scheme", RATE]).groups, ["scheme"])
    rates = dict(zip(tried["scheme"], tried[RATE].astype(float), strict=True))
    at_best = runs[runs[RATE] == runs["scheme"].map(rates)]
    comparison = compare(at_best.drop(columns=RATE), curves, part="validation")
    groups = comparison.groups
    names = _schemes(comparison)
    order = [candidate.name for candidate in shortlist.tried]
    leading = groups.index[groups["verdict"].isin(["best", NOT_DISTINGUISHED])].tolist()
    if not leading:  # too few seeds
        leading = [groups["validation"].fillna(-math.inf).idxmax()]
    told = comparison.pairs[comparison.pairs["speed_p"] < SIGNIFICANCE]
    faster, slower = (set(told.loc[which, "group"]) for which in (told["ratio"] < 1, told["ratio"] > 1))
    fastest = [group for group in leading if group in faster] or [group for group in leading if group not in slower]
    return Decision(
        comparison=comparison,
        rates=rates,
        tried=sorted(set(runs[RATE])),
        leading=groups.loc[leading].sort_values("place").index.tolist(),
        fastest=fastest,
        chosen=min(fastest, key=lambda group: order.index(names[group])),
    )


def _schemes(comparison: Comparison) -> Mapping[int, str]:
    """Return the scheme of each group."""
    first = comparison.runs.drop_duplicates("group")
    return dict(zip(first["group"], first["scheme"], strict=True))
