"""What paired differences between groups say, in sentences."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from runner.analysis.comparison import SIGNIFICANCE, Comparison
from runner.analysis.intervals import smallest_shown
from runner.text import label, number, plain

METRICS = {"test_accuracy": "accuracy", "test_r2": "R²", "test_loss": "loss"}
HEADERS = {"test_accuracy": "test acc", "test_r2": "test R²", "test_loss": "test loss"}
WIDTH = 100
SINGLY = 5  # groups that get a sentence each
SHOWN = 40  # sentences
SETTINGS = 3  # contexts that the answer goes into one by one


def answer(comparison: Comparison) -> str:
    """What the sweep was run to find out, in a sentence for each setting; ``verdict_lines`` are its evidence."""
    groups = comparison.groups.sort_values("place")
    if not groups["seeds"].sum():
        return "Every run failed."
    if len(groups) == 1:
        (row,) = groups.to_dict("records")
        counted = f"{row['seeds']} seeds" if row["seeds"] > 1 else "one seed"
        if row["diverged"] == row["seeds"]:
            return f"{row['label']} diverged in every run, of {counted}."
        return f"{row['label']} reaches {_reached(row)} over {counted}."
    if groups["seeds"].max() <= 1:
        return "One seed each says nothing about chance, so there is no ranking: add seed='range(0,5)'."
    ranked = [rows for _, rows in groups.groupby("context") if (rows["verdict"] != "").any()]
    if not ranked:
        return "There is no ranking, since no two groups that compete finished two seeds in common."
    if len(ranked) <= SETTINGS:
        text = ". ".join(_top(comparison, rows) for rows in ranked)
        return f"{text}."
    firsts: dict[str, int] = {}
    for rows in ranked:
        for row in rows[rows["verdict"].isin(["best", "tied", "better"])].to_dict("records"):
            firsts[_own_label(comparison, row)] = firsts.get(_own_label(comparison, row), 0) + 1
    order = sorted(firsts.items(), key=lambda one: -one[1])[:SINGLY]
    return f"Best, or tied with the best: {', '.join(f'{name} in {n} of {len(ranked)}' for name, n in order)} settings."


def _top(comparison: Comparison, groups: pd.DataFrame) -> str:
    """Who is ahead in one context, whose groups are in the order of the places."""
    rows = groups.to_dict("records")
    (best,) = (row for row in rows if row["verdict"] == "best")
    top = [row for row in rows if row["verdict"] in ("best", "tied")]
    names = [_own_label(comparison, row) for row in top]
    said = label(best, comparison.context)
    prefix = f"With {said}, " if said else ""
    if len(top) == 1:
        text = f"{prefix}{names[0]} is best, with {_reached(best)}"
    else:
        tied = comparison.pairs["group"].isin(groups.index[groups["verdict"] == "tied"])
        few = any(too_few(comparison, pairs) for pairs in comparison.pairs.loc[tied, "pairs"])
        so = "are not told apart by so few seeds" if few else "are tied for the best"
        text = f"{prefix}{_listed(names)} {so}, {names[0]} with {_reached(top[0])}"
        if math.isfinite(top[0]["steps"]) and len({row["steps"] for row in top}) > 1:
            text += f" and the fewest steps to {threshold_text(comparison)}"
    for verdict, words in (("better", "better on test data"), ("worse", "worse"), ("diverged", "diverged")):
        if others := [_own_label(comparison, row) for row in rows if row["verdict"] == verdict]:
            who = _listed(others) if len(others) <= SETTINGS else f"{len(others)} others"
            text += f"; {who} {'' if verdict == 'diverged' else 'is ' if len(others) == 1 else 'are '}{words}"
    return text


def _reached(row: Mapping[Any, Any]) -> str:
    """The number that counts for a group: ``test accuracy .959 [.950, .968]``."""
    return f"test {METRICS[row['metric']]} {interval(row['test'], row['test_low'], row['test_high'], row['metric'])}"


def _listed(names: Sequence[str]) -> str:
    if len(names) > SINGLY:
        names = [*names[: SINGLY - 1], f"{len(names) - SINGLY + 1} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def verdict_lines(comparison: Comparison) -> list[str]:
    """What the paired differences say, context by context, as lines of the terminal."""
    return [part for line in evidence(comparison) for part in textwrap.wrap(line, WIDTH, subsequent_indent="  ")]


def evidence(comparison: Comparison) -> list[str]:
    """What the paired differences say, a sentence each, context by context."""
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
    return lines


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


def steps_text(row: Mapping[Any, Any]) -> str:
    """A group's median steps to the threshold, and how many runs never reach it where not all do or don't."""
    never, seeds = row["never"], row["seeds"]
    middle = "never" if row["steps"] == math.inf else "–" if math.isnan(row["steps"]) else plain(f"{row['steps']:g}")
    if never in (0, seeds):
        return middle
    return f"{middle} ({never} of {seeds})" if middle == "never" else f"{middle} (never {never} of {seeds})"


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
