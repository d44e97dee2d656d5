"""Words on transfer: the best learning rate at each width or depth, its drift and its power."""

from __future__ import annotations

import math
from collections.abc import Sequence

from runner.analysis.transfer import Interval, Transfer, level
from runner.text import Column, number, table


def transfer_lines(found: Sequence[Transfer]) -> list[str]:
    """Return a table by axis of best learning rates with 95% intervals, and a sentence for each group on its drift."""
    lines: list[str] = []
    for along in dict.fromkeys(one.along for one in found):
        own = [one for one in found if one.along == along]
        sizes = sorted({size for one in own for size in one.sizes})
        columns = [Column(f"best rate at {along}", [one.label or "all runs" for one in own], left=True)]
        columns += [Column(str(size), [_best(one, size) for one in own]) for size in sizes]
        columns.append(Column("rate goes with", [f"{along}^{_interval(one.power)}" for one in own], left=True))
        lines += [*([""] if lines else []), *table(columns), *(drift_sentence(one) for one in own)]
    return lines


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


def _best(one: Transfer, size: int) -> str:
    if size not in one.sizes:
        return "–"
    place = one.sizes.index(size)
    best = one.best[place]
    return f"{number(2.0**best.mean)}{'*' if one.at_edge[place] else ''}"


def _interval(value: Interval) -> str:
    if math.isnan(value.low):
        return f"{value.mean:+.2f}"
    return f"{value.mean:+.2f} ({value.low:+.2f} to {value.high:+.2f})"
