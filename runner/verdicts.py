"""What paired differences between groups say, in sentences."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from runner.comparison import SIGNIFICANCE, Comparison
from runner.inference import smallest_shown
from runner.text import label, number, plain

METRICS = {"test_accuracy": "accuracy", "test_r2": "R²", "test_loss": "loss"}
WIDTH = 100
SINGLY = 5  # groups that get a sentence each
SHOWN = 40  # sentences


def verdict_lines(comparison: Comparison) -> list[str]:
    """What the paired differences say, context by context."""
    groups, pairs = comparison.groups, comparison.pairs.to_dict("records")
    if groups["seeds"].max() <= 1:
        return ["one seed: no ranking. Add seed='range(0,5)'."]
    ranked = [pair for pair in pairs if groups["verdict"][pair["group"]]]
    if pairs and not ranked:
        return ["no ranking: no two groups finished two seeds in common. Sweep the same seeds in each."]
    ranked.sort(key=lambda pair: groups["place"][pair["group"]])
    lines = []
    for best, members in groupby(ranked, key=lambda pair: pair["best"]):
        own = list(members)
        prefix = f"{label(groups.loc[best].to_dict(), comparison.context)}: " if comparison.context else ""
        if len(own) > SINGLY:
            lines.append(prefix + _many(comparison, own))
        else:
            lines += [prefix + _sentence(comparison, pair, alone=len(own) == 1) for pair in own]
    if len(lines) > SHOWN:
        lines = [*lines[:SHOWN], f"... and {len(lines) - SHOWN} more"]
    if (made := int(comparison.pairs["p"].notna().sum())) > 1:
        lines.append(f"({made} comparisons, corrected by Holm; each against the best on validation data)")
    return [part for line in lines for part in textwrap.wrap(line, WIDTH, subsequent_indent="  ")]


def _sentence(comparison: Comparison, pair: Mapping[Any, Any], *, alone: bool) -> str:
    """How a group differs from the best of its context; ``alone``: there are no others."""
    best, other = (comparison.groups.loc[pair[name]].to_dict() for name in ("best", "group"))
    names = {"best": _own_label(comparison, best), "other": _own_label(comparison, other)}
    if other["verdict"] == "diverged":
        return f"{names['other']} diverged in {other['diverged']} of {other['seeds']} runs, {names['best']} in none"
    metric, (sign, low, high) = best["metric"], (pair["difference"], pair["low"], pair["high"])
    winner, loser = ("other", "best") if sign > 0 else ("best", "other")
    by = interval(abs(sign), *((low, high) if sign > 0 else (-high, -low)), metric)
    what = "" if metric == "test_accuracy" else f" in {METRICS[metric]}"
    if other["verdict"] == "tied":
        told = ": too few seeds to tell" if too_few(comparison, pair["pairs"]) else " tied"
        unsure = f" ({names[winner]} ahead by {by}, but not after correction)" if low * high > 0 else ""
        both = "" if alone else f"{names['best']} and {names['other']}: "
        parts = [f"{both}{METRICS[metric]}{told}{unsure}"]
    else:
        than = "" if alone else f" than {names[loser]}"
        parts = [f"{names[winner]} better{than}{what} by {by}"]
    if pair["speed_p"] < SIGNIFICANCE:
        ratio, low, high = pair["ratio"], pair["ratio_low"], pair["ratio_high"]
        faster, bounds = ("best", (ratio, low, high)) if ratio > 1 else ("other", (1 / ratio, 1 / high, 1 / low))
        times, low, high = (number(value, 2) for value in bounds)
        where = "" if pair["speed_pairs"] == pair["pairs"] else f" in {pair['speed_pairs']} where both arrive"
        if times != "1.0":
            parts.append(f"{names[faster]} {times}x faster [{low}, {high}]{where}")
    parts[-1] += f", {pair['pairs']} pairs"
    never = [names[role] for role, group in (("best", best), ("other", other)) if group["never"] == group["seeds"]]
    if len(never) == 1:
        parts.append(f"{never[0]} never reaches {threshold_text(comparison)}")
    return "; ".join(parts)


def too_few(comparison: Comparison, pairs: int) -> bool:
    """Whether so many pairs can't show a difference of twice its std over seeds: what isn't significant isn't tied."""
    return smallest_shown(pairs, int(comparison.pairs["p"].notna().sum())) > 2


def _many(comparison: Comparison, pairs: Sequence[Mapping[Any, Any]]) -> str:
    """One sentence on many groups against the best."""
    best = comparison.groups.loc[pairs[0]["best"]].to_dict()
    others = [comparison.groups.loc[pair["group"]].to_dict() for pair in pairs]
    words = []
    told = ["too few seeds to tell" if too_few(comparison, pair["pairs"]) else "tied" for pair in pairs]
    verdicts = [
        one if other["verdict"] == "tied" else other["verdict"] for one, other in zip(told, others, strict=True)
    ]
    for verdict in ("better", "tied", "too few seeds to tell", "worse", "diverged"):
        names = [_own_label(comparison, other) for one, other in zip(verdicts, others, strict=True) if one == verdict]
        if names:
            more = f" and {len(names) - SINGLY} more" if len(names) > SINGLY else ""
            words.append(f"{verdict}: {', '.join(names[:SINGLY])}{more}")
    return f"{METRICS[best['metric']]} against {_own_label(comparison, best)}: {'; '.join(words)}"


def _own_label(comparison: Comparison, group: Mapping[Any, Any]) -> str:
    """The group's label without what its context says already."""
    own = [name for name in comparison.by if name not in comparison.context]
    return label(group, own) if own else str(group["label"])


def threshold_text(comparison: Comparison) -> str:
    """What steps are counted to: ``loss .5``."""
    return "its threshold" if comparison.threshold is None else f"loss {plain(f'{comparison.threshold:g}')}"


def score(value: float, metric: str) -> str:
    """A value of a test number as people write it: .960."""
    return number(value) if metric == "test_loss" or math.isnan(value) else plain(f"{value:.3f}")


def interval(value: float, low: float, high: float, metric: str) -> str:
    """A value of a test number with its interval, where it has one: .960 [.951, .969]."""
    bounds = "" if math.isnan(low) else f" [{score(low, metric)}, {score(high, metric)}]"
    return score(value, metric) + bounds
