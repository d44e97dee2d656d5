"""Charts of training: learning curves, scores, sensitivity to the learning rate, two swept values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from runner.analysis.best_rates import RATE
from runner.analysis.comparison import RANGES, Comparison
from runner.analysis.intervals import intervals, log, resolution
from runner.report.figures.canvas import Group
from runner.report.figures.tables import by_step, completed, smooth
from runner.report.page.chart import SCALE, Figure, Panel, Trace, color, line, log_axis, marker, of_group, text, values
from runner.report.sentences import HEADERS, METRICS, interval, score
from runner.text import label, plain, setting, short
from weightinit.arrays import Array

POINTS = 100  # along a curve
MARKS = 60  # single runs of a group
CURVES = {
    "train_loss": "Training loss",
    "validation_loss": "Validation loss",
    "validation_accuracy": "Validation accuracy",
    "validation_r2": "Validation R²",
}


def learning(curves: pd.DataFrame, groups: Sequence[Group]) -> list[Figure]:
    """Losses and scores by step, mean and 95% interval over a group's runs."""
    figures = []
    for quantity, title in CURVES.items():
        whole = by_step(curves, quantity)
        found = [_curve(whole, number, group, quantity) for number, group in enumerate(groups)]
        shown = [curve for curve in found if curve is not None]
        if shown:
            figures.append(_learning(title, shown, logarithmic=quantity.endswith("loss")))
    return figures


@dataclass(frozen=True)
class _Curve:
    """Mean over a group's runs by step, the ends ``low`` and ``high`` of its interval, and ``ends`` of diverged runs.

    ``ends``: (step, loss) of the last finite losses; from there on the mean is that of the other runs.
    """

    number: int
    group: Group
    steps: Array
    mean: Array
    low: Array
    high: Array
    ends: list[tuple[float, float]]


def _curve(whole: pd.DataFrame, number: int, group: Group, quantity: str) -> _Curve | None:
    """Return the curve of one group; None without any finite number."""
    keys = [key for key in group.keys if key in whole]
    if not keys:
        return None
    table = completed(whole[keys], group.diverged)
    drawn = smooth(table) if quantity == "train_loss" else table
    rows = np.unique(np.linspace(0, len(drawn) - 1, min(len(drawn), POINTS)).round().astype(int))
    samples = drawn.to_numpy(np.float64)[rows]
    samples[~np.isfinite(samples)] = math.nan
    if np.isnan(samples).all():
        return None
    if quantity.endswith("loss"):
        middle, low, high = np.exp(intervals(log(np.maximum(samples, 1e-30))))
    else:
        least, most = RANGES[f"test_{quantity.rpartition('_')[2]}"]
        middle, low, high = (ends.clip(least, most) for ends in intervals(samples))
    ended = [table[key][np.isfinite(table[key])] for key in keys if key in group.diverged]
    ends = [(float(run.index[-1]), float(run.iloc[-1])) for run in ended if len(run)]
    return _Curve(number, group, drawn.index.to_numpy()[rows], middle, low, high, ends[:MARKS])


def _learning(title: str, shown: Sequence[_Curve], *, logarithmic: bool) -> Figure:
    traces: list[Trace] = []
    bottom, top = _limits(shown, logarithmic=logarithmic)
    for curve in shown:
        number, group = curve.number, curve.group
        known = np.isfinite(curve.low)
        if known.any():
            around = np.concatenate([curve.steps[known], curve.steps[known][::-1]])
            edge = np.concatenate([curve.high[known], curve.low[known][::-1]])
            traces.append(
                of_group(
                    number, group, x=around.tolist(), y=values(edge.clip(bottom, top)), fill="toself", mode="lines",
                    fillcolor=color(group, 0.18), line={"width": 0}, hoverinfo="skip",
                )
            )  # fmt: skip
        several = known.any()
        traces.append(
            of_group(
                number, group, x=curve.steps.tolist(), y=values(curve.mean), mode="lines", line=line(group),
                customdata=[[*pair] for pair in zip(values(curve.low), values(curve.high), strict=True)]
                if several else None,
                hovertemplate="step %{x}: %{y:.3g}"
                + " [%{customdata[0]:.3g}, %{customdata[1]:.3g}]" * bool(several),
            )
        )  # fmt: skip
        if curve.ends:
            traces.append(
                of_group(
                    number, group, x=[step for step, _ in curve.ends],
                    y=values(np.clip([loss for _, loss in curve.ends], bottom, top)), mode="markers", cliponaxis=False,
                    marker={"symbol": "x", "size": 9, "color": color(group)}, hovertemplate="diverged after step %{x}",
                )
            )  # fmt: skip
    axis = log_axis(bottom, top) if logarithmic else {"range": [bottom, top]}
    layout = {"xaxis": {"title": {"text": "training step"}}, "yaxis": axis}
    of_several = any(len(curve.group.keys) > 1 for curve in shown)
    how = (
        "Lower and earlier is better. A level line: nothing is learned."
        if logarithmic
        else "Higher and earlier is better."
    )
    if of_several:
        kind = "geometric mean" if logarithmic else "mean"
        how += f" Line: {kind} over a group's runs; band: its 95% interval."
    if any(curve.ends for curve in shown):
        how += " A cross marks where a run diverged; the mean continues without it."
    last = ", ".join(f"{curve.group.label} {curve.mean[np.isfinite(curve.mean)][-1]:.3g}" for curve in shown)
    return Figure(title, how, f"{title} by training step; at the end: {last}.", (Panel(traces, layout),))


def _limits(shown: Sequence[_Curve], *, logarithmic: bool) -> tuple[float, float]:
    """Return ends of an axis with room for the runs that train; those that diverge leave it."""
    everything = np.concatenate([np.concatenate([curve.mean, curve.low, curve.high]) for curve in shown])
    everything = everything[np.isfinite(everything)]
    if not logarithmic:
        return max(min(float(everything.min()), 0.0), -1.0), 1.02
    starts = [curve.mean[0] for curve in shown if len(curve.group.diverged) < len(curve.group.keys)]
    starts = [start for start in starts if np.isfinite(start)]
    kept = everything[everything <= 30 * max(starts)] if starts else everything
    return float(max(kept.min(), 1e-12)), float(min(max(kept.max(), 1e-11), 1e300))


def scores(comparison: Comparison, groups: Sequence[Group]) -> Figure | None:
    """Test score of each run, and mean with interval of each group."""
    runs = comparison.runs.drop_duplicates("key").set_index("key")
    metrics = comparison.groups["metric"].unique()
    if len(metrics) != 1 or metrics[0] not in runs:
        return None
    metric = str(metrics[0])
    traces: list[Trace] = []
    story: list[str] = []
    lowest = math.inf
    floor = -math.inf if metric == "test_loss" else -1.0
    one_sample = resolution(runs[metric].to_numpy(np.float64)) if metric == "test_accuracy" else 0.0
    for number, group in enumerate(groups):
        known = runs[metric].reindex(list(group.keys)).dropna()
        known = known[np.isfinite(known)].clip(lower=floor)
        if known.empty:
            continue
        (middle,), (low,), (high,) = intervals(known.to_numpy(np.float64)[None], resolution=one_sample)
        low, high = np.clip((low, high), *RANGES[metric])
        lowest = min(lowest, known.min(), low) if math.isfinite(low) else min(lowest, known.min())
        marks = known.iloc[:MARKS]
        jitter = 0.4 * ((0.5 + np.arange(len(marks)) * 0.618034) % 1 - 0.5) * (len(marks) > 1)
        names = [text(str(name)) for name in runs.loc[marks.index, "name"]]
        traces.append(
            of_group(
                number, group, x=values(marks), y=values(number + jitter), mode="markers", text=names,
                marker=marker(group, 8, 0.9 if len(marks) == 1 else 0.45), hovertemplate="%{text}: %{x:.4g}",
            )
        )  # fmt: skip
        if math.isfinite(low):
            said = interval(middle, low, high, metric)
            traces.append(
                of_group(
                    number, group, x=values([middle]), y=[number], mode="markers",
                    marker={"symbol": "line-ns", "size": 14, "line": {"width": 3, "color": "@ink"}},
                    error_x={
                        "type": "data", "array": values([high - middle]), "arrayminus": values([middle - low]),
                        "symmetric": False, "thickness": 2, "width": 0, "color": "@ink",
                    },
                    hovertemplate=f"mean {said}",
                )
            )  # fmt: skip
        story.append(f"{group.label} {score(middle, metric)}")
    if not traces:
        return None
    names = [group.label if len(group.label) <= 24 else group.label[:23] + "…" for group in groups]
    layout = {
        "xaxis": {"title": {"text": HEADERS[metric].replace("acc", "accuracy")}, **_room(lowest, metric)},
        "yaxis": {
            "tickvals": list(range(len(groups))), "ticktext": [text(name) for name in names],
            "range": [len(groups) - 0.4, -0.6], "showgrid": False,
        },
        "height": 90 + 34 * len(groups),
    }  # fmt: skip
    how = "A mark is a run. One run per group does not show chance."
    if any(len(group.keys) > 1 for group in groups):
        how = "Mark: a run; upright: the mean of its group; bar: its 95% interval. Diverged runs have no score."
    if any(len(group.keys) > MARKS for group in groups):
        how += f" Of a group the first {MARKS} runs have marks; its mean and interval are of all."
    return Figure(
        f"Test {METRICS[metric]}", how, f"Test {METRICS[metric]}: {', '.join(story)}.", (Panel(traces, layout),)
    )


def _room(lowest: float, metric: str) -> dict[str, Any]:
    """Return ends of an axis of scores, which have a largest value, as Plotly takes them."""
    if metric == "test_loss":
        return {}
    pad = max(0.04 * (1 - lowest), 0.004)
    return {"range": [max(lowest, -1.0) - pad, 1 + pad]}


def sensitivity(comparison: Comparison, groups: Sequence[Group], columns: Sequence[str]) -> Figure | None:
    """Test score over learning rates, a line for each group; ``columns``: those that define the groups."""
    if RATE not in comparison.by or len(comparison.groups["metric"].unique()) != 1:
        return None
    table = comparison.groups[comparison.groups[RATE].notna()].copy()
    metric = str(table["metric"].iloc[0])
    table["line"] = [label(row, columns) or "all runs" for row in table.to_dict("records")]
    traces: list[Trace] = []
    story = []
    lowest = float(np.nanmin([*table["test_low"], *table["test"], 0.0 if metric != "test_loss" else math.inf]))
    for number, group in enumerate(groups):
        rows = table[table["line"] == group.label].sort_values(RATE)
        if rows.empty:
            continue
        counted = [f"{row['diverged']} of {row['seeds']} diverged" for row in rows.to_dict("records")]
        said = [interval(r["test"], r["test_low"], r["test_high"], metric) for r in rows.to_dict("records")]
        error = {
            "type": "data", "symmetric": False, "array": values(rows["test_high"] - rows["test"]),
            "arrayminus": values(rows["test"] - rows["test_low"]), "color": color(group), "thickness": 1.2,
        }  # fmt: skip
        traces.append(
            of_group(
                number, group, x=values(rows[RATE]), y=values(rows["test"]), error_y=error, mode="lines+markers",
                line=line(group), marker=marker(group), text=[f"{a}, {b}" for a, b in zip(said, counted, strict=True)],
                hovertemplate="rate %{x}: %{text}",
            )
        )  # fmt: skip
        gone = rows[rows["diverged"] == rows["seeds"]]
        traces.append(
            of_group(
                number, group, x=values(gone[RATE]), y=values(np.full(len(gone), lowest)), mode="markers",
                marker={"symbol": "x", "size": 9, "color": color(group)}, hovertemplate="rate %{x}: all runs diverged",
            )
        )  # fmt: skip
        if rows["test"].notna().any():
            sign = -1 if metric == "test_loss" else 1
            better = rows.iloc[int((sign * rows["test"]).fillna(-math.inf).argmax())]
            story.append(f"{group.label} best at {setting(better[RATE])}")
    layout = {
        "xaxis": {"type": "log", "title": {"text": "learning rate"}, "tickvals": values(sorted(table[RATE].unique()))},
        "yaxis": {"title": {"text": HEADERS[metric].replace("acc", "accuracy")}},
    }
    how = (
        "A flat line: the scheme hardly depends on the learning rate. Points: mean over seeds with its 95% interval. "
        "A cross at the bottom: every run diverged."
    )
    alt = f"Test {METRICS[metric]} by learning rate: {', '.join(story)}."
    return Figure("Sensitivity to the learning rate", how, alt, (Panel(traces, layout),))


def crossed(comparison: Comparison) -> Figure | None:
    """Test score over two swept settings; of more, the two with the most values."""
    groups = comparison.groups
    if len(comparison.by) < 2 or len(groups["metric"].unique()) != 1:
        return None
    metric = str(groups["metric"].iloc[0])
    counts = {name: groups[name].nunique() for name in comparison.by}
    two = sorted(sorted(counts, key=lambda name: -counts[name])[:2], key=lambda name: name not in comparison.context)
    first, second = two
    order = groups.assign(validation=groups["validation"].fillna(-math.inf)).sort_values("validation")
    cells = order.drop_duplicates(two, keep="last")
    rows, columns = (_sorted(groups[name]) for name in two)
    table = cells.pivot(index=first, columns=second, values="test").reindex(index=rows, columns=columns)
    written = [
        [_cell(cells, {first: row, second: column}, metric) for column in columns] for row in rows
    ]  # fmt: skip
    trace: Trace = {
        "type": "heatmap", "z": [values(row) for row in table.to_numpy(np.float64)],
        "x": [text(setting(value)) for value in columns], "y": [text(setting(value)) for value in rows],
        "text": written, "texttemplate": "%{text}", "colorscale": SCALE, "reversescale": metric == "test_loss",
        "hovertemplate": "%{y}, %{x}: %{text}<extra></extra>", "xgap": 2, "ygap": 2,
        "colorbar": {"thickness": 10, "outlinewidth": 0},
    }  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": text(short(second))}, "type": "category", "showgrid": False},
        "yaxis": {
            "title": {"text": text(short(first))},
            "type": "category",
            "autorange": "reversed",
            "showgrid": False,
        },
        "height": 110 + 40 * len(rows),
    }
    how = f"Cells: mean test {METRICS[metric]} over seeds; bright is better; ×: every run diverged."
    if len(comparison.by) > 2:
        how += " Other settings are those that are best on validation data."
    best = cells.iloc[int(cells["validation"].argmax())]
    alt = f"Test {METRICS[metric]} by {short(first)} and {short(second)}; best on validation data: {best['label']}."
    return Figure(f"{short(first)} × {short(second)}", how, alt, (Panel([trace], layout),))


def _cell(cells: pd.DataFrame, at: dict[str, Any], metric: str) -> str:
    found = cells
    for name, value in at.items():
        found = found[found[name] == value]
    if found.empty:
        return ""
    (row,) = found.to_dict("records")
    return "×" if row["diverged"] and row["diverged"] == row["seeds"] else plain(score(row["test"], metric))


def _sorted(column: pd.Series[Any]) -> list[Any]:
    """Return distinct values: numbers by size, names as they came."""
    distinct = list(column.dropna().unique())
    return sorted(distinct) if pd.api.types.is_numeric_dtype(column) else distinct
