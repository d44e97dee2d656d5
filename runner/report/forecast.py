"""Forecasts on the terminal: one in words that a newcomer understands, several in a table."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from runner.report.signals import signal_words
from runner.text import Column, number, setting, table
from weightinit.forecasting import Forecast, Growth, layers_words
from weightinit.meanfield import DepthScales, critical_point

WIDTH = 100
EXPANSIVE = 2.0  # expansion beyond which a forecast says so
NORMED = 1.05  # growth of the gradient's mean square by layer from which a forecast speaks of batch norm
ALIKE = 0.95  # correlation of positions from which they carry next to nothing of their own


def run_text(forecast: Forecast) -> str:
    """Return the forecast of one network in words."""
    if not forecast.layers:
        return f"{_title(forecast)}\nno hidden layers: nothing to forecast"
    if forecast.stability.label == "unknown":
        return f"{_title(forecast)}\nno theory: {forecast.reason or 'the signal is no number'}"
    lines = [_title(forecast), *_growth_lines(forecast)]
    if forecast.scales is not None:
        lines += _scale_lines(forecast, forecast.scales)
    elif math.isinf(forecast.limit):
        lines.append(
            f"limit      pre-activations grow without bound, so there is no phase and no depth scale; sigma_w2 "
            f"{number(forecast.sigma_w2, 5)}, sigma_b2 {setting(forecast.sigma_b2) or '0'}"
        )
    if forecast.expansion > EXPANSIVE:
        lines.append(
            f"caution    these numbers are of infinite width. A small change of the first layer's mean square grows "
            f"{number(forecast.expansion, 2)}-fold until the last: single networks stray far from them"
        )
    lines += _critical_lines(forecast)
    if forecast.batch_normed and forecast.gradient.per_layer > NORMED:
        lines.append(
            "norms      batch norm keeps the signal level, and each layer's norm multiplies the gradient (Yang et al. "
            f"2019): its mean square by {number(forecast.gradient.per_layer)} a layer, by "
            f"{number(forecast.gradient.total)} in all"
        )
    if forecast.alike > ALIKE:
        lines.append(
            f"positions  become alike: two of one sample correlate at {number(forecast.alike)} behind the last of them"
        )
    lines.append(f"advice     {' '.join(_advice(forecast))}")
    return "\n".join(part for line in lines for part in textwrap.wrap(line, WIDTH, subsequent_indent=" " * 11) or [""])


def sweep_text(forecasts: Sequence[Forecast]) -> str:
    """Return a table of several forecasts, a row each."""
    groups = ("scheme", "activation", "data", "architecture")
    varying = [name for name in groups if len({forecast.names[name] for forecast in forecasts}) > 1] or ["scheme"]
    columns = [Column(name, [forecast.names[name] for forecast in forecasts], left=True) for name in varying]
    columns.append(Column("network", [forecast.shape for forecast in forecasts], left=True))
    for header, values in (
        ("forward\na layer", [forecast.signal.per_layer for forecast in forecasts]),
        ("rms last\n/ first", [math.sqrt(forecast.signal.total) for forecast in forecasts]),
        ("backward\na layer", [forecast.gradient.per_layer for forecast in forecasts]),
        ("gradient\nfirst/last", [math.sqrt(forecast.gradient.total) for forecast in forecasts]),
        ("sigma_w2", [forecast.sigma_w2 for forecast in forecasts]),
        ("critical", [_critical_w2(forecast) for forecast in forecasts]),
    ):
        columns.append(Column(header, [_cell(value) for value in values]))
    columns.append(Column("trainable\ndepth", [_depth(_trainable(forecast)) for forecast in forecasts]))
    columns.append(
        Column("signal", [signal_words(forecast.stability, brief=True) for forecast in forecasts], left=True)
    )
    notes = [
        "forward, backward: factor of the mean square per layer; critical: the sigma_w2 = fan_in Var[w] at which this",
        "activation is critical for this sigma_b2; trainable depth: about 6 xi_c layers (Schoenholz et al. 2017);",
        "signal: change of the activations' mean square per layer, or of the gradient where it is lost",
    ]
    return "\n".join([*table(columns, broken=True), *notes])


def _title(forecast: Forecast) -> str:
    names = [forecast.names.get(group) for group in ("scheme", "activation")]
    return " · ".join(name for name in [*names, forecast.shape, forecast.names.get("data"), "forecast"] if name)


def _growth_lines(forecast: Forecast) -> list[str]:
    if forecast.depth == 1:
        return [
            "forward    the mean square of the hidden layer's activations is "
            f"{_power(forecast.transmitted)} times the input's"
        ]
    layer, layers = ("block", "residual blocks") if forecast.residual else ("layer", "hidden layers")
    what = "the residual stream" if forecast.residual else "activations"
    return [
        f"forward    {_step(forecast.signal, layer)} the mean square of {what}: the last of {forecast.depth} "
        f"{layers} has {_power(forecast.transmitted)} times the input's",
        f"backward   {_step(forecast.gradient, layer)} the mean square of gradients on their way back: the first "
        f"{layers[:-1]} gets {_power(forecast.gradient.total)} times the last one's"
        + (", from the second step on: the readout starts at zero" if forecast.waits else ""),
    ]


def _step(growth: Growth, layer: str) -> str:
    """Return the change at a layer or block as a subject and a verb."""
    start = f"each {layer}" if growth.uniform else f"on average, a {layer}"
    for factor, verb in ((1.0, "keeps"), (0.5, "halves"), (2.0, "doubles")):
        if abs(growth.per_layer / factor - 1) < 1e-3:
            return f"{start} {verb}"
    return f"{start} multiplies by {number(growth.per_layer, 5)}"


def _power(value: float) -> str:
    """Return a share, also as a power of 2 where it is far from 1."""
    power = math.log2(value) if value > 0 else 0.0
    near = "= " if abs(power - round(power)) < 1e-3 else "about "
    return number(value) + (f" ({near}2^{power:.0f})" if abs(power) >= 10 else "")


def _scale_lines(forecast: Forecast, scales: DepthScales) -> list[str]:
    rate = abs(math.log(scales.chi)) if scales.chi > 0 else math.inf
    reach = f", by a factor e in {number(1 / rate)} layers" if 0 < rate < math.inf else ""
    phase = {
        "ordered": f"ordered: inputs become alike with depth, and gradients vanish{reach}",
        "critical": "critical, between order and chaos: signals and gradients reach farthest",
        "chaotic": f"chaotic: similar inputs separate with depth, and gradients explode{reach}",
    }[scales.phase]
    if math.isinf(scales.xi_c):
        trainable = "any depth can be trained: differences between inputs fade no faster than a power of depth"
    else:
        trainable = (
            f"{layers_words(scales.trainable_depth)} can be trained: 6 xi_c, where differences between inputs "
            f"change by a factor e in xi_c = {number(scales.xi_c)} layers"
        )
    return [
        f"phase      {phase} (chi {number(scales.chi, 5)}); sigma_w2 {number(forecast.sigma_w2, 5)}, "
        f"sigma_b2 {setting(forecast.sigma_b2) or '0'}",
        f"depth      {trainable}",
        f"limit      pre-activations settle at second moment {number(scales.q)} (xi_q {_cell(scales.xi_q)}), two "
        f"inputs at correlation {number(scales.c)}",
    ]


def _critical_lines(forecast: Forecast) -> list[str]:
    """Return the critical point of this activation, and the overrides that choose it."""
    phi, sigma_b2 = forecast.activation, forecast.sigma_b2
    if phi is None or math.isnan(forecast.sigma_w2):
        return []
    best = _critical_w2(forecast)
    if not math.isnan(best):
        here = f"sigma_w2 = {best:.6g}, sigma_b2 = {sigma_b2:.6g}"
        if abs(forecast.sigma_w2 / best - 1) < 1e-3:
            return [f"critical   these weights are at the critical point of {phi.name}: {here}"]
        return [f"critical   for {phi.name}: {here}: scheme=critical scheme.sigma_b2={sigma_b2:.6g}"]
    point = critical_point(phi)
    if point is None:
        return [f"critical   {phi.name} has no critical point at which signals stay"]
    elsewhere = f"sigma_w2 = {point.sigma_w2:.6g}, sigma_b2 = {point.sigma_b2:.6g}"
    return [f"critical   for {phi.name} with other biases only: {elsewhere}: scheme=critical"]


def _advice(forecast: Forecast) -> list[str]:
    """Return what to do, in a few sentences."""
    trainable, depth, label = _trainable(forecast), forecast.depth, forecast.stability.label
    layers = "blocks" if forecast.residual else "layers"
    if label == "stable":
        if math.isnan(trainable) or depth <= trainable:
            return ["Keep it: signal and gradient are stable over this depth."]
        few = layers_words(trainable, layers.removesuffix("s"))
        return [f"May train: signal and gradient are stable, but inputs stay distinct for {few} of {depth} only."]
    better = forecast.better
    if forecast.stability.trainable and forecast.normed:
        return [f"May train: the stream {label} over {depth} {layers}, and norms keep what each branch sees level."]
    if forecast.stability.trainable:
        advice = [f"May train, but more slowly: the signal {label} over {depth} {layers}."]
    else:
        lost = label if label.startswith("gradient") else f"signal {label}"
        advice = [f"Not trainable as configured: the {lost} over {depth} {layers}."]
    if better is None and forecast.stability.trainable:
        return [*advice, "`critical` and `autoinit` are not stable either."]
    if better is None and forecast.batch_normed:
        return [*advice, "No scheme changes what batch norm does: use fewer layers, or residual blocks."]
    if better is None:
        return [*advice, "`critical` and `autoinit` do not help either: add normalization or use another activation."]
    if better.stability.label == "stable":
        what = "What is stable:" if better.overrides.startswith("architecture.") else "A stable scheme is"
        return [*advice, f"{what} {better.overrides}"]
    return [*advice, f"No scheme is stable here; with {better.overrides} the signal only {better.stability.label}"]


def _critical_w2(forecast: Forecast) -> float:
    return math.nan if forecast.critical is None else forecast.critical.sigma_w2


def _trainable(forecast: Forecast) -> float:
    return math.nan if forecast.scales is None else forecast.scales.trainable_depth


def _depth(value: float) -> str:
    """Return a depth in whole layers, as many as can be trained; ``any`` for an infinite one."""
    return _cell(value) if math.isnan(value) or math.isinf(value) else f"{math.floor(value):.10g}"


def _cell(value: float) -> str:
    """Return a number for a table; ``any`` for an infinite depth."""
    return "any" if math.isinf(value) else number(value)
