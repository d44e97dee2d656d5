"""Chart of transfer: the best learning rate over the sizes of a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runner.analysis.transfer import Transfer, by_axis
from runner.report.figures.canvas import MARKERS, PALETTE
from runner.report.page.chart import SYMBOLS, Figure, Panel, Trace, log_axis, text, values
from runner.report.transfer import drift_sentence

HOW = "A level line: a rate tuned on a small network suits a large one. Points: mean over seeds, with its 95% interval."


def transfer(found: Sequence[Transfer]) -> Figure | None:
    """Best learning rate of each scheme over width, and over depth."""
    if not found:
        return None
    panels = [_panel(along, own) for along, own in by_axis(found).items()]
    return Figure("Best learning rate over size", HOW, " ".join(map(drift_sentence, found)), panels)


def _panel(axis: str, found: Sequence[Transfer]) -> Panel:
    traces: list[Trace] = []
    rates: list[float] = []
    for number, one in enumerate(found):
        name, place = text(one.label or "all runs"), number % len(PALETTE)
        middle, low, high = 2.0 ** np.array(one.best).T
        traces.append({
            "name": name, "x": list(one.sizes), "y": values(middle), "mode": "lines+markers",
            "line": {"color": f"@{place}", "width": 2},
            "marker": {"symbol": SYMBOLS[MARKERS[number % len(MARKERS)]], "color": f"@{place}", "size": 8},
            "error_y": {
                "type": "data", "symmetric": False, "array": values(high - middle),
                "arrayminus": values(middle - low), "color": f"@{place}", "thickness": 1.2,
            },
            "hovertemplate": f"{name}, {axis} %{{x}}: %{{y:.3g}}<extra></extra>",
        })  # fmt: skip
        rates += [rate for rate in (*middle, *low, *high) if np.isfinite(rate)]
    sizes = sorted({size for one in found for size in one.sizes})
    layout = {
        "xaxis": {"type": "log", "title": {"text": axis}, "tickvals": sizes, "ticktext": [str(size) for size in sizes]},
        "yaxis": log_axis(min(rates), max(rates)) | {"title": {"text": "best learning rate"}},
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        "margin": {"l": 48, "r": 14, "t": 32, "b": 40},
    }
    return Panel(traces, layout, f"by {axis}")
