"""Figures of one run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from runner.report.figures.canvas import (
    GREY,
    INK,
    NAMES,
    PALE,
    PALETTE,
    Group,
    canvas,
    crosses,
    finish,
    legend,
    log_axis,
    number,
    place_legend,
    step_axis,
)
from runner.report.figures.layers import layer_ticks, panel
from runner.report.figures.tables import by_step, finite, initial, network_order, smooth, spread_evenly
from weightinit.arrays import Array

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE = PALETTE[:2]


def loss(name: str, curves: pd.DataFrame, diverged_at_step: int | None) -> Figure | None:
    """Training and validation loss, and beside them the validation score, by step."""
    train, validation = by_step(curves, "train_loss"), by_step(curves, "validation_loss")
    losses = [finite(table[""]) for table in (train, validation) if not table.empty]
    if not any(np.isfinite(values).any() for values in losses):
        return None
    score = next((q for q in ("validation_accuracy", "validation_r2") if (curves["quantity"] == q).any()), None)
    figure, axes = canvas(2 if score else 1, (10 if score else 7, 4))
    axis = axes[0]
    bottom, _ = log_axis(axis, np.concatenate(losses))
    if not train.empty:
        raw, median = (np.maximum(finite(table[""]), bottom) for table in (train, smooth(train)))
        axis.plot(train.index, raw, color=BLUE, lw=0.7, alpha=0.35, label="train, each batch")
        axis.plot(train.index, median, color=BLUE, lw=2, label="train, running median")
    if not validation.empty:
        values = np.maximum(finite(validation[""]), bottom)
        axis.plot(validation.index, values, "o-", ms=5, lw=0.8, color=ORANGE, label="validation")
    known = next(values[np.isfinite(values)] for values in losses if np.isfinite(values).any())
    remarks = []
    if diverged_at_step is not None:
        crosses(axis, [(diverged_at_step, known[-1])], BLUE)
        remarks.append(f"The run diverged at step {diverged_at_step}.")
    step_axis(axis, "loss")
    alt = " ".join([f"Loss by training step, from {number(known[0], 2)} to {number(known[-1], 2)}.", *remarks])
    if score:
        table = by_step(curves, score)
        values = finite(table[""])
        axes[1].plot(table.index, values.clip(-1), "o-", ms=5, lw=0.8, color=ORANGE)
        step_axis(axes[1], score.replace("_", " ").replace("r2", "R²"))
        lowest = float(np.nanmin(np.append(values, 0.0)))
        axes[1].set(ylim=(max(lowest, -1) - 0.03, 1.03), xlim=axis.get_xlim())
        remarks += ["R² below −1 is drawn there."] * (lowest < -1)
    place_legend(axes[-1], axis.get_legend_handles_labels()[0])
    how = (
        "A level loss: nothing is learned. A validation loss that rises while the training loss falls: the network "
        "overfits."
    )
    return finish(figure, f"{name}: loss", [how, *remarks], alt)


def layers(name: str, curves: pd.DataFrame) -> Figure | None:
    """Statistics by layer at initialization."""
    wanted = ("activation_rms", "gradient_std", "activation_correlation", "weight_std")
    quantities = [quantity for quantity in wanted if not initial(curves, quantity).empty]
    if not quantities:
        return None
    figure, axes = canvas(len(quantities), (1.6 + 3.3 * len(quantities), 4))
    group = Group("", ("",), frozenset(), BLUE)
    panels = [panel(axis, curves, [group], quantity) for axis, quantity in zip(axes, quantities, strict=True)]
    for axis, quantity in zip(axes, quantities, strict=True):
        axis.set_title(NAMES[quantity])
    theory, band = any(shown.theory for shown in panels), any(shown.band for shown in panels)
    legend(axes[-1], [], theory=theory, band=band)
    caption = (
        "A straight slope on this log axis is one factor per layer. Activations vanish from left to right, gradients "
        "from right to left.",
        "Band: correct networks of this width, two standard deviations about their median." if band else "",
        "At a correlation of 1 all samples look alike to a layer." * ("activation_correlation" in quantities),
        *sorted({remark for shown in panels for remark in shown.remarks}),
    )
    drawn = zip(quantities, panels, strict=True)
    story = [f"{NAMES[quantity]} {shown.sentences[0]}" for quantity, shown in drawn if shown.sentences]
    alt = f"By layer at initialization: {'; '.join(story)}."
    return finish(figure, f"{name}: layers at initialization", caption, alt)


def training_layers(name: str, curves: pd.DataFrame) -> Figure | None:
    """Activations and gradients of each layer through training."""
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    tables = {q: by_step(curves, q, columns="layer") for q in ("activation_rms", "gradient_std")}
    tables = {quantity: table for quantity, table in tables.items() if not table.empty}
    if not tables:
        return None
    names = network_order(layer for table in tables.values() for layer in table.columns)
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.93, len(names)))
    figure, axes = canvas(len(tables), (1.5 + 4.25 * len(tables), 4))
    for axis, (quantity, table) in zip(axes, tables.items(), strict=True):
        bottom, _ = log_axis(axis, table.to_numpy())
        size = 5 if len(table) <= 60 else 0
        for layer, color in zip(names, colors, strict=True):
            if layer in table:
                axis.plot(table.index, np.maximum(finite(table[layer]), bottom), ".-", color=color, lw=1.3, ms=size)
        step_axis(axis, NAMES[quantity])
    depth = ScalarMappable(Normalize(0.5, len(names) + 0.5), ListedColormap(colors))
    bar = figure.colorbar(depth, ax=axes, label="layer", aspect=30, pad=0.02)
    ticks, labels = layer_ticks(names)
    bar.set_ticks(ticks, labels=labels)
    bar.ax.minorticks_off()
    caption = (
        "Dark is the first layer, bright the output.",
        "Where gradients stay close together, all layers train at a similar rate.",
        "Points on the lower edge are exactly zero." * any((table == 0).any(axis=None) for table in tables.values()),
    )
    story = " and ".join(NAMES[quantity] for quantity in tables)
    alt = f"{story.capitalize()} by training step, one line for each of {len(names)} layers."
    return finish(figure, f"{name}: layers through training", caption, alt)


def histograms(name: str, arrays: Mapping[str, Array]) -> Figure | None:
    """Weights, pre-activations and gradients at initialization, for at most 6 layers."""
    found = [key.split("/", 2)[1:] for key in arrays if key.startswith("histogram/")]
    quantities = [q for q in ("weight", "preactivation", "gradient") if any(q == quantity for quantity, _ in found)]
    names = network_order(layer for quantity, layer in found if quantity in quantities)
    if not names:
        return None
    names = [names[i] for i in spread_evenly(len(names), 6)]
    size = max(5.5, 1.2 + 1.6 * len(names)), 1.1 + 1.35 * len(quantities)
    figure, axes = canvas(1, size, rows=len(quantities))
    story = []
    for axis, quantity, color in zip(axes, quantities, PALETTE, strict=False):
        panels = [_panel(arrays.get(f"histogram/{quantity}/{layer}")) for layer in names]
        _draw_panels(axis, panels, color)
        axis.set_ylabel(NAMES[quantity])
        ends = dict.fromkeys((0, len(names) - 1))
        story += [f"{NAMES[quantity]} of {names[end]} {panels[end].text}" for end in ends]
    for column, layer in enumerate(names):
        place: Any = {"xycoords": axes[0].get_xaxis_transform(), "xytext": (0, 6), "textcoords": "offset points"}
        axes[0].annotate(layer.replace("hidden/", "layer "), (column, 1), fontsize=9.5, **place)
    caption = (
        "Filled: measured; line: the normal distribution of the same mean and std.",
        "Scales differ between panels: compare shapes by eye, widths by their numbers.",
    )
    alt = f"Histograms at initialization: {'; '.join(story)}."
    return finish(figure, f"{name}: distributions at initialization", caption, alt)


@dataclass(frozen=True)
class _Panel:
    """A histogram in a panel of width and height 1: steps and normal curve as (x, y), ticks, its width in words."""

    steps: Array
    normal: Array
    ticks: Sequence[tuple[float, str]]
    text: str
    shown: bool = True


_NOTHING = np.zeros((2, 0))
ROOM = 0.11  # between panels, of their width
HEIGHT = 1.4  # of a panel, in its tallest bar's


def _panel(histogram: Array | None) -> _Panel:
    """Return the panel of a histogram (bin centres, counts)."""
    centres, counts = np.zeros((2, 1)) if histogram is None else np.asarray(histogram, np.float64)
    total = counts.sum()
    if not total > 0 or not np.isfinite(centres).all():
        return _Panel(_NOTHING, _NOTHING, [], "not recorded" if histogram is None else "not finite", shown=False)
    shares, middle = counts / total, (centres[0] + centres[-1]) / 2
    # In units of the range, whose square may be too small or too large for a number.
    half = (centres[-1] - centres[0]) / 2 or 1.0
    at = (centres - middle) / half
    mean = float(shares @ at)
    std = math.sqrt(float(shares @ (at - mean) ** 2))
    if np.count_nonzero(counts) == 1:  # the range of one repeated value is centred on it
        bar = np.array([[0.4875, 0.4875, 0.5125, 0.5125], [0, 1 / HEIGHT, 1 / HEIGHT, 0]])
        return _Panel(bar, _NOTHING, [(0.5, number(middle, 2))], "all equal")
    low, high = max(-1.0, mean - 4 * std), min(1.0, mean + 4 * std)
    x = np.linspace(low, high, 101)
    normal = (at[1] - at[0]) / (std * math.sqrt(2 * math.pi)) * np.exp(-(((x - mean) / std) ** 2) / 2)
    edges = np.concatenate([at[:1], (at[1:] + at[:-1]) / 2, at[-1:]])
    steps = np.repeat(edges, 2)[1:-1].clip(low, high), np.repeat(shares, 2)
    tallest = HEIGHT * max(shares.max(), normal.max())
    ticks = _round_ticks(middle + half * low, middle + half * high)
    return _Panel(
        np.array([(steps[0] - low) / (high - low), steps[1] / tallest]),
        np.array([(x - low) / (high - low), normal / tallest]),
        [(((tick - middle) / half - low) / (high - low), number(tick, 2)) for tick in ticks],
        f"std {number(std * half, 2)}",
    )


def _draw_panels(axis: Axes, panels: Sequence[_Panel], color: str) -> None:
    """Draw panels side by side in one ``axis``: an axis each takes most of the time of the whole figure."""
    width = 1 - ROOM

    def placed(curves: Iterable[Array]) -> Array:
        """Join curves (x, y), each in its panel, with a gap after each."""
        gap = np.full((2, 1), math.nan)
        inside = [np.array([column + width * x, y]) for column, (x, y) in enumerate(curves)]
        return np.concatenate([part for curve in inside for part in (curve, gap)], axis=1)

    x, y = placed(panel.steps for panel in panels)
    axis.fill_between(x, y, color=color, alpha=0.5, lw=0)
    axis.plot(*placed(panel.normal for panel in panels), color=INK, lw=1)
    axis.plot(*placed([np.array([[0.0, 1.0], [0.0, 0.0]])] * len(panels)), color=PALE, lw=0.8, clip_on=False)
    axis.set(xlim=(0, len(panels) - ROOM), ylim=(0, 1), yticks=[])
    ticks = [(column + width * at, text) for column, panel in enumerate(panels) for at, text in panel.ticks]
    axis.set_xticks([at for at, _ in ticks], [text for _, text in ticks])
    axis.grid(visible=False)
    axis.spines[["left", "bottom"]].set_visible(False)
    for column, one in enumerate(panels):
        looks: Any = {"transform": axis.get_xaxis_transform(), "color": GREY}
        if one.shown:
            axis.text(column + 0.98 * width, 0.98, one.text, ha="right", va="top", fontsize=8, **looks)
        else:
            axis.text(column + 0.5 * width, 0.5, one.text, ha="center", va="center", fontsize=8.5, **looks)


def _round_ticks(low: float, high: float) -> list[float]:
    """Zero and a round number to either side, as far as they lie well within the limits; else the middle."""
    edge = float(f"{0.55 * max(-low, high):.0e}")
    candidates = (-edge, 0.0, edge) if len(number(edge, 2)) < 5 else (-edge, edge)
    margin = 0.1 * (high - low)
    return [tick for tick in candidates if low + margin <= tick <= high - margin] or [(low + high) / 2]
