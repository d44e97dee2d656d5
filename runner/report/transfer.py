"""Words on transfer: the best learning rate at each width or depth, its drift and its power."""

from __future__ import annotations

import math
from collections.abc import Sequence

from runner.analysis.transfer import Along, Interval, Transfer, by_axis, level
from runner.text import Column, number, table


def transfer_lines(found: Sequence[Transfer]) -> list[str]:
    """Return a table by axis of best learning rates, and a sentence for each group on its drift."""
    lines: list[str] = []
    for along, own in by_axis(found).items():
        columns = transfer_columns(along, own)
        lines += [*([""] if lines else []), *table(columns), *(drift_sentence(one) for one in own)]
    return lines


def transfer_columns(along: Along, own: Sequence[Transfer], *, intervals: bool = False) -> list[Column]:
    """Return the best learning rates by size, with 95% ``intervals`` if asked, and the power with which they go.

    A star stands at a rate at the edge of those tried.
    """
    sizes = sorted({size for one in own for size in one.sizes})
    columns = [Column(f"best rate at {along}", [one.label or "all runs" for one in own], left=True)]
    columns += [Column(str(size), [_best(one, size, intervals) for one in own]) for size in sizes]
    return [*columns, Column("rate goes with", [f"{along}^{_interval(one.power)}" for one in own], left=True)]


def drift_sentence(one: Transfer) -> str:
    """Return how far the best rate of a group drifts, in doublings, and whether that is less than one."""
    name = one.label or "all runs"
    if any(one.at_edge):
        ends = ", ".join(str(size) for size, edge in zip(one.sizes, one.at_edge, strict=True) if edge)
        return f"{name}: at {one.along} {ends} the best rate is at the edge of those tried. Add rates."
    said = {
        True: "less than one doubling",
        False: "more than one doubling",
        None: "one doubling is within the interval",
    }
    span = f"from {one.along} {one.sizes[0]} to {one.sizes[-1]}"
    return f"{name}: log2 of the best rate drifts by {_interval(one.drift)} {span}: {said[level(one)]}."


def _best(one: Transfer, size: int, interval: bool) -> str:
    if size not in one.sizes:
        return "–"
    place = one.sizes.index(size)
    mean, low, high = (number(2.0**value) for value in one.best[place])
    around = f" ({low} to {high})" if interval and not math.isnan(one.best[place].low) else ""
    return f"{mean}{'*' if one.at_edge[place] else ''}{around}"


def _interval(value: Interval) -> str:
    if math.isnan(value.low):
        return f"{value.mean:+.2f}"
    return f"{value.mean:+.2f} ({value.low:+.2f} to {value.high:+.2f})"
