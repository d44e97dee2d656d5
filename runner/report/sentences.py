"""Sentences on results: the answer of a sweep, its evidence, and an audit."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from runner.analysis.comparison import AHEAD, NOT_DISTINGUISHED, SIGNIFICANCE, Comparison
from runner.analysis.intervals import smallest_shown
from runner.text import label, number, plain

METRICS = {"test_accuracy": "accuracy", "test_r2": "R²", "test_loss": "loss"}
HEADERS = {"test_accuracy": "test acc", "test_r2": "test R²", "test_loss": "test loss"}
WIDTH = 100
SINGLY = 5  # groups that get a sentence each
SHOWN = 40  # sentences
SETTINGS = 3  # contexts that the answer goes into one by one
FINDINGS = {
    "not_finite": "holds NaN or infinity",
    "zeros": "is zero where it should not be",
    "constant": "holds a single value",
    "copy": "is a copy of another tensor",
    "noise": "shares its random numbers with another tensor",
    "units": "has equal units",
    "law": "follows another law",
    "scale": "has another mean or std",
    "dependent": "has elements that are not independent",
    "trained": "looks trained",
}


def answer(comparison: Comparison) -> str:
    """Return the result of a sweep, a sentence for each setting; ``evidence`` supports it."""
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
        return "No ranking: one seed each does not show chance. Add seed='range(0,5)'."
    ranked = [rows for _, rows in groups.groupby("context") if (rows["verdict"] != "").any()]
    if not ranked:
        return "No ranking: no two groups finished two seeds in common."
    if len(ranked) <= SETTINGS:
        text = ". ".join(_top(comparison, rows) for rows in ranked)
        return f"{text}."
    firsts: dict[str, int] = {}
    for rows in ranked:
        for row in rows[rows["verdict"].isin(AHEAD)].to_dict("records"):
            name = _name(comparison, row)
            firsts[name] = firsts.get(name, 0) + 1
    order = sorted(firsts.items(), key=lambda item: -item[1])[:SINGLY]
    counts = ", ".join(f"{name} in {n} of {len(ranked)}" for name, n in order)
    return f"Best, or not distinguished from the best: {counts} settings."


def _top(comparison: Comparison, groups: pd.DataFrame) -> str:
    """Return who is ahead in one context, whose groups are in the order of the places."""
    rows = groups.to_dict("records")
    (best,) = (row for row in rows if row["verdict"] == "best")
    top = [row for row in rows if row["verdict"] in ("best", NOT_DISTINGUISHED)]
    names = [_name(comparison, row) for row in top]
    setting = label(best, comparison.context)
    prefix = f"With {setting}, " if setting else ""
    if len(top) == 1:
        text = f"{prefix}{names[0]} is best: {_reached(best)}"
    else:
        level = comparison.pairs["group"].isin(groups.index[groups["verdict"] == NOT_DISTINGUISHED])
        few = any(too_few(comparison, pairs) for pairs in comparison.pairs.loc[level, "pairs"])
        by = " by so few seeds" if few else ""
        text = f"{prefix}{_listed(names)} are not distinguished{by}; {names[0]} has {_reached(top[0])}"
        if math.isfinite(top[0]["steps"]) and len({row["steps"] for row in top}) > 1:
            text += f" and the fewest steps to {threshold_text(comparison)}"
    for verdict, words in (("better", "better on test data"), ("worse", "worse"), ("diverged", "diverged")):
        if others := [_name(comparison, row) for row in rows if row["verdict"] == verdict]:
            who = _listed(others) if len(others) <= SETTINGS else f"{len(others)} others"
            text += f"; {who} {'' if verdict == 'diverged' else 'is ' if len(others) == 1 else 'are '}{words}"
    return text


def _reached(row: Mapping[Any, Any]) -> str:
    """Return the number that counts for a group: ``test accuracy .959 [.950, .968]``."""
    return f"test {METRICS[row['metric']]} {interval(row['test'], row['test_low'], row['test_high'], row['metric'])}"


def _listed(names: Sequence[str]) -> str:
    if len(names) > SINGLY:
        names = [*names[: SINGLY - 1], f"{len(names) - SINGLY + 1} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def verdict_lines(comparison: Comparison) -> list[str]:
    """Return ``evidence`` as lines of the terminal."""
    return [part for line in evidence(comparison) for part in textwrap.wrap(line, WIDTH, subsequent_indent="  ")]


def evidence(comparison: Comparison) -> list[str]:
    """Return the paired differences, a sentence each, context by context."""
    groups, pairs = comparison.groups, comparison.pairs.to_dict("records")
    if groups["seeds"].max() <= 1:
        return ["no ranking: one seed. Add seed='range(0,5)'."]
    ranked = [pair for pair in pairs if groups["verdict"][pair["group"]]]
    if pairs and not ranked:
        return ["no ranking: no two groups finished two seeds in common. Sweep the same seeds in each."]
    ranked.sort(key=lambda pair: groups["place"][pair["group"]])
    lines = []
    for best, members in groupby(ranked, key=lambda pair: pair["best"]):
        group_pairs = list(members)
        prefix = f"{label(groups.loc[best].to_dict(), comparison.context)}: " if comparison.context else ""
        if len(group_pairs) > SINGLY:
            lines.append(prefix + _many(comparison, group_pairs))
        else:
            lines += [prefix + _sentence(comparison, pair, alone=len(group_pairs) == 1) for pair in group_pairs]
    if len(lines) > SHOWN:
        lines = [*lines[:SHOWN], f"... and {len(lines) - SHOWN} more"]
    if (made := int(comparison.pairs["p"].notna().sum())) > 1:
        lines.append(f"({made} comparisons with the best on validation data, corrected by Holm)")
    return lines


def _sentence(comparison: Comparison, pair: Mapping[Any, Any], *, alone: bool) -> str:
    """Return how a group differs from the best of its context; ``alone``: there are no others."""
    best, other = (comparison.groups.loc[pair[name]].to_dict() for name in ("best", "group"))
    names = {"best": _name(comparison, best), "other": _name(comparison, other)}
    if other["verdict"] == "diverged":
        return f"{names['other']} diverged in {other['diverged']} of {other['seeds']} runs, {names['best']} in none"
    metric, (sign, low, high) = best["metric"], (pair["difference"], pair["low"], pair["high"])
    winner, loser = ("other", "best") if sign > 0 else ("best", "other")
    by = interval(abs(sign), *((low, high) if sign > 0 else (-high, -low)), metric)
    what = "" if metric == "test_accuracy" else f" in {METRICS[metric]}"
    if other["verdict"] == NOT_DISTINGUISHED:
        told = ": too few seeds to tell" if too_few(comparison, pair["pairs"]) else f" {NOT_DISTINGUISHED}"
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
        where = "" if pair["speed_pairs"] == pair["pairs"] else f" in {pair['speed_pairs']} where both reach it"
        if times != "1.0":
            parts.append(f"{names[faster]} {times}x faster [{low}, {high}]{where}")
    parts[-1] += f", {pair['pairs']} pairs"
    never = [names[role] for role, group in (("best", best), ("other", other)) if group["never"] == group["seeds"]]
    if len(never) == 1:
        parts.append(f"{never[0]} never reaches {threshold_text(comparison)}")
    return "; ".join(parts)


def too_few(comparison: Comparison, pairs: int) -> bool:
    """Return whether so many pairs can't show a difference of twice its std over seeds."""
    return smallest_shown(pairs, int(comparison.pairs["p"].notna().sum())) > 2


def _many(comparison: Comparison, pairs: Sequence[Mapping[Any, Any]]) -> str:
    """Return one sentence on many groups against the best."""
    best = comparison.groups.loc[pairs[0]["best"]].to_dict()
    unclear = "too few seeds to tell"
    names: dict[str, list[str]] = {name: [] for name in ("better", NOT_DISTINGUISHED, unclear, "worse", "diverged")}
    for pair in pairs:
        other = comparison.groups.loc[pair["group"]].to_dict()
        few = other["verdict"] == NOT_DISTINGUISHED and too_few(comparison, pair["pairs"])
        names[unclear if few else other["verdict"]].append(_name(comparison, other))
    words = []
    for verdict, found in names.items():
        if found:
            more = f" and {len(found) - SINGLY} more" if len(found) > SINGLY else ""
            words.append(f"{verdict}: {', '.join(found[:SINGLY])}{more}")
    return f"{METRICS[best['metric']]} against {_name(comparison, best)}: {'; '.join(words)}"


def _name(comparison: Comparison, group: Mapping[Any, Any]) -> str:
    """Return the group's label without the settings of its context."""
    columns = [name for name in comparison.by if name not in comparison.context]
    return label(group, columns) if columns else str(group["label"])


def steps_text(row: Mapping[Any, Any]) -> str:
    """Return a group's median steps to the threshold, and how many runs never reach it if only some do."""
    never, seeds = row["never"], row["seeds"]
    middle = "never" if row["steps"] == math.inf else "–" if math.isnan(row["steps"]) else plain(f"{row['steps']:g}")
    if never in (0, seeds):
        return middle
    return f"{middle} ({never} of {seeds})" if middle == "never" else f"{middle} (never {never} of {seeds})"


def threshold_text(comparison: Comparison) -> str:
    """Return the threshold that steps are counted to: ``loss .5``."""
    return "its threshold" if comparison.threshold is None else f"loss {plain(f'{comparison.threshold:g}')}"


def score(value: float, metric: str) -> str:
    """Return a value of a test number as people write it: .960."""
    return number(value) if metric == "test_loss" or math.isnan(value) else plain(f"{value:.3f}")


def interval(value: float, low: float, high: float, metric: str) -> str:
    """Return a value of a test number with its interval if it has one: .960 [.951, .969]."""
    bounds = "" if math.isnan(low) else f" [{score(low, metric)}, {score(high, metric)}]"
    return score(value, metric) + bounds


def audit_sentence(runs: pd.DataFrame) -> str:
    """Return which of a comparison's runs have weights that differ from their declared law; empty where none has."""
    wrong = runs[runs["audit"].fillna("").str.startswith("differs")]
    if wrong.empty:
        return ""
    (first,) = wrong.head(1).to_dict("records")
    where = f"in {len(wrong)} of {len(runs)} runs, first in {first['name']}, " if len(runs) > 1 else ""
    return f"{where}weights do not follow the law that the scheme declares ({_finding(first)})"


def _finding(run: Mapping[Any, Any]) -> str:
    """Return how many tensors of a run differ, and what was found of the first."""
    _, _, recorded = run["audit"].partition(": ")
    if recorded:  # records of earlier versions hold the sentence
        return str(recorded)
    tensors = int(run["audit_faults"])
    finding = FINDINGS.get(run["audit_finding"], "differs")
    ratio = run["audit_std"] / run["audit_law_std"] if run["audit_law_std"] > 0 else 1.0
    if run["audit_finding"] in ("law", "scale") and abs(ratio - 1) > 0.005:
        finding = f"std {number(run['audit_std'])} is {number(ratio)} times the law's {number(run['audit_law_std'])}"
    return f"{tensors} tensor{'s' * (tensors != 1)}, first {run['audit_tensor']}: {finding}"
