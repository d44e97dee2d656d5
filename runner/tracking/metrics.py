"""Metrics of a run for MLflow: a budget of readable numbers out of all measurements."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np

from runner.records import Outcome
from weightinit.arrays import Array
from weightinit.nn import trunk

# Metric rows of one run, and of the runs of a sweep together; everything is in curves.parquet.
BUDGET, OF_A_SWEEP = 300, 300_000
FEWEST_OF_A_RUN = 60
BY_LAYER = ("weight_std", "activation_rms", "gradient_std")
# A series by layer with fewer points than this says less than the same points spent on fewer layers.
FEWEST = 5

T = TypeVar("T")
# Steps and rows of one quantity in one layer.
Series = list[tuple[int, int]]
# Indices of layers, and rows of one quantity, each with the row that divides it where the point is a ratio.
Initial = list[tuple[int, int, int | None]]


class Point(NamedTuple):
    """One metric row. ``step``: of training, or the layer's index below ``init_by_layer/``; ``time``: in seconds."""

    key: str
    value: float
    step: int
    time: float


@lru_cache(maxsize=4096)
def metric_name(quantity: str, layer: str = "") -> str:
    """The metric of a quantity in a layer: ``weight_std`` in ``hidden/2`` is ``weight_std/hidden_002``.

    Numbers in a layer's name get three digits, so that MLflow sorts layers by depth; what MLflow refuses becomes ``_``.
    """
    parts = [part.zfill(3) if part.isdigit() else part for part in layer.split("/")]
    return re.sub(r"[^\w\-. :/]", "_", f"{quantity}/{'_'.join(parts)}" if layer else quantity, flags=re.ASCII)


def budget_of(runs: int) -> int:
    """Return how many metric rows each run of a sweep of so many has: fewer where it has more than 1,000."""
    return max(FEWEST_OF_A_RUN, min(BUDGET, OF_A_SWEEP // max(runs, 1)))


class Selection(NamedTuple):
    """Metric rows of a run, and a sentence on the layers ``left_out`` of them; empty where every layer is there."""

    points: list[Point]
    left_out: str


def select(outcome: Outcome, budget: int = BUDGET) -> Selection:
    """Return the metric rows of a run, at most about ``budget``.

    The summary always; a third of what is left at most for the state at initialization by layer, a third of the rest
    for curves of the whole network, what then remains for curves by layer. A series too long keeps its first, its last
    and evenly spaced points between; a network too deep keeps its first, its last and evenly spaced layers.
    Values that are not finite are left out, since MLflow has no way to show them.
    """
    rows = outcome.rows
    summary = {metric_name(name): float(value) for name, value in outcome.summary.items() if math.isfinite(value)}
    if outcome.diverged_at_step is not None:
        summary["diverged_at_step"] = float(outcome.diverged_at_step)
    finite, positive = np.isfinite(rows.value), _is_theory(rows.quantity) & (rows.value > 0)
    plan = _plan(
        *(rows.quantity, rows.layer, rows.step.tobytes(), finite.tobytes(), positive.tobytes()), tuple(summary), budget
    )
    with np.errstate(over="ignore"):
        values = rows.value[plan.rows]
        values[plan.ratios] /= rows.value[plan.divisors]
    seconds = (outcome.end_time - outcome.start_time) / max(plan.last, 1)
    times = outcome.start_time + plan.steps * seconds
    times[: plan.initial] = outcome.start_time
    points = list(map(Point, plan.keys, values.tolist(), plan.steps.tolist(), times.tolist()))
    points += [Point(key, value, plan.last, outcome.end_time) for key, value in summary.items()]
    return Selection(points, plan.left_out)


class _Plan(NamedTuple):
    """Choice among the rows of a run, which runs of a stack share.

    Points in their order, the first ``initial`` of them of the initial state: their ``keys``, ``steps`` and ``rows``;
    those that are ``ratios``, to the rows ``divisors``. ``last``: the last step; ``left_out``: as ``Selection`` has it.
    """

    keys: tuple[str, ...]
    steps: Array
    rows: Array
    ratios: Array
    divisors: Array
    initial: int
    last: int
    left_out: str


@lru_cache(maxsize=16)
def _plan(
    quantities: tuple[str, ...],
    of_layers: tuple[str, ...],
    steps: bytes,
    finite: bytes,
    positive: bytes,
    summary: tuple[str, ...],
    budget: int,
) -> _Plan:
    """Return the choice for rows of these columns; masks of those finite, and of predictions that are positive."""
    series: dict[tuple[str, str], Series] = {}
    columns = np.frombuffer(steps, np.int64).tolist(), quantities, of_layers, np.frombuffer(finite, bool).tolist()
    for row, (step, quantity, layer, counts) in enumerate(zip(*columns, strict=True)):
        if counts:
            series.setdefault((quantity, layer), []).append((step, row))
    last = max((points[-1][0] for points in series.values()), default=0)
    room = budget - len(summary)

    by_name = _initial(series, set(np.flatnonzero(np.frombuffer(positive, bool)).tolist()))
    initial = {name: thin(by_layer, max(room // (3 * len(by_name)), 2)) for name, by_layer in by_name.items()}
    room -= sum(map(len, initial.values()))
    whole = {
        (quantity, ""): points
        for (quantity, layer), points in series.items()
        if not layer and not quantity.startswith(("init_", "final_", "predicted_"))
    }
    curves = _thinned(whole, room // 3)
    room -= sum(map(len, curves.values()))
    every = _in_order(layer for quantity, layer in series if quantity in BY_LAYER)
    layers = thin(every, max(room // (3 * FEWEST), 2))
    by_layer = {(name, layer): series[name, layer] for name in BY_LAYER for layer in layers if (name, layer) in series}
    curves |= _thinned(by_layer, room)

    chosen = [(f"init_by_layer/{name}", *point) for name, kept in initial.items() for point in kept]
    count = len(chosen)
    for (quantity, layer), kept in curves.items():
        key = metric_name(quantity, layer)
        # The summary's number is the better one for the last step, and the one that MLflow's table of runs shows.
        chosen += [(key, *point, None) for point in kept if key not in summary or point[0] < last]
    divisors = [divisor for *_, divisor in chosen]
    return _Plan(
        tuple(key for key, *_ in chosen),
        np.array([step for _, step, *_ in chosen], np.int64),
        np.array([row for *_, row, _ in chosen], np.int64),
        np.array([place for place, divisor in enumerate(divisors) if divisor is not None], np.int64),
        np.array([divisor for divisor in divisors if divisor is not None], np.int64),
        count,
        last,
        _left_out(every, layers, by_name, initial, budget),
    )


@lru_cache(maxsize=16)
def _is_theory(quantities: tuple[str, ...]) -> Array:
    return np.array([quantity.startswith("predicted_") for quantity in quantities], bool)


def _left_out(
    every: Sequence[str],
    layers: Sequence[str],
    by_name: Mapping[str, Initial],
    initial: Mapping[str, Initial],
    budget: int,
) -> str:
    """Return a sentence on the layers that MLflow's charts leave out, and why."""
    parts = []
    if len(layers) < len(every):
        parts.append(f"curves by layer show {len(layers)} of {len(every)} layers ({', '.join(layers)})")
    found, kept = (max(map(len, series.values()), default=0) for series in (by_name, initial))
    if kept < found:
        parts.append(f"the initial state shows {kept} of {found} layers, evenly spaced")
    if not parts:
        return ""
    sentence = " and ".join(parts)
    return (
        f"{sentence[0].upper()}{sentence[1:]}, since a run has about {budget} rows in MLflow. Every layer is in "
        "`curves.parquet` and on the page."
    )


def thin(items: Sequence[T], most: int) -> list[T]:
    """At most ``most`` (two or more) of the items, evenly spaced, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[index] for index in _spaced(len(items), most)]


@lru_cache(maxsize=256)
def _spaced(count: int, most: int) -> list[int]:
    """Return ``most`` indices below ``count``, evenly spaced, the first and the last among them."""
    spaced: list[int] = np.linspace(0, count - 1, most).round().astype(int).tolist()
    return spaced


def _thinned(series: dict[tuple[str, str], Series], room: int) -> dict[tuple[str, str], Series]:
    """The series with at most ``room`` points together: the longest are cut, all to the same length."""
    most, left = 0, room
    for remaining, size in zip(range(len(series), 0, -1), sorted(map(len, series.values())), strict=True):
        most = min(size, left // remaining)
        if most < size:
            break
        left -= size
    return {name: thin(points, max(most, 2)) for name, points in series.items()}


def _initial(series: Mapping[tuple[str, str], Series], positive: Set[int]) -> dict[str, Initial]:
    """Points of each quantity at initialization by layer; the output's activation is its pre-activation.

    Beside what was measured what theory expects, the ratio of the two, and the scatter of its logarithm over networks
    of this width: a ratio of 1.14 is normal where the scatter is .14. ``positive``: rows that may divide.
    """
    sources = {
        "activation_rms": ("init_activation_rms", "init_preactivation_rms"),
        "predicted": ("predicted_activation_rms", "predicted_preactivation_rms"),
        "activation_scatter": ("predicted_scatter",),
        "backward_rms": ("init_backward_rms",),
        "predicted_backward": ("predicted_backward_rms",),
        "gradient_std": ("init_gradient_std",),
        "predicted_gradient": ("predicted_gradient_std",),
        "gradient_scatter": ("predicted_gradient_scatter",),
        "branch_share": ("init_branch_share",),
        "attention_entropy": ("init_attention_entropy",),
        "token_effective_rank": ("init_token_effective_rank",),
    }
    layers = _in_order(layer for quantity, layer in series if layer and quantity in sum(sources.values(), ()))
    followed = {*trunk(layers), "output"}
    layers = [layer for layer in layers if layer in followed]
    found: dict[str, Initial] = {}
    for name, quantities in sources.items():
        for index, layer in enumerate(layers, start=1):
            for quantity in quantities:
                if (quantity, layer) in series:
                    found.setdefault(name, []).append((index, series[quantity, layer][0][1], None))
                    break
    for ratio, measured, expected in (
        ("activation_ratio", "activation_rms", "predicted"),
        ("gradient_ratio", "gradient_std", "predicted_gradient"),
    ):
        theory = {index: row for index, row, _ in found.get(expected, ()) if row in positive}
        both: Initial = [(index, row, theory[index]) for index, row, _ in found.get(measured, ()) if index in theory]
        if both:
            found[ratio] = both
    return found


def _in_order(layers: Iterable[str]) -> list[str]:
    """The distinct layers as first seen, the output last."""
    return sorted(dict.fromkeys(layers), key=lambda layer: layer == "output")
