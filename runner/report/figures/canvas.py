"""Shared look of all figures: style, canvas, captions, legends, log axes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weightinit.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, PALE = "#222222", "#5f5f5f", "#9a9a9a"
# Okabe & Ito's palette without its black (that is ink) and its yellow, too pale for a line on white; and six more.
PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
    "#332288", "#882255", "#8A8A00", "#6B3A00", "#17BECF", "#6C757D",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P")
LOOKS = len(PALETTE)  # groups that colour, marker and line still tell apart
BAND = 0.14
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a "$" in a name is a "$"
    "axes.edgecolor": PALE,
    "axes.facecolor": "white",
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "figure.facecolor": "white",
    "savefig.dpi": 150,
    "savefig.facecolor": "auto",
    "savefig.bbox": None,
    "svg.hashsalt": "weightinit",
}
NAMES = {
    "activation_rms": "activation rms",
    "gradient_std": "gradient std",
    "weight_std": "weight std",
    "activation_correlation": "correlation of samples",
    "weight": "weights",
    "preactivation": "pre-activations",
    "gradient": "gradients",
}


@dataclass(frozen=True)
class Group:
    """Runs drawn alike: label, keys, those of them that diverged, and their look."""

    label: str
    keys: tuple[str, ...]
    diverged: frozenset[str]
    color: str
    marker: str = "o"
    line: str = "-"
    hollow: bool = False

    @property
    def counted(self) -> str:
        """Label with the number of runs, if there are several, and of those that diverged."""
        runs, lost = len(self.keys), len(self.diverged)
        counts = [f"{runs} runs"] * (runs > 1) + [f"{lost} diverged" if runs > 1 else "diverged"] * (lost > 0)
        return f"{self.label} ({', '.join(counts)})" if counts else self.label

    @property
    def points(self) -> dict[str, Any]:
        """Properties of this group's points."""
        return {"marker": self.marker, "mec": self.color, "mfc": "white" if self.hollow else self.color}


def canvas(columns: int, size: tuple[float, float], *, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Return an empty figure of ``size`` (width, height) inches, and its axes row by row."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.09, wspace=0.02))
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def finish(figure: Figure, title: str, caption: Iterable[str], alt: str) -> Figure:
    """Return ``figure`` with its title above, its caption below, and its alternative text as label."""
    width = figure.get_figwidth()
    figure.suptitle(textwrap.fill(title, int(width * 9.2)), x=0.1 / width, ha="left", fontsize=12, fontweight="bold")
    text = textwrap.fill(" ".join(sentence for sentence in caption if sentence), int(width * 16))
    figure.supxlabel(text, x=0.1 / width, ha="left", fontsize=8.5, color=GREY, linespacing=1.4)
    figure.set_label(alt)
    return figure


def legend(axis: Axes, groups: Sequence[Group], *, theory: bool = False, band: bool = False) -> None:
    """Place a legend right of ``axis``: the groups, then line, band and points."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], color=group.color, ls=group.line, label=group.counted, **group.points) for group in groups
    ]
    if theory or band:
        handles += [Line2D([], [], color=INK, lw=1.6, label="theory")] * theory
        handles += [Patch(color=INK, alpha=BAND, lw=0, label="correct networks")] * band
        handles.append(Line2D([], [], color=INK if groups else PALETTE[0], marker="o", ls="", label="measured"))
    place_legend(axis, handles)


def place_legend(axis: Axes, handles: Sequence[Any]) -> None:
    """Place a legend of ``handles`` right of ``axis``, outside the data."""
    if handles:
        axis.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0)


def log_axis(axis: Axes, values: Array) -> tuple[float, float]:
    """Return limits of the y axis, made logarithmic, that hold the finite positive ``values`` and span a decade.

    Where all are zero its lower end is called 0.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    positive = values[np.isfinite(values) & (values > 0)]
    low, high = np.log10((positive.min(), positive.max()) if len(positive) else (0.3, 3.0))
    pad = max(0.05 * (high - low), (1 - (high - low)) / 2, 0.06)
    low, high = max(low - pad, -300.0), min(high + pad, 300.0)
    limits = float(10**low), float(10**high)
    axis.set_yscale("log")
    axis.set_ylim(limits)
    span = high - low
    if not len(positive):
        axis.yaxis.set_major_locator(FixedLocator([limits[0]] * bool((values == 0).any())))
    elif span < 3:
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if span < 2 else (1, 3)))
    else:
        every = next(step for step in (1, 2, 3, 5, 10, 20, 50, 100) if span / step < 8)
        powers = every * np.arange(np.ceil(low / every), high / every)
        axis.yaxis.set_major_locator(FixedLocator((10.0**powers).tolist()))
    axis.yaxis.set_minor_locator(NullLocator())
    plain = (-3, 4) if span < 6 else (0, 1)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value if len(positive) else 0, plain=plain)))
    return limits


def step_axis(axis: Axes, title: str) -> None:
    """Give ``axis`` its title, and whole training steps on the x axis."""
    axis.set(title=title, xlabel="training step")
    axis.locator_params(axis="x", integer=True, nbins=6)


def crosses(axis: Axes, ends: Iterable[tuple[float, float]], color: str) -> None:
    """Mark where runs diverged, at (step, last finite loss) or at the edge of an axis that they have left."""
    bottom, top = axis.get_ylim()
    for step, loss in ends:
        y = min(max(loss, bottom), top)
        axis.plot([step], [y], marker="X", ms=9, mew=0.8, mfc=color, mec="white", clip_on=False, zorder=4)


def number(value: float, digits: int = 6, *, plain: tuple[int, int] = (-3, 4)) -> str:
    """Return ``value`` as axes and captions write it: plain from 10^plain[0] to 10^plain[1], else in powers of ten."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "not finite"
    if value < 0:
        return "−" + number(-value, digits, plain=plain)
    mantissa, power = f"{value:.{digits - 1}e}".split("e")
    if plain[0] <= int(power) < plain[1]:
        return f"{float(f'{mantissa}e{power}'):.10g}"
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{float(mantissa):g}·".removeprefix("1·") + "10" + raised
