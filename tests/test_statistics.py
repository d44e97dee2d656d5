"""Statistics against plain float64 formulas and SciPy, at extreme scales, on non-finite runs, alone and in stacks."""

import math
import warnings

import numpy as np
import pytest
import scipy.stats

from weightinit.laws import UNKNOWN, Law
from weightinit.statistics import STATISTICS, Reading, histogram, measure

NORMAL = Law("normal", 0.0, 1.0)
LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "fortran": np.asfortranarray,
    "transposed": lambda x: np.ascontiguousarray(np.swapaxes(x, 1, -1)).swapaxes(1, -1),
    "strided": lambda x: np.repeat(np.repeat(x, 2, axis=0), 3, axis=-1)[::2, ..., ::3],
    "reversed": lambda x: np.ascontiguousarray(x[:, ::-1])[:, ::-1],
}


def layer(runs, *, batch=16, fan_in=37, units=19, dtype=np.float32, seed=0):
    """Readings of one tanh layer, as a training step would hand them over."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(0.02, 0.3, (runs, fan_in, units))
    z = rng.normal(0.1, 2.0, (runs, batch, units))
    slope = 1 - np.tanh(z) ** 2
    slope[:, :, :3] = 0
    gradient = rng.normal(0, 1e-4, weight.shape)
    arrays = {"weight": weight, "preactivation": z, "activation": np.tanh(z), "slope": slope}
    arrays |= {"gradient": gradient, "update": -0.1 * gradient, "backward": rng.normal(0.02, 0.1, z.shape)}
    arrays |= {"branch": 0.5 * z, "stream": 2.0 * z, "propagated": arrays["backward"]}
    attention = rng.exponential(1.0, (runs, batch, 2, 5, 5)) * np.tri(5)  # each query has one key more
    arrays["attention"] = attention / attention.sum(-1, keepdims=True)
    arrays["tokens"] = rng.normal(size=(runs, 6, 4, 9))
    arrays["singular_values"] = np.sort(rng.exponential(1.0, (runs, 4, 10)))[:, :, ::-1]
    return {name: x.astype(dtype) for name, x in arrays.items()}


def test_measurements_are_the_plain_formulas():
    readings = layer(5)
    got = measure(readings | {"laws": (Law("normal", 0.0, 0.3),) * 5}, ends=True)
    assert set(got) == set(STATISTICS)
    for name, value in got.items():
        assert (value.shape, value.dtype) == ((5,), np.float64), name
    wide = {name: x.astype(np.float64) for name, x in readings.items()}
    for i in range(5):
        run = {name: x[i] for name, x in wide.items()}
        expected = {}
        for name in ("weight", "preactivation", "activation", "gradient"):
            x = run[name]
            rms = math.sqrt((x**2).mean())
            expected |= {f"{name}_mean": x.mean(), f"{name}_std": x.std(), f"{name}_rms": rms}
        del expected["gradient_mean"]
        s = np.linalg.svd(run["activation"], compute_uv=False)
        expected |= {
            "weight_min": run["weight"].min(),
            "weight_max": run["weight"].max(),
            "weight_expected_std": 0.3,
            "weight_spectral_norm": np.linalg.norm(run["weight"], 2),
            "weight_condition_number": np.linalg.cond(run["weight"]),
            "weight_distinct_units": 19,
            "activation_dead_fraction": 3 / 19,
            "activation_saturated_fraction": (abs(run["slope"]) < 0.01).mean(),
            "activation_effective_rank": math.exp(scipy.stats.entropy(s)),
            "gradient_norm": np.linalg.norm(run["gradient"]),
            "activation_correlation": pairs_correlation(run["activation"]),
            "backward_correlation": pairs_correlation(run["backward"]),
            "backward_rms": math.sqrt((run["backward"] ** 2).mean()),
            "backward_norm": math.sqrt((run["backward"] ** 2).sum(-1).mean()),
            "branch_share": 1 / 16,
            "token_effective_rank": np.mean(
                [math.exp(scipy.stats.entropy(np.linalg.svd(x, compute_uv=False))) for x in run["tokens"]]
            ),
            "attention_entropy": relative_entropy(run["attention"]),
            "update_ratio": np.linalg.norm(run["update"]) / np.linalg.norm(run["weight"]),
            "jacobian_mean_s2": (run["singular_values"] ** 2).mean(),
            "jacobian_spread": np.mean([(s**2).var() / (s**2).mean() ** 2 for s in run["singular_values"]]),
            "jacobian_max": run["singular_values"].max(),
            "jacobian_min": run["singular_values"].min(),
        }
        assert set(expected) == set(got) - {"weight_mean_z", "weight_std_z"}
        for name, value in expected.items():
            assert got[name][i] == pytest.approx(value, rel=1e-10), name


def relative_entropy(patterns):
    """Entropy of each query's attention over that of as many equal weights, mean over the queries of more than one."""
    shares = [
        -(query[query > 0] * np.log(query[query > 0])).sum() / math.log(np.count_nonzero(query))
        for query in patterns.reshape(-1, patterns.shape[-1])
        if np.count_nonzero(query) > 1
    ]
    return np.mean(shares)


def pairs_correlation(x):
    """E[x x'] / E[x²] over pairs of different samples, by the pairs."""
    gram = x @ x.T
    return (gram.sum() - np.trace(gram)) / (len(x) - 1) / np.trace(gram)


def test_correlation_is_one_of_equal_samples_and_nan_where_there_is_none():
    x = np.random.default_rng(0).normal(size=(3, 1, 9)).repeat(4, axis=1)
    x[1] = 0.0
    correlation = STATISTICS["activation_correlation"].function
    np.testing.assert_allclose(correlation(x), [1.0, np.nan, 1.0], rtol=1e-12)
    np.testing.assert_allclose(correlation(x * 1e-200), [1.0, np.nan, 1.0], rtol=1e-12)
    assert np.isnan(correlation(x[:, :1])).all()


def test_the_functions_take_plain_arrays_too():
    readings = layer(3) | {"laws": (NORMAL,) * 3}
    got = measure(readings, ends=True)
    for name, statistic in STATISTICS.items():
        np.testing.assert_array_equal(statistic.function(*(readings[need] for need in statistic.needs)), got[name])
        assert statistic.doc


def test_measure_applies_what_is_at_hand():
    readings = layer(2)
    assert set(measure({"gradient": readings["gradient"]}, ends=True)) == {
        "gradient_std",
        "gradient_rms",
        "gradient_norm",
    }
    cheap = measure(readings | {"laws": (UNKNOWN,) * 2}, ends=False)
    assert set(cheap) == {name for name, statistic in STATISTICS.items() if not statistic.ends}
    assert {"weight_spectral_norm", "weight_condition_number", "weight_distinct_units"}.isdisjoint(cheap)
    assert measure({}, ends=True) == {}


def test_measure_refuses_what_it_cannot_read():
    x = np.ones((2, 3, 4))
    with pytest.raises(ValueError, match=r"readings must be named among .*weight; got weights"):
        measure({"weights": x}, ends=False)
    with pytest.raises(ValueError, match=r"same number of runs.*weight has 2, laws has 3"):
        measure({"weight": x, "laws": (NORMAL,) * 3}, ends=False)


@pytest.mark.parametrize("shape", [(7, 64, 128), (7, 3, 3, 8, 5), (7, 1, 9), (7, 9000, 16), (7, 2, 2)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_run_measures_the_same_bits_alone_in_any_stack_and_in_any_layout(shape, dtype):
    rng = np.random.default_rng(1)
    names = ("weight", "preactivation", "activation", "slope", "gradient", "update", "backward")
    stack = {name: rng.normal(0.3, 1.0, shape).astype(dtype) for name in names}
    stack["weight"][0, ..., 0] = -0.0  # zeros of both signs: the smallest must not depend on their order
    stack["weight"][0, ..., 1] = 0.0
    laws = tuple(Law("normal", 0.0, float(std)) for std in rng.uniform(0.5, 2.0, 7))

    def bits(readings, laws):
        found = measure(readings | {"laws": laws}, ends=True)
        counts = histogram(readings["weight"])
        return {name: value.view(np.uint64) for name, value in found.items()} | {"histogram": counts.view(np.uint64)}

    together = bits(stack, laws)
    repeats = np.arange(64 if math.prod(shape) < 100_000 else 8) % 7
    larger = bits({name: x[repeats] for name, x in stack.items()}, tuple(laws[i] for i in repeats))
    for i in range(7):
        alone = bits({name: x[i : i + 1] for name, x in stack.items()}, laws[i : i + 1])
        for name, value in alone.items():
            assert np.array_equal(value[0], together[name][i]), name
            assert all(np.array_equal(value[0], larger[name][j]) for j in np.flatnonzero(repeats == i)), name
    for layout, view in LAYOUTS.items():
        viewed = bits({name: view(x) for name, x in stack.items()}, laws)
        for name, value in together.items():
            assert np.array_equal(value, viewed[name]), (layout, name)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(np.float32, 1e-30), (np.float32, 1e30), (np.float64, 1e-200), (np.float64, 1e200), (np.float16, 2e4)],
)
def test_any_scale_that_the_dtype_holds_is_measured_right(dtype, scale):
    unit = np.random.default_rng(2).uniform(-1.0, 1.5, (3, 60, 40))
    x = (unit * scale).astype(dtype)
    names = ("weight", "preactivation", "activation", "gradient", "update")
    got = measure(dict.fromkeys(names, x), ends=True)
    plain = x.astype(np.float64) / scale  # no square leaves the range of float64
    for name, value in {
        "weight_mean": plain.mean((1, 2)),
        "weight_std": plain.std((1, 2)),
        "activation_rms": np.sqrt((plain**2).mean((1, 2))),
        "gradient_norm": np.sqrt((plain**2).sum((1, 2))),
        "weight_max": plain.max((1, 2)),
        "weight_spectral_norm": np.linalg.norm(plain, 2, axis=(1, 2)),
    }.items():
        np.testing.assert_allclose(got[name] / scale, value, rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(got["weight_condition_number"], np.linalg.cond(plain), rtol=1e-9)
    assert (got["weight_distinct_units"] == 40).all()
    np.testing.assert_array_equal(got["update_ratio"], 1.0)


def test_one_array_may_span_hundreds_of_decades():
    x = -np.logspace(-200, 200, 50).reshape(1, 5, 10)
    got = Reading(x).summary
    np.testing.assert_allclose(got.rms, 1e200 * math.sqrt(((x / 1e200) ** 2).mean()), rtol=1e-12)
    np.testing.assert_array_equal([got.min, got.max], [[-1e200], [-1e-200]])


def test_a_float16_layer_is_reduced_in_float64():
    x = np.random.default_rng(3).normal(0.0, 100.0, (2, 400, 400)).astype(np.float16)  # float16 squares overflow
    np.testing.assert_allclose(Reading(x).summary.std, x.astype(np.float64).std((1, 2)), rtol=1e-12)
    small = np.full((1, 300, 300), 6e-8, np.float16)  # subnormal
    assert Reading(small).summary.rms[0] == float(small[0, 0, 0])


def test_a_mean_far_larger_than_the_spread_does_not_hide_it():
    x = 1e4 + np.random.default_rng(4).normal(0.0, 1e-4, (2, 256, 256))
    np.testing.assert_allclose(Reading(x).summary.std, x.std((1, 2)), rtol=1e-9)
    np.testing.assert_allclose(Reading(x).summary.std, 1e-4, rtol=0.02)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_a_run_that_is_not_finite_says_so_and_leaves_its_neighbours_alone(poison):
    clean = layer(4) | {"laws": (NORMAL,) * 4}
    before = measure(clean, ends=True)
    sick = {name: x if name == "laws" else x.copy() for name, x in clean.items()}
    for name in sick.keys() - {"laws"}:
        sick[name].reshape(len(sick[name]), -1)[2, 29] = poison
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        after = measure(sick, ends=True)
    for name, value in after.items():
        np.testing.assert_array_equal(value[[0, 1, 3]], before[name][[0, 1, 3]], err_msg=name)
        if name not in ("weight_expected_std", "weight_min", "weight_max"):
            assert not np.isfinite(value[2]), name
    assert not np.isfinite([after["weight_min"][2], after["weight_max"][2]]).all()


def test_a_run_that_is_wholly_not_finite_raises_nothing():
    readings = {name: np.full_like(x, math.nan) for name, x in layer(2).items()} | {"laws": (NORMAL,) * 2}
    got = measure(readings, ends=True)
    assert all(np.isnan(value).all() for name, value in got.items() if name != "weight_expected_std")
    assert (histogram(readings["weight"])[:, 1] == 0).all()


# z-scores -----------------------------------------------------------------------------------------------------------


def truncated(low, high):
    """Law of a standard normal cut to [low, high], and its draws."""
    parent = scipy.stats.truncnorm(low, high)
    law = Law("truncated_normal", float(parent.mean()), float(parent.std()), (low, high))
    return law, lambda rng, shape: parent.rvs(shape, random_state=rng)


DRAWS = {
    "normal": (Law("normal", 0.1, 2.0), lambda rng, shape: rng.normal(0.1, 2.0, shape)),
    "uniform": (
        Law("uniform", 0.0, 0.5 / math.sqrt(3), (-0.5, 0.5)),
        lambda rng, shape: rng.uniform(-0.5, 0.5, shape),
    ),
    "truncated": truncated(-2.0, 2.0),
    "truncated tightly": truncated(-0.5, 0.5),
    "truncated on one side": truncated(-1.0, math.inf),
}


@pytest.mark.parametrize("name", DRAWS)
def test_z_scores_of_true_draws_are_standard(name):
    law, draw = DRAWS[name]
    runs = 1024
    weight = draw(np.random.default_rng(5), (runs, 16, 16))
    got = measure({"weight": weight, "laws": (law,) * runs}, ends=False)
    for z in (got["weight_mean_z"], got["weight_std_z"]):
        # of 1024 standard z: the mean has std 1/32; the variance has std sqrt((kurtosis - 1)/1024) < 0.05
        assert abs(z.mean()) < 4.5 / 32
        assert abs(z.var() - 1) < 4.5 * 0.05
        assert abs(z).max() < 6


@pytest.mark.parametrize("name", DRAWS)
def test_z_scores_find_a_wrong_std_and_a_wrong_mean(name):
    law, draw = DRAWS[name]
    weight = draw(np.random.default_rng(6), (1, 256, 256))
    as_drawn, wide, narrow, shifted = (
        measure({"weight": w, "laws": (law,)}, ends=False)
        for w in (weight, weight * math.sqrt(2), weight / math.sqrt(2), weight + 0.05 * law.std)
    )
    assert abs(as_drawn["weight_std_z"][0]) < 4
    assert abs(as_drawn["weight_mean_z"][0]) < 4
    assert wide["weight_std_z"][0] > 50
    assert narrow["weight_std_z"][0] < -50
    assert shifted["weight_mean_z"][0] > 8
    assert abs(shifted["weight_std_z"][0]) < 4


def test_the_truncated_laws_spread_is_that_of_its_own_family():
    """A missing kurtosis (the normal's 3 for a law cut at two sigma) shrinks every z by a quarter."""
    law, draw = DRAWS["truncated"]
    weight = draw(np.random.default_rng(7), (1, 64, 64))
    kurtosis = 3 + float(scipy.stats.truncnorm(-2, 2).stats(moments="k"))
    n = weight.size
    variance = weight.var(ddof=1) / law.std**2
    expected = (variance - 1) / math.sqrt((kurtosis - (n - 3) / (n - 1)) / n)
    assert measure({"weight": weight, "laws": (law,)}, ends=False)["weight_std_z"][0] == pytest.approx(expected)


def test_laws_without_independent_draws_have_no_z_score():
    laws = (
        UNKNOWN,
        Law("constant", 0.5, 0.0),
        Law("normal", 0.0, 0.0),
        Law("orthogonal", 0.0, 0.1),
        Law("sparse", 0.0, 0.1),
        Law("truncated_normal", 0.0, 5.0, (-1.0, 1.0)),  # no density on [-1, 1] has this std
    )
    weight = np.random.default_rng(8).normal(size=(len(laws), 20, 20))
    got = measure({"weight": weight, "laws": laws}, ends=False)
    assert np.isnan(got["weight_std_z"]).all()
    assert np.isnan(got["weight_mean_z"]).all()
    np.testing.assert_array_equal(got["weight_expected_std"], [math.nan, 0.0, 0.0, 0.1, 0.1, 5.0])
    # one element has a mean, but no spread
    single = measure({"weight": np.ones((1, 1, 1)), "laws": (NORMAL,)}, ends=False)
    assert single["weight_mean_z"][0] == 1
    assert np.isnan(single["weight_std_z"][0])


# symmetry, spectra, slopes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 0.1, -1e-30])
def test_a_constant_layer_is_one_unit_without_spread(value):
    weight = np.full((2, 37, 21), value)
    got = measure({"weight": weight, "activation": weight}, ends=True)
    np.testing.assert_array_equal(got["weight_distinct_units"], 1)
    np.testing.assert_array_equal(got["weight_std"], 0)
    np.testing.assert_array_equal(got["weight_mean"], value)
    np.testing.assert_array_equal(got["weight_condition_number"], math.inf)
    np.testing.assert_allclose(got["activation_effective_rank"], 1 if value else 0, rtol=1e-10)


def test_distinct_units_are_counted_up_to_rounding():
    rng = np.random.default_rng(9)
    weight = rng.normal(size=(5, 30, 20)).astype(np.float32)
    weight[1, :, 5:] = weight[1, :, :1]  # five kinds: 0 to 4
    weight[2] = weight[2, :, :1] * (1 + rng.normal(0, 1e-6, (30, 20)))  # apart by rounding only
    weight[3] = weight[3, :, :1] * (1 + rng.normal(0, 1e-4, (30, 20)))  # symmetry broken, if a little
    weight[4, :, 1::2] = -weight[4, :, ::2]  # an opposite unit is another unit
    np.testing.assert_array_equal(measure({"weight": weight}, ends=True)["weight_distinct_units"], [20, 5, 1, 20, 20])
    bias = np.array([[[0.0, 0.0, 1.0, 2.0]]])
    assert measure({"weight": bias}, ends=True)["weight_distinct_units"][0] == 3


def test_spectra_of_known_matrices():
    rng = np.random.default_rng(10)
    q = np.linalg.qr(rng.normal(size=(4, 50, 50)))[0]
    values = np.stack([np.ones(50), np.linspace(1, 8, 50), np.r_[np.ones(10), np.zeros(40)], np.eye(50)[0]])
    matrix = q * values[:, None] @ q.swapaxes(1, 2)
    got = measure({"weight": 3 * matrix, "activation": matrix}, ends=True)
    np.testing.assert_allclose(got["weight_spectral_norm"], [3, 24, 3, 3])
    np.testing.assert_allclose(got["weight_condition_number"], [1, 8, math.inf, math.inf])
    rank = got["activation_effective_rank"]
    np.testing.assert_allclose(rank[[0, 2, 3]], [50, 10, 1], rtol=1e-9)
    assert 40 < rank[1] < 50


def test_a_kernels_axes_join_its_fan_in():
    kernel = np.random.default_rng(11).normal(size=(2, 3, 3, 4, 8))
    got = measure({"weight": kernel}, ends=True)
    np.testing.assert_allclose(got["weight_spectral_norm"], np.linalg.norm(kernel.reshape(2, 36, 8), 2, axis=(1, 2)))
    assert (got["weight_distinct_units"] == 8).all()


def test_dead_and_saturated_units():
    slope = np.ones((4, 10, 8), np.float32)
    slope[1, :, :2] = 0  # two of eight units are off for every sample
    slope[1, :5, 2] = 0  # a third for half of them
    slope[2] = 1e-3  # sigmoid far out: nothing is dead, all is saturated
    slope[3] = 0.01  # leaky_relu's default is no saturation
    got = measure({"slope": slope}, ends=False)
    np.testing.assert_allclose(got["activation_dead_fraction"], [0, 0.25, 0, 0])
    np.testing.assert_allclose(got["activation_saturated_fraction"], [0, 25 / 80, 1, 0])


# histograms ---------------------------------------------------------------------------------------------------------


def test_a_histogram_counts_every_finite_element_over_its_own_range():
    x = np.random.default_rng(12).normal(size=(3, 40, 50)) * np.array([1e-30, 1.0, 1e30])[:, None, None]
    x[1, 0, :3] = math.nan, math.inf, -math.inf
    got = histogram(x, bins=20)
    assert (got.shape, got.dtype) == ((3, 2, 20), np.float64)
    for run, (centres, counts) in zip(x, got, strict=True):
        finite = run[np.isfinite(run)]
        expected, edges = np.histogram(finite, 20)
        assert counts.sum() == finite.size
        assert abs(np.cumsum(counts) - np.cumsum(expected)).max() <= 1  # an element on an edge may fall to either side
        np.testing.assert_allclose(centres, (edges[1:] + edges[:-1]) / 2, rtol=1e-9, atol=1e-12 * np.ptp(finite))


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0, 1e-40, -1e308])
def test_a_histogram_of_one_value_has_a_range_around_it(value):
    centres, counts = histogram(np.full((1, 5, 5), value))[0]
    assert counts.sum() == counts.max() == 25
    width = centres[1] - centres[0]
    assert (np.diff(centres) > 0).all()
    assert width < 0.02 * (abs(value) or 1)
    assert abs(centres[counts.argmax()] - value) <= width


def test_a_histogram_reaches_the_ends_of_float64():
    centres, counts = histogram(np.array([[[-1.7e308, 0.0, 1.7e308]]]), bins=3)[0]
    np.testing.assert_array_equal(counts, 1)
    assert np.isfinite(centres).all()
