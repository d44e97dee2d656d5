"""Charts of the page: figures of panels as plain values for Plotly, and the look of a group in them.

Colours are tokens that the page's script replaces when it draws, by light or dark: ``@3`` is the fourth of the palette,
``@ink`` that of text; ``@3/0.15`` is seen through.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from runner.report.figures.canvas import BAND, PALETTE, Group
from weightinit.arrays import Array

Trace = dict[str, Any]
# Markers of runner.report.figures in Plotly's names, in their order.
SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross"}
# Light and dark: Okabe & Ito's and six more, on dark those made lighter that would be hard to see.
COLORS = {
    "light": PALETTE,
    "dark": (
        "#56B4E9",
        "#E8743B",
        "#21B88A",
        "#DA90BC",
        "#E69F00",
        "#F0E442",
        "#9D8DF1",
        "#E0457B",
        "#A8B545",
        "#B98A5A",
        "#5FE0EA",
        "#AEB6BF",
    ),
}
SCALE = "Cividis"  # made for eyes that confuse colours


@dataclass(frozen=True)
class Panel:
    """Pair of axes: Plotly's ``traces`` and ``layout``; ``group``: it is shown while that group is."""

    traces: Sequence[Trace]
    layout: dict[str, Any]
    title: str = ""
    group: int | None = None


@dataclass(frozen=True)
class Figure:
    """Panels side by side with a ``title``, a sentence on ``how`` to read them, and an alternative text."""

    title: str
    how: str
    alt: str
    panels: Sequence[Panel] = field(default_factory=tuple)

    @property
    def wide(self) -> bool:
        """Whether its one panel takes the whole width."""
        return len(self.panels) == 1


def of_group(number: int, group: Group, **trace: Any) -> Trace:
    """Return a trace of a group, which the group's switch shows and hides."""
    return {"name": text(group.label), "legendgroup": f"g{number}", "showlegend": False} | trace


def color(group: Group, opacity: float | None = None) -> str:
    """Return the token of a group's colour."""
    token = f"@{PALETTE.index(group.color)}"
    return token if opacity is None else f"{token}/{opacity:g}"


def line(group: Group, width: float = 2) -> dict[str, Any]:
    """Return the look of a group's lines."""
    return {"color": color(group), "width": width, "dash": "solid" if group.line == "-" else "dash"}


def marker(group: Group, size: float = 8, opacity: float = 1.0) -> dict[str, Any]:
    """Return the look of a group's points."""
    return {
        "symbol": SYMBOLS[group.marker] + "-open" * group.hollow,
        "color": color(group),
        "size": size,
        "opacity": opacity,
    }


def band(number: int, group: Group, x: Array, low: Array, high: Array) -> list[Trace]:
    """Return the area between two lines, where both are known; nothing where they are not."""
    known = np.isfinite(low) & np.isfinite(high)
    if not known.any():
        return []
    x, low, high = (array[known] for array in (x, low, high))
    if len(x) == 1:  # an area needs a width
        x, low, high = x[0] + np.array([-0.25, 0.25]), low.repeat(2), high.repeat(2)
    outline = values(np.concatenate([low, high[::-1]]))
    return [
        of_group(
            number, group, x=values(np.concatenate([x, x[::-1]])), y=outline, mode="lines", line={"width": 0},
            fill="toself", fillcolor=color(group, BAND), hoverinfo="skip",
        )
    ]  # fmt: skip


def values(array: Array | Iterable[float]) -> list[float | None]:
    """Return numbers to five digits for JSON, None for those that are not finite."""
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in np.asarray(array, np.float64).tolist()]


def text(label: str) -> str:
    """Return a text escaped for Plotly, which takes tags for markup."""
    return escape(label, quote=False)


def log_axis(low: float, high: float) -> dict[str, Any]:
    """Return a logarithmic axis that holds ``low`` to ``high`` and spans a decade at least."""
    bottom, top = math.log10(low), math.log10(high)
    pad = max(0.05 * (top - bottom), (1 - (top - bottom)) / 2)
    bottom, top = bottom - pad, top + pad
    axis: dict[str, Any] = {"type": "log", "range": [bottom, top], "exponentformat": "power"}
    if top - bottom > 2.5:
        return axis | {"dtick": math.ceil((top - bottom) / 6)}
    powers = range(math.floor(bottom), math.ceil(top) + 1)
    ticks = [
        digit * 10.0**power for power in powers for digit in (1, 2, 5) if bottom <= math.log10(digit) + power <= top
    ]
    return axis | {"tickvals": values(ticks), "ticktext": [f"{tick:.3g}" for tick in ticks]}


def log_ticks(low: float, high: float) -> dict[str, Any]:
    """Return ticks of a colour bar over decimal logarithms."""
    powers = range(math.ceil(low), math.floor(high) + 1)
    if len(powers) < 2:
        return {"tickvals": [low, high], "ticktext": [f"{10**low:.2g}", f"{10**high:.2g}"]}
    powers = powers[:: math.ceil(len(powers) / 5)]
    return {"tickvals": list(powers), "ticktext": [f"10<sup>{power}</sup>" for power in powers]}
