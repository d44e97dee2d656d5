"""Forecasts: theory of a network before any training, how far its signals reach, and which scheme suits it better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from weightinit.activations import Activation
from weightinit.arrays import stream
from weightinit.laws import Law
from weightinit.meanfield import (
    CriticalPoint,
    DepthScales,
    Stability,
    critical_point,
    depth_scales,
    second_moment,
    signal_stability,
)
from weightinit.nn import Moments, Network, Prediction
from weightinit.nn.layers import BatchNorm, GroupNorm, LayerNorm, Sum
from weightinit.schemes import AutoInit, Critical, Ruled, Scheme

SAMPLES = 64
PLAIN = "gradient_std"  # what gradients are followed by where one layer follows the other


@dataclass(frozen=True)
class Growth:
    """Change of a mean square on its way through the hidden layers; NaN where it is unknown.

    ``total``: the last value over the first; ``per_layer``: the factor of one of ``layers`` (geometric mean);
    ``uniform``: whether every layer has the same factor.
    """

    total: float
    per_layer: float
    uniform: bool

    @classmethod
    def of(cls, squares: Sequence[float], layers: int) -> Growth:
        """Return the growth of mean squares, given in the order in which ``layers`` are passed one after the other."""
        factors = [after / before if before else 0.0 for before, after in pairwise(squares)]
        total = math.prod(factors) if squares else math.nan
        uniform = all(abs(factor - following) <= 1e-3 * factor for factor, following in pairwise(factors))
        return cls(total, total ** (1 / max(layers, 1)), uniform)

    @property
    def log_rms(self) -> float:
        """Change of the logarithm of the root of the mean square."""
        return math.log(self.total) / 2 if self.total != 0 else -math.inf


@dataclass(frozen=True)
class Alternative:
    """Scheme that suits a network better: the ``overrides`` that choose it, and the ``stability`` it has there."""

    overrides: str
    stability: Stability


@dataclass(frozen=True)
class Forecast:
    """Theory of one network at initialization.

    ``names``: the choices by group; ``shape``: of the network; ``activation``: its first; ``layers``: the predictions
    of the pre-activations in its hidden layers; ``signal``: growth of the activations from the first hidden layer to
    the last; ``transmitted``: their mean square in the last over that of the inputs; ``gradient``: growth at
    pre-activations from the last hidden layer back to the first; ``stability``: what these two amount to. In the last
    hidden layer: ``family`` of the weights' law; ``sigma_w2``, fan_in times the variance of a weight; ``sigma_b2``,
    variance of a bias; ``limit``: the second moment at which pre-activations of such layers settle; ``scales``: phase
    and depths there, None where the limit is infinite; ``critical``: the point between order and chaos for this
    activation and sigma_b2, if there is one that signals stay at. ``expansion``: factor by which a small relative
    change of the first hidden layer's mean square grows until the last; beyond 1, networks of finite width stray from
    this forecast. ``reason``: why no theory applies; numbers are then NaN and None.
    ``better``: a scheme with more stability at this depth, if this one is not stable and another is, or is at least
    trainable where this one is not. ``normed``: whether norms stand on the residual branches. ``depth``: number of
    hidden layers with weights, or of residual blocks. ``batch_normed``: whether norms over samples stand on the trunk.
    ``waits``: whether the readout starts at zero, so that gradients reach the layers before it from the second step on;
    ``gradient`` is then theirs once the readout has moved.
    """

    names: Mapping[str, str]
    shape: str
    activation: Activation | None
    layers: tuple[Prediction, ...] = field(repr=False)
    signal: Growth
    transmitted: float
    gradient: Growth
    stability: Stability
    family: str
    sigma_w2: float
    sigma_b2: float
    limit: float
    scales: DepthScales | None
    critical: CriticalPoint | None
    expansion: float
    reason: str
    better: Alternative | None
    normed: bool = False
    depth: int = 0
    batch_normed: bool = False
    waits: bool = False

    @property
    def residual(self) -> bool:
        """Whether the signal is followed from block to block of a residual network."""
        return any(layer.layer.startswith("block/") for layer in self.layers)

    @property
    def alike(self) -> float:
        """Correlation of two positions of a sample behind the last of the layers that have some; else NaN."""
        known = [layer.moments.position_correlation for layer in self.layers]
        return next((alike for alike in reversed(known) if not math.isnan(alike)), math.nan)


def forecast(network: Network, scheme: Scheme, inputs: Moments, names: Mapping[str, str], *, seed: int = 0) -> Forecast:
    """Return the forecast of a network that ``scheme`` initializes, for data of ``inputs``.

    ``names``: of the choices, by group; ``seed``: of the draw that tells the laws of a scheme without a rule.
    Raises ValueError for a network that the scheme can't initialize.
    """
    laws = _laws(scheme, network, seed, inputs.second_moment)
    expected = _course(network, inputs, laws)
    layers = expected.layers
    last = _last_with_weights(network)
    # Fixed points and the critical line are those of equal layers, one after the other.
    plain = network.gradient_quantity == "gradient_std"
    sigma_w2, sigma_b2 = _variances(network, laws, last) if plain else (math.nan, math.nan)
    phi = next(iter(network.activations), None)
    known = None if math.isnan(sigma_w2) else phi
    scales = _scales(known, sigma_w2, sigma_b2, layers[0].moments.second_moment) if known else None
    norms = {(type(step.layer), step.on_trunk) for step in network.walk()}
    return Forecast(
        names=names,
        shape=network.shape,
        activation=phi,
        layers=layers,
        signal=expected.signal,
        transmitted=expected.transmitted,
        gradient=expected.gradient,
        stability=expected.stability,
        family=laws[f"{last}/weight"].family,
        sigma_w2=sigma_w2,
        sigma_b2=sigma_b2,
        limit=math.nan if scales is None else scales.q,
        scales=None if scales is None or math.isinf(scales.q) else scales,
        critical=_critical(known, sigma_b2) if known else None,
        expansion=_expansion(layers, known, sigma_b2) if known and plain else math.nan,
        reason=expected.reason,
        normed=any((kind, False) in norms for kind in (LayerNorm, BatchNorm, GroupNorm)),
        depth=_depth(network),
        batch_normed=(BatchNorm, True) in norms and not network.trunk[-1].name.startswith("block/"),
        waits=_moved(network, laws) is not laws and expected.gradient.total > 0,
        better=_better(network, inputs, laws, sigma_b2, expected.stability),
    )


def _depth(network: Network) -> int:
    """Return the number of hidden layers with weights, or of residual blocks."""
    blocks = sum(isinstance(step.layer, Sum) and step.on_trunk for step in network.walk())
    return blocks or sum(site.weight is not None for site in network.trunk)


def _last_with_weights(network: Network) -> str:
    names = [site.name for site in network.sites if site.weight is not None]
    return next((name for name in reversed(names) if name != "output"), "output")


@dataclass(frozen=True)
class _Course:
    """Part of a forecast that its network and the laws of its weights decide."""

    layers: tuple[Prediction, ...]
    signal: Growth
    transmitted: float
    gradient: Growth
    stability: Stability
    reason: str


def _course(network: Network, inputs: Moments, laws: Mapping[str, Law]) -> _Course:
    predictions = network.expect(inputs, laws)
    first: dict[str, Prediction] = {}
    last_of: dict[str, Prediction] = {}
    for prediction in predictions:
        if prediction.quantity:
            first.setdefault(prediction.layer, prediction)
            last_of[prediction.layer] = prediction
    trunk = [site.name for site in network.trunk]
    layers = tuple(first[name] for name in trunk)
    residual = any(isinstance(step.layer, Sum) for step in network.walk())
    between = max(_depth(network) - (not residual), 0)
    signal = Growth.of([last_of[name].moments.second_moment for name in trunk], between)
    sizes = {site.name: 1 for site in network.trunk}
    if network.gradient_quantity == "backward_norm":
        sizes = {site.name: math.prod(site.shape) for site in network.trunk}
    moved = _moved(network, laws)
    back = predictions if moved is laws else network.expect(inputs, moved)
    gradients = {
        p.layer: p.gradient.second_moment * sizes[p.layer] for p in back[::-1] if p.quantity and p.layer in sizes
    }
    gradient = Growth.of([gradients[name] for name in reversed(trunk)], between)
    last = last_of[trunk[-1]].moments.second_moment if trunk else math.nan
    stability = signal_stability(math.sqrt(last), signal.log_rms, gradient.log_rms, between)
    reason = predictions[-1].moments.reason or predictions[0].gradient.reason
    return _Course(layers, signal, last / inputs.second_moment, gradient, stability, reason)


def _moved(network: Network, laws: Mapping[str, Law]) -> Mapping[str, Law]:
    """Return the laws with a readout that starts at zero as it is after a first step: it lets gradients through."""
    for spec in network.weights:
        if spec.position == "output" and spec.role == "weight" and laws[spec.name].second_moment == 0:
            return {**laws, spec.name: Law("normal", 0.0, 1 / math.sqrt(spec.fans.fan_in))}
    return laws


def _laws(scheme: Scheme, network: Network, seed: int, second_moment: float) -> Mapping[str, Law]:
    """Return the laws of the weights. A scheme without a rule tells them by a draw; one that needs data gets noise."""
    if isinstance(scheme, Ruled):
        return scheme.rule_for(network, second_moment).laws(network)
    noise = stream(seed, "forecast").standard_normal((1, SAMPLES, network.inputs)) * math.sqrt(second_moment)
    drawn = scheme(network, [seed], noise.astype(network.dtype))
    return drawn.laws_of(0)


def _variances(network: Network, laws: Mapping[str, Law], layer: str) -> tuple[float, float]:
    """Return sigma_w2 and sigma_b2 of a layer, NaN where its laws are unknown."""
    weight, bias = (laws.get(f"{layer}/{role}", Law("constant", 0.0, 0.0)) for role in ("weight", "bias"))
    if not (weight.known and bias.known) or weight.mean != 0.0:
        return math.nan, math.nan
    (fan_in,) = (spec.fans.fan_in for spec in network.weights if spec.name == f"{layer}/weight")
    return fan_in * weight.second_moment, bias.second_moment


def _expansion(layers: Sequence[Prediction], activation: Activation, sigma_b2: float) -> float:
    """Return the product, over all hidden layers but the last, of d log E[z²] of the next layer / d log E[z²]."""
    step = 1e-3
    product = 1.0
    for layer, following in pairwise(layers):
        q = layer.moments.second_moment
        if not 0 < q < math.inf:
            return math.nan
        up, down = (second_moment(q * math.exp(sign * step), activation) for sign in (1, -1))
        if not 0 < down <= up < math.inf:
            return math.nan
        share = 1.0 - sigma_b2 / following.moments.second_moment
        product *= share * math.log(up / down) / (2 * step)
    return product


@lru_cache(maxsize=256)
def _scales(activation: Activation, sigma_w2: float, sigma_b2: float, start: float) -> DepthScales | None:
    try:
        return depth_scales(activation, sigma_w2, sigma_b2, start=start)
    except ValueError:  # moments that don't exist for this activation
        return None


@lru_cache(maxsize=64)
def _critical(activation: Activation, sigma_b2: float) -> CriticalPoint | None:
    """Return the critical point, if there is one that signals stay at."""
    try:
        point = critical_point(activation, sigma_b2=sigma_b2)
    except ValueError:
        return None
    return point if point is not None and point.holds else None


def _level_branches(network: Network) -> tuple[str, dict[str, Law]] | None:
    """Return the override that makes the branches of a residual network small enough, and the laws that it means."""
    names = [spec.name for spec in network.constants if spec.name.endswith("/branch_scale")]
    if not names:
        return None
    value = float(
        f"{math.sqrt(0.4 / len(names)):.2g}"
    )  # the stream then grows by exp(.4) in all, which counts as level
    return f"architecture.branch_scale={value:g}", {name: Law("constant", value, 0.0) for name in names}


def _better(
    network: Network, inputs: Moments, laws: Mapping[str, Law], sigma_b2: float, stability: Stability
) -> Alternative | None:
    """Return a scheme that is stable on this network or, where none is and the present one is lost, trainable."""
    if stability.label in ("stable", "unknown"):
        return None
    schemes: dict[str, Ruled] = {"scheme=critical": Critical(), "scheme=autoinit": AutoInit()}
    if sigma_b2 > 0:
        schemes = {f"scheme=critical scheme.sigma_b2={sigma_b2:.6g}": Critical(sigma_b2=sigma_b2)} | schemes
    found = []
    scale = _level_branches(network)
    if scale is not None:
        found.append(Alternative(scale[0], _course(network, inputs, {**laws, **scale[1]}).stability))
    for overrides, scheme in schemes.items():
        try:
            theirs = scheme.rule_for(network, inputs.second_moment).laws(network)
        except ValueError:  # this network has no such point
            continue
        found.append(Alternative(overrides, _course(network, inputs, theirs).stability))
    stable = [candidate for candidate in found if candidate.stability.label == "stable"]
    trainable = [candidate for candidate in found if candidate.stability.trainable and not stability.trainable]
    return next(iter(stable + trainable), None)


def layers_words(depth: float, layer: str = "layer") -> str:
    """Return a finite depth in whole layers, as many as are certain: ``about 8 layers``, ``not one layer``."""
    whole = math.floor(depth)
    return f"about {whole:.10g} {layer}{'s' * (whole > 1)}" if whole else f"not one {layer}"
