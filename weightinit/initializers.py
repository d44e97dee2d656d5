"""Initial values of one weight array, by name: ``NAME(rng, shape, *, dtype=np.float32, ...)``.

``rng`` is a Generator, a RandomState, an int or None; ``shape`` is ``(*kernel, fan_in, fan_out)`` unless the axes say
otherwise; ``dtype`` is float16, float32 or float64. Values are drawn in float64, multiplied once and cast last, so
``dtype`` changes the rounding and never the noise. Initializers of one family share their noise: from the same state
every normal one is a multiple of one ``standard_normal(shape)``, every uniform one of one U(-1, 1), every truncated
one of one uniform sent through the inverse of the same distribution function.

Raises ValueError for an option out of its range, TypeError for one of the wrong type. ``gain`` multiplies the standard
deviation, ``scale`` the variance.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from numbers import Real
from typing import Any, Final, Literal, TypeAlias, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from weightinit.arrays import Array, RandomLike, random_source
from weightinit.fans import Fans, compute_fans

Shape: TypeAlias = int | Sequence[int]
Bounds: TypeAlias = Sequence[float]
Initializer: TypeAlias = Callable[..., Array]
Mode: TypeAlias = Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]
Distribution: TypeAlias = Literal["normal", "uniform", "truncated_normal"]
Preserve: TypeAlias = Literal["isometry", "rms"]
SirenLayer: TypeAlias = Literal["first", "hidden"]

FLOATS: Final = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))


class Layout(TypedDict, total=False):
    """Axes of a weight's inputs and outputs, as in :func:`weightinit.fans.compute_fans`."""

    groups: int
    in_axis: int | Sequence[int]
    out_axis: int | Sequence[int]


class FanOptions(Layout, total=False):
    """A layout to count the fans from, or the ``fans`` themselves, ``(fan_in, fan_out)``."""

    fans: tuple[int, int]


# Fixed values


def zeros(rng: RandomLike, shape: Shape, *, dtype: npt.DTypeLike = np.float32) -> Array:
    """Zeros; draws nothing from ``rng``."""
    return constant(rng, shape, value=0.0, dtype=dtype)


def ones(rng: RandomLike, shape: Shape, *, dtype: npt.DTypeLike = np.float32) -> Array:
    """Ones; draws nothing from ``rng``."""
    return constant(rng, shape, value=1.0, dtype=dtype)


def constant(rng: RandomLike, shape: Shape, *, value: float = 0.01, dtype: npt.DTypeLike = np.float32) -> Array:
    """``value`` everywhere, which leaves all units of a layer equal; draws nothing from ``rng``."""
    return np.full(_shape(shape), _number("value", value), _float(dtype))


def identity(rng: RandomLike, shape: Shape, *, gain: float = 1.0, dtype: npt.DTypeLike = np.float32) -> Array:
    """``gain`` times the identity, ``(fan_in, fan_out)``, cut or filled with zeros where not square; draws nothing."""
    shape = _shape(shape)
    if len(shape) != 2:
        raise ValueError(f"identity takes a shape of 2 axes; got {shape}. For a convolution use dirac.")
    return (np.eye(*shape) * _positive("gain", gain)).astype(_float(dtype))


def dirac(
    rng: RandomLike, shape: Shape, *, gain: float = 1.0, groups: int = 1, dtype: npt.DTypeLike = np.float32
) -> Array:
    """A convolution ``(*kernel, fan_in, fan_out)`` that hands each channel on, times ``gain``; draws nothing.

    The centre tap of each group holds the identity, the others zero. The centre of an even kernel is its left middle,
    where "same" padding leaves the signal in place.
    """
    shape = _shape(shape)
    if len(shape) < 3:
        raise ValueError(f"dirac takes a convolution's shape, (*kernel, fan_in, fan_out); got {shape}. Use identity.")
    compute_fans(shape, groups=groups)
    values = np.zeros(shape, _float(dtype))
    outputs = np.arange(shape[-1])
    inputs = outputs % (shape[-1] // groups)
    fed = inputs < shape[-2]
    values[_centre(shape)][inputs[fed], outputs[fed]] = _positive("gain", gain)
    return values


# Fixed standard deviations


def normal(
    rng: RandomLike, shape: Shape, *, mean: float = 0.0, std: float = 1.0, dtype: npt.DTypeLike = np.float32
) -> Array:
    """N(mean, std²), never truncated."""
    shape, dtype, mean, std = _shape(shape), _float(dtype), _number("mean", mean), _positive("std", std)
    return (mean + random_source(rng).standard_normal(shape) * std).astype(dtype)


def random(rng: RandomLike, shape: Shape, *, std: float = 0.01, dtype: npt.DTypeLike = np.float32) -> Array:
    """Plain small random numbers, N(0, std²) whatever the fans: the habit before 2010."""
    return normal(rng, shape, std=std, dtype=dtype)


def uniform(
    rng: RandomLike, shape: Shape, *, low: float = -1.0, high: float = 1.0, dtype: npt.DTypeLike = np.float32
) -> Array:
    """U(low, high)."""
    shape, dtype, low, high = _shape(shape), _float(dtype), *_interval("low, high", (low, high))
    return ((low + high) / 2 + random_source(rng).uniform(-1.0, 1.0, shape) * ((high - low) / 2)).astype(dtype)


def truncated_normal(
    rng: RandomLike,
    shape: Shape,
    *,
    mean: float = 0.0,
    std_before: float | None = None,
    std_after: float | None = None,
    sigma_bounds: Bounds | None = None,
    absolute_bounds: Bounds | None = None,
    dtype: npt.DTypeLike = np.float32,
) -> Array:
    """A normal distribution kept between two bounds, by inversion of its distribution function.

    ``mean``: of the normal before truncation; bounds that are not symmetric about it move the mean of the values.
    ``std_before``: of the normal before truncation (PyTorch, JAX and Keras mean this); ``std_after``: of the values
    themselves, smaller by 0.8796 for bounds of two sigma. Give one of them; neither is ``std_before=1``.
    ``sigma_bounds``: (low, high) in standard deviations before truncation, from ``mean`` (JAX, Keras);
    ``absolute_bounds``: (low, high) of the values (PyTorch). Give one of them; neither is ``sigma_bounds=(-2, 2)``.
    Raises ValueError for bounds that leave out the mean, and for a ``std_after`` that no normal within
    ``absolute_bounds`` reaches: that of the uniform distribution, (high - low) / sqrt(12), is the limit.
    """
    shape, dtype = _shape(shape), _float(dtype)
    sigma, low, high = truncation(mean, std_before, std_after, sigma_bounds, absolute_bounds)
    below, above = ndtr(low), ndtr(high)
    values: Array = ndtri(below + random_source(rng).uniform(0.0, 1.0, shape) * (above - below))
    return (mean + np.clip(values, low, high) * sigma).astype(dtype)


def truncation(
    mean: float = 0.0,
    std_before: float | None = None,
    std_after: float | None = None,
    sigma_bounds: Bounds | None = None,
    absolute_bounds: Bounds | None = None,
) -> tuple[float, float, float]:
    """Standard deviation before truncation and the two bounds in units of it, from :func:`truncated_normal`'s words."""
    mean = _number("mean", mean)
    _exclusive("std_before", std_before, "std_after", std_after)
    _exclusive("sigma_bounds", sigma_bounds, "absolute_bounds", absolute_bounds)
    if std_after is None:
        sigma = _positive("std_before", 1.0 if std_before is None else std_before)
    else:
        std_after = _positive("std_after", std_after)
    if absolute_bounds is None:
        low, high = _interval("sigma_bounds", (-2.0, 2.0) if sigma_bounds is None else sigma_bounds, around=0.0)
        return (sigma if std_after is None else std_after / truncated_moments(low, high)[1]), low, high
    low, high = (bound - mean for bound in _interval("absolute_bounds", absolute_bounds, around=mean))
    if std_after is not None:
        sigma = _sigma_within(std_after, low, high)
    return sigma, low / sigma, high / sigma


def truncated_moments(low: float, high: float) -> tuple[float, float]:
    """Mean and standard deviation of N(0, 1) kept within (low, high); 0 and 0.87962566 for (-2, 2)."""
    mass = ndtr(high) - ndtr(low)
    at_low, at_high = (math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) for x in (low, high))
    mean = (at_low - at_high) / mass
    return float(mean), math.sqrt(1 + (low * at_low - high * at_high) / mass - mean**2)


def _sigma_within(std_after: float, low: float, high: float) -> float:
    def after(sigma: float) -> float:
        return sigma * truncated_moments(low / sigma, high / sigma)[1]

    narrow, wide = std_after, 1e3 * (high - low)  # from there on the distribution is uniform to 1e-6
    if after(wide) <= std_after:
        limit = (high - low) / math.sqrt(12)
        raise ValueError(
            f"std_after must be below {limit:.6g}, that of the uniform distribution on absolute_bounds; got "
            f"{std_after:.6g}. Widen absolute_bounds."
        )
    for _ in range(100):
        middle = math.sqrt(narrow * wide)
        narrow, wide = (middle, wide) if after(middle) < std_after else (narrow, middle)
    return wide


# Standard deviations that follow the fans


def variance_scaling(
    rng: RandomLike,
    shape: Shape,
    *,
    scale: float | None = None,
    gain: float | None = None,
    mode: Mode = "fan_in",
    distribution: Distribution = "normal",
    dtype: npt.DTypeLike = np.float32,
    **options: Unpack[FanOptions],
) -> Array:
    """Values of mean 0 and variance ``scale / fan``, whatever the distribution.

    ``scale``, or ``gain`` with ``scale = gain**2``: one of them, neither is 1. ``mode``: the fan that divides, fan_in,
    fan_out, their mean (fan_avg) or their geometric mean (fan_geo_avg). ``distribution``: normal; uniform, U(±sqrt(3
    scale / fan)); truncated_normal, at two standard deviations before truncation, widened by 1 / 0.87962566 to keep
    the variance. ``groups, in_axis, out_axis`` as in ``compute_fans``, or ``fans`` outright.
    """
    std = variance_scaling_std(_fans(shape, **options), scale=scale, gain=gain, mode=mode)
    match _choice("distribution", distribution, ("normal", "uniform", "truncated_normal")):
        case "normal":
            return normal(rng, shape, std=std, dtype=dtype)
        case "uniform":
            return uniform(rng, shape, low=-math.sqrt(3) * std, high=math.sqrt(3) * std, dtype=dtype)
    return truncated_normal(rng, shape, std_after=std, dtype=dtype)


def variance_scaling_std(
    fans: tuple[int, int], *, scale: float | None = None, gain: float | None = None, mode: Mode = "fan_in"
) -> float:
    """Standard deviation ``sqrt(scale / fan)`` that :func:`variance_scaling` gives its values."""
    _exclusive("scale", scale, "gain", gain)
    if gain is not None:
        scale = _positive("gain", gain) ** 2
    scale = 1.0 if scale is None else _positive("scale", scale)
    fan_in, fan_out = fans
    modes = {
        "fan_in": fan_in,
        "fan_out": fan_out,
        "fan_avg": (fan_in + fan_out) / 2,
        "fan_geo_avg": math.sqrt(fan_in * fan_out),
    }
    return math.sqrt(scale / modes[_choice("mode", mode, modes)])


def xavier(
    rng: RandomLike,
    shape: Shape,
    *,
    distribution: Distribution = "normal",
    dtype: npt.DTypeLike = np.float32,
    **options: Unpack[FanOptions],
) -> Array:
    """N(0, 1 / fan_in), which many courses call Xavier; Glorot & Bengio's own two are ``glorot_*``."""
    return variance_scaling(rng, shape, scale=1.0, distribution=distribution, dtype=dtype, **options)


def he(
    rng: RandomLike,
    shape: Shape,
    *,
    distribution: Distribution = "normal",
    dtype: npt.DTypeLike = np.float32,
    **options: Unpack[FanOptions],
) -> Array:
    """N(0, 2 / fan_in), also by the name ``he_normal``; Keras and JAX truncate theirs: ``distribution=
    "truncated_normal"``. He, Zhang, Ren & Sun 2015, eq. 10.
    """
    return variance_scaling(rng, shape, scale=2.0, distribution=distribution, dtype=dtype, **options)


he_normal = he


def he_uniform(
    rng: RandomLike, shape: Shape, *, dtype: npt.DTypeLike = np.float32, **options: Unpack[FanOptions]
) -> Array:
    """U(±sqrt(6 / fan_in)), of variance 2 / fan_in. He, Zhang, Ren & Sun 2015, eq. 10."""
    return variance_scaling(rng, shape, scale=2.0, distribution="uniform", dtype=dtype, **options)


def glorot_normal(
    rng: RandomLike,
    shape: Shape,
    *,
    distribution: Distribution = "normal",
    dtype: npt.DTypeLike = np.float32,
    **options: Unpack[FanOptions],
) -> Array:
    """N(0, 2 / (fan_in + fan_out)); Keras and JAX truncate theirs: ``distribution="truncated_normal"``. Glorot &
    Bengio 2010, eq. 12.
    """
    return variance_scaling(rng, shape, scale=1.0, mode="fan_avg", distribution=distribution, dtype=dtype, **options)


def glorot_uniform(
    rng: RandomLike, shape: Shape, *, dtype: npt.DTypeLike = np.float32, **options: Unpack[FanOptions]
) -> Array:
    """U(±sqrt(6 / (fan_in + fan_out))), the "normalized initialization". Glorot & Bengio 2010, eq. 16."""
    return variance_scaling(rng, shape, scale=1.0, mode="fan_avg", distribution="uniform", dtype=dtype, **options)


def lecun_normal(
    rng: RandomLike,
    shape: Shape,
    *,
    distribution: Distribution = "normal",
    dtype: npt.DTypeLike = np.float32,
    **options: Unpack[FanOptions],
) -> Array:
    """N(0, 1 / fan_in), the same law as ``xavier``; Keras and JAX truncate theirs at two standard deviations, as
    ``distribution="truncated_normal"`` does. LeCun, Bottou, Orr & Müller 1998, sec. 4.6.
    """
    return variance_scaling(rng, shape, scale=1.0, distribution=distribution, dtype=dtype, **options)


def lecun_uniform(
    rng: RandomLike, shape: Shape, *, dtype: npt.DTypeLike = np.float32, **options: Unpack[FanOptions]
) -> Array:
    """U(±sqrt(3 / fan_in)), of variance 1 / fan_in. LeCun, Bottou, Orr & Müller 1998, sec. 4.6."""
    return variance_scaling(rng, shape, scale=1.0, distribution="uniform", dtype=dtype, **options)


def siren(
    rng: RandomLike,
    shape: Shape,
    *,
    layer: SirenLayer = "hidden",
    omega: float = 30.0,
    dtype: npt.DTypeLike = np.float32,
    **options: Unpack[FanOptions],
) -> Array:
    """Weights for layers sin(omega z): U(±1 / fan_in) in the first, U(±sqrt(6 / fan_in) / omega) in the others.

    Sitzmann, Martel, Bergman, Lindell & Wetzstein 2020, sec. 3.2; ``omega`` is the frequency of the activation.
    """
    bound = siren_bound(_fans(shape, **options).fan_in, layer=layer, omega=omega)
    return uniform(rng, shape, low=-bound, high=bound, dtype=dtype)


def siren_bound(fan_in: int, *, layer: SirenLayer = "hidden", omega: float = 30.0) -> float:
    """Largest value that :func:`siren` gives a weight."""
    omega = _positive("omega", omega)
    first = _choice("layer", layer, ("first", "hidden")) == "first"
    return 1 / fan_in if first else math.sqrt(6 / fan_in) / omega


# Structured matrices


def orthogonal(
    rng: RandomLike,
    shape: Shape,
    *,
    gain: float = 1.0,
    preserve: Preserve = "isometry",
    dtype: npt.DTypeLike = np.float32,
    **layout: Unpack[Layout],
) -> Array:
    """``gain`` times a matrix with orthonormal columns or rows, uniform (Haar) among all of them.

    The matrix is ``(fan_in, outputs)`` with the kernel's axes counted among the inputs, one for each of ``groups``.
    ``preserve``: "isometry" keeps all singular values at ``gain``, but with more outputs than inputs the rms of a unit
    then shrinks by sqrt(fan_in / outputs); "rms" undoes that, every weight having variance gain² / fan_in. Saxe,
    McClelland & Ganguli 2014; QR with the signs of R's diagonal moved to Q, Mezzadri 2007.
    """
    shape, dtype, gain = _shape(shape), _float(dtype), _positive("gain", gain)
    rows, columns = _matrix_shape("orthogonal", shape, **layout)
    noise, outputs = _outputs_last(random_source(rng).standard_normal(shape), **layout)
    blocks = noise.reshape(rows, -1, columns).swapaxes(0, 1)  # (groups, rows, columns)
    tall = blocks if rows >= columns else blocks.swapaxes(1, 2)
    q, r = np.linalg.qr(tall)
    q *= np.where(np.diagonal(r, axis1=1, axis2=2) < 0, -1.0, 1.0)[:, np.newaxis]
    q = q if rows >= columns else q.swapaxes(1, 2)
    values = q.swapaxes(0, 1).reshape(noise.shape) * (gain * orthogonal_factor(rows, columns, preserve))
    return np.ascontiguousarray(np.moveaxis(values, range(-len(outputs), 0), outputs)).astype(dtype)


def orthogonal_factor(rows: int, columns: int, preserve: Preserve) -> float:
    """Factor by which an orthonormal ``(rows, columns)`` matrix preserves lengths, or the rms of a unit."""
    widen = _choice("preserve", preserve, ("isometry", "rms")) == "rms" and columns > rows
    return math.sqrt(columns / rows) if widen else 1.0


def delta_orthogonal(
    rng: RandomLike,
    shape: Shape,
    *,
    gain: float = 1.0,
    preserve: Preserve = "isometry",
    dtype: npt.DTypeLike = np.float32,
) -> Array:
    """A convolution ``(*kernel, fan_in, fan_out)`` that is an isometry: orthogonal at its centre tap, zero elsewhere.

    ``gain`` and ``preserve`` as in ``orthogonal``. Raises ValueError if fan_in exceeds fan_out, where no convolution is
    an isometry. Xiao, Bahri, Sohl-Dickstein, Schoenholz & Pennington 2018, algorithm 1.
    """
    shape, dtype = _shape(shape), _float(dtype)
    if len(shape) < 3:
        raise ValueError(
            f"delta_orthogonal takes a convolution's shape, (*kernel, fan_in, fan_out); got {shape}. Use orthogonal."
        )
    if shape[-2] > shape[-1]:
        raise ValueError(
            f"delta_orthogonal needs at least as many output as input channels; got {shape[-2]} in, {shape[-1]} out. "
            "Use orthogonal."
        )
    values = np.zeros(shape, dtype)
    values[_centre(shape)] = orthogonal(rng, shape[-2:], gain=gain, preserve=preserve, dtype=dtype)
    return values


def sparse(
    rng: RandomLike,
    shape: Shape,
    *,
    nonzero: int = 15,
    std: float = 1.0,
    dtype: npt.DTypeLike = np.float32,
    **layout: Unpack[Layout],
) -> Array:
    """Exactly ``nonzero`` incoming weights of each unit from N(0, std²), at random places; all others zero.

    A unit with fewer inputs than ``nonzero`` has them all. Martens 2010, sec. 5.
    """
    shape, dtype, std, nonzero = _shape(shape), _float(dtype), _positive("std", std), _count("nonzero", nonzero)
    rows, _ = _matrix_shape("sparse", shape, **layout)
    source = random_source(rng)
    noise, outputs = _outputs_last(source.standard_normal(shape), **layout)
    matrix = noise.reshape(rows, -1)
    order = np.argsort(source.uniform(0.0, 1.0, matrix.shape), axis=0)
    np.put_along_axis(matrix, order[nonzero:], 0.0, axis=0)
    values = matrix.reshape(noise.shape) * std
    return np.ascontiguousarray(np.moveaxis(values, range(-len(outputs), 0), outputs)).astype(dtype)


INITIALIZERS: Final[dict[str, Initializer]] = {
    "zeros": zeros,
    "ones": ones,
    "constant": constant,
    "identity": identity,
    "dirac": dirac,
    "normal": normal,
    "random": random,
    "uniform": uniform,
    "truncated_normal": truncated_normal,
    "variance_scaling": variance_scaling,
    "xavier": xavier,
    "he": he,
    "he_normal": he_normal,
    "he_uniform": he_uniform,
    "glorot_normal": glorot_normal,
    "glorot_uniform": glorot_uniform,
    "lecun_normal": lecun_normal,
    "lecun_uniform": lecun_uniform,
    "siren": siren,
    "orthogonal": orthogonal,
    "delta_orthogonal": delta_orthogonal,
    "sparse": sparse,
}


# Shapes


def _shape(shape: Shape) -> tuple[int, ...]:
    sizes = (shape,) if isinstance(shape, int | np.integer) else shape
    try:
        checked = tuple(operator.index(size) for size in sizes)
    except TypeError:
        raise TypeError(f"shape must hold whole numbers; got {shape!r}. Pass shape=(64, 10).") from None
    if any(size < 1 for size in checked):
        raise ValueError(f"every size in shape must be at least 1; got {shape!r}")
    return checked


def _fans(shape: Shape, *, fans: tuple[int, int] | None = None, **layout: Unpack[Layout]) -> Fans:
    if fans is None:
        return compute_fans(_shape(shape), **layout)
    if layout:
        raise ValueError(f"fans already says what {', '.join(layout)} would; got both. Leave one out.")
    fan_in, fan_out = (_count(name, fan) for name, fan in zip(Fans._fields, fans, strict=True))
    return Fans(fan_in, fan_out)


def _matrix_shape(name: str, shape: tuple[int, ...], **layout: Unpack[Layout]) -> tuple[int, int]:
    """Inputs of a unit, and units that share them: the matrix that a weight (of one group) is."""
    if len(shape) < 2:
        raise ValueError(f"{name} takes a shape of at least 2 axes; got {shape}. Add an axis of size 1.")
    fan_in = compute_fans(shape, **layout).fan_in
    return fan_in, math.prod(shape) // (fan_in * layout.get("groups", 1))


def _outputs_last(values: Array, **layout: Unpack[Layout]) -> tuple[Array, tuple[int, ...]]:
    """``values`` with the axes of its outputs moved to the end, and which axes they were."""
    out_axis = layout.get("out_axis", -1)
    outputs = (out_axis,) if isinstance(out_axis, int) else tuple(out_axis)
    return np.moveaxis(values, outputs, range(-len(outputs), 0)), outputs


def _centre(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple((size - 1) // 2 for size in shape[:-2])


# Options


def _float(dtype: npt.DTypeLike) -> np.dtype[Any]:
    try:
        checked = np.dtype(dtype)
    except TypeError:
        checked = np.dtype(object)
    if dtype is None or checked not in FLOATS:  # None would be float64
        raise TypeError(f"dtype must be float16, float32 or float64; got {dtype!r}. Pass dtype=np.float32.")
    return checked


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number; got {value!r}. Pass {name}=1.0.")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite; got {value}. Pass {name}=1.0.")
    return float(value)


def _positive(name: str, value: Any) -> float:
    if (number := _number(name, value)) <= 0:
        raise ValueError(f"{name} must be positive; got {value}. For zeros use the initializer zeros.")
    return number


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a whole number; got {value!r}. Pass {name}=15.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}")
    return int(value)


def _interval(name: str, bounds: Bounds, *, around: float | None = None) -> tuple[float, float]:
    if isinstance(bounds, str) or not hasattr(bounds, "__len__") or len(bounds) != 2:
        raise TypeError(f"{name} must be a pair (low, high); got {bounds!r}. Pass (-1, 1).")
    low, high = (_number(name, bound) for bound in bounds)
    if low >= high:
        raise ValueError(f"{name} must rise from low to high; got {low}, {high}. Swap or widen them.")
    if around is not None and not low <= around <= high:
        raise ValueError(f"{name} must enclose the mean, {around}; got {low}, {high}. Move the mean or the bounds.")
    return low, high


def _exclusive(first: str, one: Any, second: str, other: Any) -> None:
    if one is not None and other is not None:
        raise ValueError(
            f"{first} and {second} set the same thing, so only one may be given; got {first}={one} and "
            f"{second}={other}. To use {second}={other}, pass {first}=null as well ({first}=None in Python)."
        )


def _choice(name: str, value: Any, allowed: Collection[str]) -> str:
    if value not in tuple(allowed):
        nearest = (get_close_matches(str(value), allowed, 1, 0.0) or list(allowed))[0]
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}. Pass {name}={nearest!r}.")
    return str(value)
