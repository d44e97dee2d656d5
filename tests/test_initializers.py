import inspect
import math
import sys

import numpy as np
import pytest
from scipy.special import ndtr

from tests.sampling import assert_distributed, assert_follows, assert_uncorrelated
from weightinit import initializers
from weightinit.fans import Fans
from weightinit.initializers import INITIALIZERS
from weightinit.laws import Law

N_IN, N_OUT = 256, 320  # not square, so that swapped fans show
SHAPE = (N_IN, N_OUT)
CUT = 0.8796256610342398  # std of N(0, 1) between -2 and 2

CONVOLUTIONS = ("dirac", "delta_orthogonal")
DRAWN = [name for name in INITIALIZERS if name not in ("zeros", "ones", "constant", "identity", "dirac")]


def shape_for(name):
    return (3, 3, 8, 16) if name in CONVOLUTIONS else (24, 32)


def normal(variance):
    return Law("normal", 0.0, math.sqrt(variance))


def uniform(bound):
    return Law("uniform", 0.0, bound / math.sqrt(3), (-bound, bound))


def truncated(variance):
    std = math.sqrt(variance)
    return Law("truncated_normal", 0.0, std, (-2 * std / CUT, 2 * std / CUT))


# The laws by hand, from the papers, not from the code under test.
LAWS = [
    ("normal", {}, normal(1)),
    ("normal", {"mean": 0.3, "std": 0.2}, Law("normal", 0.3, 0.2)),
    ("random", {}, normal(0.01**2)),
    ("uniform", {}, uniform(1)),
    ("uniform", {"low": -0.1, "high": 0.3}, Law("uniform", 0.1, 0.4 / math.sqrt(12), (-0.1, 0.3))),
    ("truncated_normal", {}, truncated(CUT**2)),
    ("truncated_normal", {"std_before": 0.5, "mean": 1}, Law("truncated_normal", 1, 0.5 * CUT, (0, 2))),
    ("truncated_normal", {"std_after": 0.5}, truncated(0.25)),
    ("variance_scaling", {}, normal(1 / N_IN)),
    ("variance_scaling", {"gain": 3.0}, normal(9 / N_IN)),
    ("variance_scaling", {"scale": 3.0, "mode": "fan_out"}, normal(3 / N_OUT)),
    ("variance_scaling", {"mode": "fan_avg"}, normal(2 / (N_IN + N_OUT))),
    ("variance_scaling", {"mode": "fan_geo_avg"}, normal(1 / math.sqrt(N_IN * N_OUT))),
    ("variance_scaling", {"distribution": "truncated_normal"}, truncated(1 / N_IN)),
    ("variance_scaling", {"distribution": "uniform", "mode": "fan_out"}, uniform(math.sqrt(3 / N_OUT))),
    ("xavier", {}, normal(1 / N_IN)),
    ("he", {}, normal(2 / N_IN)),
    ("he", {"distribution": "truncated_normal"}, truncated(2 / N_IN)),
    ("he_normal", {}, normal(2 / N_IN)),
    ("he_uniform", {}, uniform(math.sqrt(6 / N_IN))),
    ("glorot_normal", {}, normal(2 / (N_IN + N_OUT))),
    ("glorot_normal", {"distribution": "truncated_normal"}, truncated(2 / (N_IN + N_OUT))),
    ("glorot_uniform", {}, uniform(math.sqrt(6 / (N_IN + N_OUT)))),
    ("lecun_normal", {}, normal(1 / N_IN)),
    ("lecun_normal", {"distribution": "truncated_normal"}, truncated(1 / N_IN)),
    ("lecun_uniform", {}, uniform(math.sqrt(3 / N_IN))),
    ("siren", {"layer": "first"}, uniform(1 / N_IN)),
    ("siren", {"layer": "hidden"}, uniform(math.sqrt(6 / N_IN) / 30)),
    ("siren", {"layer": "hidden", "omega": 5.0}, uniform(math.sqrt(6 / N_IN) / 5)),
    ("orthogonal", {}, Law("orthogonal", 0, 1 / math.sqrt(N_OUT), (-1, 1))),
    ("orthogonal", {"gain": 2, "preserve": "rms"}, Law("orthogonal", 0, 2 / math.sqrt(N_IN))),
    ("sparse", {}, Law("sparse", 0, math.sqrt(15 / N_IN))),
    ("sparse", {"nonzero": 40, "std": 0.1}, Law("sparse", 0, 0.1 * math.sqrt(40 / N_IN))),
    ("zeros", {}, Law("constant", 0, 0)),
    ("ones", {}, Law("constant", 1, 0)),
    ("constant", {"value": 0.7}, Law("constant", 0.7, 0)),
]
FAMILIES = {
    "normal": lambda x: ndtr(x),
    "uniform": lambda x: (x + 1) / 2,
    "truncated_normal": lambda x: (ndtr(x) - ndtr(-2)) / (ndtr(2) - ndtr(-2)),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("name", "options", "law"), LAWS, ids=str)
def test_follows_its_law(name, options, law, seed):
    assert_follows(INITIALIZERS[name](seed, SHAPE, dtype=np.float64, **options), law)


def test_every_initializer_has_its_law_tested():
    tested_elsewhere = {"identity", "dirac", "delta_orthogonal"}
    assert {name for name, _, _ in LAWS} | tested_elsewhere == set(INITIALIZERS)


@pytest.mark.parametrize("name", FAMILIES)
def test_family(name):
    assert_distributed(INITIALIZERS[name](2, SHAPE, dtype=np.float64), FAMILIES[name])


# Bits, noise and types


@pytest.mark.parametrize("source", [np.random.RandomState, np.random.default_rng])
@pytest.mark.parametrize(
    ("name", "variance"),
    [("xavier", 1 / 7), ("lecun_normal", 1 / 7), ("he", 2 / 7), ("he_normal", 2 / 7), ("glorot_normal", 2 / 12)],
)
def test_normal_schemes_are_one_noise_times_one_number(name, variance, source):
    expected = source(4).standard_normal((7, 5)) * np.sqrt(variance)
    np.testing.assert_array_equal(INITIALIZERS[name](source(4), (7, 5), dtype=np.float64), expected)
    np.testing.assert_array_equal(INITIALIZERS[name](source(4), (7, 5)), expected.astype(np.float32))


@pytest.mark.parametrize(
    ("base", "names"),
    [
        ("uniform", ("he_uniform", "glorot_uniform", "lecun_uniform", "siren")),
        ("normal", ("random", "xavier", "he", "glorot_normal")),
        ("truncated_normal", ("xavier", "he", "glorot_normal", "lecun_normal")),
    ],
)
def test_a_family_shares_its_noise(base, names):
    noise = INITIALIZERS[base](5, SHAPE, dtype=np.float64)
    options = {"distribution": base} if base == "truncated_normal" else {}
    for name in names:
        values = INITIALIZERS[name](5, SHAPE, dtype=np.float64, **options)
        np.testing.assert_allclose(values / values.std(), noise / noise.std(), rtol=1e-12)


def test_sparse_and_orthogonal_come_from_the_normal_noise():
    noise = INITIALIZERS["normal"](6, (40, 30), dtype=np.float64)
    sparse = initializers.sparse(6, (40, 30), dtype=np.float64)
    np.testing.assert_array_equal(sparse[sparse != 0], noise[sparse != 0])
    first = initializers.orthogonal(6, (40, 30), dtype=np.float64)[:, 0]
    np.testing.assert_allclose(first, noise[:, 0] / np.linalg.norm(noise[:, 0]), rtol=1e-12)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_dtype_changes_rounding_never_noise(name):
    exact = INITIALIZERS[name](7, shape_for(name), dtype=np.float64)
    assert exact.dtype == np.float64
    assert exact.shape == shape_for(name)
    assert exact.flags.c_contiguous
    for dtype in (np.float16, np.float32, "float32"):
        values = INITIALIZERS[name](7, shape_for(name), dtype=dtype)
        assert values.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(values, exact.astype(dtype))
    assert INITIALIZERS[name](7, shape_for(name)).dtype == np.float32


@pytest.mark.parametrize("name", DRAWN)
def test_a_source_of_noise_is_used_up(name):
    for source in (np.random.default_rng(8), np.random.RandomState(8)):
        one, two = (INITIALIZERS[name](source, shape_for(name)) for _ in range(2))
        assert not np.array_equal(one, two)
    np.testing.assert_array_equal(
        INITIALIZERS[name](8, shape_for(name)), INITIALIZERS[name](np.random.default_rng(8), shape_for(name))
    )
    assert not np.array_equal(INITIALIZERS[name](None, shape_for(name)), INITIALIZERS[name](None, shape_for(name)))


@pytest.mark.parametrize("name", sorted(set(INITIALIZERS) - set(DRAWN)))
def test_fixed_values_draw_nothing(name):
    source = np.random.RandomState(9)
    INITIALIZERS[name](source, shape_for(name))
    assert source.standard_normal() == np.random.RandomState(9).standard_normal()


def test_signatures_and_documentation():
    for name, function in INITIALIZERS.items():
        parameters = inspect.signature(function).parameters
        assert [*parameters][:2] == ["rng", "shape"]
        assert parameters["dtype"].kind is inspect.Parameter.KEYWORD_ONLY
        assert function.__doc__
        assert getattr(initializers, name) is function
    assert initializers.he_normal is initializers.he


# Fans


@pytest.mark.parametrize(
    ("shape", "options", "fan_in"),
    [
        ((3, 3, 64, 128), {}, 9 * 64),
        ((5, 64, 256), {"groups": 4}, 5 * 64),
        ((128, 64, 3, 3), {"in_axis": 1, "out_axis": 0}, 9 * 64),
        ((64, 16, 128), {"in_axis": (0, 1)}, 64 * 16),
        ((256, 8, 64), {"in_axis": 0, "out_axis": (1, 2)}, 256),
        (SHAPE, {"fans": (1000, 10)}, 1000),
        (SHAPE, {"fans": Fans(1000, 10)}, 1000),
        (80_000, {"fans": (80_000, 1)}, 80_000),
        ((16, 64, 80), {"batch_axis": 0}, 64),
    ],
)
def test_fans(shape, options, fan_in):
    for name in ("xavier", "he", "lecun_uniform", "siren"):
        values = INITIALIZERS[name](10, shape, dtype=np.float64, **options)
        variance = {"xavier": 1, "he": 2, "lecun_uniform": 1, "siren": 2 / 30**2}[name] / fan_in
        assert_follows(values, normal(variance))


def test_groups_lower_the_fan_out():
    values = initializers.variance_scaling(11, (5, 64, 256), mode="fan_out", groups=4, dtype=np.float64)
    assert_follows(values, normal(1 / (5 * 64)))


# Truncation


@pytest.mark.parametrize(
    ("options", "mean", "before", "low", "high"),
    [
        ({"std_before": 0.5, "sigma_bounds": (-1, 3)}, 0, 0.5, -0.5, 1.5),
        ({"std_before": 0.5, "absolute_bounds": (-1, 0.25), "mean": 0.1}, 0.1, 0.5, -1, 0.25),
        ({"std_before": 1e-3, "absolute_bounds": (-2, 2)}, 0, 1e-3, -2, 2),
        ({"std_before": 1, "sigma_bounds": (0, 2)}, 0, 1, 0, 2),
        ({"std_before": 0.5, "sigma_bounds": (1, 2)}, 0, 0.5, 0.5, 1),
        ({"mean": 1, "absolute_bounds": (-2, -1)}, 1, 1, -2, -1),
    ],
)
def test_truncation_said_before(options, mean, before, low, high):
    values = initializers.truncated_normal(12, SHAPE, dtype=np.float64, **options)
    assert low <= values.min()
    assert values.max() <= high
    at_low, at_high = ndtr((low - mean) / before), ndtr((high - mean) / before)
    assert_distributed(values, lambda x: (ndtr((x - mean) / before) - at_low) / (at_high - at_low))


@pytest.mark.parametrize(
    "bounds",
    [
        {},
        {"sigma_bounds": (-1, 3)},
        {"absolute_bounds": (-0.6, 0.6)},  # close to the limit, uniform
        {"absolute_bounds": (-0.4, 2)},
        {"absolute_bounds": (-50, 50)},
        {"absolute_bounds": (1, 9)},
        {"sigma_bounds": (-90, -40)},
    ],
)
def test_truncation_said_after(bounds):
    values = initializers.truncated_normal(13, SHAPE, std_after=0.3, dtype=np.float64, **bounds)
    assert_follows(values, Law("normal", values.mean(), 0.3))
    low, high = bounds.get("absolute_bounds", (-math.inf, math.inf))
    assert low <= values.min()
    assert values.max() <= high


def test_truncated_moments_agree_with_a_sum():
    for low, high in ((-2, 2), (-1, 3), (0, 0.5)):
        x = np.linspace(low, high, 200_001)
        density = np.exp(-(x**2) / 2)
        mean = np.trapezoid(x * density, x) / np.trapezoid(density, x)
        variance = np.trapezoid((x - mean) ** 2 * density, x) / np.trapezoid(density, x)
        np.testing.assert_allclose(initializers.truncated_moments(low, high), (mean, math.sqrt(variance)), atol=1e-9)
    assert initializers.truncated_moments(-2, 2)[1] == pytest.approx(0.87962566, abs=5e-9)


# Structured matrices


@pytest.mark.parametrize("shape", [(64, 64), (96, 64), (64, 96), (1, 5), (5, 1), (3, 3, 8, 16), (2, 2, 4, 64)])
@pytest.mark.parametrize("preserve", ["isometry", "rms"])
@pytest.mark.parametrize("gain", [1.0, 1.7])
def test_orthogonal(shape, preserve, gain):
    matrix = initializers.orthogonal(14, shape, gain=gain, preserve=preserve, dtype=np.float64).reshape(-1, shape[-1])
    rows, columns = matrix.shape
    product = matrix.T @ matrix if rows >= columns else matrix @ matrix.T
    square = gain**2 * (max(1.0, columns / rows) if preserve == "rms" else 1.0)
    np.testing.assert_allclose(product, square * np.eye(len(product)), atol=1e-12)


def test_orthogonal_in_other_layouts():
    matrix = initializers.orthogonal(15, (32, 8, 3, 3), in_axis=1, out_axis=0, dtype=np.float64).reshape(32, -1)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(32), atol=1e-12)
    heads = initializers.orthogonal(15, (64, 4, 8), in_axis=0, out_axis=(1, 2), dtype=np.float64).reshape(64, 32)
    np.testing.assert_allclose(heads.T @ heads, np.eye(32), atol=1e-12)


def test_orthogonal_groups_are_orthogonal_each():
    matrix = initializers.orthogonal(16, (3, 8, 40), groups=4, dtype=np.float64).reshape(24, 4, 10)
    products = np.einsum("rgc,rgd->gcd", matrix, matrix)
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(10), (4, 10, 10)), atol=1e-12)
    assert not np.allclose(matrix[:, 0], matrix[:, 1])


def test_orthogonal_is_haar():
    """Moments of the Haar measure on O(4): a QR without its signs put right leaves the trace negative."""
    draws, n = 20_000, 4
    matrices = initializers.orthogonal(17, (n, draws * n), groups=draws, dtype=np.float64)
    matrices = matrices.reshape(n, draws, n).swapaxes(0, 1)
    traces = np.trace(matrices, axis1=1, axis2=2)
    assert abs(traces.mean()) * math.sqrt(draws) < 4.5
    for place in ((0, 0), (3, 3), (1, 2)):
        element = matrices[:, *place]
        for power, expected in ((1, 0), (2, 1 / n), (4, 3 / (n * (n + 2)))):
            sample = element**power
            assert abs(sample.mean() - expected) / (sample.std() / math.sqrt(draws)) < 4.5
    assert 0.48 < (np.linalg.det(matrices) > 0).mean() < 0.52


@pytest.mark.parametrize(("n_in", "n_out"), [(6, 6), (6, 10)])
def test_delta_orthogonal_is_an_isometry(n_in, n_out):
    """All singular values of the circular convolution: those of its kernel's Fourier transform."""
    kernel = initializers.delta_orthogonal(18, (3, 5, n_in, n_out), gain=1.3, dtype=np.float64)
    transform = np.fft.fft2(kernel, s=(8, 8), axes=(0, 1))
    np.testing.assert_allclose(np.linalg.svd(transform, compute_uv=False), 1.3, rtol=1e-12)
    assert np.count_nonzero(kernel.any(axis=(2, 3))) == 1
    assert kernel[1, 2].all()


@pytest.mark.parametrize(("shape", "groups"), [((3, 3, 4, 4), 1), ((5, 2, 8), 4), ((3, 4, 2), 1), ((4, 3, 6), 2)])
def test_dirac(shape, groups):
    kernel = initializers.dirac(None, shape, gain=2.0, groups=groups, dtype=np.float64)
    expected = np.zeros(shape)
    per_group = shape[-1] // groups
    for group in range(groups):
        for channel in range(min(per_group, shape[-2])):
            place = tuple((size - 1) // 2 for size in shape[:-2])
            expected[(*place, channel, group * per_group + channel)] = 2.0
    np.testing.assert_array_equal(kernel, expected)


def test_dirac_hands_a_signal_on():
    kernel = initializers.dirac(None, (3, 1, 1), dtype=np.float64)[:, 0, 0]
    signal = np.arange(1.0, 6.0)
    np.testing.assert_array_equal(np.convolve(signal, kernel[::-1], "same"), signal)


def test_identity():
    np.testing.assert_array_equal(initializers.identity(None, (3, 5), gain=2.0), 2.0 * np.eye(3, 5))


def test_sparse_counts():
    values = initializers.sparse(19, (64, 8192), nonzero=15, dtype=np.float64)
    np.testing.assert_array_equal((values != 0).sum(axis=0), 15)
    assert_follows(values[values != 0], normal(1.0))
    share = 15 / 64
    uses = (values != 0).sum(axis=1)
    assert np.all(np.abs(uses - 8192 * share) < 4.5 * math.sqrt(8192 * share * (1 - share)))
    assert np.all(initializers.sparse(19, (7, 5)) != 0)
    kernel = initializers.sparse(19, (3, 3, 8, 16), nonzero=5)
    np.testing.assert_array_equal((kernel != 0).sum(axis=(0, 1, 2)), 5)
    outputs_first = initializers.sparse(19, (16, 8, 3), nonzero=5, in_axis=1, out_axis=0)
    np.testing.assert_array_equal((outputs_first != 0).sum(axis=(1, 2)), 5)


def test_sparse_by_share_of_zeros():
    """As ``torch.nn.init.sparse_``: the share is rounded up to whole inputs, those of a kernel counted together."""
    for share, shape, zeros in ((0.1, (30, 40), 3), (0.5, (3, 3, 7, 16), 32), (0.0, (7, 5), 0)):
        values = initializers.sparse(19, shape, sparsity=share)
        np.testing.assert_array_equal((values == 0).reshape(-1, shape[-1]).sum(axis=0), zeros)


def test_copies_along_a_batch_axis_are_matrices_of_their_own():
    values = initializers.orthogonal(16, (30, 4, 20), batch_axis=1, in_axis=0, dtype=np.float64)
    for copy in range(4):
        np.testing.assert_allclose(values[:, copy].T @ values[:, copy], np.eye(20), atol=1e-12)
    assert_uncorrelated(values[:, 0], values[:, 1])
    few = initializers.sparse(16, (4, 30, 20), batch_axis=0, nonzero=3)
    np.testing.assert_array_equal((few != 0).sum(axis=1), 3)


def test_dirac_in_other_layouts_and_over_more_axes():
    outputs_first = initializers.dirac(None, (6, 2, 3, 3), groups=3, in_axis=1, out_axis=0)
    np.testing.assert_array_equal(outputs_first.transpose(2, 3, 1, 0), initializers.dirac(None, (3, 3, 2, 6), groups=3))
    kernel = initializers.dirac(None, (3, 3, 3, 3, 4, 4))
    np.testing.assert_array_equal(kernel[1, 1, 1, 1], np.eye(4))
    assert kernel.sum() == 4
    heads = initializers.dirac(None, (3, 4, 2, 2), in_axis=1, out_axis=(2, 3))
    np.testing.assert_array_equal(heads[1].reshape(4, 4), np.eye(4))


@pytest.mark.parametrize(("name", "options", "law"), [row for row in LAWS if row[2].mean == 0 and row[2].std > 0])
def test_complex_values_have_the_variance_of_real_ones_in_independent_parts(name, options, law):
    values = INITIALIZERS[name](2, SHAPE, dtype=np.complex128, **options)
    assert values.dtype == np.complex128
    single = INITIALIZERS[name](2, SHAPE, dtype=np.complex64, **options)
    np.testing.assert_array_equal(single, values.astype(np.complex64))
    if law.family in ("normal", "uniform", "truncated_normal"):
        low, high = law.support
        part = Law(law.family, 0.0, law.std / math.sqrt(2), (low / math.sqrt(2), high / math.sqrt(2)))
        assert_follows(values.real, part)
        assert_follows(values.imag, part)
        assert_uncorrelated(values.real, values.imag)
    else:
        assert math.sqrt(np.mean(abs(values) ** 2)) == pytest.approx(law.std, rel=0.02)


def test_complex_orthogonal_matrices_are_unitary():
    values = initializers.orthogonal(14, (48, 32), gain=2.0, dtype=np.complex128)
    np.testing.assert_allclose(values.conj().T @ values, 4 * np.eye(32), atol=1e-12)
    phases = np.concatenate([initializers.orthogonal(i, (2, 2), dtype=np.complex128)[0] for i in range(2000)])
    assert abs(np.mean(phases / abs(phases))) < 4.5 / math.sqrt(4000)  # no phase is preferred


@pytest.mark.parametrize("name", INITIALIZERS)
def test_empty_shapes_give_empty_arrays(name):
    for shape in ((0, 3), (3, 0)) if name not in CONVOLUTIONS else ((3, 0, 4), (0, 2, 4)):
        values = INITIALIZERS[name](3, shape)
        assert values.shape == shape
        assert values.dtype == np.float32
    assert initializers.normal(3, ()).shape == ()


def test_constants_from_arrays_are_repeated():
    values = initializers.constant(None, (2, 3), value=np.arange(3))
    np.testing.assert_array_equal(values, [[0, 1, 2], [0, 1, 2]])
    assert values.dtype == np.float32
    assert values.flags.writeable
    assert initializers.constant(None, 2, value=1 + 2j, dtype=np.complex64)[0] == 1 + 2j


def test_bfloat16_without_its_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(ImportError, match="pip install ml_dtypes"):
        initializers.he(0, SHAPE, dtype="bfloat16")


def test_two_draws_are_independent():
    source = np.random.default_rng(20)
    assert_uncorrelated(*(initializers.xavier(source, SHAPE) for _ in range(2)))


# Errors


@pytest.mark.parametrize(
    ("name", "shape", "options", "error", "message"),
    [
        ("variance_scaling", SHAPE, {"scale": 1.0, "gain": 2.0}, ValueError, "only one may be given; got scale=1.0"),
        (
            "variance_scaling",
            SHAPE,
            {"mode": "fanin"},
            ValueError,
            r"one of fan_in,.*'fanin'. Pass mode='fan_in'",
        ),
        ("variance_scaling", SHAPE, {"distribution": "uniformly"}, ValueError, "Pass distribution='uniform'"),
        ("variance_scaling", SHAPE, {"scale": math.nan}, ValueError, "scale must be finite"),
        ("variance_scaling", SHAPE, {"scale": -1}, ValueError, "scale must be positive; got -1"),
        ("variance_scaling", SHAPE, {"gain": 0}, ValueError, "gain must be positive"),
        ("variance_scaling", SHAPE, {"gain": "2"}, TypeError, "gain must be a number; got '2'"),
        ("variance_scaling", SHAPE, {"gain": True}, TypeError, "gain must be a number"),
        ("he", SHAPE, {"fans": (3, 4), "groups": 2}, ValueError, "fans already says what groups would"),
        ("he", SHAPE, {"fans": (0, 4)}, ValueError, "fan_in must be at least 1"),
        ("he", SHAPE, {"grups": 2}, TypeError, "grups"),
        ("he", (3, -1), {}, ValueError, "at least 0"),
        ("he", (5,), {}, ValueError, "those of .5,. are undefined. Pass fans"),
        ("orthogonal", (2, 3, 4), {"batch_axis": 1}, ValueError, "batch_axis must be none of"),
        ("he", (3, 2.5), {}, TypeError, "shape must hold whole numbers"),
        ("he", SHAPE, {"dtype": np.int32}, TypeError, "dtype must be float16, .* or complex128"),
        ("he", SHAPE, {"dtype": None}, TypeError, "dtype must be float16, .*; got None"),
        ("he", SHAPE, {"dtype": "float128x"}, TypeError, "dtype must be float16, .* or complex128"),
        ("normal", SHAPE, {"std": -0.1}, ValueError, "std must be positive; got -0.1"),
        ("uniform", SHAPE, {"low": 1, "high": -1}, ValueError, "must rise"),
        ("truncated_normal", SHAPE, {"std_before": 1, "std_after": 1}, ValueError, "std_before and std_after"),
        (
            "truncated_normal",
            SHAPE,
            {"sigma_bounds": (-2, 2), "absolute_bounds": (-2, 2)},
            ValueError,
            "sigma_bounds and absolute_bounds",
        ),
        ("truncated_normal", SHAPE, {"sigma_bounds": (1, 2), "dtype": complex}, ValueError, "must be symmetric"),
        ("truncated_normal", SHAPE, {"sigma_bounds": 2}, TypeError, "must be a pair"),
        ("truncated_normal", SHAPE, {"std_after": 1, "absolute_bounds": (-1, 1)}, ValueError, "must be below 0.57735"),
        ("orthogonal", (5,), {}, ValueError, "at least 2 axes"),
        ("orthogonal", SHAPE, {"preserve": "norm"}, ValueError, "preserve must be one of isometry, rms"),
        ("orthogonal", SHAPE, {"groups": 7}, ValueError, "groups must divide"),
        ("delta_orthogonal", (3, 8, 4), {}, ValueError, "8 in, 4 out"),
        ("delta_orthogonal", SHAPE, {}, ValueError, "Use orthogonal"),
        ("identity", (3, 4, 5), {}, ValueError, "use dirac"),
        ("dirac", SHAPE, {}, ValueError, "Use identity"),
        ("sparse", SHAPE, {"nonzero": 0}, ValueError, "nonzero must be at least 1"),
        ("sparse", SHAPE, {"nonzero": 1.5}, TypeError, "nonzero must be a whole number"),
        ("sparse", SHAPE, {"sparsity": 1.0}, ValueError, "sparsity must be at least 0 and below 1"),
        ("sparse", SHAPE, {"sparsity": 0.5, "nonzero": 3}, ValueError, "nonzero and sparsity"),
        ("constant", SHAPE, {"value": [1.0, 2.0]}, ValueError, "can't be repeated"),
        ("constant", SHAPE, {"value": 1j}, TypeError, "must be real for dtype float32"),
        ("constant", SHAPE, {"value": np.full(N_OUT, np.nan)}, ValueError, "must be finite"),
        ("siren", SHAPE, {"layer": "last"}, ValueError, "layer must be one of first, hidden"),
        ("constant", SHAPE, {"value": math.inf}, ValueError, "value must be finite"),
    ],
)
def test_errors(name, shape, options, error, message):
    with pytest.raises(error, match=message):
        INITIALIZERS[name](0, shape, **options)


def test_an_error_draws_nothing():
    source = np.random.RandomState(21)
    with pytest.raises(TypeError):
        initializers.he(source, SHAPE, dtype=int)
    assert source.standard_normal() == np.random.RandomState(21).standard_normal()


def test_the_source_must_be_one():
    with pytest.raises(TypeError, match="rng must be"):
        initializers.he("seed", SHAPE)
