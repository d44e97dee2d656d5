"""Figure of transfer: loss over the learning rate at each size of the network, and how the best rate drifts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from runner.analysis.transfer import Transfer, by_axis
from runner.report.figures.canvas import MARKERS, PALETTE, canvas, finish, log_axis, place_legend
from runner.report.transfer import drift_sentence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4  # groups of a row that are drawn


def transfer(found: Sequence[Transfer]) -> Figure:
    """Return a row of panels for each axis: the loss of each group by learning rate, one curve for each size, its best
    rate marked; at the end of the row best rates with their intervals over size."""
    from matplotlib import colormaps
    from matplotlib.lines import Line2D

    along, rows = zip(*((axis, own[:COLUMNS]) for axis, own in by_axis(found).items()), strict=True)
    columns = max(map(len, rows)) + 1
    figure, axes = canvas(columns, (3.1 * columns + 1.0, 3.0 * len(rows) + 1.0), rows=len(rows))
    for row, own in enumerate(rows):
        panels = axes[row * columns : (row + 1) * columns]
        for panel in panels[len(own) : -1]:
            panel.set_visible(False)
        sizes = sorted({size for one in own for size in one.sizes})
        colors = dict(zip(sizes, colormaps["viridis"](np.linspace(0.05, 0.88, len(sizes))), strict=True))
        shown = np.concatenate([np.minimum(one.losses, 4.0).ravel() for one in own])
        for panel, one in zip(panels, own, strict=False):
            for size, losses, best in zip(one.sizes, one.losses, one.best, strict=True):
                finite = np.isfinite(losses)
                rates = np.log2(one.rates)[finite]
                panel.plot(rates, losses[finite], color=colors[size], marker="o", ms=3, lw=1.4)
                level = np.interp(best.mean, rates, losses[finite])
                panel.plot([best.mean], [level], marker="D", ms=7, color=colors[size], mec="white", zorder=4)
            panel.locator_params(axis="x", integer=True, nbins=6)
            panel.set(title=one.label or "all runs", xlabel="log2 of the learning rate")
            log_axis(panel, shown)
        panels[0].set_ylabel("training loss at the end")
        summary = panels[-1]
        for place, one in enumerate(own):
            means = np.array([best.mean for best in one.best])
            off = np.array([[best.mean - best.low, best.high - best.mean] for best in one.best]).T
            color, marker = PALETTE[place % len(PALETTE)], MARKERS[place % len(MARKERS)]
            x = np.log2(one.sizes)
            summary.errorbar(x, means, yerr=np.nan_to_num(off), lw=1.4, ms=5, capsize=3, color=color, marker=marker)
        summary.set_xticks(np.log2(sizes), [str(size) for size in sizes])
        summary.set(title=f"best rate over {along[row]}", xlabel=along[row], ylabel="log2 of the best rate")
        handles = [Line2D([], [], color=colors[size], marker="D", label=f"{along[row]} {size}") for size in sizes]
        handles += [
            Line2D([], [], color=PALETTE[place % len(PALETTE)], marker=MARKERS[place % len(MARKERS)], label=one.label)
            for place, one in enumerate(own)
        ]
        place_legend(summary, handles)
    said = [drift_sentence(one) for own in rows for one in own]
    return finish(
        figure,
        "Does the best learning rate transfer?",
        ["Where it does, the diamonds of all sizes stand above each other, and the line on the right is level.", *said],
        f"Training loss over the learning rate by {' and '.join(along)}. {' '.join(said)}",
    )
