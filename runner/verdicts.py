"""What paired differences between groups say, in sentences."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import pandas as pd

from runner.comparison import SIGNIFICANCE, Comparison
from runner.text import number, plain, setting, short

METRICS = {"test_accuracy": "accuracy", "test_r2": "R²", "test_loss": "loss"}
WIDTH = 100
SINGLY = 5  # groups that get a sentence each
SHOWN = 40  # sentences


def verdict_lines(comparison: Comparison) -> list[str]:
    """What the paired differences say, context by context."""
    groups, pairs = comparison.groups, comparison.pairs
    if groups["seeds"].max() <= 1:
        return ["one seed: no ranking. Add seed='range(0,5)'."]
    lines = []
    for _, members in groups.groupby("context", sort=False):
        ranked = [
            pair
            for pair in pairs.to_dict("records")
            if pair["group"] in members.index and groups["verdict"][pair["group"]]
        ]
        if not ranked:
            continue
        best = groups.loc[ranked[0]["best"]]
        ranked.sort(key=lambda pair: groups["place"][pair["group"]])
        prefix = f"{context_label(best.to_dict(), comparison)}: " if comparison.context else ""
        if len(ranked) > SINGLY:
            lines.append(prefix + _many(best, groups.loc[[pair["group"] for pair in ranked]]))
            continue
        for pair in ranked:
            other = groups.loc[pair["group"]]
            both = f"{best['label']} and {other['label']}: " if len(members) > 2 else ""
            lines.append(prefix + both + "; ".join(_sentence(best, other, pair, comparison)))
    made = int(pairs["p"].notna().sum())
    if len(lines) > SHOWN:
        lines = [*lines[:SHOWN], f"... and {len(lines) - SHOWN} more"]
    if made > 1 and lines:
        lines.append(f"({made} comparisons, corrected by Holm; each against the best on validation data)")
    return [part for line in lines for part in textwrap.wrap(line, WIDTH, subsequent_indent="  ")]


def _sentence(best: pd.Series, other: pd.Series, pair: Mapping[Any, Any], comparison: Comparison) -> list[str]:
    """The parts of what is said of a group and the best of its context."""
    if other["verdict"] == "diverged":
        return [f"{other['label']} diverged in {other['diverged']} of {other['seeds']} runs, {best['label']} in none"]
    metric, name = best["metric"], METRICS[best["metric"]]
    difference, low, high = pair["difference"], pair["low"], pair["high"]
    if other["verdict"] == "tied":
        parts = [f"{name} tied"]
    else:
        winner = other if difference > 0 else best
        if difference < 0:
            difference, low, high = -difference, -high, -low
        what = "" if metric == "test_accuracy" else f" in {name}"
        parts = [f"{winner['label']} better{what} by {interval(difference, low, high, metric)}"]
    ratio, low, high = pair["ratio"], pair["ratio_low"], pair["ratio_high"]
    never = [group["label"] for group in (best, other) if group["never"] == group["seeds"]]
    if len(never) == 1:
        parts.append(f"{never[0]} never reaches {threshold_text(comparison)}")
    elif pair["speed_pairs"] > 1 and pair["speed_p"] < SIGNIFICANCE:
        if ratio < 1:
            ratio, low, high = 1 / ratio, 1 / high, 1 / low
        faster = best if pair["ratio"] > 1 else other
        seen = "" if pair["speed_pairs"] == pair["pairs"] else f" in the {pair['speed_pairs']} where both arrive"
        parts.append(f"{faster['label']} {number(ratio, 2)}x faster [{number(low, 2)}, {number(high, 2)}]{seen}")
    parts[-1] += f", {pair['pairs']} pairs"
    return parts


def _many(best: pd.Series, others: pd.DataFrame) -> str:
    """One sentence on many groups against the best."""
    words = []
    for verdict, phrase in (
        ("better", "better on test"),
        ("tied", "tied"),
        ("worse", "worse"),
        ("diverged", "diverged"),
    ):
        labels = list(others.loc[others["verdict"] == verdict, "label"])
        if labels:
            more = f" and {len(labels) - SINGLY} more" if len(labels) > SINGLY else ""
            words.append(f"{phrase}: {', '.join(labels[:SINGLY])}{more}")
    return f"against {best['label']}: {METRICS[best['metric']]} " + "; ".join(words)


def context_label(row: Mapping[Any, Any], comparison: Comparison) -> str:
    words = [(name, setting(row[name])) for name in comparison.context]
    return " ".join(value if "." not in name else f"{short(name)} {value}" for name, value in words if value)


def threshold_text(comparison: Comparison) -> str:
    return "its threshold" if comparison.threshold is None else f"loss {plain(f'{comparison.threshold:g}')}"


def score(value: float, metric: str) -> str:
    return number(value) if metric == "test_loss" or math.isnan(value) else plain(f"{value:.3f}")


def interval(value: float, low: float, high: float, metric: str) -> str:
    bounds = "" if math.isnan(low) else f" [{score(low, metric)}, {score(high, metric)}]"
    return score(value, metric) + bounds
