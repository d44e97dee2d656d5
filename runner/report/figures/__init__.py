"""Figures of a run, a sweep and forecasts: theory as lines, measurement as points, a caption on how to read them.

A figure's label (``figure.get_label()``) is its alternative text. matplotlib is imported when the first figure is
drawn; nothing needs a display, opens a window or keeps a figure in global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.report.figures import run, sweep, theory
from runner.report.figures import transfer as of_transfer
from runner.report.figures.canvas import STYLE
from runner.report.figures.tables import by_block
from weightinit.arrays import Array

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from runner.analysis.transfer import Transfer
    from weightinit.forecasting import Forecast

__all__ = ["forecast_figures", "run_figures", "save", "sweep_figures", "transfer_figures"]


def run_figures(
    name: str, curves: pd.DataFrame, arrays: Mapping[str, Array], *, diverged_at_step: int | None = None
) -> dict[str, Figure]:
    """Return figures of the run called ``name``: ``loss``, ``layers``, ``training_layers`` and ``histograms``.

    ``curves``: the run's rows (columns step, quantity, layer, value); ``arrays``: its Outcome's, of which
    ``histogram/QUANTITY/LAYER`` (bin centres, counts) are drawn. A figure without any data is absent.
    """
    import matplotlib

    curves = by_block(curves.assign(key=""))
    with matplotlib.rc_context(STYLE):
        figures = {
            "loss": run.loss(name, curves, diverged_at_step),
            "layers": run.layers(name, curves),
            "training_layers": run.training_layers(name, curves),
            "histograms": run.histograms(name, arrays),
        }
    return {key: figure for key, figure in figures.items() if figure is not None}


def sweep_figures(runs: pd.DataFrame, curves: pd.DataFrame, *, group: Sequence[str]) -> dict[str, Figure]:
    """Return figures of a sweep: ``loss layers gradients correlations accuracy``, one look per group of runs.

    ``runs`` (one row a run), ``curves`` (columns key, step, quantity, layer, value): the tables of a comparison;
    ``group``: the columns of ``runs`` that define the groups: the swept ones, without the seed. Of more
    than 12 groups 12 are drawn, evenly spread in the order of the runs. A run recorded twice counts once. A figure
    without any data is absent.

    Raises ValueError if ``runs`` lacks a column of ``group``.
    """
    import matplotlib

    if missing := [column for column in group if column not in runs.columns]:
        raise ValueError(f"group must name columns of runs; got {', '.join(missing)}, which runs does not have.")
    runs = runs[runs["fate"] != "failed"].drop_duplicates("key", keep="last")
    if runs.empty:
        return {}
    groups, left_out = sweep.groups(runs, group)
    subject = sweep.subject(runs, group)
    curves = by_block(curves[curves["key"].isin([key for drawn in groups for key in drawn.keys])])
    trained = curves.empty or (curves["step"] > 0).any()  # before, accuracy says nothing
    with matplotlib.rc_context(STYLE):
        figures = {
            "loss": sweep.loss(subject, curves, groups, left_out),
            "layers": sweep.layers(subject, curves, groups, left_out, "activation_rms"),
            "gradients": sweep.layers(subject, curves, groups, left_out, "gradient_std"),
            "correlations": sweep.layers(subject, curves, groups, left_out, "activation_correlation"),
            "accuracy": sweep.accuracy(subject, runs, groups, left_out) if trained else None,
        }
    return {key: figure for key, figure in figures.items() if figure is not None}


def transfer_figures(found: Sequence[Transfer]) -> dict[str, Figure]:
    """Return the figure ``transfer`` of best learning rates over width and depth; nothing where none were swept."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        return {"transfer": of_transfer.transfer(found)} if found else {}


def forecast_figures(forecasts: Sequence[Forecast]) -> dict[str, Figure]:
    """Return figures of forecasts: ``layers``, ``phase`` and ``depth_scales``; of more than 12 forecasts 12 are drawn.

    Raises ValueError where theory covers none of them.
    """
    import matplotlib

    drawn, left_out = theory.looks(forecasts)
    if not drawn:
        raise ValueError("theory covers none of these networks: there is nothing to draw. Leave mode.figures out.")
    with matplotlib.rc_context(STYLE):
        return {
            "layers": theory.layers(drawn, left_out),
            "phase": theory.phase(drawn, left_out),
            "depth_scales": theory.scales(drawn, left_out),
        }


def save(figures: Mapping[str, Figure], directory: str | Path, formats: Sequence[str] = ("png",)) -> dict[str, Path]:
    """Write figures; return the paths of the files by file name (``loss.png``).

    PNG, SVG and PDF hold the alternative text too.
    """
    import matplotlib

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    described = {"png": "Description", "svg": "Description", "pdf": "Subject"}
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    paths = {}
    with matplotlib.rc_context(STYLE):
        for name, figure in figures.items():
            for kind in formats:
                metadata: dict[str, Any] = {**undated.get(kind, {})}
                if kind in described:
                    metadata[described[kind]] = figure.get_label()
                paths[f"{name}.{kind}"] = path = directory / f"{name}.{kind}"
                if kind == "png":
                    _write_png(figure, path, metadata)
                else:
                    figure.savefig(path, metadata=metadata or None)
    return paths


def _write_png(figure: Figure, path: Path, metadata: dict[str, Any]) -> None:
    """Write the pixels of ``savefig``, which draws a figure with a layout engine twice: for the layout, then anew."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    dpi = figure.dpi
    figure.dpi = matplotlib.rcParams["savefig.dpi"]
    try:
        FigureCanvasAgg(figure).print_png(path, metadata=metadata)
    finally:
        figure.dpi = dpi
