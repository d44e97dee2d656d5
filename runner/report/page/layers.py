"""Charts by layer: at initialization beside theory, through training, and the shapes of the initial distributions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from runner.report.figures.canvas import NAMES, Group
from runner.report.figures.layers import LINEAR, layer_ticks, profiles
from runner.report.figures.tables import network_order
from runner.report.page.chart import (
    SCALE,
    Figure,
    Panel,
    Trace,
    band,
    color,
    line,
    log_axis,
    log_ticks,
    marker,
    of_group,
    values,
)
from weightinit.arrays import Array

QUANTITIES = ("activation_rms", "gradient_std", "weight_std")
FALLS = {
    "activation_rms": "Activations that fall from left to right vanish; those that rise explode.",
    "gradient_std": "Gradients flow from right to left; those that fall on that way vanish.",
    "weight_std": "Standard deviation of the weights that the scheme drew.",
    "activation_correlation": "At 1 all samples look alike to a layer.",
}
STEPS = 40  # columns of a heatmap
WITHIN = 4.5  # standard deviations that a shape is drawn to


def at_start(curves: pd.DataFrame, groups: Sequence[Group]) -> list[Figure]:
    """Statistics by layer at initialization: theory as lines, correct networks as bands, measurement as points."""
    quantities = (*QUANTITIES, *LINEAR)
    return [figure for quantity in quantities if (figure := _at_start(curves, groups, quantity)) is not None]


def _at_start(curves: pd.DataFrame, groups: Sequence[Group], quantity: str) -> Figure | None:
    shown = [(profile, groups.index(profile.group)) for profile in profiles(curves, groups, quantity)]
    linear = quantity in LINEAR
    bands: list[Trace] = []
    traces: list[Trace] = []
    extremes: list[float] = []
    zeros: list[str] = []
    story: list[str] = []
    for profile, number in shown:
        group, low, middle, high = profile.group, profile.low, profile.middle, profile.high
        x = np.arange(1, len(profile.layers) + 1)
        names = [layer.replace("hidden/", "layer ") for layer in profile.layers]
        lower, upper = profile.band(quantity)
        bands += band(number, group, x, lower, upper)
        expected = np.isfinite(profile.theory).any()
        if expected:
            traces.append(
                of_group(
                    number, group, x=x.tolist(), y=values(profile.theory), mode="lines", line=line(group, 1.6),
                    text=names, hovertemplate="%{text}: theory %{y:.3g}",
                )
            )  # fmt: skip
        points: Trace = {"mode": "markers", "marker": marker(group, 7 if len(x) <= 20 else 4)}
        if not expected:
            points |= {"mode": "lines+markers", "line": line(group, 0.8)}
        if len(group.keys) > 1:
            points["error_y"] = {
                "type": "data", "symmetric": False, "array": values(high - middle), "arrayminus": values(middle - low),
                "color": color(group), "thickness": 1.2, "width": 0,
            }  # fmt: skip
        traces.append(
            of_group(
                number, group, x=x.tolist(), y=values(middle), text=names, hovertemplate="%{text}: %{y:.3g}", **points
            )
        )
        extremes += [value for array in (low, middle, high, profile.theory, lower, upper) for value in array]
        zeros += [group.label] * bool((middle == 0).any() and not linear)
        ends = middle[~np.isnan(middle)][[0, -1]]
        story.append(f"{group.label} {ends[0]:.2g} to {ends[1]:.2g}")
    known = np.array([value for value in extremes if np.isfinite(value) and (linear or value > 0)])
    if not len(known):
        return None
    ticks, labels = layer_ticks(max((profile.layers for profile, _ in shown), key=len))
    layout = {
        "xaxis": {"title": {"text": "layer"}, "tickvals": ticks, "ticktext": labels},
        "yaxis": {"range": [min(-0.05, 1.1 * known.min()), 1.05]}
        if linear
        else log_axis(max(known.min(), 1e-300), min(known.max(), 1e300)),
    }
    theory = any(np.isfinite(profile.theory).any() for profile, _ in shown)
    how = FALLS[quantity] + f" Lines: {'theory' if theory else 'only to join the points'}; points: measured"
    how += ", the median of a group's runs; bars: the middle 90% of them" if _several(groups) else ""
    how += "; bands: correct networks, two standard deviations about their median." if bands else "."
    if zeros:
        how += f" Exactly zero, hence not on this axis: {', '.join(zeros)}."
    name = NAMES[quantity].capitalize()
    alt = f"{name} by layer at initialization, first to last: {'; '.join(story)}."
    return Figure(name, how, alt, (Panel([*bands, *traces], layout),))


def through_training(curves: pd.DataFrame, groups: Sequence[Group]) -> list[Figure]:
    """Heatmaps, layer by step, of each group's geometric mean."""
    figures = []
    for quantity in QUANTITIES:
        rows = curves[(curves["quantity"] == quantity) & (curves["layer"] != "") & (curves["value"] > 0)]
        rows = rows.assign(value=np.log10(rows["value"]), layer=rows["layer"].astype(str), key=rows["key"].astype(str))
        rows = rows[np.isfinite(rows["value"])]
        tables = {}
        for number, group in enumerate(groups):
            points = rows[rows["key"].isin(group.keys)]
            if points["step"].nunique() > 1:
                table = points.pivot_table(index="layer", columns="step", values="value", aggfunc="mean")
                table = table.reindex(network_order(points["layer"].unique()))
                tables[number] = table.iloc[:, :: -(-table.shape[1] // STEPS)]
        if tables:
            figures.append(_heatmaps(quantity, tables, groups))
    return figures


def _heatmaps(quantity: str, tables: Mapping[int, pd.DataFrame], groups: Sequence[Group]) -> Figure:
    everything = np.concatenate([table.to_numpy().ravel() for table in tables.values()])
    low, high = (float(edge) for edge in np.nanquantile(everything, (0.01, 0.99)))
    high = max(high, low + 0.1)
    panels = []
    for number, table in tables.items():
        z = table.to_numpy()
        trace = of_group(
            number, groups[number], type="heatmap", z=[values(row) for row in z], x=table.columns.tolist(),
            y=[layer.removeprefix("hidden/").replace("output", "out") for layer in table.index],
            customdata=[values(row) for row in 10.0**z], zmin=low, zmax=high, colorscale=SCALE,
            hovertemplate="layer %{y}, step %{x}: %{customdata:.3g}<extra></extra>",
            colorbar={"thickness": 8, "outlinewidth": 0, **log_ticks(low, high)},
        )  # fmt: skip
        layout = {
            "xaxis": {"title": {"text": "training step"}, "showgrid": False},
            "yaxis": {"type": "category", "showgrid": False, "nticks": 8},
            "height": 220,
        }
        panels.append(Panel([trace], layout, groups[number].label, number))
    story = "; ".join(
        f"{groups[number].label} {10 ** table.iloc[:, 0].mean():.2g} to {10 ** table.iloc[:, -1].mean():.2g}"
        for number, table in tables.items()
    )
    name = NAMES[quantity].capitalize()
    how = (
        "Up: deeper; right: later; bright: larger. All panels share one scale of colours. "
        "Layers of equal brightness train at a similar rate."
    )
    return Figure(
        f"{name} through training",
        how,
        f"{name} by layer and step, first to last step, mean over layers: {story}.",
        panels,
    )


def shapes(groups: Sequence[Group], load: Callable[[str], Mapping[str, Array]]) -> Figure | None:
    """Distributions at initialization in units of their standard deviation, of the first, a middle, the last layer.

    ``load``: a run's arrays by its key. One run stands for its group.
    """
    arrays = [next((found for key in group.keys[:3] if (found := load(key))), {}) for group in groups]
    panels = []
    flat: set[str] = set()
    for quantity in ("weight", "preactivation", "gradient"):
        start = f"histogram/{quantity}/"
        layers = network_order(name.removeprefix(start) for found in arrays for name in found if name.startswith(start))
        layers = [layer for layer in layers if layer != "output"] or layers
        for layer in dict.fromkeys(layers[i] for i in (0, len(layers) // 2, -1) if layers):
            traces: list[Trace] = []
            for number, (group, found) in enumerate(zip(groups, arrays, strict=True)):
                shape = _shape(found.get(start + layer))
                if shape is not None:
                    traces.append(
                        of_group(
                            number, group, x=values(shape[0]), y=values(shape[1]), mode="lines", line=line(group, 1.6),
                            hovertemplate="%{x:.2g} std: %{y:.2g}",
                        )
                    )  # fmt: skip
                elif start + layer in found:
                    flat.add(group.label)
            x = np.linspace(-WITHIN, WITHIN, 61)
            normal: Trace = {
                "x": values(x), "y": values(np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)), "mode": "lines",
                "line": {"color": "@grey", "width": 1, "dash": "dot"}, "hoverinfo": "skip", "showlegend": False,
            }  # fmt: skip
            title = f"{NAMES[quantity]}, {layer.replace('hidden/', 'layer ')}"
            layout = {"xaxis": {"range": [-WITHIN, WITHIN]}, "yaxis": {"rangemode": "tozero"}, "height": 190}
            if traces:
                panels.append(Panel([normal, *traces], layout, title))
    if not panels:
        return None
    how = (
        "Density by distance from the mean in standard deviations, of one run per group. Dotted: a normal "
        "distribution. Peaks at the sides: saturated units. A peak in the middle: many zeros."
    )
    if flat:
        how += f" All values equal, hence not drawn: {', '.join(sorted(flat))}."
    alt = f"Shapes of weights, pre-activations and gradients at initialization of {', '.join(g.label for g in groups)}."
    return Figure("Distributions at initialization", how, alt, panels)


def _shape(histogram: Array | None) -> tuple[Array, Array] | None:
    """Return density by standard deviations from the mean; None without spread or recording."""
    if histogram is None:
        return None
    centres, counts = np.asarray(histogram, np.float64)
    if not counts.sum() > 0 or np.count_nonzero(counts) < 2 or not np.isfinite(centres).all():
        return None
    # In units of the range, whose square may be too small or too large for a number.
    half = (centres[-1] - centres[0]) / 2
    at, shares = (centres - centres[0]) / half - 1, counts / counts.sum()
    mean = float(shares @ at)
    std = float(np.sqrt(shares @ (at - mean) ** 2))
    x, density = (at - mean) / std, shares / (at[1] - at[0]) * std
    kept = abs(x) <= WITHIN
    return x[kept], density[kept]


def _several(groups: Sequence[Group]) -> bool:
    return any(len(group.keys) > 1 for group in groups)
