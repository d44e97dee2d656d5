"""Panel of a statistic by layer at initialization: theory and measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from runner.report.figures.canvas import BAND, Group, log_axis, number
from runner.report.figures.tables import initial, network_order, over_runs
from runner.training.judging import SCATTER
from weightinit.arrays import Array

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

THEORY = {"weight_std": "weight_expected_std"}
LINEAR = ("activation_correlation",)
CROWDED = 20  # layers above which points are small
EDGES = {
    "v": "Triangles at the lower edge: exactly zero.",
    "^": "Triangles at the upper edge: too large for a number.",
}


@dataclass(frozen=True)
class Panel:
    """Contents of a panel: whether there is theory and a band, remarks on its edges, and a sentence per group."""

    theory: bool
    band: bool
    remarks: tuple[str, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Profile:
    """Statistic of one group by layer: quantiles over its runs, theory; median and scatter of its reference."""

    group: Group
    layers: list[str]
    low: Array
    middle: Array
    high: Array
    theory: Array
    usual: Array
    scatter: Array

    def band(self, quantity: str) -> tuple[Array, Array]:
        """Return two scatters below and above the median of networks of the same laws."""
        if quantity in LINEAR:
            return self.usual - 2 * self.scatter, np.minimum(self.usual + 2 * self.scatter, 1.0)
        return self.usual * np.exp(-2 * self.scatter), self.usual * np.exp(2 * self.scatter)


def panel(axis: Axes, curves: pd.DataFrame, groups: Sequence[Group], quantity: str, *, bands: bool = True) -> Panel:
    """Draw ``quantity`` by layer: theory as lines, bands of ± 2 scatter about correct networks, medians as points.

    Bars hold the middle 90% of the runs. Without theory a thin line joins the points.
    """
    shown = profiles(curves, groups, quantity)
    band = bands and any(np.isfinite(profile.usual).any() for profile in shown)
    values = [v for p in shown for v in (p.low, p.middle, p.high, p.theory)]
    if band:
        values += [edge for p in shown for edge in p.band(quantity)]
    limits = (_unit_axis if quantity in LINEAR else log_axis)(axis, np.concatenate(values))
    longest = max((profile.layers for profile in shown), key=len)
    size = 3.5 if len(longest) > CROWDED else 6.5 if len(shown) <= 6 else 5
    remarks: set[str] = set()
    sentences = []
    for profile in shown:
        _draw_theory(axis, profile, limits, profile.band(quantity) if band else None)
        remarks |= _draw_points(axis, profile, limits, size, positive=quantity not in LINEAR)
        ends = [f"{number(profile.middle[i], 2)} at {profile.layers[i]}" for i in _ends(profile.middle)]
        sentences.append(f"{profile.group.label} {' to '.join(ends)}".strip())
    if all(profile.layers == longest for profile in shown):
        ticks, labels = layer_ticks(longest)
        axis.set_xticks(ticks, labels)
        if max(map(len, labels)) > 4:
            axis.tick_params(axis="x", rotation=90)
        axis.set_xlabel("layer")
    else:
        ticks, _ = layer_ticks(longest)
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.set_xlabel("layer, the last of each network its output")
    axis.set_xlim(0.5, len(longest) + 0.5)
    theory = any(np.isfinite(profile.theory).any() for profile in shown)
    return Panel(theory, band, tuple(sorted(remarks)), tuple(sentences))


def profiles(curves: pd.DataFrame, groups: Sequence[Group], quantity: str) -> list[Profile]:
    """Return the profile at initialization of each group that has one."""
    curves = curves[curves["step"] == 0]
    measured, theory = initial(curves, quantity), initial(curves, THEORY.get(quantity, f"predicted_{quantity}"))
    usual, scatter = theory.iloc[:0], theory.iloc[:0]
    if quantity in SCATTER:
        usual, scatter = initial(curves, f"reference_{quantity}"), initial(curves, SCATTER[quantity])
    pairs = curves.loc[curves["layer"] != "", ["key", "layer"]].drop_duplicates()
    found = []
    for group in groups:
        keys = [key for key in group.keys if key in measured]
        # A layer whose measurement was not a number has no row, but keeps its place.
        layers = network_order(pairs.loc[pairs["key"].isin(keys), "layer"].unique())
        if keys and measured[keys].notna().any(axis=None):
            quantiles = over_runs(measured.reindex(index=layers, columns=keys).to_numpy(np.float64))
            others = (
                over_runs(table.reindex(index=layers, columns=keys).to_numpy(np.float64))[1]
                for table in (theory, usual, scatter)
            )
            found.append(Profile(group, layers, *quantiles, *others))
    return found


def _draw_theory(axis: Axes, profile: Profile, limits: tuple[float, float], band: tuple[Array, Array] | None) -> None:
    x, lines, color = np.arange(1.0, len(profile.layers) + 1), [profile.theory, *(band or ())], profile.group.color
    if len(x) == 1:  # a line needs two ends
        x, lines = np.array([0.75, 1.25]), [line.repeat(2) for line in lines]
    line, *edges = lines
    if edges and np.isfinite(edges[0]).any():
        axis.fill_between(x, *edges, color=color, alpha=BAND, lw=0)
    if np.isfinite(line).any():
        axis.plot(x, line.clip(*limits), color=color, ls=profile.group.line, lw=1.6)


def _draw_points(axis: Axes, profile: Profile, limits: tuple[float, float], size: float, *, positive: bool) -> set[str]:
    """Draw the measured points; return remarks on those that no log axis can hold."""
    x = np.arange(1.0, len(profile.layers) + 1)
    low, middle, high, color = profile.low, profile.middle, profile.high, profile.group.color
    look: dict[str, Any] = {"ls": "", "ms": size, "zorder": 3} | profile.group.points
    inside = np.isfinite(middle) & ((middle > 0) | (not positive))
    if not np.isfinite(profile.theory).any():
        axis.plot(x[inside], middle[inside], color=color, ls=profile.group.line, lw=0.8, alpha=0.7)
    if len(profile.group.keys) > 1:
        axis.vlines(x[inside], low[inside].clip(*limits), high[inside].clip(*limits), color=color, lw=1.2)
    axis.plot(x[inside], middle[inside], **look)
    remarks = set()
    for where, height, marker in ((~inside & (middle == 0), 0.02, "v"), (np.isposinf(middle), 0.98, "^")):
        if where.any():
            edge = look | {"marker": marker, "mfc": "white", "clip_on": False}
            axis.plot(x[where], np.full(where.sum(), height), transform=axis.get_xaxis_transform(), **edge)
            remarks.add(EDGES[marker])
    return remarks


def _unit_axis(axis: Axes, values: Array) -> tuple[float, float]:
    """Return limits of the y axis for correlations: from 0, or below where some are, to 1."""
    limits = min(-0.05, 1.1 * float(np.nanmin(np.append(values, 0.0)))), 1.05
    axis.set_ylim(limits)
    return limits


def _ends(values: Array) -> list[int]:
    known = np.flatnonzero(~np.isnan(values))
    return sorted({int(known[0]), int(known[-1])})


def layer_ticks(layers: Sequence[str]) -> tuple[list[int], list[str]]:
    """Return positions, from 1, and labels of about 12 ticks at most: every layer, or first, round numbers, last."""
    count = len(layers)
    every = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, count) if count / step <= 12)
    apart = 0.6 * every  # from either end
    ticks = [i for i in range(1, count + 1) if i in (1, count) or (i % every == 0 and 1 + apart <= i <= count - apart)]
    return ticks, [layers[i - 1].removeprefix("hidden/").replace("output", "out") for i in ticks]
