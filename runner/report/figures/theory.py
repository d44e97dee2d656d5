"""Figures of forecasts: theory by layer, and the place of the schemes between order and chaos."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from runner.report.figures.canvas import (
    GREY,
    INK,
    LOOKS,
    MARKERS,
    PALETTE,
    Group,
    canvas,
    finish,
    legend,
    log_axis,
    number,
)
from runner.report.figures.layers import layer_ticks
from runner.report.figures.tables import spread_evenly
from weightinit.activations import Activation
from weightinit.arrays import Array
from weightinit.forecasting import Forecast
from weightinit.meanfield import depth_scales, q_slope, second_moment, slope_second_moment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 4
ORDERED, CHAOTIC = "#d6e6f4", "#fbe3d4"
Drawn = Sequence[tuple[Group, Forecast]]


def looks(forecasts: Sequence[Forecast]) -> tuple[list[tuple[Group, Forecast]], str]:
    """Return the forecasts to draw, each with its look, and a sentence on those left out."""
    known = [forecast for forecast in forecasts if forecast.layers and not math.isnan(forecast.sigma_w2)]
    names = [
        name for name in ("scheme", "activation", "data") if len({forecast.names.get(name) for forecast in known}) > 1
    ]
    drawn = []
    for place, index in enumerate(spread_evenly(len(known), LOOKS)):
        forecast, second, look = known[index], place >= len(MARKERS), place % len(MARKERS)
        words = [forecast.names[name] for name in names or ["scheme"]]
        words += [forecast.shape] * (len({other.shape for other in known}) > 1)
        group = Group(
            label=" ".join(words),
            keys=("",),
            diverged=frozenset(),
            color=PALETTE[place],
            marker=MARKERS[look],
            line="--" if second else "-",
            hollow=second,
        )
        drawn.append((group, forecast))
    rest = len(forecasts) - len(drawn)
    return drawn, f"{rest} more without theory, or beyond the first {LOOKS}, are not drawn." if rest else ""


def layers(drawn: Drawn, left_out: str) -> Figure:
    """Second moment of pre-activations, correlation of two inputs and size of gradients, by layer."""
    figure, axes = canvas(3, (11.5, 4))
    story = []
    values: list[list[Array]] = [[], [], []]
    for _, forecast in drawn:
        values[0].append(np.array([p.moments.second_moment for p in forecast.layers]))
        values[1].append(np.array([float(np.mean(p.moments.correlation)) for p in forecast.layers]))
        values[2].append(np.array([p.gradient.second_moment for p in forecast.layers]))
    limits = {0: log_axis(axes[0], np.concatenate(values[0])), 2: log_axis(axes[2], np.concatenate(values[2]))}
    lowest = min(0.0, float(np.nanmin(np.concatenate([*values[1], np.zeros(1)]))))
    axes[1].set_ylim(lowest - 0.03, 1.03)
    longest = max(drawn, key=lambda pair: pair[1].depth)[1]
    for index, (axis, title) in enumerate(
        zip(
            axes,
            ("q: pre-activations' mean square", "c: correlation of two inputs", "gradient's mean square"),
            strict=True,
        )
    ):
        for (group, forecast), curve in zip(drawn, values[index], strict=True):
            line = curve.clip(*limits[index]) if index in limits else curve
            x = np.arange(1.0, forecast.depth + 1)
            few = {"markevery": max(1, forecast.depth // 8), "ms": 5}
            axis.plot(x, line, color=group.color, ls=group.line, lw=1.6, **group.points | few)
        ticks, labels = layer_ticks([p.layer for p in longest.layers])
        axis.set_xticks(ticks, labels)
        axis.set(title=title, xlabel="hidden layer")
    for (group, _), q in zip(drawn, values[0], strict=True):
        story.append(f"{group.label} from {number(float(q[0]), 2)} to {number(float(q[-1]), 2)}")
    legend(axes[-1], [group for group, _ in drawn])
    caption = (
        "Theory of infinitely wide networks; gradients are relative to that at the output.",
        "A level line is stable. Signals vanish where q falls from left to right, gradients where they fall from right "
        "to left.",
        "Where c goes to 1, all inputs look alike to deep layers; where it goes below 1, similar inputs separate.",
        left_out,
    )
    alt = f"By layer, in theory: second moment of pre-activations {'; '.join(story)}."
    return finish(figure, "Forecast: signal, correlation and gradient by layer", caption, alt)


def phase(drawn: Drawn, left_out: str) -> Figure:
    """Order and chaos over sigma_w2 and sigma_b2, with the critical line of each activation and the schemes."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    panels, more = _panels([(forecast.activation, 0.0) for _, forecast in drawn])
    figure, axes = canvas(len(panels), (3.2 + 4.0 * len(panels), 4.2))
    story = []
    for axis, (phi, _) in zip(axes, panels, strict=True):
        members = [(group, forecast) for group, forecast in drawn if forecast.activation == phi]
        story.append(f"{phi.name} {_phase_panel(axis, phi, members)}")
    handles: list[Any] = [
        Patch(color=ORDERED, label="ordered: gradients vanish"),
        Patch(color=CHAOTIC, label="chaotic: gradients explode"),
        Patch(facecolor="white", edgecolor=GREY, hatch="///", lw=0, label="signals grow without bound"),
        Line2D([], [], color=INK, lw=2, label="critical"),
        Line2D([], [], color=INK, lw=2, ls=":", label="critical, but signals drift off"),
        *(Line2D([], [], color=group.color, ls="", label=group.label, **group.points) for group, _ in drawn),
    ]
    axes[-1].legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0)
    caption = (
        "sigma_w2 is fan_in times the variance of a weight, sigma_b2 the variance of a bias.",
        "On the critical line signals and gradients reach farthest. Far from it only shallow networks can be trained.",
        "A point on the left edge has no weights at all." * any(forecast.sigma_w2 == 0 for _, forecast in drawn),
        more,
        left_out,
    )
    return finish(figure, "Forecast: between order and chaos", caption, f"Phase diagram: {'; '.join(story)}.")


def scales(drawn: Drawn, left_out: str) -> Figure:
    """Depth scales over sigma_w2, at the biases of the schemes."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter

    panels, more = _panels([(forecast.activation, _rounded(forecast.sigma_b2)) for _, forecast in drawn])
    figure, axes = canvas(len(panels), (3.2 + 4.0 * len(panels), 4.2))
    depth = max(forecast.depth for _, forecast in drawn)
    story = []
    for axis, (phi, sigma_b2) in zip(axes, panels, strict=True):
        members = [
            (group, forecast) for group, forecast in drawn
            if forecast.activation == phi and _rounded(forecast.sigma_b2) == sigma_b2
        ]  # fmt: skip
        critical = [forecast.critical.sigma_w2 for _, forecast in members if forecast.critical is not None]
        low, high = _span([forecast.sigma_w2 for _, forecast in members] + critical + [0.5, 4.0])
        grid = np.unique([*np.geomspace(low, high, 50), *(w * f for w in critical for f in (0.98, 0.999, 1.001, 1.02))])
        found = [_depth_scales(phi, float(w), sigma_b2) for w in grid]
        top = 10.0 ** math.ceil(math.log10(max(1000.0, 3.0 * depth)))
        for row, style in ((0, "-"), (1, "--")):
            axis.plot(grid, np.clip([pair[row] for pair in found], 0.1, top), color=INK, lw=1.6, ls=style)
        axis.axhline(depth / 6, color=GREY, lw=1, ls=":")
        for group, forecast in members:
            xi_c = forecast.scales.xi_c if forecast.scales else math.nan
            reach = min(max(xi_c, 0.1), top)
            axis.plot([max(forecast.sigma_w2, low)], [reach], ls="", ms=8, clip_on=False, zorder=4, **group.points)
            story.append(f"{group.label} {number(xi_c, 3) if forecast.scales else 'unknown'}")
        axis.set(xscale="log", yscale="log", xlim=(low, high), ylim=(0.1, top))
        axis.set(title=f"{phi.name}, sigma_b2 = {sigma_b2:.4g}", xlabel="sigma_w2", ylabel="layers")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        _plain_ticks(axis)
    handles: list[Any] = [
        Line2D([], [], color=INK, lw=1.6, label="xi_c"),
        Line2D([], [], color=INK, lw=1.6, ls="--", label="xi_q"),
        Line2D([], [], color=GREY, lw=1, ls=":", label=f"a sixth of {depth} layers"),
        *(Line2D([], [], color=group.color, ls="", label=group.label, **group.points) for group, _ in drawn),
    ]
    axes[-1].legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0)
    caption = (
        "xi_c: layers in which differences between two inputs change by a factor e; xi_q: in which their size settles.",
        f"About 6 xi_c layers can be trained: schemes above the dotted line carry {depth}.",
        "Points on the upper edge are infinite: critical.",
        more,
        left_out,
    )
    return finish(
        figure, "Forecast: how deep signals reach", caption, f"Depth scale xi_c in layers: {', '.join(story)}."
    )


def _panels(wanted: Sequence[tuple[Activation | None, float]]) -> tuple[list[tuple[Activation, float]], str]:
    """Return distinct activations with a number each, as many as a figure holds, and a sentence on the others."""
    distinct = [(phi, value) for phi, value in dict.fromkeys(wanted) if phi is not None]
    rest = len(distinct) - PANELS
    return distinct[:PANELS], f"{rest} more panels are not drawn." if rest > 0 else ""


def _phase_panel(axis: Axes, phi: Activation, members: Drawn) -> str:
    """Draw the phases of one activation; return where it is critical, in words."""
    top = max(0.25, *(1.3 * forecast.sigma_b2 for _, forecast in members))
    line_w2, line_b2, holds = _critical_line(phi)
    shown = line_b2 <= top
    low, high = _span([*line_w2[shown], *(forecast.sigma_w2 for _, forecast in members)])
    sigma_w2, sigma_b2 = np.geomspace(low, high, 120), np.linspace(0, top, 60)
    growth, endless = _phases(phi, sigma_w2, sigma_b2)
    axis.contourf(sigma_w2, sigma_b2, growth, levels=[0, 1, np.inf], colors=[ORDERED, CHAOTIC])
    if endless.any():
        drawn = axis.contourf(sigma_w2, sigma_b2, endless, levels=[0.5, 1.5], colors="none", hatches=["///"])
        drawn.set_edgecolor(GREY)
        drawn.set_linewidth(0)
    only = bool(shown.any()) and float(np.ptp(line_b2)) == 0 and float(np.ptp(line_w2)) < 1e-9
    if only:
        axis.plot(line_w2[:1], line_b2[:1], "*", ms=15, color=INK, clip_on=False, zorder=3)
        text = f"critical at ({number(float(line_w2[0]), 4)}, 0) only"
    elif shown.any():
        for mask, style in ((holds, "-"), (~holds, ":")):
            axis.plot(np.where(mask, line_w2, np.nan), np.where(mask, line_b2, np.nan), color=INK, lw=2, ls=style)
        first = int(np.argmin(line_b2))
        text = f"critical from ({number(float(line_w2[first]), 3)}, {number(round(float(line_b2[first]), 6), 2)}) on"
    else:
        text = "no critical line" + " here" * bool(len(line_w2))
    for group, forecast in members:
        axis.plot(
            [max(forecast.sigma_w2, low)], [forecast.sigma_b2], ls="", ms=8, clip_on=False, zorder=4, **group.points
        )
    axis.text(0.03, 0.96, text, transform=axis.transAxes, va="top", fontsize=9)
    axis.set(xscale="log", xlim=(low, high), ylim=(0, top), title=phi.name, xlabel="sigma_w2", ylabel="sigma_b2")
    axis.grid(visible=False)
    _plain_ticks(axis)
    return text


def _critical_line(phi: Activation) -> tuple[Array, Array, Array]:
    """Return sigma_w2 and sigma_b2 at which chi = 1 for some q, ascending in q, and whether signals stay there."""
    q = np.geomspace(1e-4, 1e4, 400)
    slope = slope_second_moment(q, phi)
    with np.errstate(divide="ignore", invalid="ignore"):
        sigma_w2 = 1 / slope
        sigma_b2 = q - sigma_w2 * second_moment(q, phi)
        holds = sigma_w2 * q_slope(q, phi, 1.0) <= 1 + 1e-6
    sigma_b2[np.abs(sigma_b2) < 1e-9 * q] = 0.0
    exists = np.isfinite(sigma_w2) & (sigma_b2 >= 0)
    return sigma_w2[exists], sigma_b2[exists], holds[exists]


def _phases(phi: Activation, sigma_w2: Array, sigma_b2: Array) -> tuple[Array, Array]:
    """Return chi where a second moment of 1 settles, and whether it grows without bound; (sigma_b2, sigma_w2)."""
    q = np.geomspace(1e-6, 1e6, 241)
    start, square, slope = 120, second_moment(q, phi), slope_second_moment(q, phi)
    surplus = (sigma_w2[:, None] * square + sigma_b2[:, None, None]) / q - 1
    grows = surplus > 0
    rises, endless = grows[..., start], grows[..., start:].all(-1)
    # It settles between the last point at which it grows, on its way from the start, and the next one.
    last = np.where(rises, start - 1 + np.argmin(grows[..., start:], -1), start - np.argmax(grows[..., start::-1], -1))
    vanishes = ~grows[..., : start + 1].any(-1)
    last[vanishes], last[endless] = 0, len(q) - 2
    low, high = (np.take_along_axis(surplus, (last + i)[..., None], -1)[..., 0] for i in (0, 1))
    share = np.where(vanishes, 0.0, np.where(endless, 1.0, low / np.where(low > high, low - high, 1.0)))
    return sigma_w2 * (slope[last] * (1 - share) + slope[last + 1] * share), endless.astype(float)


def _depth_scales(phi: Activation, sigma_w2: float, sigma_b2: float) -> tuple[float, float]:
    try:
        found = depth_scales(phi, sigma_w2, sigma_b2)
    except ValueError:  # moments that don't exist for this activation
        return math.nan, math.nan
    return found.xi_c, found.xi_q


def _rounded(sigma_b2: float) -> float:
    """Return a variance to six digits, so that equal ones share a panel."""
    return float(f"{sigma_b2:.6g}")


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Return limits of a log axis that holds the positive ones of the values with room beside them."""
    positive = [value for value in values if value > 0] or [1.0]
    return min(positive) / 1.6, max(positive) * 1.6


def _plain_ticks(axis: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_xlim()
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 60 else (1,)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
