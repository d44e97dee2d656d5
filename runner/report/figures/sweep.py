"""Figures of a sweep: groups of runs beside each other."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from runner.analysis.intervals import intervals, resolution
from runner.report.figures.canvas import (
    INK,
    LOOKS,
    MARKERS,
    NAMES,
    PALETTE,
    Group,
    canvas,
    crosses,
    finish,
    legend,
    log_axis,
    number,
    step_axis,
)
from runner.report.figures.layers import LINEAR, panel
from runner.report.figures.tables import by_step, completed, finite, initial, over_runs, smooth, spread_evenly
from runner.scores import SCORES as KNOWN
from runner.text import setting, short

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 400  # along a curve: more than a page can show
FEW = 4  # groups whose bands may lie over each other
# Name and lower end on paper: R² has none, so values below -1 are drawn there.
SCORES = {f"test_{name}": (f"test {score.word}", max(score.least, -1.0)) for name, score in KNOWN.items()}
ORDINARY = ("test_accuracy", "test_r2")


def groups(runs: pd.DataFrame, columns: Sequence[str]) -> tuple[list[Group], str]:
    """Return the groups to draw, in the order of their runs, and a sentence on those left out."""
    members: dict[str, list[str]] = {}
    for key, *values in runs[["key", *columns]].itertuples(index=False, name=None):
        named = [(name, setting(value)) for name, value in zip(columns, values, strict=True)]
        label = " ".join(f"{short(name)} {text}" if "." in name else text for name, text in named if text)
        members.setdefault(label, []).append(key)
    labels = list(members)
    diverged = frozenset(runs.loc[runs["fate"] == "diverged", "key"])
    drawn = []
    for place, index in enumerate(spread_evenly(len(labels), LOOKS)):
        keys, second, look = members[labels[index]], place >= len(MARKERS), place % len(MARKERS)
        drawn.append(
            Group(
                label=textwrap.shorten(labels[index], 48, placeholder=" …") or "all runs",
                keys=tuple(keys),
                diverged=diverged.intersection(keys),
                color=PALETTE[place],
                marker=MARKERS[look],
                line="--" if second else "-",
                hollow=second,
            )
        )
    return drawn, f"{len(drawn)} of {len(labels)} groups are shown." if len(drawn) < len(labels) else ""


def subject(runs: pd.DataFrame, columns: Sequence[str]) -> str:
    """Return the settings that all runs share, without those in the groups' labels."""
    names = [name for name in ("scheme", "activation", "network", "data") if name in runs and name not in columns]
    return " · ".join(str(runs[name].iloc[0]) for name in names if runs[name].nunique(dropna=False) == 1)


def loss(subject: str, curves: pd.DataFrame, groups: Sequence[Group], left_out: str) -> Figure | None:
    """Training and validation loss by step: median and middle 90% of each group's runs."""
    tables = {quantity: by_step(curves, f"{quantity}_loss") for quantity in ("train", "validation")}
    tables = {quantity: table for quantity, table in tables.items() if np.isfinite(table.to_numpy()).any()}
    if not tables:
        return None
    figure, axes = canvas(len(tables), (2.8 + 3.9 * len(tables), 4.3))
    story: dict[str, str] = {}
    for axis, (quantity, table) in zip(axes, tables.items(), strict=True):
        story |= _losses(axis, table, groups, smoothed=quantity == "train")
        step_axis(axis, f"{quantity} loss{', running median' * (quantity == 'train')}")
    legend(axes[-1], groups)
    caption = (
        "Lower and earlier is better. A level loss: nothing is learned.",
        _if_several(groups, "Line: median over a group's runs; band: the middle 90% of them."),
        "A cross marks where a run diverged. From there its loss counts as infinite, so a group's band may end."
        * any(group.diverged for group in groups),
        left_out,
    )
    ends = ", ".join(f"{label} {end}" for label, end in story.items())
    alt = f"Loss by training step; {quantity} loss at the end: {ends}."
    return finish(figure, _title("Loss", subject), caption, alt)


def _losses(axis: Axes, whole: pd.DataFrame, groups: Sequence[Group], *, smoothed: bool) -> dict[str, str]:
    """Draw one kind of loss; return the last value of each group by its label."""
    drawn, values, last = [], np.empty(0), {}
    for group in groups:
        keys = [key for key in group.keys if key in whole]
        if keys:
            table = completed(whole[keys], group.diverged)
            shown = (smooth(table) if smoothed else table).iloc[:: -(-len(table) // POINTS)]
            quantiles = over_runs(shown.to_numpy())
            drawn.append((group, table, shown.index, *quantiles))
            values = np.concatenate([values, *quantiles])
    # Room for the runs that train; those that diverge leave the axis.
    starts = [middle[0] for group, *_, middle, _ in drawn if len(group.diverged) < len(group.keys)]
    limits = log_axis(axis, values[values <= 30 * max(starts)] if starts else values)
    for group, table, steps, low, middle, high in drawn:
        points = group.points | {"ms": 4 if len(steps) <= 40 else 0}
        line = np.maximum(finite(middle), limits[0])
        axis.plot(steps, line, color=group.color, ls=group.line, lw=1.8, **points)
        if table.shape[1] > 1:
            lower, upper = (np.maximum(finite(edge), limits[0]) for edge in (low, high))
            axis.fill_between(steps, lower, upper, color=group.color, alpha=0.16, lw=0)
        ended = table[[key for key in table.columns if key in group.diverged]]
        runs = [run[np.isfinite(run)] for _, run in ended.items()]
        crosses(axis, [(float(run.index[-1]), float(run.iloc[-1])) for run in runs if len(run)], group.color)
        last[group.label] = number(middle[-1], 2) if len(group.diverged) < len(group.keys) else "diverged"
    return last


def layers(subject: str, curves: pd.DataFrame, groups: Sequence[Group], left_out: str, quantity: str) -> Figure | None:
    """``quantity`` by layer at initialization, theory as lines and measurement as points."""
    if initial(curves, quantity).empty:
        return None
    figure, (axis,) = canvas(1, (8, 4.6))
    shown = panel(axis, curves, groups, quantity, bands=len(groups) <= FEW)
    axis.set_ylabel(NAMES[quantity])
    legend(axis, groups, theory=shown.theory, band=shown.band)
    caption = (
        f"Lines: {'theory' if shown.theory else 'only to join the points'}; points: measured"
        + _if_several(groups, ", the median over a group's runs; bars: the middle 90% of them")
        + ".",
        "At 1 all samples look alike to a layer. Where the correlation falls, small differences between inputs grow."
        if quantity in LINEAR
        else "A level line is a stable signal; a straight slope on this log axis is one factor per layer.",
        "Band: correct networks, two standard deviations about their median." if shown.band else "",
        *shown.remarks,
        left_out,
    )
    name = f"{NAMES[quantity].capitalize()} by layer at initialization"
    return finish(figure, _title(name, subject), caption, f"{name}: {'; '.join(shown.sentences)}.")


def accuracy(subject: str, runs: pd.DataFrame, groups: Sequence[Group], left_out: str) -> Figure | None:
    """Test score of each run, and mean with interval of each group."""
    asked = {f"test_{name}" for name in runs.get("report.score", ())} & (SCORES.keys() - {"test_loss"})
    shown = runs.set_index("key").reindex(columns=list(SCORES)).astype(float)
    kinds = [name for name in SCORES if name in (asked or ORDINARY) and shown[name].notna().any()]
    if not kinds:
        return None
    figure, axes = canvas(1, (8, 1.1 + len(kinds) * (0.65 + 0.36 * len(groups))), rows=len(kinds))
    story = [_scores(axis, shown[name], groups, *SCORES[name]) for axis, name in zip(axes, kinds, strict=True)]
    caption = (
        _if_several(groups, "Marks: single runs; upright: their mean; bar: its 95% interval.")
        or "One run per group does not show chance: no interval, no ranking. Sweep the seed for both.",
        "Diverged runs have no score and are left out of the mean." * any(g.diverged for g in groups),
        left_out,
    )
    title = " and ".join(SCORES[name][0] for name in kinds)
    return finish(figure, _title(title[0].upper() + title[1:], subject), caption, " ".join(story))


def _scores(axis: Axes, scores: pd.Series[float], groups: Sequence[Group], name: str, floor: float) -> str:
    """Draw one kind of score, a row per group; return a sentence on it."""
    table = np.full((len(groups), max(len(group.keys) for group in groups)), np.nan)
    for row, group in enumerate(groups):
        table[row, : len(group.keys)] = scores[list(group.keys)]
    statistics = intervals(table, resolution=resolution(table) if floor == 0 else 0.0)
    shown, means, lows, highs = (values.clip(floor, 1) for values in (table, *statistics))
    for row, group in enumerate(groups):
        values = shown[row][~np.isnan(shown[row])]
        jitter = 0.34 * ((0.5 + np.arange(len(values)) * 0.618034) % 1 - 0.5) * (len(values) > 1)
        alpha = 0.3 + 0.6 / max(len(values), 1) ** 0.5
        look: dict[str, Any] = group.points | {"ms": 5.5, "mew": 0.8 * group.hollow, "alpha": alpha}
        axis.plot(values, row + jitter, ls="", **look)
        if len(values) > 1:
            axis.plot([lows[row], highs[row]], [row, row], color=INK, lw=1.6, solid_capstyle="butt", zorder=3)
            axis.plot([means[row]], [row], ls="", marker="|", ms=15, mec=INK, mew=2, zorder=4)
    lowest = float(np.nanmin([shown.min(axis=1, initial=1, where=~np.isnan(shown)), lows]))
    pad = max(0.04 * (1 - lowest), 0.004)
    axis.set(xlim=(lowest - pad, 1 + pad), ylim=(len(groups) - 0.4, -0.6), xlabel=name)
    axis.set_yticks(range(len(groups)), [group.counted for group in groups])
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.grid(visible=False, axis="y")
    story = [
        f"{group.label} {mean:.3f}" + f" ({low:.3f} to {high:.3f})" * bool(low <= high)
        for group, mean, low, high in zip(groups, *statistics, strict=True)
        if np.isfinite(mean)
    ]
    return f"{name[0].upper()}{name[1:]}: {', '.join(story)}."


def _if_several(groups: Sequence[Group], sentence: str) -> str:
    return sentence if any(len(group.keys) > 1 for group in groups) else ""


def _title(text: str, subject: str) -> str:
    return f"{text}: {subject}" if subject else text
