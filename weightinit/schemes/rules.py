"""Rules: the basic schemes and the defaults of other libraries.

A rule draws by ``weightinit.initializers`` and declares the law of the draw. Its options are checked when it is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

import numpy as np

from weightinit import initializers
from weightinit.arrays import Array
from weightinit.fans import Fans
from weightinit.initializers import Bounds, Distribution, Mode, Preserve, SirenLayer
from weightinit.laws import Law
from weightinit.nn.network import Network
from weightinit.nn.weights import WeightSpec
from weightinit.schemes.base import Rule

WRITTEN: Final = "the weights are written down, not drawn"
_EXAMPLE: Final = WeightSpec("hidden/1/weight", (2, 2), Fans(2, 2), "weight", "hidden")


@dataclass(frozen=True)
class _Basic(Rule):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.draw(_EXAMPLE, np.random.default_rng(0))  # raises what the initializer says of its options


@dataclass(frozen=True)
class VarianceScaling(_Basic):
    """Variance ``scale / fan``: Xavier, He, Glorot and LeCun are its numbers. ``scale`` or ``gain``, never both."""

    scale: float | None = None
    gain: float | None = None
    mode: Mode = "fan_in"
    distribution: Distribution = "normal"

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return initializers.variance_scaling(
            rng,
            spec.shape,
            scale=self.scale,
            gain=self.gain,
            mode=self.mode,
            distribution=self.distribution,
            dtype=np.float64,
            fans=spec.fans,
        )

    def law(self, spec: WeightSpec) -> Law:
        std = initializers.variance_scaling_std(spec.fans, scale=self.scale, gain=self.gain, mode=self.mode)
        return _centred_law(self.distribution, std)


@dataclass(frozen=True)
class Normal(_Basic):
    """N(mean, std²) in every layer."""

    mean: float = 0.0
    std: float = 1.0

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return initializers.normal(rng, spec.shape, mean=self.mean, std=self.std, dtype=np.float64)

    def law(self, spec: WeightSpec) -> Law:
        return Law("normal", float(self.mean), float(self.std))


@dataclass(frozen=True)
class Random(_Basic):
    """Plain small random numbers, N(0, std²) in every layer."""

    std: float = 0.01

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return initializers.random(rng, spec.shape, std=self.std, dtype=np.float64)

    def law(self, spec: WeightSpec) -> Law:
        return Law("normal", 0.0, float(self.std))


@dataclass(frozen=True)
class Uniform(_Basic):
    """U(low, high) in every layer."""

    low: float = -1.0
    high: float = 1.0

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return initializers.uniform(rng, spec.shape, low=self.low, high=self.high, dtype=np.float64)

    def law(self, spec: WeightSpec) -> Law:
        low, high = float(self.low), float(self.high)
        return Law("uniform", (low + high) / 2, (high - low) / math.sqrt(12), (low, high))


@dataclass(frozen=True)
class TruncatedNormal(_Basic):
    """A truncated normal in every layer; the words are those of ``initializers.truncated_normal``."""

    mean: float = 0.0
    std_before: float | None = None
    std_after: float | None = None
    sigma_bounds: Bounds | None = None
    absolute_bounds: Bounds | None = None

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return initializers.truncated_normal(
            rng,
            spec.shape,
            mean=self.mean,
            std_before=self.std_before,
            std_after=self.std_after,
            sigma_bounds=self.sigma_bounds,
            absolute_bounds=self.absolute_bounds,
            dtype=np.float64,
        )

    def law(self, spec: WeightSpec) -> Law:
        return _truncated_law(
            self.mean,
            *initializers.truncation(
                self.mean, self.std_before, self.std_after, self.sigma_bounds, self.absolute_bounds
            ),
        )


@dataclass(frozen=True)
class Constant(_Basic):
    """One value for every weight: all units of a layer are the same, and stay so."""

    value: float = 0.01

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return initializers.constant(rng, spec.shape, value=self.value, dtype=np.float64)

    def law(self, spec: WeightSpec) -> Law:
        value = float(self.value)
        return Law("constant", value, 0.0, (value, value))


@dataclass(frozen=True)
class Orthogonal(_Basic):
    """Haar orthogonal matrices times ``gain``; ``preserve`` lengths (isometry) or the rms of a unit (rms)."""

    gain: float = 1.0
    preserve: Preserve = "isometry"

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return initializers.orthogonal(rng, spec.shape, gain=self.gain, preserve=self.preserve, dtype=np.float64)

    def law(self, spec: WeightSpec) -> Law:
        rows, columns = math.prod(spec.shape[:-1]), spec.shape[-1]
        largest = self.gain * initializers.orthogonal_factor(rows, columns, self.preserve)
        return Law("orthogonal", 0.0, largest / math.sqrt(max(rows, columns)), (-largest, largest))


@dataclass(frozen=True)
class Identity(_Basic):
    """``gain`` times the identity: every unit hands on one input.

    The weights are not drawn: mean and std of their law are exact, its family is unknown.
    """

    gain: float = 1.0

    name: ClassVar[str] = "identity"
    needs: ClassVar[tuple[str, ...]] = ("no_convolutions",)

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return initializers.identity(rng, spec.shape, gain=self.gain, dtype=np.float64)

    def law(self, spec: WeightSpec) -> Law:
        share = min(spec.shape) / math.prod(spec.shape)
        std = self.gain * math.sqrt(share * (1 - share))
        return Law("unknown", self.gain * share, std, (0.0, float(self.gain)), WRITTEN)


@dataclass(frozen=True)
class Sparse(_Basic):
    """``nonzero`` incoming weights of each unit from N(0, std²), the others zero.

    Theory takes a unit's sum for Gaussian, which for few terms is nearly so: of 15 at relu the correlation after four
    layers is .024 below theory's (2,000 networks), of 60 a quarter of that.
    """

    nonzero: int = 15
    std: float = 1.0

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return initializers.sparse(rng, spec.shape, nonzero=self.nonzero, std=self.std, dtype=np.float64)

    def law(self, spec: WeightSpec) -> Law:
        return Law("sparse", 0.0, self.std * math.sqrt(min(1.0, self.nonzero / spec.fans.fan_in)))


@dataclass(frozen=True)
class Siren(_Basic):
    """The layers of a SIREN, whose activation is sin(omega z): U(±1/fan_in), then U(±sqrt(6/fan_in)/omega)."""

    omega: float = 30.0

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        layer = _siren_layer(spec)
        return initializers.siren(rng, spec.shape, layer=layer, omega=self.omega, dtype=np.float64, fans=spec.fans)

    def law(self, spec: WeightSpec) -> Law:
        bound = initializers.siren_bound(spec.fans.fan_in, layer=_siren_layer(spec), omega=self.omega)
        return Law("uniform", 0.0, bound / math.sqrt(3), (-bound, bound))


# Other libraries' defaults


@dataclass(frozen=True)
class _LibraryDefault(Rule):
    bias_std: float = field(default=0.0, init=False)  # the library decides on the biases too


@dataclass(frozen=True)
class PyTorchLinear(_LibraryDefault):
    """``torch.nn.Linear`` as it comes: weights and biases from U(±1/sqrt(fan_in)).

    PyTorch writes it ``kaiming_uniform_(a=sqrt(5))``; of He's variance 2/fan_in a sixth is left.
    """

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return initializers.variance_scaling(
            rng, spec.shape, scale=1 / 3, distribution="uniform", dtype=np.float64, fans=spec.fans
        )

    def law(self, spec: WeightSpec) -> Law:
        return _centred_law("uniform", initializers.variance_scaling_std(spec.fans, scale=1 / 3))

    draw_bias, bias_law = draw, law


@dataclass(frozen=True)
class KerasDense(_LibraryDefault):
    """``keras.layers.Dense`` as it comes: Glorot's uniform, zero biases."""

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return initializers.glorot_uniform(rng, spec.shape, dtype=np.float64, fans=spec.fans)

    def law(self, spec: WeightSpec) -> Law:
        return _centred_law("uniform", initializers.variance_scaling_std(spec.fans, mode="fan_avg"))


@dataclass(frozen=True)
class SklearnMLP(_LibraryDefault):
    """``sklearn.neural_network.MLPClassifier`` and ``MLPRegressor`` as they come: weights and biases from
    U(±sqrt(6 / (fan_in + fan_out))), or from sqrt(2 / ...) with the activation that scikit-learn calls logistic.

    ``logistic``: the second of the two; a network of sigmoids takes it by itself.
    """

    logistic: bool = False

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return initializers.variance_scaling(
            rng,
            spec.shape,
            scale=self._scale,
            mode="fan_avg",
            distribution="uniform",
            dtype=np.float64,
            fans=spec.fans,
        )

    def law(self, spec: WeightSpec) -> Law:
        return _centred_law("uniform", initializers.variance_scaling_std(spec.fans, scale=self._scale, mode="fan_avg"))

    draw_bias, bias_law = draw, law

    def rule_for(self, network: Network, second_moment: float = 1.0) -> Rule:
        sigmoids = any(activation.name == "sigmoid" for activation in network.activations)
        return replace(self, logistic=self.logistic or sigmoids)

    @property
    def _scale(self) -> float:
        return 1 / 3 if self.logistic else 1.0


@dataclass(frozen=True)
class FlaxDense(_LibraryDefault):
    """``flax.linen.Dense`` and ``flax.nnx.Linear`` as they come: LeCun's normal, truncated at two standard deviations
    and widened to variance 1/fan_in; zero biases.
    """

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        return initializers.lecun_normal(
            rng, spec.shape, distribution="truncated_normal", dtype=np.float64, fans=spec.fans
        )

    def law(self, spec: WeightSpec) -> Law:
        return _centred_law("truncated_normal", initializers.variance_scaling_std(spec.fans))


def _centred_law(distribution: Distribution, std: float) -> Law:
    match distribution:
        case "normal":
            return Law("normal", 0.0, std)
        case "uniform":
            return Law("uniform", 0.0, std, (-math.sqrt(3) * std, math.sqrt(3) * std))
    return _truncated_law(0.0, *initializers.truncation(std_after=std))


def _truncated_law(mean: float, sigma: float, low: float, high: float) -> Law:
    shift, std = initializers.truncated_moments(low, high)
    return Law("truncated_normal", mean + sigma * shift, sigma * std, (mean + sigma * low, mean + sigma * high))


def _siren_layer(spec: WeightSpec) -> SirenLayer:
    return "first" if spec.position == "input" else "hidden"
