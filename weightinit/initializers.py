"""Initial values of one weight array, by name: ``NAME(rng, shape, *, dtype=np.float32, ...)``.

``rng`` is a Generator, a RandomState, an int or None; ``shape`` is ``(*kernel, fan_in, fan_out)`` unless the axes say
otherwise, and may be empty; ``dtype`` is float16, float32, float64, bfloat16 (through ``ml_dtypes``), complex64 or
complex128. Values are drawn in float64, multiplied once and cast last, so ``dtype`` changes the rounding and never the
noise. Complex ones have real and imaginary part drawn apart, each with half the variance of the real law.
Initializers of one family share their noise: from the same state every normal one is a multiple of one
``standard_normal(shape)``, every uniform one of one U(-1, 1), every truncated one of one uniform sent through the
inverse of the same distribution function.

Raises ValueError for an option out of its range, TypeError for one of the wrong type. ``gain`` multiplies the standard
deviation, ``scale`` the variance.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Collection, Iterable, Sequence
from difflib import get_close_matches
from numbers import Real
from typing import Any, Final, Literal, TypeAlias, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from weightinit.arrays import Array, RandomLike, random_source
from weightinit.fans import Fans, compute_fans
from weightinit.noise import is_complex, standard_normal, symmetric_uniform, truncated, weight_type

Shape: TypeAlias = int | Sequence[int]
Bounds: TypeAlias = Sequence[float]
Initializer: TypeAlias = Callable[..., Array]
Mode: TypeAlias = Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]
Distribution: TypeAlias = Literal["normal", "uniform", "truncated_normal"]
Preserve: TypeAlias = Literal["isometry", "rms"]
SirenLayer: TypeAlias = Literal["first", "hidden"]


class Layout(TypedDict, total=False):
    """Axes of a weight's inputs, outputs and independent copies, as in :func:`weightinit.fans.compute_fans`."""

    groups: int
    in_axis: int | Sequence[int]
    out_axis: int | Sequence[int]
    batch_axis: int | Sequence[int]


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


def constant(rng: RandomLike, shape: Shape, *, value: npt.ArrayLike = 0.01, dtype: npt.DTypeLike = np.float32) -> Array:
    """``value`` everywhere, which leaves all units of a layer equal; draws nothing from ``rng``.

    An array is repeated along the axes that it lacks, by NumPy's rules of broadcasting.
    """
    shape, dtype = _shape(shape), weight_type(dtype)
    if np.ndim(value) or isinstance(value, complex):
        return np.array(np.broadcast_to(_values("value", value, shape, dtype), shape), dtype)
    return np.full(shape, _number("value", value), dtype)


def identity(rng: RandomLike, shape: Shape, *, gain: float = 1.0, dtype: npt.DTypeLike = np.float32) -> Array:
    """``gain`` times the identity, ``(fan_in, fan_out)``, cut or filled with zeros where not square; draws nothing."""
    shape = _shape(shape)
    if len(shape) != 2:
        raise ValueError(f"identity takes a shape of 2 axes; got {shape}. For a convolution use dirac.")
    return (np.eye(*shape) * _positive("gain", gain)).astype(weight_type(dtype))


def dirac(
    rng: RandomLike,
    shape: Shape,
    *,
    gain: float = 1.0,
    dtype: npt.DTypeLike = np.float32,
    **layout: Unpack[Layout],
) -> Array:
    """A convolution ``(*kernel, fan_in, fan_out)`` that hands each channel on, times ``gain``; draws nothing.

    The centre tap of each group holds the identity, the others zero, over any number of the kernel's axes; several axes
    of inputs or outputs count as one. The centre of an even kernel is its left middle, where "same" padding leaves the
    signal in place.
    """
    shape = _shape(shape)
    if len(shape) < 3:
        raise ValueError(f"dirac takes a convolution's shape, (*kernel, fan_in, fan_out); got {shape}. Use identity.")
    values = np.zeros(shape, weight_type(dtype))
    if not values.size:
        return values
    compute_fans(shape, **layout)
    batch, kernel, inputs, outputs = _axes(len(shape), **layout)
    laid_out = values.transpose(*batch, *kernel, *inputs, *outputs)
    places = np.zeros([math.prod(shape[i] for i in axes) for axes in (inputs, outputs)])
    each = np.arange(places.shape[1])
    channel = each % (each.size // layout.get("groups", 1))
    fed = channel < places.shape[0]
    places[channel[fed], each[fed]] = _positive("gain", gain)
    centre = tuple((shape[i] - 1) // 2 for i in kernel)
    laid_out[(slice(None),) * len(batch) + centre] = places.reshape([shape[i] for i in (*inputs, *outputs)])
    return values


# Fixed standard deviations


def normal(
    rng: RandomLike, shape: Shape, *, mean: float = 0.0, std: float = 1.0, dtype: npt.DTypeLike = np.float32
) -> Array:
    """N(mean, std²), never truncated."""
    shape, dtype, mean, std = _shape(shape), weight_type(dtype), _number("mean", mean), _positive("std", std)
    return _cast(mean + standard_normal(rng, shape, dtype) * std, dtype)


def random(rng: RandomLike, shape: Shape, *, std: float = 0.01, dtype: npt.DTypeLike = np.float32) -> Array:
    """Plain small random numbers, N(0, std²) whatever the fans: the habit before 2010."""
    return normal(rng, shape, std=std, dtype=dtype)


def uniform(
    rng: RandomLike, shape: Shape, *, low: float = -1.0, high: float = 1.0, dtype: npt.DTypeLike = np.float32
) -> Array:
    """U(low, high)."""
    shape, dtype, low, high = _shape(shape), weight_type(dtype), *_interval("low, high", (low, high))
    return _cast((low + high) / 2 + symmetric_uniform(rng, shape, dtype) * ((high - low) / 2), dtype)


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
    The bounds may leave out the mean. Raises ValueError for a ``std_after`` that no normal within ``absolute_bounds``
    reaches: that of the uniform distribution, (high - low) / sqrt(12), is the limit; and for bounds of complex values
    that are not symmetric about the mean.
    """
    shape, dtype = _shape(shape), weight_type(dtype)
    sigma, low, high = truncation(mean, std_before, std_after, sigma_bounds, absolute_bounds)
    if is_complex(dtype) and not math.isclose(-low, high):
        raise ValueError(
            f"bounds of complex values must be symmetric about the mean; got {low:.6g} and {high:.6g} standard "
            "deviations from it. Pass sigma_bounds=(-2, 2)."
        )
    return _cast(mean + truncated(rng, shape, low, high, dtype) * sigma, dtype)


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
        low, high = _interval("sigma_bounds", (-2.0, 2.0) if sigma_bounds is None else sigma_bounds)
        return (sigma if std_after is None else std_after / truncated_moments(low, high)[1]), low, high
    low, high = (bound - mean for bound in _interval("absolute_bounds", absolute_bounds))
    if std_after is not None:
        sigma = _sigma_within(std_after, low, high)
    return sigma, low / sigma, high / sigma


def truncated_moments(low: float, high: float) -> tuple[float, float]:
    """Mean and standard deviation of N(0, 1) kept within (low, high); 0 and 0.87962566 for (-2, 2)."""
    if low > 0 or high < 0:
        return _tail_moments(low, high)
    mass = ndtr(high) - ndtr(low)
    at_low, at_high = (math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) for x in (low, high))
    mean = (at_low - at_high) / mass
    return float(mean), math.sqrt(1 + (low * at_low - high * at_high) / mass - mean**2)


def _tail_moments(low: float, high: float) -> tuple[float, float]:
    """The same for an interval on one side of 0, by quadrature from its nearer end: the closed form cancels there."""
    near, far = sorted((abs(low), abs(high)))
    width = min(far - near, 40 / max(near, 1.0))  # beyond, the density is below e^-40 of that at the nearer end
    x = (_NODES + 1) * width / 2
    weights = _WEIGHTS * np.exp(-x * (near + x / 2))
    weights /= weights.sum()
    mean = float(weights @ x)
    return math.copysign(near + mean, low + high), math.sqrt(float(weights @ (x - mean) ** 2))


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(128)


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
    the variance. ``groups, in_axis, out_axis, batch_axis`` as in ``compute_fans``, or ``fans`` outright; a shape of one
    axis has fans only by them.
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
    """``gain`` times a matrix with orthonormal columns or rows, uniform (Haar) among all of them; complex: unitary.

    The matrix is ``(fan_in, outputs)`` with the kernel's axes counted among the inputs, one for each of ``groups`` and
    of the batch.
    ``preserve``: "isometry" keeps all singular values at ``gain``, but with more outputs than inputs the rms of a unit
    then shrinks by sqrt(fan_in / outputs); "rms" undoes that, every weight having variance gain² / fan_in. Saxe,
    McClelland & Ganguli 2014; QR with the signs of R's diagonal moved to Q, Mezzadri 2007.
    """
    shape, dtype, gain = _shape(shape), weight_type(dtype), _positive("gain", gain)
    order, copies, rows, columns = _matrices("orthogonal", shape, **layout)
    noise = standard_normal(rng, shape, dtype).transpose(order)
    factor = gain * orthogonal_factor(rows, columns, preserve)
    if not noise.size:
        return np.zeros(shape, dtype)
    blocks = noise.reshape(copies, rows, -1, columns).swapaxes(1, 2)  # (copies, groups, rows, columns)
    tall = blocks if rows >= columns else blocks.swapaxes(2, 3)
    q, r = np.linalg.qr(tall)
    diagonal = np.diagonal(r, axis1=2, axis2=3)
    phases = diagonal / np.abs(diagonal) if is_complex(dtype) else np.where(diagonal < 0, -1.0, 1.0)
    q *= phases[:, :, np.newaxis]
    q = q if rows >= columns else q.swapaxes(2, 3)
    values = q.swapaxes(1, 2).reshape(noise.shape) * factor
    return np.ascontiguousarray(values.transpose(np.argsort(order))).astype(dtype)


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
    shape, dtype = _shape(shape), weight_type(dtype)
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
    if not values.size:
        return values
    centre = tuple((size - 1) // 2 for size in shape[:-2])
    values[centre] = orthogonal(rng, shape[-2:], gain=gain, preserve=preserve, dtype=dtype)
    return values


def sparse(
    rng: RandomLike,
    shape: Shape,
    *,
    nonzero: int | None = None,
    sparsity: float | None = None,
    std: float = 1.0,
    dtype: npt.DTypeLike = np.float32,
    **layout: Unpack[Layout],
) -> Array:
    """Exactly ``nonzero`` incoming weights of each unit from N(0, std²), at random places; all others zero.

    Inputs are counted with the kernel's axes. A unit with fewer inputs than ``nonzero`` has them all; by default it is
    15 (Martens 2010, sec. 5). In its place ``sparsity`` is the share of a unit's inputs that is zero, from 0 to below
    1, rounded up to whole inputs as PyTorch does.
    """
    shape, dtype, std = _shape(shape), weight_type(dtype), _positive("std", std)
    _exclusive("nonzero", nonzero, "sparsity", sparsity)
    kept = _count("nonzero", 15 if nonzero is None else nonzero)
    order, copies, rows, _ = _matrices("sparse", shape, **layout)
    if sparsity is not None:
        if not 0 <= _number("sparsity", sparsity) < 1:
            raise ValueError(f"sparsity must be at least 0 and below 1; got {sparsity}. For zeros use zeros.")
        kept = rows - math.ceil(round(sparsity * rows, 9))  # 0.1 * 30 is 3 and a little
    source = random_source(rng)
    noise = standard_normal(source, shape, dtype).transpose(order)
    if not noise.size:
        return np.zeros(shape, dtype)
    matrix = noise.reshape(copies, rows, -1)
    places = np.argsort(source.uniform(0.0, 1.0, matrix.shape), axis=1)
    np.put_along_axis(matrix, places[:, kept:], 0.0, axis=1)
    values = matrix.reshape(noise.shape) * std
    return np.ascontiguousarray(values.transpose(np.argsort(order))).astype(dtype)


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


def by_name(name: str, options: Iterable[str] = ()) -> Initializer:
    """Return the initializer called ``name``, which takes ``options``.

    Raises ValueError for an unknown name, TypeError for no text and for an option that the initializer doesn't take.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a text, one of {', '.join(INITIALIZERS)}; got {name!r}. Pass name='he'.")
    found = INITIALIZERS[_choice("name", name, INITIALIZERS)]
    allowed = options_of(found)
    if unknown := [option for option in options if option not in allowed]:
        raise TypeError(f"{name} takes {', '.join(allowed) or 'no options'}; got {', '.join(unknown)}.")
    return found


def options_of(initializer: Initializer) -> tuple[str, ...]:
    """Return the names of an initializer's options, those of its layout last."""
    found: list[str] = []
    for parameter in inspect.signature(initializer).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name != "dtype":
            found.append(parameter.name)
        elif parameter.kind is parameter.VAR_KEYWORD:
            layout = FanOptions if FanOptions.__name__ in str(parameter.annotation) else Layout
            found += layout.__annotations__
    return tuple(found)


# Shapes


def _shape(shape: Shape) -> tuple[int, ...]:
    sizes = (shape,) if isinstance(shape, int | np.integer) else shape
    try:
        checked = tuple(operator.index(size) for size in sizes)
    except TypeError:
        raise TypeError(f"shape must hold whole numbers; got {shape!r}. Pass shape=(64, 10).") from None
    if any(size < 0 for size in checked):
        raise ValueError(f"every size in shape must be at least 0; got {shape!r}")
    return checked


def _fans(shape: Shape, *, fans: tuple[int, int] | None = None, **layout: Unpack[Layout]) -> Fans:
    if fans is None:
        sizes = _shape(shape)
        if len(sizes) < 2:
            raise ValueError(
                f"shape must have at least 2 axes where the fans count, those of {sizes} are undefined. Pass "
                "fans=(fan_in, fan_out), or draw it with normal or zeros."
            )
        return compute_fans([size or 1 for size in sizes], **layout)  # an empty array has nothing to scale
    if layout:
        raise ValueError(f"fans already says what {', '.join(layout)} would; got both. Leave one out.")
    fan_in, fan_out = (_count(name, fan) for name, fan in zip(Fans._fields, fans, strict=True))
    return Fans(fan_in, fan_out)


def _matrices(name: str, shape: tuple[int, ...], **layout: Unpack[Layout]) -> tuple[tuple[int, ...], int, int, int]:
    """Order of axes that makes a weight a stack of matrices, number of copies, inputs of a unit, units of a group."""
    if len(shape) < 2:
        raise ValueError(f"{name} takes a shape of at least 2 axes; got {shape}. Add an axis of size 1.")
    sizes = [size or 1 for size in shape]  # an empty one has the form of those that are not
    fan_in = compute_fans(sizes, **layout).fan_in
    batch, _, _, outputs = _axes(len(shape), **layout)
    rest = [axis for axis in range(len(shape)) if axis not in (*batch, *outputs)]
    copies = math.prod(sizes[axis] for axis in batch)
    return (*batch, *rest, *outputs), copies, fan_in, math.prod(sizes) // (copies * fan_in * layout.get("groups", 1))


def _axes(count: int, **layout: Unpack[Layout]) -> tuple[tuple[int, ...], ...]:
    """Axes of a weight of ``count`` axes, from 0: batch, kernel, inputs, outputs."""
    given = layout.get("batch_axis", ()), layout.get("in_axis", -2), layout.get("out_axis", -1)
    batch, inputs, outputs = (
        tuple(axis % count for axis in ((axes,) if isinstance(axes, int) else axes)) for axes in given
    )
    kernel = tuple(axis for axis in range(count) if axis not in (*batch, *inputs, *outputs))
    return batch, kernel, inputs, outputs


# Options


def _cast(values: Any, dtype: np.dtype[Any]) -> Array:
    """``values`` as an array, one without axes too."""
    return np.asarray(values).astype(dtype)


def _values(name: str, values: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array of finite numbers that can be repeated to ``shape``."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" and array.dtype.name != "bfloat16":
        if array.dtype.kind != "c":
            raise TypeError(f"{name} must hold numbers; got an array of {array.dtype}. Pass {name}=1.0.")
        if not is_complex(dtype):
            raise TypeError(f"{name} must be real for dtype {dtype.name}; got complex numbers. Pass dtype='complex64'.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; got an array with NaN or infinity. Pass {name}=1.0.")
    try:
        np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"{name} of shape {array.shape} can't be repeated to shape {shape}. Pass a number, or an array whose sizes "
            "are the last ones of shape, or 1."
        ) from None
    return array


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


def _interval(name: str, bounds: Bounds) -> tuple[float, float]:
    if isinstance(bounds, str) or not hasattr(bounds, "__len__") or len(bounds) != 2:
        raise TypeError(f"{name} must be a pair (low, high); got {bounds!r}. Pass (-1, 1).")
    low, high = (_number(name, bound) for bound in bounds)
    if low >= high:
        raise ValueError(f"{name} must rise from low to high; got {low}, {high}. Swap or widen them.")
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
