"""Transfer of the learning rate: the best rate at each width or depth of a sweep, and how it drifts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from runner.analysis.best_rates import RATE
from runner.analysis.comparison import Comparison
from runner.analysis.intervals import intervals
from runner.text import label
from weightinit.arrays import Array

Along = Literal["width", "depth"]
AXES: tuple[Along, ...] = ("width", "depth")
LOSS = "train_loss"
FEWEST_RATES = 4


class Interval(NamedTuple):
    """Mean over seeds, and its 95% interval by Student; the interval is NaN for fewer than three seeds."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Transfer:
    """Best learning rates of one scheme over one size of its network.

    ``along``: width or depth; ``label``: what the runs share beside others in the sweep; ``sizes``: in order;
    ``rates``: those tried at all sizes; ``losses``: final training loss by size and rate, means over seeds, infinite
    where a run diverged. ``best``: by size, log2 of the rate with the least loss, between two of the grid by a parabola
    through the least loss and its neighbours; ``at_edge``: whether it is at an end of the grid for some seed, so that
    it is not known. ``drift``: log2 of the best rate at the largest size over that at the smallest; ``power``: of the
    size with which the best rate goes.
    """

    along: Along
    label: str
    sizes: tuple[int, ...]
    rates: tuple[float, ...]
    losses: Array
    best: tuple[Interval, ...]
    at_edge: tuple[bool, ...]
    drift: Interval
    power: Interval


def transfers(comparison: Comparison) -> list[Transfer]:
    """Return the transfer over each size that was swept beside the learning rate, of each group of other settings.

    Of a width (depth) there must be at least two, each with at least four learning rates that all sizes share.
    """
    found = []
    for along in AXES:
        axis = f"architecture.{along}"
        if axis not in comparison.by or RATE not in comparison.by:
            continue
        others = [name for name in comparison.by if name not in (axis, RATE)]
        runs = comparison.runs[comparison.runs["fate"] != "failed"]
        for values, part in runs.groupby(others, sort=False, dropna=False) if others else [((), runs)]:
            if (one := _transfer(along, part, label(dict(zip(others, values, strict=True)), others))) is not None:
                found.append(one)
    return found


def by_axis(found: Sequence[Transfer]) -> dict[Along, list[Transfer]]:
    """Return what was found over width, and what over depth."""
    return {along: [one for one in found if one.along == along] for along in dict.fromkeys(one.along for one in found)}


def _transfer(along: Along, runs: pd.DataFrame, name: str) -> Transfer | None:
    axis = f"architecture.{along}"
    diverged = runs["fate"].eq("diverged") | runs[LOSS].isna() if LOSS in runs else pd.Series(True, runs.index)
    losses = runs.assign(loss=runs[LOSS].where(~diverged, math.inf)) if LOSS in runs else runs.assign(loss=math.inf)
    table = losses.pivot_table(index=axis, columns=[RATE, "seed"], values="loss", aggfunc="first", dropna=False)
    table = table.dropna(axis=1)  # rates and seeds that all sizes share
    rates = sorted(set(table.columns.get_level_values(0)))
    seeds = sorted(set.intersection(*(set(table[rate].columns) for rate in rates))) if rates else []
    if len(table) < 2 or len(rates) < FEWEST_RATES or not seeds:
        return None
    values = np.stack([table[rate][seeds].to_numpy(np.float64) for rate in rates], axis=1)  # sizes, rates, seeds
    x = np.log2(rates)
    best = np.array([[_lowest(x, values[size, :, seed]) for seed in range(len(seeds))] for size in range(len(table))])
    lowest = values.argmin(axis=1)
    edge = ((lowest == 0) | (lowest == len(rates) - 1)).any(axis=1)
    sizes = np.log2(np.array(table.index, np.float64))
    centred = sizes - sizes.mean()
    powers = centred @ best / (centred @ centred)
    return Transfer(
        along,
        name,
        tuple(int(size) for size in table.index),
        tuple(map(float, rates)),
        values.mean(axis=2),
        tuple(_intervals(best)),
        tuple(edge.tolist()),
        *_intervals(np.stack([best[-1] - best[0], powers])),
    )


def _lowest(x: Array, losses: Array) -> float:
    """Return where the parabola through the least loss and its neighbours has its minimum; the point itself at an end
    and beside a run that diverged."""
    at = int(losses.argmin())
    around = losses[max(at - 1, 0) : at + 2]
    if len(around) < 3 or not np.isfinite(around).all():
        return float(x[at])
    a, b, _ = np.polyfit(x[at - 1 : at + 2] - x[at], around, 2)
    return float(x[at] - b / (2 * a)) if a > 0 else float(x[at])


def _intervals(samples: Array) -> Iterator[Interval]:
    for mean, low, high in zip(*intervals(samples), strict=True):
        yield Interval(float(mean), float(low), float(high))


def level(transfer: Transfer, within: float = 1.0) -> bool | None:
    """Return whether the best rate drifts by fewer than ``within`` doublings; None where seeds can't tell."""
    drift = transfer.drift
    if any(transfer.at_edge) or math.isnan(drift.low):
        return None
    if -within < drift.low and drift.high < within:
        return True
    return False if drift.low > within or drift.high < -within else None
