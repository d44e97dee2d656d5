"""Chart of the Jacobian: how a network passes on small changes of its input, beside theory and correct networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from runner.report.figures.canvas import Group
from runner.report.figures.tables import over_runs
from runner.report.page.chart import Figure, Panel, Trace, band, color, log_axis, marker, of_group, text, values
from runner.training.judging import SCATTER

if TYPE_CHECKING:
    import pandas as pd

TITLES = {"jacobian_mean_s2": "mean of s²", "jacobian_spread": "spread, Var(s²) / mean(s²)²"}


def jacobian(curves: pd.DataFrame, groups: Sequence[Group]) -> Figure | None:
    """Size and evenness of the squared singular values s² of each group's Jacobian at initialization."""
    start = curves[(curves["step"] == 0) & (curves["layer"] == "")]
    panels, story, banded = [], [], False
    for quantity, title in TITLES.items():
        columns = (f"init_{quantity}", f"predicted_{quantity}", f"reference_{quantity}", SCATTER[quantity])
        rows = start[start["quantity"].isin(columns)]
        rows = rows.assign(quantity=rows["quantity"].astype(str), key=rows["key"].astype(str))
        table = rows.drop_duplicates(["key", "quantity"]).pivot(index="key", columns="quantity", values="value")
        bands: list[Trace] = []
        traces: list[Trace] = []
        seen: list[float] = []
        linear = quantity == "jacobian_spread"
        for number, group in enumerate(groups):
            numbers = table.reindex(index=list(group.keys), columns=list(columns)).to_numpy(np.float64)
            (low, *_), (middle, theory, usual, scatter), (high, *_) = over_runs(numbers.T)
            if not (middle >= 0 if linear else middle > 0):
                continue
            around = 2 * scatter * np.array([-1.0, 1.0])
            edges = np.maximum(usual + around, 0.0) if linear else usual * np.exp(around)
            shown = band(number, group, np.array([number]), edges[:1], edges[1:])
            bands += shown
            traces.append(
                of_group(
                    number, group, x=[number], y=values([middle]), mode="markers", marker=marker(group),
                    error_y={
                        "type": "data", "symmetric": False, "array": values([high - middle]),
                        "arrayminus": values([middle - low]), "color": color(group), "thickness": 1.2, "width": 0,
                    },
                    hovertemplate=f"{text(group.label)}: %{{y:.3g}}",
                )
            )  # fmt: skip
            if np.isfinite(theory):
                traces.append(
                    of_group(
                        number, group, x=[number - 0.25, number + 0.25], y=values([theory, theory]), mode="lines",
                        line={"width": 2, "color": "@ink"}, hovertemplate="theory %{y:.3g}",
                    )
                )  # fmt: skip
            seen += [low, middle, high, theory, *edges]
            story.append(f"{title} of {group.label} {middle:.2g}")
        seen = [value for value in seen if np.isfinite(value) and (linear or value > 0)]
        if seen:
            banded = banded or bool(bands)
            names = [text(group.label if len(group.label) <= 16 else group.label[:15] + "…") for group in groups]
            layout = {
                "xaxis": {
                    "tickvals": list(range(len(groups))), "ticktext": names, "range": [-0.6, len(groups) - 0.4],
                    "showgrid": False,
                },
                "yaxis": {"rangemode": "tozero"}
                if linear
                else log_axis(max(min(seen), 1e-300), min(max(seen), 1e300)),
            }  # fmt: skip
            panels.append(Panel([*bands, *traces], layout, title))
    if not panels:
        return None
    how = (
        "Singular values s of the outputs' derivatives by the inputs. At a mean of 1 and a spread near 0 every small "
        "change passes unchanged. Points: measured; line: theory"
    )
    how += "; bands: correct networks, two standard deviations about their median." if banded else "."
    return Figure("Input-output Jacobian", how, f"Jacobian at initialization: {'; '.join(story)}.", panels)
