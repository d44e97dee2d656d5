"""Charts of residual blocks and attention at initialization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from runner.report.figures.canvas import Group
from runner.report.figures.layers import layer_ticks
from runner.report.figures.tables import network_order, over_runs
from runner.report.page.chart import Figure, Panel, Trace, color, line, marker, of_group, text, values

if TYPE_CHECKING:
    import pandas as pd

# Quantity: its title, and how to read it.
PANELS = {
    "branch_share": ("share of the stream that a branch writes", "A branch with a share near 0 changes little."),
    "attention_entropy": ("entropy of attention", "An entropy of 1 is uniform attention, of 0 attention to one token."),
    "token_effective_rank": ("effective rank of tokens", "At a rank near 1 all tokens of a sample are alike."),
}


def blocks(curves: pd.DataFrame, groups: Sequence[Group]) -> Figure | None:
    """Charts of what blocks do to the stream and its tokens, by group, where runs have blocks; None elsewhere."""
    start = curves[curves["step"] == 0]
    start = start.assign(**{name: start[name].astype(str) for name in ("quantity", "layer", "key")})
    panels, how, story = [], [], []
    for quantity, (title, reading) in PANELS.items():
        rows = start[start["quantity"] == f"init_{quantity}"]
        layers = network_order(rows["layer"])
        traces: list[Trace] = []
        for number, group in enumerate(groups):
            table = rows[rows["key"].isin(group.keys)].pivot(index="layer", columns="key", values="value")
            if table.empty:
                continue
            low, middle, high = over_runs(table.reindex(layers).to_numpy(np.float64))
            known = middle[np.isfinite(middle)]
            if not len(known):
                continue
            trace: Trace = {"mode": "lines+markers", "marker": marker(group, 7), "line": line(group, 0.8)}
            if table.shape[1] > 1:
                trace["error_y"] = {
                    "type": "data", "symmetric": False, "array": values(high - middle),
                    "arrayminus": values(middle - low), "color": color(group), "thickness": 1.2, "width": 0,
                }  # fmt: skip
            x = list(range(1, len(layers) + 1))
            label = f"{text(group.label)}, %{{text}}: %{{y:.3g}}"
            traces.append(of_group(number, group, x=x, y=values(middle), text=layers, hovertemplate=label, **trace))
            story.append(f"{title} of {group.label} {known[0]:.2g} to {known[-1]:.2g}")
        if traces:
            ticks, labels = layer_ticks([layer.removeprefix("block/") for layer in layers])
            axis = {"rangemode": "tozero"} if quantity == "token_effective_rank" else {"range": [-0.05, 1.05]}
            layout = {"xaxis": {"title": {"text": "block"}, "tickvals": ticks, "ticktext": labels}, "yaxis": axis}
            panels.append(Panel(traces, layout, title))
            how.append(reading)
    if not panels:
        return None
    return Figure("Residual blocks", " ".join(how), f"Blocks at initialization: {'; '.join(story)}.", panels)
