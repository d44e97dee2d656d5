"""Forecasts: what theory says of a network before any training, how far signals reach, and what would be better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from weightinit.activations import Activation
from weightinit.arrays import stream
from weightinit.laws import Law
from weightinit.meanfield import CriticalPoint, DepthScales, critical_point, depth_scales
from weightinit.nn import Moments, Network, Prediction
from weightinit.schemes import AutoInit, Critical, Ruled, Scheme

# A signal that keeps its rms within this factor through the network is called stable, as is its gradient.
STABLE = 10.0
SAMPLES = 64


@dataclass(frozen=True)
class Growth:
    """How a mean square goes through the hidden layers: ``whole``, its last value over its first on its way, and
    ``step``, the factor of one layer (geometric mean); ``level``: every layer has the same factor. NaN: unknown."""

    whole: float
    step: float
    level: bool

    @classmethod
    def of(cls, squares: Sequence[float]) -> Growth:
        """That of mean squares in the order in which they are passed."""
        factors = [after / before if before else 0.0 for before, after in pairwise(squares)]
        whole = math.prod(factors) if squares else math.nan
        level = all(abs(one - other) <= 1e-3 * one for one, other in pairwise(factors))
        return cls(whole, whole ** (1 / max(len(factors), 1)), level)

    @property
    def fate(self) -> str:
        """One word: stable, vanishes, explodes, unknown; of the root of the mean square."""
        if math.isnan(self.whole):
            return "unknown"
        if 1 / STABLE <= math.sqrt(self.whole) <= STABLE:
            return "stable"
        return "vanishes" if self.whole < 1 else "explodes"


@dataclass(frozen=True)
class Forecast:
    """What theory expects of one network at initialization.

    ``names``: the choices by group; ``shape``: of the network; ``activation``: its first; ``layers``: the predictions
    for its hidden layers, of their pre-activations; ``signal``: of the activations, from the first hidden layer to the
    last; ``left``: their mean square in the last over that of the inputs; ``gradient``: at pre-activations, from the
    last hidden layer back to the first. In the last hidden layer: ``family`` of the weights' law; ``sigma_w2``, fan_in
    times the variance of a weight; ``sigma_b2``, variance of a bias; ``scales``: where layers of these settle;
    ``critical``: the point between order and chaos for this activation and sigma_b2, where there is one that signals
    stay at. NaN and None where no theory applies. ``better``: what to type for a scheme that is stable at this depth,
    where this one is not.
    """

    names: Mapping[str, str]
    shape: str
    activation: Activation | None
    layers: tuple[Prediction, ...] = field(repr=False)
    signal: Growth
    left: float
    gradient: Growth
    family: str
    sigma_w2: float
    sigma_b2: float
    scales: DepthScales | None
    critical: CriticalPoint | None
    better: str | None

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.layers)

    @property
    def fate(self) -> str:
        """One word or two: stable, vanishes, explodes; of the signal first, else of the gradient."""
        return _fate(self.signal, self.gradient)


def forecast(network: Network, scheme: Scheme, inputs: Moments, names: Mapping[str, str], *, seed: int = 0) -> Forecast:
    """Return what theory expects of a network that ``scheme`` initializes, for data of ``inputs``; trains nothing.

    ``names``: what to call the choices, by group; ``seed``: of the draw that tells the laws of a scheme without a rule.
    Raises ValueError for a network that the scheme can't initialize.
    """
    laws = _laws(scheme, network, seed, inputs.second_moment)
    activations, layers = _hidden(network.expect(inputs, laws))
    signal, gradient = _growths(activations, layers)
    last = layers[-1].layer if layers else "output"
    sigma_w2, sigma_b2 = _variances(network, laws, last)
    phi = next(iter(network.activations), None)
    theory = phi is not None and not math.isnan(sigma_w2)
    return Forecast(
        names=names,
        shape=network.shape,
        activation=phi,
        layers=layers,
        signal=signal,
        left=activations[-1].moments.second_moment / inputs.second_moment if activations else math.nan,
        gradient=gradient,
        family=laws[f"{last}/weight"].family,
        sigma_w2=sigma_w2,
        sigma_b2=sigma_b2,
        scales=_scales(phi, sigma_w2, sigma_b2, layers[0].moments.second_moment) if theory else None,
        critical=_critical(phi, sigma_b2) if theory else None,
        better=_better(network, inputs, sigma_b2) if _fate(signal, gradient) not in ("stable", "unknown") else None,
    )


def _hidden(predictions: Sequence[Prediction]) -> tuple[tuple[Prediction, ...], tuple[Prediction, ...]]:
    """Of the hidden layers the predictions of activations, and those of pre-activations."""
    activations = tuple(p for p in predictions if p.quantity == "activation")
    names = {p.layer for p in activations}
    return activations, tuple(p for p in predictions if p.quantity == "preactivation" and p.layer in names)


def _growths(activations: Sequence[Prediction], layers: Sequence[Prediction]) -> tuple[Growth, Growth]:
    """Of the signal forward, and of the gradient backward."""
    signal = Growth.of([p.moments.second_moment for p in activations])
    return signal, Growth.of([p.gradient.second_moment for p in layers[::-1]])


def _fate(signal: Growth, gradient: Growth) -> str:
    if signal.fate == "stable" and gradient.fate in ("vanishes", "explodes"):
        return f"gradient {gradient.fate}"
    return signal.fate


def _laws(scheme: Scheme, network: Network, seed: int, second_moment: float) -> Mapping[str, Law]:
    """The laws of the weights: of a scheme without a rule only a draw tells. One that looks at data sees noise."""
    if isinstance(scheme, Ruled):
        return scheme.rule_for(network, second_moment).laws(network)
    noise = stream(seed, "forecast").standard_normal((1, SAMPLES, network.inputs)) * math.sqrt(second_moment)
    return {name: own[0] for name, own in scheme(network, [seed], noise.astype(network.dtype)).laws.items()}


def _variances(network: Network, laws: Mapping[str, Law], layer: str) -> tuple[float, float]:
    """sigma_w2 and sigma_b2 of a layer, NaN where its laws say nothing."""
    weight, bias = (laws.get(f"{layer}/{role}", Law("constant", 0.0, 0.0)) for role in ("weight", "bias"))
    if not (weight.known and bias.known) or weight.mean != 0.0:
        return math.nan, math.nan
    (fan_in,) = (spec.fans.fan_in for spec in network.weights if spec.name == f"{layer}/weight")
    return fan_in * weight.second_moment, bias.second_moment


@lru_cache(maxsize=256)
def _scales(activation: Activation, sigma_w2: float, sigma_b2: float, start: float) -> DepthScales | None:
    try:
        return depth_scales(activation, sigma_w2, sigma_b2, start=start)
    except ValueError:  # moments that don't exist for this activation
        return None


@lru_cache(maxsize=64)
def _critical(activation: Activation, sigma_b2: float) -> CriticalPoint | None:
    """The critical point, unless signals drift off it: such a one is critical on paper only."""
    try:
        point = critical_point(activation, sigma_b2=sigma_b2)
    except ValueError:
        return None
    return point if point is not None and point.holds else None


@lru_cache(maxsize=64)
def _better(network: Network, inputs: Moments, sigma_b2: float) -> str | None:
    """A scheme for this network with which signal and gradient are stable, as it is typed; None where there is none."""
    schemes: dict[str, Ruled] = {"scheme=critical": Critical(), "scheme=autoinit": AutoInit()}
    if sigma_b2 > 0:
        schemes = {f"scheme=critical scheme.sigma_b2={sigma_b2:.6g}": Critical(sigma_b2=sigma_b2)} | schemes
    for words, scheme in schemes.items():
        try:
            laws = scheme.rule_for(network, inputs.second_moment).laws(network)
        except ValueError:  # this network has no such point
            continue
        if _fate(*_growths(*_hidden(network.expect(inputs, laws)))) == "stable":
            return words
    return None
