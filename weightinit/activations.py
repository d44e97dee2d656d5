"""Activation functions with their derivatives and kinks, for arrays of any shape.

Every function works element by element: an element's bits don't depend on the array it stands in. The dtype of the
input is kept (float16, float32, float64), and nothing overflows for finite inputs up to 1e4 in size.

To add one: a function of value, one of slope, a factory, its entry in ``FACTORIES``, and ``conf/activation/NAME.yaml``.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from typing import Any

import numpy as np
from numpy.polynomial import legendre

from weightinit.arrays import Array, aligned, array_module, special_module

INF = math.inf
LARGEST = 1e30  # of a parameter: times an input of 1e4, it is a float32
CUSTOM = "custom_"  # begins the name of a person's own function
CACHED = 32768  # numbers of which a few arrays fit in the cache of a core


@dataclass(frozen=True)
class Activation:
    """An activation phi, its derivative, and where either is not smooth.

    ``kinks``: ascending points where phi or phi' is not smooth; at a kink of phi, phi' is that of one side.
    ``parameters``: the keyword arguments of its factory. ``value(z, out, **parameters)`` writes phi(z) to ``out``,
    which may be ``z``; ``slope(z, a, out, **parameters)`` writes phi'(z), given a = phi(z), to a third array ``out``.
    """

    name: str
    value: Callable[..., None]
    slope: Callable[..., None]
    kinks: tuple[float, ...] = ()
    parameters: Mapping[str, float] = field(default_factory=dict, hash=False)

    def phi(self, z: Array, out: Array | None = None) -> Array:
        """phi(z), elementwise, in the dtype of ``z``; ``out`` may be ``z``."""
        z = _floating(z)
        out = np.empty_like(z) if out is None else out
        self.value(z, out, **self.parameters)
        return out

    def dphi(self, z: Array, out: Array | None = None) -> Array:
        """phi'(z), elementwise, in the dtype of ``z``; ``out`` may be ``z``."""
        z = _floating(z)
        slope = np.empty_like(z)
        self.slope(z, self.phi(z), slope, **self.parameters)
        if out is None:
            return slope
        np.copyto(out, slope)
        return out

    def backward(self, z: Array, a: Array, d_a: Array, out: Array) -> Array:
        """d_a * phi'(z), given a = phi(z). ``out`` may be any of the inputs; a separate array saves a temporary one."""
        slope = _apart(out, z, a, d_a)
        arrays = (z, a, d_a, slope, out)
        # A person's own function gets the arrays as they are.
        for block in [arrays] if self.name.startswith(CUSTOM) else _blocks(*arrays):
            self.slope(block[0], block[1], block[3], **self.parameters)
            np.multiply(block[2], block[3], out=block[4])
        return out


def get(activation: str | Activation | Callable[..., Any], **parameters: Any) -> Activation:
    """Return the activation of a name or of any function of arrays; an Activation as it is.

    ``parameters`` are those of the named factory. A function takes only ``derivative``; without it, the derivative is
    taken numerically (relative error near 1e-12 where the function is smooth on a scale of 0.03 and more) and costs
    six evaluations. Its kinks are found by ``find_kinks``.

    Raises ValueError for an unknown name or a parameter out of range, TypeError for an unknown parameter and for
    what is none of the three.
    """
    if isinstance(activation, Activation):
        if parameters:
            raise TypeError(
                f"an Activation that is already made takes no parameters; got {', '.join(parameters)}. "
                f"Pass the name: get({activation.name!r}, ...)."
            )
        return activation
    if isinstance(activation, str):
        return _named(activation, parameters)
    if not callable(activation):
        raise TypeError(
            f"activation must be a name, an Activation or a function of arrays; got {type(activation).__name__}. "
            f"Names: {', '.join(NAMES)}."
        )
    if unknown := parameters.keys() - {"derivative"}:
        raise TypeError(
            f"a function as activation takes no parameter but derivative; got {', '.join(sorted(unknown))}. "
            "Bind its own with functools.partial."
        )
    return _custom(activation, parameters.get("derivative"))


def _named(name: str, parameters: Mapping[str, Any]) -> Activation:
    if name not in FACTORIES:
        close = get_close_matches(name.lower(), NAMES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"activation must be one of {', '.join(NAMES)}; got {name!r}.{hint}")
    allowed = inspect.signature(FACTORIES[name]).parameters
    for parameter in parameters:
        if parameter not in allowed:
            raise TypeError(f"{name} takes {', '.join(allowed) or 'no parameters'}; got {parameter!r}.")
    return FACTORIES[name](**parameters)


def _custom(function: Callable[..., Any], derivative: Callable[..., Any] | None) -> Activation:
    kinks = find_kinks(function)
    if derivative is not None:
        # A kink of phi shows in both, and not at the same floating-point number.
        kinks += tuple(new for new in find_kinks(derivative) if all(abs(new - old) > _MERGED for old in kinks))
    # The prefix keeps a person's own "relu" apart from the one here, which theory knows in closed form.
    name = CUSTOM + getattr(function, "__name__", type(function).__name__).strip("<>")
    slope = partial(_numerical_slope, function, kinks) if derivative is None else partial(_given_slope, derivative)
    return Activation(name, partial(_given_value, function), slope, tuple(sorted(kinks)))


def linear() -> Activation:
    """phi(z) = z."""
    return Activation("linear", _linear, _linear_slope)


def relu() -> Activation:
    """phi(z) = max(z, 0); phi'(0) = 0 (Nair & Hinton 2010)."""
    return Activation("relu", _relu, _relu_slope, (0.0,))


def leaky_relu(*, slope: float = 0.01) -> Activation:
    """phi(z) = z for z > 0, slope * z below (Maas, Hannun & Ng 2013)."""
    return Activation("leaky_relu", _leaky_relu, _leaky_relu_slope, (0.0,), {"slope": _number("slope", slope)})


def tanh() -> Activation:
    """phi(z) = tanh(z) (LeCun et al. 1998)."""
    return Activation("tanh", _tanh, _tanh_slope)


def scaled_tanh() -> Activation:
    """phi(z) = 1.7159 tanh(2z/3), which maps ±1 to ±1 (LeCun et al. 1998, Efficient BackProp, section 4.4)."""
    return Activation("scaled_tanh", _scaled_tanh, _scaled_tanh_slope)


def sigmoid() -> Activation:
    """phi(z) = 1 / (1 + exp(-z)), the logistic function (Rumelhart, Hinton & Williams 1986)."""
    return Activation("sigmoid", _sigmoid, _sigmoid_slope)


def softplus() -> Activation:
    """phi(z) = log(1 + exp(z)) (Dugas et al. 2001)."""
    return Activation("softplus", _softplus, _softplus_slope)


def softsign() -> Activation:
    """phi(z) = z / (1 + |z|); phi' has a kink at 0 (Bergstra et al. 2009; Glorot & Bengio 2010)."""
    return Activation("softsign", _softsign, _softsign_slope, (0.0,))


def elu(*, alpha: float = 1.0) -> Activation:
    """phi(z) = z for z > 0, alpha (exp(z) - 1) below, alpha > 0 (Clevert, Unterthiner & Hochreiter 2016)."""
    return Activation("elu", _elu, _elu_slope, (0.0,), {"alpha": _number("alpha", alpha, above=0)})


def selu() -> Activation:
    """phi(z) = lambda elu(z), lambda = 1.0507, alpha = 1.6733: mean 0, variance 1 stay so (Klambauer et al. 2017)."""
    return Activation("selu", _selu, _selu_slope, (0.0,))


def gelu() -> Activation:
    """phi(z) = z Phi(z), Phi the normal distribution function (Hendrycks & Gimpel 2016)."""
    return Activation("gelu", _gelu, _gelu_slope)


def gelu_tanh() -> Activation:
    """phi(z) = z/2 (1 + tanh(sqrt(2/pi) (z + 0.044715 z³))), approximates gelu (Hendrycks & Gimpel 2016, section 2)."""
    return Activation("gelu_tanh", _gelu_tanh, _gelu_tanh_slope)


def silu() -> Activation:
    """phi(z) = z sigmoid(z), also called swish (Elfwing, Uchibe & Doya 2018; Ramachandran et al. 2017)."""
    return Activation("silu", _silu, _silu_slope)


def mish() -> Activation:
    """phi(z) = z tanh(softplus(z)) (Misra 2020)."""
    return Activation("mish", _mish, _mish_slope)


def hardtanh() -> Activation:
    """phi(z) = min(max(z, -1), 1) (Collobert 2004)."""
    return Activation("hardtanh", _hardtanh, _hardtanh_slope, (-1.0, 1.0))


def erf() -> Activation:
    """phi(z) = 2/sqrt(pi) * integral of exp(-t²) from 0 to z (Williams 1997, its moments in closed form)."""
    return Activation("erf", _erf, _erf_slope)


def sine(*, frequency: float = 30.0) -> Activation:
    """phi(z) = sin(frequency z), frequency > 0 (Sitzmann et al. 2020, SIREN, where it is omega_0 = 30)."""
    return Activation("sine", _sine, _sine_slope, (), {"frequency": _number("frequency", frequency, above=0)})


FACTORIES: Mapping[str, Callable[..., Activation]] = {
    factory.__name__: factory
    for factory in (
        *(linear, relu, leaky_relu, tanh, scaled_tanh, sigmoid, softplus, softsign, elu, selu),
        *(gelu, gelu_tanh, silu, mish, hardtanh, erf, sine),
    )
}
NAMES = tuple(FACTORIES)


def find_kinks(function: Callable[..., Any]) -> tuple[float, ...]:
    """Ascending points between -15.7 and 16.3 where ``function`` or its derivative jumps, to the digits it allows.

    Each panel on which a polynomial of degree 15 does not fit is halved; what still doesn't fit on a panel of 1e-3
    holds a kink, which is then closed in on, and given as the shortest decimal in the last bracket.

    Raises TypeError where it is not a function from arrays to arrays elementwise; ValueError where it gives NaN or
    infinity, or is nowhere smooth.
    """
    # Rounding is judged against the size of phi here or near 0, for tails may be small differences of large numbers.
    scale = float(np.abs(_evaluate(function, _NODES)).max())
    # Ends without symmetry: no halving lands on a round number, where a kink would hide on the border of two panels.
    edges = np.linspace(-5.0 * math.pi, 6.0 * math.e, 38)
    low, high = _rough(function, scale, edges[:-1], edges[1:])
    while low.size and high[0] - low[0] > 1e-3:
        if low.size > 4096:
            raise ValueError("the function is nowhere smooth: four thousand polynomials of degree 15 don't fit it.")
        middle = (low + high) / 2
        low, high = _rough(function, scale, np.concatenate([low, middle]), np.concatenate([middle, high]))
    kinks: list[float] = []
    for kink in sorted(
        _close_in(function, scale, *bracket) for bracket in zip(low.tolist(), high.tolist(), strict=True)
    ):
        if not kinks or kink - kinks[-1] > _MERGED:
            kinks.append(kink)
    return tuple(kinks)


_MERGED = 1e-3  # kinks nearer than this count as one, found twice

_NODES, _WEIGHTS = legendre.leggauss(16)
# Samples at the nodes -> the last four of the sixteen Legendre coefficients.
_TAIL = (legendre.legvander(_NODES, 15) * _WEIGHTS[:, None] * (np.arange(16) + 0.5))[:, 12:]


def _rough(function: Callable[..., Any], scale: float, low: Array, high: Array) -> tuple[Array, Array]:
    """Return the panels [low, high] on which the function is no polynomial of degree 15, to rounding.

    Samples reach a tenth beyond the panel, because a kink between the last node and the end would not show.
    """
    z = (low + high)[:, None] / 2 + (high - low)[:, None] * 0.55 * _NODES
    values = _evaluate(function, z)
    size = np.maximum(np.abs(values).max(1), scale) + np.abs(z).max(1) * np.ptp(values, 1) / (high - low)
    rough = np.abs(values @ _TAIL).max(1) > 1e-13 * size  # size: what the rounding of phi, and of z, is relative to
    return low[rough], high[rough]


def _close_in(function: Callable[..., Any], scale: float, low: float, high: float) -> float:
    """The kink that shows in the samples of the panel [low, high]."""
    margin = (high - low) / 10
    low, high = low - margin, high + margin
    for _ in range(60):
        middle, margin = (low + high) / 2, (high - low) / 20
        left, right = _rough(function, scale, np.array([low, middle]), np.array([middle, high]))
        if left.size == 2:  # it is where the samples of both halves overlap
            low, high = middle - margin, middle + margin
        elif left.size == 1:
            low, high = max(low, float(left[0]) - margin), min(high, float(right[0]) + margin)
        else:  # below rounding
            break
    middle = (low + high) / 2
    decimals = (round(middle, digits) + 0.0 for digits in range(16))  # + 0.0: no negative zero
    return next((number for number in decimals if low <= number <= high), middle)


def _evaluate(function: Callable[..., Any], z: Array) -> Array:
    try:
        with np.errstate(all="ignore"):
            values = np.broadcast_to(np.asarray(function(z), np.float64), z.shape)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"the function must map an array to an array of its shape, elementwise; it said: {error}. "
            "Write it with NumPy functions (numpy.tanh, not math.tanh; numpy.where, not if)."
        ) from error
    bad = ~np.isfinite(values)
    if bad.any():
        raise ValueError(f"the function must be finite from -16 to 16; got {values[bad][0]} at {z[bad][0]:.4g}.")
    return values


def _floating(z: Any) -> Array:
    array: Array = array_module(z).asarray(z)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _blocks(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Yield ``CACHED`` numbers of each at a time, which all passes over them find in the cache."""
    size = arrays[0].size
    if size <= CACHED or not all(type(x) is np.ndarray and x.flags.c_contiguous for x in arrays):
        yield arrays
        return
    rows = [x.reshape(-1) for x in arrays]
    for start in range(0, size, CACHED):
        yield tuple(x[start : start + CACHED] for x in rows)


def _apart(out: Array, *inputs: Array) -> Array:
    """Return ``out``, or an array like it where it shares memory with an input that is still to be read."""
    return np.empty_like(out) if any(np.may_share_memory(out, x) for x in inputs) else out


def _number(name: str, value: Any, *, above: float = -INF) -> float:
    allowed = "a finite number" if above == -INF else f"a finite number above {above:g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be {allowed}; got {value!r}.")
    if not above < value < INF:
        raise ValueError(f"{name} must be {allowed}; got {value}.")
    if abs(value) > LARGEST:
        raise ValueError(f"{name} must be at most {LARGEST:g} in size; got {value}.")
    return float(value)


# Values and slopes: each writes to ``out``. NumPy's clip, tanh and exp are vectorized; maximum(z, 0), where= and
# SciPy's functions are 3 to 50 times slower, so they are used only where nothing else is exact. No more than two
# temporary arrays live at a time: with more, the allocator gives memory back and takes it again at every call.


def _linear(z: Array, out: Array) -> None:
    np.copyto(out, z)


def _linear_slope(z: Array, a: Array, out: Array) -> None:
    out.fill(1)


def _relu(z: Array, out: Array) -> None:
    z.clip(0, INF, out=out)


def _relu_slope(z: Array, a: Array, out: Array) -> None:
    np.greater(a, 0, out=out)


def _leaky_relu(z: Array, out: Array, slope: float) -> None:
    (np.maximum if slope <= 1 else np.minimum)(z, slope * z, out=out)


def _leaky_relu_slope(z: Array, a: Array, out: Array, slope: float) -> None:
    np.greater(z, 0, out=out)
    out *= 1 - slope
    out += slope


def _tanh(z: Array, out: Array) -> None:
    np.tanh(z, out=out)


def _tanh_slope(z: Array, a: Array, out: Array) -> None:
    np.multiply(a, a, out=out)
    np.subtract(1, out, out=out)


_HEIGHT, _STEEPNESS = 1.7159, 2 / 3


def _scaled_tanh(z: Array, out: Array) -> None:
    np.multiply(z, _STEEPNESS, out=out)
    np.tanh(out, out=out)
    out *= _HEIGHT


def _scaled_tanh_slope(z: Array, a: Array, out: Array) -> None:
    np.multiply(a, a, out=out)
    out *= -_STEEPNESS / _HEIGHT
    out += _STEEPNESS * _HEIGHT


def _exponent_limit(z: Array) -> float:
    """Just below the largest x whose exp(x) is finite in the dtype of ``z``."""
    return 0.69 * int(np.finfo(z.dtype).maxexp)


def _sigmoid(z: Array, out: Array) -> None:
    z.clip(-_exponent_limit(z), INF, out=out)
    np.negative(out, out=out)
    np.exp(out, out=out)
    out += 1
    np.reciprocal(out, out=out)


def _sigmoid_slope(z: Array, a: Array, out: Array) -> None:
    np.subtract(1, a, out=out)
    out *= a


def _softplus(z: Array, out: Array) -> None:
    tail = np.abs(z, out=np.empty_like(z))  # log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|))
    np.negative(tail, out=tail)
    np.exp(tail, out=tail)
    np.log1p(tail, out=tail)
    z.clip(0, INF, out=out)
    out += tail


def _softplus_slope(z: Array, a: Array, out: Array) -> None:
    np.negative(a, out=out)  # sigmoid(z) = 1 - exp(-softplus(z))
    np.expm1(out, out=out)
    np.negative(out, out=out)


def _softsign(z: Array, out: Array) -> None:
    divisor = np.abs(z, out=np.empty_like(z))
    divisor += 1
    np.divide(z, divisor, out=out)


def _softsign_slope(z: Array, a: Array, out: Array) -> None:
    np.abs(z, out=out)
    out += 1
    np.reciprocal(out, out=out)
    out *= out


def _elu(z: Array, out: Array, alpha: float, scale: float = 1.0) -> None:
    below = z.clip(-INF, 0, out=np.empty_like(z))
    np.expm1(below, out=below)
    below *= scale * alpha
    z.clip(0, INF, out=out)
    out *= scale
    out += below


def _elu_slope(z: Array, a: Array, out: Array, alpha: float, scale: float = 1.0) -> None:
    below = a.clip(-INF, 0, out=np.empty_like(a))
    below += scale * alpha
    np.greater(a, 0, out=out)
    out *= scale - scale * alpha
    out += below


_SELU = {"alpha": 1.6732632423543772848, "scale": 1.0507009873554804934}


def _selu(z: Array, out: Array) -> None:
    _elu(z, out, **_SELU)


def _selu_slope(z: Array, a: Array, out: Array) -> None:
    _elu_slope(z, a, out, **_SELU)


def _gate(z: Array, a: Array, out: Array) -> None:
    """g(z) of a = z g(z) with g(0) = 1/2: far cheaper than to evaluate g again, and as exact."""
    with np.errstate(divide="ignore", invalid="ignore"):
        np.divide(a, z, out=out)
    if out.size and not np.isnan(out.min()):
        return
    zero = np.equal(z, 0, out=np.empty_like(z))
    np.add(z, zero, out=out)
    zero *= 0.5
    zero += a
    np.divide(zero, out, out=out)


def _bell(z: Array, rate: float, out: Array) -> None:
    """exp(-rate z²); beyond 16, where it vanishes, z² would overflow."""
    z.clip(-16, 16, out=out)
    out *= out
    out *= -rate
    np.exp(out, out=out)


# P with Phi(-x) = exp(-x²/2) v P(1 - v) for v = 2 c / (x + c), c = _MIDDLE, on 0 <= x <= 15: relative error 1.5e-8. The
# variable is that of Shepherd & Laframboise 1981, eq. 2; the coefficients, in ascending order, are a minimax fit.
_MIDDLE = 3.75
_NORMAL_TAIL = tuple(
    coefficient / (2 * _MIDDLE)
    for coefficient in (
        *(0.750294074, -0.588188278, 0.352939604, -0.151520836, 0.0374925062),
        *(0.00120007743, -0.0041690157, 0.000509622782, 0.000443445005),
    )
)


def _gelu(z: Array, out: Array) -> None:
    if z.dtype != np.float32:
        np.multiply(z, special_module(z).ndtr(z, out=_apart(out, z)), out=out)
        return
    memory: list[Array] = []
    for values, results in _blocks(z, out):
        memory = memory or [aligned(array_module(z), values.shape, values.dtype) for _ in range(4)]
        _gelu_single(values, results, *(x[: len(values)] if values.ndim else x for x in memory))


def _gelu_single(z: Array, out: Array, x: Array, v: Array, s: Array, tail: Array) -> None:
    """z Phi(z) = max(z, 0) - |z| Phi(-|z|), a third of the time of SciPy's ndtr; error: at most 1.2e-7 max(|z|, 1)."""
    np.abs(z, out=x)
    np.minimum(x, 15, out=x)  # where Phi(-x) vanishes; larger squares would overflow
    np.add(x, _MIDDLE, out=v)
    np.divide(2 * _MIDDLE, v, out=v)
    np.subtract(1, v, out=s)
    v *= x
    np.multiply(s, _NORMAL_TAIL[-1], out=tail)
    for coefficient in _NORMAL_TAIL[-2:0:-1]:
        tail += coefficient
        tail *= s
    tail += _NORMAL_TAIL[0]
    tail *= v
    np.multiply(x, x, out=s)
    s *= -0.5
    np.exp(s, out=s)
    tail *= s
    np.maximum(z, 0, out=out)
    out -= tail


def _gelu_slope(z: Array, a: Array, out: Array) -> None:
    _gate(z, a, out)
    bell = np.empty_like(z)
    _bell(z, 0.5, bell)
    bell *= z
    bell *= 1 / math.sqrt(2 * math.pi)
    out += bell


_CUBIC = 0.044715


def _gelu_tanh(z: Array, out: Array) -> None:
    x = z.clip(-10, 10, out=np.empty_like(z))  # the gate is flat long before, and the cube must not overflow
    gate = np.multiply(x, x, out=np.empty_like(z))
    gate *= _CUBIC
    gate += 1
    gate *= x
    gate *= math.sqrt(8 / math.pi)
    _sigmoid(gate, gate)  # (1 + tanh(x / 2)) / 2, without the difference of large numbers in the left tail
    np.multiply(z, gate, out=out)


def _gelu_tanh_slope(z: Array, a: Array, out: Array) -> None:
    _gate(z, a, out)
    x = z.clip(-10, 10, out=np.empty_like(z))
    change = np.multiply(x, x, out=np.empty_like(z))  # z g' = z 2 g (1 - g) sqrt(2/pi) (1 + 3 _CUBIC z²)
    change *= 3 * _CUBIC
    change += 1
    change *= x
    change *= math.sqrt(8 / math.pi)
    change *= out
    change *= np.subtract(1, out, out=x)
    out += change


def _silu(z: Array, out: Array) -> None:
    gate = _apart(out, z)
    _sigmoid(z, gate)
    np.multiply(z, gate, out=out)


def _silu_slope(z: Array, a: Array, out: Array) -> None:
    _gate(z, a, out)
    change = np.subtract(1, out, out=np.empty_like(z))
    change *= a
    out += change


def _mish(z: Array, out: Array) -> None:
    e, n = np.empty_like(z), np.empty_like(z)
    _mish_terms(z, e, n)
    np.add(n, 2, out=e)
    n /= e
    np.multiply(z, n, out=out)


def _mish_slope(z: Array, a: Array, out: Array) -> None:
    e = np.empty_like(z)
    _mish_terms(z, e, out)
    np.subtract(out, e, out=e)  # e (e + 1)
    divisor = np.add(out, 2, out=np.empty_like(z))
    out /= divisor
    e /= divisor
    e /= divisor
    e *= z
    e *= 4
    out += e


def _mish_terms(z: Array, e: Array, n: Array) -> None:
    """e = exp(z) and n = e (e + 2), with which tanh(log(1 + e)) = n / (n + 2)."""
    z.clip(-INF, _exponent_limit(z) / 2 - 1, out=e)
    np.exp(e, out=e)
    np.add(e, 2, out=n)
    n *= e


def _hardtanh(z: Array, out: Array) -> None:
    z.clip(-1, 1, out=out)


def _hardtanh_slope(z: Array, a: Array, out: Array) -> None:
    np.less(np.abs(z, out=out), 1, out=out)


def _erf(z: Array, out: Array) -> None:
    special_module(z).erf(z, out=out)


def _erf_slope(z: Array, a: Array, out: Array) -> None:
    _bell(z, 1.0, out)
    out *= 2 / math.sqrt(math.pi)


def _sine(z: Array, out: Array, frequency: float) -> None:
    np.multiply(z, frequency, out=out)
    np.sin(out, out=out)


def _sine_slope(z: Array, a: Array, out: Array, frequency: float) -> None:
    np.multiply(z, frequency, out=out)
    np.cos(out, out=out)
    out *= frequency


def _given_value(function: Callable[..., Any], z: Array, out: Array) -> None:
    np.copyto(out, function(z), casting="same_kind")


def _given_slope(derivative: Callable[..., Any], z: Array, a: Array, out: Array) -> None:
    np.copyto(out, derivative(z), casting="same_kind")


def _numerical_slope(function: Callable[..., Any], kinks: tuple[float, ...], z: Array, a: Array, out: Array) -> None:
    """phi' by central differences of sixth order in float64, with steps that don't reach across a kink."""
    z = z.astype(np.float64)
    step = np.full_like(z, 2.0**-10)
    for kink in kinks:
        np.minimum(step, np.abs(z - kink) / 4, out=step)
    np.maximum(step, 1e-9, out=step)
    total = np.zeros_like(z)
    for reach, weight in ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60)):
        total += weight * (function(z + reach * step) - function(z - reach * step))
    np.divide(total, step, out=out, casting="same_kind")
