"""What theory says of a network before any training: how far signals and gradients reach, and what would be better."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from runner import parts
from runner.data.known import Facts, facts
from runner.text import Column, number, setting, table
from weightinit.activations import Activation
from weightinit.laws import Law
from weightinit.meanfield import CriticalPoint, DepthScales, critical_point, depth_scales
from weightinit.nn import Moments, Network
from weightinit.schemes import Ruled, Scheme
from weightinit.statistics import STATISTICS

WIDTH = 100
# A signal that keeps its rms within this factor through the network is called stable, as is its gradient.
STABLE = 10.0


@dataclass(frozen=True)
class Forecast:
    """What theory expects of one network at initialization.

    ``names``: the choices by group; ``shape``: of the network; ``depth``: its hidden layers; ``activation``: its first.
    ``reach``: rms of the activations in the last hidden layer over that in the first; ``forward``: factor of their
    mean square from layer to layer (geometric mean); ``gradient``: rms of the gradient at the first hidden layer's
    pre-activations over that at the last; ``backward``: factor of its mean square, a layer back. ``sigma_w2``,
    ``sigma_b2``: fan_in times the variance of a weight, and variance of a bias, in the last hidden layer; ``scales``:
    where layers of these settle; ``critical``: the point between order and chaos for this activation and sigma_b2,
    where there is one that signals stay at. NaN and None where no theory applies.
    """

    names: Mapping[str, str]
    shape: str
    depth: int
    activation: Activation | None
    reach: float
    forward: float
    gradient: float
    backward: float
    sigma_w2: float
    sigma_b2: float
    scales: DepthScales | None
    critical: CriticalPoint | None

    @property
    def fate(self) -> str:
        """One word or two: stable, vanishes, explodes; of the signal first, else of the gradient."""
        for name, ratio in (("", self.reach), ("gradient ", self.gradient)):
            if math.isnan(ratio):
                return "unknown"
            if not 1 / STABLE <= ratio <= STABLE:
                return name + ("vanishes" if ratio < 1 else "explodes")
        return "stable"


def forecast(config: Mapping[str, Any], choices: Mapping[str, str]) -> Forecast:
    """What theory expects of the network that a configuration of plain values describes, on its data.

    Trains nothing; loads the data only if it is not built in. Raises ValueError as a trial of the configuration does.
    """
    data = facts(config["data"]) or _measured(config["data"])
    dtype = config["training"]["dtype"]
    sizes = {"inputs": data.inputs, "outputs": data.outputs}
    network = parts.make_network(config["architecture"], config["activation"], dtype=dtype, **sizes)
    laws = _laws(parts.make_scheme(config["scheme"], network), network, config["seed"], data.second_moment)
    moments = Moments(data.second_moment, correlation=data.correlation)
    hidden = [p for p in network.expect(moments, laws) if p.quantity == "activation"]
    last = hidden[-1].layer if hidden else "output"
    sigma_w2, sigma_b2 = _variances(network, laws, last)
    phi = next(iter(network.activations), None)
    theory = phi is not None and not math.isnan(sigma_w2)
    scales = _scales(phi, sigma_w2, sigma_b2) if theory else None
    critical = _critical(phi, sigma_b2) if theory else None
    steps = max(len(hidden) - 1, 1)
    ends = (hidden[0], hidden[-1]) if hidden else None
    reach = _ratio(ends[1].moments.second_moment, ends[0].moments.second_moment) if ends else math.nan
    gradient = _ratio(ends[0].gradient.second_moment, ends[1].gradient.second_moment) if ends else math.nan
    return Forecast(
        names=choices,
        shape=network.shape,
        depth=len(hidden),
        activation=phi,
        reach=math.sqrt(reach),
        forward=reach ** (1 / steps),
        gradient=math.sqrt(gradient),
        backward=gradient ** (1 / steps),
        sigma_w2=sigma_w2,
        sigma_b2=sigma_b2,
        scales=scales,
        critical=critical,
    )


def _measured(values: Mapping[str, Any]) -> Facts:
    """The facts of a data set, from its first training samples."""
    dataset = parts.make_dataset(values)
    x = dataset.x_train[:256]
    correlation = float(STATISTICS["activation_correlation"].function(x[None])[0])
    return Facts(dataset.inputs, dataset.outputs, float((x**2).mean()), correlation)


def _laws(scheme: Scheme, network: Network, seed: int, second_moment: float) -> Mapping[str, Law]:
    """The laws of the weights: of a scheme without a rule only a draw tells."""
    if isinstance(scheme, Ruled):
        return scheme.rule_for(network, second_moment).laws(network)
    return {name: own[0] for name, own in scheme(network, [seed]).laws.items()}


def _variances(network: Network, laws: Mapping[str, Law], layer: str) -> tuple[float, float]:
    """sigma_w2 and sigma_b2 of a layer, NaN where its laws say nothing."""
    weight, bias = (laws.get(f"{layer}/{role}", Law("constant", 0.0, 0.0)) for role in ("weight", "bias"))
    if not (weight.known and bias.known) or weight.mean != 0.0:
        return math.nan, math.nan
    (fan_in,) = (spec.fans.fan_in for spec in network.weights if spec.name == f"{layer}/weight")
    return fan_in * weight.second_moment, bias.second_moment


def _ratio(one: float, other: float) -> float:
    return one / other if other else math.nan if math.isnan(one) else 0.0


@lru_cache(maxsize=256)
def _scales(activation: Activation, sigma_w2: float, sigma_b2: float) -> DepthScales | None:
    try:
        return depth_scales(activation, sigma_w2, sigma_b2)
    except ValueError:  # moments that don't exist for this activation
        return None


@lru_cache(maxsize=64)
def _critical(activation: Activation, sigma_b2: float) -> CriticalPoint | None:
    """The critical point, unless signals drift off it: such a one is critical on paper only."""
    try:
        point = critical_point(activation, sigma_b2=sigma_b2)
    except ValueError:
        return None
    holds = point is not None and (point.q_star.stable or point.q_star.extent is not None)
    return point if holds else None


def run_text(forecast: Forecast) -> str:
    """The forecast of one network, in words that a newcomer understands."""
    if math.isnan(forecast.reach):
        return f"{_title(forecast)}\nno theory covers this scheme: it depends on data, or its weights have a mean"
    lines = [
        _title(forecast),
        f"forward    {_growth('activations', forecast.forward)} from layer to layer: the last of {forecast.depth} "
        f"hidden layers has {number(forecast.reach)} of the first one's rms",
        f"backward   {_growth('gradients', forecast.backward)} from layer to layer on the way back: the first hidden "
        f"layer gets {number(forecast.gradient)} of the last one's rms",
    ]
    if forecast.scales is not None:
        lines += _scale_lines(forecast, forecast.scales)
    lines += [f"advice     {' '.join(_advice(forecast))}"]
    return "\n".join(part for line in lines for part in textwrap.wrap(line, WIDTH, subsequent_indent=" " * 11) or [""])


def sweep_text(forecasts: Sequence[Forecast]) -> str:
    """One table of several forecasts: a row each."""
    groups = ("scheme", "activation", "data", "architecture")
    varying = [name for name in groups if len({forecast.names[name] for forecast in forecasts}) > 1] or ["scheme"]
    columns = [Column(name, [forecast.names[name] for forecast in forecasts], left=True) for name in varying]
    columns.append(Column("network", [forecast.shape for forecast in forecasts], left=True))
    for header, values in (
        ("forward\na layer", [forecast.forward for forecast in forecasts]),
        ("rms last\n/ first", [forecast.reach for forecast in forecasts]),
        ("backward\na layer", [forecast.backward for forecast in forecasts]),
        ("gradient\nfirst/last", [forecast.gradient for forecast in forecasts]),
        ("sigma_w2", [forecast.sigma_w2 for forecast in forecasts]),
        ("critical", [_critical_w2(forecast) for forecast in forecasts]),
        ("trainable\ndepth", [_trainable(forecast) for forecast in forecasts]),
    ):
        columns.append(Column(header, [_cell(value) for value in values]))
    columns.append(Column("fate", [forecast.fate for forecast in forecasts], left=True))
    notes = [
        "forward, backward: factor of the mean square from layer to layer; critical: the sigma_w2 = fan_in Var[w] that",
        "this activation needs at this sigma_b2; trainable depth: about 6 xi_c layers (Schoenholz et al. 2017)",
    ]
    return "\n".join([*table(columns, broken=True), *notes])


def _title(forecast: Forecast) -> str:
    names = [forecast.names.get(group) for group in ("scheme", "activation")]
    return " · ".join(name for name in [*names, forecast.shape, forecast.names.get("data"), "forecast"] if name)


def _growth(what: str, factor: float) -> str:
    if factor > 0 and abs(math.log(factor)) < 1e-3:
        return f"the mean square of {what} stays as it is"
    return f"the mean square of {what} is multiplied by {number(factor, 5)}"


def _scale_lines(forecast: Forecast, scales: DepthScales) -> list[str]:
    phase = {
        "ordered": "ordered: inputs grow alike with depth, and gradients vanish",
        "critical": "critical, between order and chaos: signals and gradients reach farthest",
        "chaotic": "chaotic: inputs that are alike part with depth, and gradients explode",
    }[scales.phase]
    settles = "grow without bound" if math.isinf(scales.q) else f"settle at second moment {number(scales.q)}"
    return [
        f"phase      {phase} (chi {number(scales.chi, 5)}); sigma_w2 {number(forecast.sigma_w2, 5)}, "
        f"sigma_b2 {setting(forecast.sigma_b2) or '0'}",
        f"depth      pre-activations {settles}; two inputs end at correlation {number(scales.c)}; "
        f"xi_q {_cell(scales.xi_q)}, xi_c {_cell(scales.xi_c)} layers",
    ]


def _advice(forecast: Forecast) -> list[str]:
    """What to do, in a few sentences."""
    trainable, depth = _trainable(forecast), forecast.depth
    if forecast.fate != "stable":
        what, _, fate = forecast.fate.rpartition(" ")
        said = f"Don't train it so: the {what or 'signal'} {fate} over {depth} layers."
    elif math.isnan(trainable) or depth <= trainable:
        said = f"Keep it: signal and gradient stay within a factor of {STABLE:g} through {depth} layers."
    else:
        reach = f"about {_cell(trainable)} layers only (6 xi_c)"
        said = f"It may train, yet inputs stay apart for {reach}, and it has {depth}."
    if forecast.activation is None or math.isnan(forecast.sigma_w2):
        return [said]
    name, best = forecast.names.get("activation", "this activation"), _critical_w2(forecast)
    if not math.isnan(best):
        if abs(forecast.sigma_w2 / best - 1) < 1e-3:
            return [said, f"Its weights are at the critical point of {name} already."]
        return [said, f"Critical for {name} at this sigma_b2 is sigma_w2 = {best:.6g}: {_command(best)}"]
    said += f" {name} has no critical point at this sigma_b2 that signals would stay at."
    point = critical_point(forecast.activation)
    if point is None:
        return [said, "Nor has it one with biases: add normalization, or take another activation."]
    return [said, f"With biases it has: {_command(point.sigma_w2)} scheme.bias_std={math.sqrt(point.sigma_b2):.4g}"]


def _command(sigma_w2: float) -> str:
    return f"scheme=variance_scaling scheme.scale={sigma_w2:.6g}"


def _critical_w2(forecast: Forecast) -> float:
    return math.nan if forecast.critical is None else forecast.critical.sigma_w2


def _trainable(forecast: Forecast) -> float:
    return math.nan if forecast.scales is None else forecast.scales.trainable_depth


def _cell(value: float) -> str:
    """A number for a table: infinity where a scale has no end."""
    return "any" if math.isinf(value) else number(value)
