"""Figures of a run and of a sweep: theory as lines, measurement as points, and a caption that says how to read each.

Each figure's label (``figure.get_label()``) is its alternative text. matplotlib is imported when the first figure is
drawn; nothing here needs a display, opens a window or keeps a figure in global state.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weightinit.arrays import Array

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 12  # groups that colour, marker and line style still tell apart
INK, GREY = "#222222", "#5f5f5f"
# Okabe & Ito's palette without black (ink) and yellow (too pale for a line on white).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a "$" in a name is a "$"
    "axes.edgecolor": "#9a9a9a",
    "axes.facecolor": "white",
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "xtick.color": "#9a9a9a",
    "ytick.color": "#9a9a9a",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "svg.hashsalt": "weightinit",
}
NAMES = {
    "activation_rms": "activation rms",
    "gradient_std": "gradient std",
    "weight_std": "weight std",
    "weight": "weights",
    "preactivation": "pre-activations",
    "gradient": "gradients",
}


@dataclass(frozen=True)
class _Group:
    """Runs drawn alike: their label, their keys, those that diverged, and the look of line and points."""

    label: str
    keys: tuple[str, ...] = ("",)
    diverged: frozenset[str] = frozenset()
    color: str = PALETTE[0]
    marker: str = "o"
    line: str = "-"
    fill: str = PALETTE[0]


def run_figures(name: str, curves: pd.DataFrame, arrays: Mapping[str, Array]) -> dict[str, Figure]:
    """Figures of the run called ``name``: ``loss``, ``layers``, ``training_layers`` and ``histograms``.

    ``curves``: the run's rows (columns step, quantity, layer, value); ``arrays``: its Outcome's, of which
    ``histogram/QUANTITY/LAYER`` (bin centres, counts) are drawn. A figure without any data is absent.
    """
    import matplotlib

    curves = curves.assign(key="")
    with matplotlib.rc_context(STYLE):
        figures = {
            "loss": _run_loss(name, curves),
            "layers": _run_layers(name, curves),
            "training_layers": _training_layers(name, curves),
            "histograms": _histograms(name, arrays),
        }
    return {key: figure for key, figure in figures.items() if figure is not None}


def sweep_figures(
    runs: pd.DataFrame, curves: pd.DataFrame, *, group: Sequence[str] = ("group",)
) -> dict[str, Figure]:
    """Figures of a sweep: ``loss``, ``layers``, ``gradients`` and ``accuracy``, one colour per group of runs.

    ``runs`` (one row a run) and ``curves`` (columns key, step, quantity, layer, value) as comparisons take them;
    ``group``: the columns of ``runs`` whose values tell the groups apart, all but the seed of what was swept. Of more
    than 12 groups 12 are drawn, evenly spread in the order of the sweep. A figure without any data is absent.

    Raises ValueError if ``runs`` lacks a column of ``group``.
    """
    import matplotlib

    if missing := [column for column in group if column not in runs.columns]:
        raise ValueError(f"group must name columns of runs; got {', '.join(missing)}, which runs does not have")
    runs = runs[runs["fate"] != "failed"]
    groups, left_out = _groups(runs, group)
    if not groups:
        return {}
    shared = [c for c in ("scheme", "activation", "network", "data") if c in runs.columns and c not in group]
    subject = " · ".join(str(runs[c].iloc[0]) for c in shared if runs[c].nunique(dropna=False) == 1)
    curves = curves[curves["key"].isin([key for one in groups for key in one.keys])]
    with matplotlib.rc_context(STYLE):
        figures = {
            "loss": _sweep_loss(subject, curves, groups, left_out),
            "layers": _sweep_layers(subject, curves, groups, left_out, "activation_rms"),
            "gradients": _sweep_layers(subject, curves, groups, left_out, "gradient_std"),
            "accuracy": _accuracy(subject, runs, groups, left_out),
        }
    return {key: figure for key, figure in figures.items() if figure is not None}


def save(figures: Mapping[str, Figure], directory: str | Path, formats: Sequence[str] = ("png",)) -> dict[str, Path]:
    """Paths of the files written, by file name (``loss.png``); each carries its alternative text where the format can."""
    import matplotlib

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    description = {"png": "Description", "svg": "Description", "pdf": "Subject"}
    undated: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    paths = {}
    with matplotlib.rc_context(STYLE):
        for name, figure in figures.items():
            for kind in formats:
                metadata = {description[kind]: figure.get_label()} if kind in description else {}
                path = paths[f"{name}.{kind}"] = directory / f"{name}.{kind}"
                figure.savefig(path, metadata=(metadata | undated.get(kind, {})) or None)
    return paths


# ---------------------------------------------------------------------------------------------------- one run


def _run_loss(name: str, curves: pd.DataFrame) -> Figure | None:
    train, validation = _table(curves, "train_loss"), _table(curves, "validation_loss")
    score_name = next((q for q in ("validation_accuracy", "validation_r2") if (curves["quantity"] == q).any()), None)
    if train.empty and validation.empty:
        return None
    figure, axes = _canvas(1 + (score_name is not None), (9.5 if score_name else 7, 3.9))
    blue, orange = PALETTE[:2]
    diverged = ""
    if not train.empty:
        raw, smooth = train[""], _smooth(train)[""]
        axes[0].plot(raw.index, _finite(raw), color=blue, lw=0.7, alpha=0.35, label="train, each batch")
        axes[0].plot(smooth.index, _finite(smooth), color=blue, lw=2, label="train, running median")
        if not np.isfinite(raw.iloc[-1]):
            diverged = f" Diverged at step {raw.index[-1]}."
    if not validation.empty:
        axes[0].plot(validation.index, _finite(validation[""]), "o-", ms=5, lw=0.8, color=orange, label="validation")
    losses = np.concatenate([train.to_numpy().ravel(), validation.to_numpy().ravel()])
    _log_axis(axes[0], losses[losses <= 100 * losses[0]] if np.isfinite(losses[0]) else losses)
    axes[0].set(title="loss", xlabel="training step")
    if diverged:
        _crosses(axes[0], train)
    if score_name:
        score = _table(curves, score_name)[""]
        axes[1].plot(score.index, _finite(score), "o-", ms=5, lw=0.8, color=orange)
        label = score_name.replace("_", " ").replace("r2", "R²")
        axes[1].set(title=label, xlabel="training step", ylim=(max(-1.0, min(0.0, _finite(score).min())) - 0.03, 1.03))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
    last = _finite(train[""] if not train.empty else validation[""])
    caption = (
        "A loss that stays where it started means that nothing is learned; "
        "a validation loss that turns up while the training loss falls, that the network overfits." + diverged
    )
    start, end = (_number(v, 2) for v in (last[np.isfinite(last)][[0, -1]] if np.isfinite(last).any() else (math.nan,) * 2))
    return _finish(figure, f"{name}: loss", caption, f"Loss by training step, from {start} to {end}.{diverged}")


def _run_layers(name: str, curves: pd.DataFrame) -> Figure | None:
    quantities = [q for q in ("activation_rms", "gradient_std", "weight_std") if not _initial(curves, q).empty]
    if not quantities:
        return None
    figure, axes = _canvas(len(quantities), (1.2 + 3.4 * len(quantities), 3.9))
    edges, story = set(), []
    for axis, quantity in zip(axes, quantities, strict=True):
        new, sentences = _layer_panel(axis, curves, [_Group("", color=INK, fill=PALETTE[0])], quantity, bands=True)
        edges |= new
        story += [f"{NAMES[quantity]} {sentence}" for sentence in sentences]
        axis.set_title(NAMES[quantity])
    _legend(figure, [], theory=not _initial(curves, "predicted_activation_rms").empty, band=True)
    caption = (
        "On a log axis a straight slope is one factor at every layer: activations that fall vanish, that rise explode, "
        "and so do gradients read from right to left. The band is where 95% of single networks of this width lie."
    )
    return _finish(figure, f"{name}: layers at initialization", caption + "".join(sorted(edges)), "; ".join(story) + ".")


def _training_layers(name: str, curves: pd.DataFrame) -> Figure | None:
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    tables = {q: _table(curves, q, columns="layer") for q in ("activation_rms", "gradient_std")}
    tables = {q: table for q, table in tables.items() if len(table) > 1}
    if not tables:
        return None
    layers = _network_order(layer for table in tables.values() for layer in table.columns)
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.93, len(layers)))
    figure, axes = _canvas(len(tables), (1.4 + 4.2 * len(tables), 3.9))
    for axis, (quantity, table) in zip(axes, tables.items(), strict=True):
        _log_axis(axis, table.to_numpy())
        for layer, color in zip(layers, colors, strict=True):
            if layer in table:
                axis.plot(table.index, _finite(table[layer]), ".-", color=color, lw=1.3, ms=5 if len(table) <= 60 else 0)
        axis.set(title=NAMES[quantity], xlabel="training step")
    depth = ScalarMappable(Normalize(0.5, len(layers) + 0.5), ListedColormap(colors))
    bar = figure.colorbar(depth, ax=list(axes), label="layer", aspect=30, pad=0.02)
    ticks, labels = _layer_ticks(layers)
    bar.set_ticks(ticks, labels=labels)
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)  # type: ignore[operator]
    caption = "Dark is the first layer, yellow the output. Layers that stay close together learn at one pace."
    return _finish(
        figure,
        f"{name}: layers through training",
        caption,
        f"{' and '.join(NAMES[q] for q in tables).capitalize()} of {len(layers)} layers by training step.",
    )


def _histograms(name: str, arrays: Mapping[str, Array]) -> Figure | None:
    found = [key.split("/", 2)[1:] for key in arrays if key.startswith("histogram/")]
    quantities = [q for q in ("weight", "preactivation", "gradient") if any(q == quantity for quantity, _ in found)]
    layers = _network_order(layer for quantity, layer in found if quantity in quantities)
    if not layers:
        return None
    layers = [layers[i] for i in _spread_evenly(len(layers), 6)]
    figure, axes = _canvas(len(layers), (1.2 + 1.6 * len(layers), 0.9 + 1.35 * len(quantities)), rows=len(quantities))
    story = []
    for row, (quantity, color) in enumerate(zip(quantities, PALETTE, strict=False)):
        for column, layer in enumerate(layers):
            axis = axes[row * len(layers) + column]
            std = _histogram(axis, arrays.get(f"histogram/{quantity}/{layer}"), color)
            if row == 0:
                axis.set_title(layer.replace("hidden/", "layer "), fontsize=9.5)
            if column in (0, len(layers) - 1):
                story.append(f"{NAMES[quantity]} of {layer} {std}")
        axes[row * len(layers)].set_ylabel(NAMES[quantity])
    caption = (
        "Filled: measured; line: the normal distribution of the same mean and standard deviation. Each panel has its "
        "own scale: compare shapes by eye and widths by the numbers."
    )
    alt = f"Histograms at initialization, standard deviations: {'; '.join(story)}."
    return _finish(figure, f"{name}: distributions at initialization", caption, alt)


def _histogram(axis: Axes, array: Array | None, color: str) -> str:
    """Draws one histogram; its standard deviation as text."""
    axis.set(yticks=[], xticks=[])
    axis.grid(visible=False)
    axis.spines["left"].set_visible(False)
    centres, counts = np.asarray(array, np.float64) if array is not None else np.zeros((2, 0))
    if not (np.isfinite(centres).all() and np.isfinite(counts).all() and counts.sum() > 0):
        text = "not recorded" if array is None else "not finite"
        axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", fontsize=8.5, color=GREY)
        return text
    weights = counts / counts.sum()
    mean = float(weights @ centres)
    std = math.sqrt(float(weights @ (centres - mean) ** 2))
    if np.count_nonzero(counts) == 1:
        axis.bar([0], [1], width=0.04, color=color)
        axis.set(xlim=(-1, 1), ylim=(0, 1.35), xticks=[0], xticklabels=[_number(mean, 2)])
        text = "all equal"
    else:
        axis.fill_between(centres, weights, step="mid", color=color, alpha=0.45, lw=0)
        low, high = max(centres[0], mean - 4 * std), min(centres[-1], mean + 4 * std)
        x = np.linspace(low, high, 101)
        bin_width = (centres[-1] - centres[0]) / (len(centres) - 1)
        normal = bin_width / (std * math.sqrt(2 * math.pi)) * np.exp(-(((x - mean) / std) ** 2) / 2)
        axis.plot(x, normal, color=INK, lw=1)
        tick = float(f"{0.6 * max(-low, high):.0e}")
        ticks = [t for t in (-tick, 0.0, tick) if low <= t <= high] if low < 0 < high else [mean]
        axis.set(xlim=(low, high), ylim=(0, 1.35 * max(weights.max(), normal.max())))
        axis.set_xticks(ticks, [_number(t, 2) for t in ticks])
        text = f"std {_number(std, 2)}"
    axis.text(0.98, 0.97, text, transform=axis.transAxes, ha="right", va="top", fontsize=8, color=GREY)
    return text


# ---------------------------------------------------------------------------------------------------- a sweep


def _groups(runs: pd.DataFrame, columns: Sequence[str]) -> tuple[list[_Group], str]:
    """The groups to draw, in the order of the sweep, and a sentence on those left out ("" if none)."""
    labels: dict[str, list[str]] = {}
    diverged = frozenset(runs.loc[runs["fate"] == "diverged", "key"])
    for key, values in zip(runs["key"], runs[list(columns)].itertuples(index=False, name=None), strict=True):
        parts = [_value(column, value) for column, value in zip(columns, values, strict=True) if value == value]
        labels.setdefault(" · ".join(parts), []).append(key)
    names = list(labels)
    groups = []
    for number, index in enumerate(_spread_evenly(len(names), SHOWN)):
        turn, color = divmod(number, len(PALETTE))
        keys = tuple(dict.fromkeys(labels[names[index]]))
        groups.append(
            _Group(
                textwrap.shorten(names[index], 44, placeholder=" …") or "all",
                keys,
                diverged & frozenset(keys),
                PALETTE[color],
                MARKERS[color],
                ("-", "--")[turn],
                (PALETTE[color], "white")[turn],
            )
        )
    hidden = len(names) - len(groups)
    return groups, f" {hidden} more groups are left out." if hidden else ""


def _sweep_loss(subject: str, curves: pd.DataFrame, groups: list[_Group], left_out: str) -> Figure | None:
    tables = {quantity: _table(curves, f"{quantity}_loss") for quantity in ("train", "validation")}
    tables = {quantity: table for quantity, table in tables.items() if not table.empty}
    if not tables:
        return None
    figure, axes = _canvas(len(tables), (2.6 + 3.9 * len(tables), 4.1))
    story = {}
    for axis, (quantity, whole) in zip(axes, tables.items(), strict=True):
        drawn, starts, crosses = [], [], []
        for one in groups:
            keys = [key for key in one.keys if key in whole]
            if not keys:
                continue
            table = _completed(whole[keys].dropna(how="all"), one.diverged)
            smooth = _smooth(table) if quantity == "train" else table
            smooth = smooth.iloc[:: -(-len(smooth) // 400)]
            low, middle, high = _over_runs(smooth.to_numpy())
            ms = 4 if len(smooth) <= 40 else 0
            look: dict[str, Any] = {"color": one.color, "ls": one.line, "marker": one.marker, "mfc": one.fill, "ms": ms}
            axis.plot(smooth.index, _finite(middle), lw=1.8, **look)
            if len(keys) > 1:
                axis.fill_between(smooth.index, low, np.minimum(high, 1e300), color=one.color, alpha=0.15, lw=0)
            crosses.append((table[[key for key in keys if key in one.diverged]], one.color))
            drawn += [low, middle, high]
            starts.append(middle[0])
            story[one.label] = _number(middle[-1], 2)
        values = np.concatenate(drawn)
        finite = [start for start in starts if np.isfinite(start)]
        _log_axis(axis, values[values <= 30 * max(finite)] if finite else values)
        for table, color in crosses:
            _crosses(axis, table, color)
        axis.set(title=f"{quantity} loss" + ", running median" * (quantity == "train"), xlabel="training step")
    _legend(figure, groups)
    many, lost = any(len(one.keys) > 1 for one in groups), any(one.diverged for one in groups)
    caption = (
        ("Line: median over the runs of a group; band: the middle 90% of them. " if many else "One run a group. ")
        + "Lower and earlier is better; a line that stays level learns nothing."
        + " A cross ends a run that diverged; from there on it counts as infinite." * lost
        + left_out
    )
    alt = "Loss by training step; at the end " + ", ".join(f"{label} {end}" for label, end in story.items())
    return _finish(figure, _title("Loss", subject), caption, f"{alt}.")


def _sweep_layers(
    subject: str, curves: pd.DataFrame, groups: list[_Group], left_out: str, quantity: str
) -> Figure | None:
    if _initial(curves, quantity).empty:
        return None
    figure, (axis,) = _canvas(1, (8, 4.4))
    edges, sentences = _layer_panel(axis, curves, groups, quantity, bands=len(groups) <= 4)
    axis.set_ylabel(NAMES[quantity])
    theory = not _initial(curves, f"predicted_{quantity}").empty
    many = any(len(one.keys) > 1 for one in groups)
    _legend(figure, groups, theory=theory, band=theory and quantity == "activation_rms" and len(groups) <= 4)
    caption = (
        ("Lines: what theory expects; points: measured" if theory else "Points: measured; thin lines only guide the eye")
        + (" (median over runs; bars: the middle 90%). " if many else ". ")
        + "The axis is logarithmic: level is stable, a slope is one factor at every layer."
        + "".join(sorted(edges))
        + left_out
    )
    name = NAMES[quantity].capitalize()
    return _finish(figure, _title(f"{name} by layer at initialization", subject), caption, f"{name} by layer at initialization: {'; '.join(sentences)}.")


def _accuracy(subject: str, runs: pd.DataFrame, groups: list[_Group], left_out: str) -> Figure | None:
    from scipy.special import stdtrit

    column = next((c for c in ("test_accuracy", "test_r2") if c in runs.columns), None)
    if column is None:
        return None
    scores = runs.drop_duplicates("key").set_index("key")[column]
    name = column.replace("_", " ").replace("r2", "R²")
    figure, (axis,) = _canvas(1, (8, 1.5 + 0.36 * len(groups)))
    story, labels, lowest = [], [], 1.0
    for row, one in enumerate(groups):
        values = scores[list(one.keys)].to_numpy(np.float64)
        values = values[np.isfinite(values)]
        n = len(values)
        labels.append(_label(one))
        if not n:
            story.append(f"{one.label} none")
            continue
        shown = np.maximum(values, -1)  # R² has no lower end: what lies below -1 is drawn there
        lowest = min(lowest, shown.min())
        jitter = row + 0.32 * ((np.arange(n) * 0.618034) % 1 - 0.5) * (n > 1)
        axis.plot(shown, jitter, ls="", marker="o", ms=5, mew=0, color=one.color, alpha=0.25 + 0.5 / math.sqrt(n))
        mean = values.mean()
        half = stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n) if n > 1 else 0.0
        axis.plot([max(mean - half, -1), min(mean + half, 1)], [row, row], color=INK, lw=1.6, solid_capstyle="butt")
        axis.plot([max(mean, -1)], [row], ls="", marker="D", ms=6, mfc="white", mec=INK, mew=1.4)
        story.append(f"{one.label} {mean:.3f}" + f" ± {half:.3f}" * (n > 1))
    pad = max(0.04 * (1 - lowest), 0.004)
    axis.set(xlim=(lowest - pad, 1 + pad), ylim=(len(groups) - 0.4, -0.6), xlabel=name)
    axis.set_yticks(range(len(groups)), labels)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.grid(visible=False, axis="y")
    several = any(len(one.keys) > 1 for one in groups)
    caption = (
        "Dots: single runs; diamond: their mean; bar: 95% interval of the mean (Student's t). Runs that diverged have "
        "no score and are not in the mean."
        if several
        else "One run a group: no interval, and no ranking. Sweep the seed for both."
    )
    return _finish(figure, _title(name.capitalize(), subject), caption + left_out, f"{name.capitalize()}: {', '.join(story)}.")


# ---------------------------------------------------------------------------------------------------- by layer


def _layer_panel(
    axis: Axes, curves: pd.DataFrame, groups: list[_Group], quantity: str, *, bands: bool
) -> tuple[set[str], list[str]]:
    """Draws a statistic by layer; remarks on values that no log axis can show, and a sentence per group."""
    measured, predicted = _initial(curves, quantity), _initial(curves, f"predicted_{quantity}")
    scatter = _initial(curves, "predicted_scatter") if quantity == "activation_rms" else predicted.iloc[:0]
    drawn = []
    for one in groups:
        keys = [key for key in one.keys if key in measured]
        table = measured[keys].dropna(how="all")
        if len(table):
            layers = list(table.index)
            theory, spread = (_column(source, keys, layers) for source in (predicted, scatter))
            drawn.append((one, layers, _over_runs(table.to_numpy()), theory, np.where(spread < np.inf, spread, 0.0)))
    bounds = [values for _, _, measured_, theory, _ in drawn for values in (*measured_, theory)]
    if bands:
        bounds += [theory * np.exp(sign * 2 * spread) for _, _, _, theory, spread in drawn for sign in (-1, 1)]
    bottom, top = _log_axis(axis, np.concatenate(bounds))
    longest = max((layers for _, layers, *_ in drawn), key=len)
    edges, sentences = set(), []
    for number, (one, layers, (low, middle, high), theory, spread) in enumerate(drawn):
        x = np.arange(1.0, len(layers) + 1)
        if np.isfinite(theory).any():
            at = x if len(x) > 1 else np.array([0.8, 1.2])
            line, width = (np.broadcast_to(v, at.shape) for v in (theory, np.exp(2 * spread)))
            if bands and spread.any():
                axis.fill_between(at, line / width, line * width, color=one.color, alpha=0.13, lw=0)
            axis.plot(at, np.maximum(line, bottom), color=one.color, ls=one.line, lw=1.6)
        x = x + (number - (len(drawn) - 1) / 2) * min(0.07, 0.5 / len(drawn)) * (len(longest) <= 20)
        look: dict[str, Any] = {"marker": one.marker, "mec": one.color if one.fill == "white" else one.fill}
        look |= {"ms": 6.5 if len(longest) <= 20 else 4, "color": one.fill, "mfc": one.fill, "clip_on": False, "zorder": 3}
        shown = (middle > 0) & np.isfinite(middle)
        if not np.isfinite(theory).any():
            axis.plot(x[shown], middle[shown], color=one.color, ls=one.line, lw=0.8, alpha=0.6)
        axis.vlines(x[shown], np.maximum(low, bottom)[shown], np.minimum(high, top)[shown], color=one.color, lw=1.2)
        axis.plot(x[shown], middle[shown], ls="", **look)
        for where, y, marker, remark in (
            (middle == 0, 0.025, "v", " Triangles at the lower edge: exactly zero."),
            (np.isinf(middle), 0.975, "^", " Triangles at the upper edge: not finite."),
        ):
            if where.any():
                edge = look | {"marker": marker, "mfc": "white", "mec": one.color}
                axis.plot(x[where], np.full(where.sum(), y), ls="", transform=axis.get_xaxis_transform(), **edge)
                edges.add(remark)
        ends = f"from {_number(middle[0], 2)} at {layers[0]} to {_number(middle[-1], 2)} at {layers[-1]}"
        sentences.append(f"{one.label} {ends}".strip())
    if all(layers == longest for _, layers, *_ in drawn):
        axis.set_xticks(*_layer_ticks(longest))
        axis.set_xlabel("layer")
    else:
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_xlabel("layer (the last point of a line is the output)")
    axis.set_xlim(0.5, len(longest) + 0.5)
    return edges, sentences


def _layer_ticks(layers: Sequence[str]) -> tuple[list[int], list[str]]:
    """Positions (from 1) and labels of at most 12 ticks: every layer, or every so many and the last."""
    count = len(layers)
    every = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, count) if count / step <= 12)
    chosen = [i for i in range(1, count + 1) if i == count or (i % every == 0 and count - i >= every * 0.6)]
    chosen = chosen if chosen[0] == 1 else [1, *chosen]
    return chosen, [layers[i - 1].removeprefix("hidden/").replace("output", "out") for i in chosen]


def _network_order(layers: Iterable[str]) -> list[str]:
    """Distinct layers as they follow in the network: numbers by value, names as they first appear, the output last."""
    distinct = list(dict.fromkeys(layers))
    seen: dict[str, int] = {}
    for layer in distinct:
        for part in layer.split("/"):
            seen.setdefault(part, len(seen))
    parts = {layer: [(0, int(p)) if p.isdecimal() else (1, seen[p]) for p in layer.split("/")] for layer in distinct}
    return sorted(distinct, key=lambda layer: (layer == "output", parts[layer]))


# ---------------------------------------------------------------------------------------------------- numbers


def _table(curves: pd.DataFrame, quantity: str, *, columns: str = "key") -> pd.DataFrame:
    """Values by step (rows) and run or layer (columns); NaN is what was not recorded, inf what was not finite."""
    rows = curves[curves["quantity"] == quantity]
    if columns == "layer":
        rows = rows[rows["layer"] != ""]
    return _pivot(rows, "step", columns)


def _initial(curves: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Values by layer (rows, in the network's order) and run (columns): the probe's rows, else those of step 0."""
    rows = curves[curves["quantity"] == f"init_{quantity}"]
    if rows.empty:
        rows = curves[(curves["quantity"] == quantity) & (curves["step"] == 0)]
    rows = rows[rows["layer"] != ""]
    return _pivot(rows, "layer", "key").reindex(_network_order(rows["layer"].astype(str)))


def _pivot(rows: pd.DataFrame, index: str, columns: str) -> pd.DataFrame:
    names = {name: rows[name].astype(str) for name in (index, columns) if name != "step"}
    rows = rows.assign(value=rows["value"].where(np.isfinite(rows["value"]), np.inf), **names)
    return rows.groupby([index, columns])["value"].first().unstack(columns)


def _column(table: pd.DataFrame, keys: list[str], layers: list[str]) -> Array:
    """Median over ``keys`` at each of ``layers``; NaN where nothing finite is known."""
    found = table.reindex(index=layers, columns=keys).replace(np.inf, np.nan)
    return found.median(axis=1).to_numpy(np.float64)


def _completed(table: pd.DataFrame, diverged: frozenset[str]) -> pd.DataFrame:
    """``table`` with gaps between recorded steps filled in, and infinity after the end of a diverged run."""
    filled = table.interpolate(method="index", limit_area="inside") if table.isna().any(axis=None) else table
    ended = filled.isna() & filled.bfill().isna() & [key in diverged for key in filled.columns]
    return filled.mask(ended, np.inf)


def _smooth(table: pd.DataFrame) -> pd.DataFrame:
    """Running median over 4% of the steps, centred; a value that is not finite stays infinite."""
    window = max(1, len(table) // 25) | 1
    return table.rolling(window, center=True, min_periods=1).median().mask(np.isinf(table), np.inf)


def _over_runs(table: Array) -> tuple[Array, Array, Array]:
    """5%, 50% and 95% quantile over the last axis; NaN is absent, infinity is larger than every number."""
    huge = 1e300  # interpolating between a number and infinity would give NaN
    if table.shape[-1] == 1:
        return (table[:, 0],) * 3
    low, middle, high = np.nanquantile(np.where(np.isinf(table), huge, table), (0.05, 0.5, 0.95), axis=-1)
    return tuple(np.where(q > huge * 1e-10, np.inf, q) for q in (low, middle, high))  # type: ignore[return-value]


def _finite(values: Any) -> Array:
    array = np.asarray(values, np.float64)
    return np.where(np.isfinite(array), array, np.nan)


def _spread_evenly(count: int, most: int) -> list[int]:
    """At most ``most`` of the indices below ``count``, evenly spread, both ends among them."""
    return [round(i) for i in np.linspace(0, count - 1, min(count, most))]


def _number(value: float, digits: int = 6) -> str:
    """``value`` for a reader: plain between 0.001 and 10,000, else in powers of ten."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "not finite"
    exponent = math.floor(math.log10(abs(value)))
    if -3 <= exponent < 4:
        return f"{float(f'{value:.{digits}g}'):.10g}".replace("-", "−")
    mantissa, power = f"{value:.{digits - 1}e}".split("e")
    factor = f"{float(mantissa):g}·".replace("-", "−")
    return factor.removeprefix("1·") + "10" + str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _value(column: str, value: Any) -> str:
    """How a group's label says one swept value: a name alone, anything else with what it is the value of."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if isinstance(value, str) else f"{column.rpartition('.')[2].replace('_', ' ')} {text}"


# ---------------------------------------------------------------------------------------------------- canvas


def _canvas(columns: int, size: tuple[float, float], *, rows: int = 1) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def _finish(figure: Figure, title: str, caption: str, alt: str) -> Figure:
    """``figure`` with its title above, the sentence on how to read it below, and its alternative text as label."""
    width = figure.get_figwidth()
    figure.suptitle(textwrap.fill(title, int(width * 10)), x=0.01, ha="left", fontsize=12, fontweight="bold")
    caption = textwrap.fill(caption, int(width * 15.5))
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=8.5, color=GREY, linespacing=1.35)
    figure.set_label(alt)
    return figure


def _title(text: str, subject: str) -> str:
    return f"{text}: {subject}" if subject else text


def _label(group: _Group) -> str:
    runs, lost = len(group.keys), len(group.diverged)
    counts = [f"{runs} runs"] * (runs > 1) + [f"{lost} diverged" if runs > 1 else "diverged"] * (lost > 0)
    return f"{group.label} ({', '.join(counts)})" if counts else group.label


def _legend(figure: Figure, groups: list[_Group], *, theory: bool = False, band: bool = False) -> None:
    """A legend right of the data: the groups, then what lines, points and bands are."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], color=one.color, ls=one.line, marker=one.marker, mfc=one.fill, mec=one.color, label=_label(one))
        for one in groups
    ]
    if theory:
        handles.append(Line2D([], [], color=INK, lw=1.6, label="theory"))
        handles += [Patch(color=INK, alpha=0.13, lw=0, label="theory ± 2 scatter")] * band
        handles.append(Line2D([], [], color=INK if groups else PALETTE[0], marker="o", ls="", label="measured"))
    figure.legend(handles=handles, loc="outside right upper")


def _log_axis(axis: Axes, values: Array) -> tuple[float, float]:
    """Limits of a log axis that holds the finite positive ``values`` and spans a decade at least, with its ticks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    positive = values[np.isfinite(values) & (values > 0)]
    low, high = (positive.min(), positive.max()) if len(positive) else (0.3, 3.0)
    low, high = max(low, 1e-290), min(high, 1e290)
    pad = max((high / low) ** 0.05, math.sqrt(10 * low / high), 1.15) if high / low < 1e280 else 1e5
    low, high = low / pad, high * pad
    decades = math.log10(high / low)
    axis.set_yscale("log")
    axis.set_ylim(low, high)
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1, 3) if decades < 3 else (1,)))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    return low, high


def _crosses(axis: Axes, table: pd.DataFrame, color: str = INK) -> None:
    """Marks where each diverged run was last finite, at the edge of the axis if it left it."""
    bottom, top = axis.get_ylim()
    for _, run in table.replace(np.inf, np.nan).items():
        if (last := run.last_valid_index()) is not None:
            y = min(max(run[last], bottom), top)
            axis.plot([last], [y], marker="x", ms=8, mew=2, color=color, clip_on=False, zorder=4)
