"""The audit: honest draws pass at the stated rate, mistakes are caught and named, trained weights get no verdict."""

from __future__ import annotations

import json
import math
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.linalg import hadamard
from scipy.special import chdtr, chdtrc, erf, erfinv, ndtri

from runner.config.composition import Composer
from runner.training.loop import train
from weightinit import audit, initializers
from weightinit.__main__ import main
from weightinit.auditing import audit_stack, read_arrays
from weightinit.auditing.examination import TESTS
from weightinit.auditing.named_laws import NAMED, rule
from weightinit.auditing.tests_of_law import largest_z
from weightinit.fans import Fans, compute_fans
from weightinit.laws import UNKNOWN, Law
from weightinit.nn import mlp
from weightinit.nn.weights import WeightSpec
from weightinit.schemes import Normal, PyTorchLinear, Uniform, VarianceScaling
from weightinit.schemes.base import ZERO

LAWS = [
    "he",
    "he_uniform",
    "he(distribution='truncated_normal')",
    "glorot_uniform",
    "orthogonal(gain=1.4, preserve='rms')",
    "sparse",
    "siren",
    "pytorch",
    "flax",
    "sklearn",
    "random",
    "normal(mean=0.1, std=0.02)",
    "uniform(low=0.0, high=0.1)",
    "truncated_normal(mean=0.3, std_before=1.0, absolute_bounds=(-0.5, 2.0))",
    "identity",
    "constant",
]
DTYPES = ["float32", "float16", "bfloat16"]


def draw(law, sizes, rng, dtype="float32"):
    """Weights and biases ``1/weight``, ``1/bias`` ... of a dense network, or of one convolution for a tuple."""
    arrays = {}
    for i, shape in enumerate(sizes, 1):
        spec = WeightSpec(f"{i}/weight", shape, compute_fans(shape), "weight", "input" if i == 1 else "hidden")
        bias = WeightSpec(f"{i}/bias", shape[-1:], spec.fans, "bias", "hidden")
        arrays[spec.name] = cast(rule(law).draw(spec, rng), dtype)
        arrays[bias.name] = cast(rule(law).draw_bias(bias, rng), dtype)
    return arrays


def cast(x, dtype):
    if dtype != "bfloat16":
        return x.astype(dtype)
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)  # rounds to even


def kinds(tensor):
    return [finding.kind for finding in tensor.findings]


# Honest draws


@pytest.mark.parametrize("dtype", DTYPES)
def test_honest_draws_of_every_law_pass_at_the_stated_rate(dtype):
    rng = np.random.default_rng(11)
    sizes = [(64, 48), (7, 5), (40, 1), (1, 30), (16, 16), (100, 10)]
    level, audits = 0.2, 10 * len(LAWS)
    alarms = default = 0
    for i in range(audits):
        law = LAWS[i % len(LAWS)]
        arrays = draw(law, sizes, rng, dtype)
        alarms += not audit(arrays, law, level=level).ok
        default += not audit(arrays, law).ok
    assert 0 < alarms < level * audits + 4.5 * math.sqrt(level * (1 - level) * audits)
    assert default <= 2  # at 0.001 an audit, three among 160 have a chance of 6e-4


def test_z_scores_are_normal_deviates_even_of_small_tensors():
    rng = np.random.default_rng(12)
    for law in ("he", "he_uniform", "flax"):
        reports = [audit(draw(law, [(8, 5)], rng), law)["1/weight"] for _ in range(1000)]
        for z in (np.array([r.mean_z for r in reports]), np.array([r.std_z for r in reports])):
            assert abs(z.mean()) < 4.5 / math.sqrt(z.size)
            for size, chance in ((1.96, 0.05), (2.58, 0.01)):
                assert abs((abs(z) > size).sum() - chance * z.size) < 4.5 * math.sqrt(chance * z.size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("law", ["he", "he_uniform", "flax"])
def test_rounding_is_no_finding_even_in_a_million_weights(law, dtype):
    arrays = {"w": draw(law, [(1024, 1024)], np.random.default_rng(13), dtype)["1/weight"]}
    assert audit(arrays, law).ok


def test_units_that_rounding_makes_equal_are_no_finding():
    x = np.random.default_rng(14).standard_normal((1, 2000)) * math.sqrt(2)
    assert len(np.unique(x.astype(np.float16))) < 1900
    assert audit({"w": x.astype(np.float16)}, "he").ok


def test_a_networks_own_laws_pass_by_name_with_its_specs():
    network = mlp(20, 5, "relu", depth=2, width=30)
    initialized = VarianceScaling(scale=2.0, bias_std=0.1)(network, [0, 1])
    for run in range(2):
        arrays = {name: x[run] for name, x in initialized.params.items()}
        laws = {name: each[run] for name, each in initialized.laws.items()}
        assert audit(arrays, laws, specs=network.weights).ok
        assert not audit(arrays, "he", specs=network.weights).ok


# Mistakes

MISTAKES = [
    # what should be, what is, what the audit must call it
    ("he", "xavier", "xavier"),
    ("xavier", "he", "he"),
    ("he_uniform", "lecun_uniform", "lecun_uniform"),
    ("he", "normal(std=0.02)", "normal(std=0.02)"),
    ("he", "random", "random"),
    ("he", "normal", "normal"),
    ("he", "uniform(low=0.0, high=1.0)", "uniform(low=0.0, high=1.0)"),
    ("he", "he(mode='fan_out')", "he with fan_out for fan_in"),
    ("he_uniform", "he_uniform(mode='fan_out')", "he_uniform with fan_out for fan_in"),
    ("orthogonal", "orthogonal(gain=1.4142135)", "orthogonal(gain=1.414)"),
    ("xavier", "orthogonal", "orthogonal(gain=1)"),
    ("orthogonal", "xavier", "xavier"),
    ("orthogonal", "he", "he"),
    ("glorot_normal", "glorot_uniform", "glorot_uniform"),
    ("he", "pytorch", "pytorch"),
    ("he", "keras", "glorot_uniform"),
    ("he", "flax", "lecun_normal(distribution='truncated_normal')"),
    ("he", "he(distribution='truncated_normal')", "he(distribution='truncated_normal')"),
    ("he_uniform", "he", "he"),
]


@pytest.mark.parametrize(("should", "does", "called"), MISTAKES)
def test_a_mistaken_law_is_caught_and_named(should, does, called):
    rng = np.random.default_rng(21)
    for _ in range(10):
        report = audit(draw(does, [(128, 48), (48, 80)], rng), should)
        assert report.verdict == "differs"
        for name in ("1/weight", "2/weight"):
            assert report[name].looks_like[0] == called, report[name]
            assert called.partition(" with ")[0].partition("(")[0] in report[name].sentence
        assert called in report.sentence


def scaled(std, family, rng, shape=(128, 48)):
    match family:
        case "normal":
            return rng.standard_normal(shape) * std
        case "uniform":
            return rng.uniform(-std, std, shape)  # std is the bound here
    draw = rule(f"truncated_normal(std_before={std})").draw
    return draw(WeightSpec("w", shape, compute_fans(shape), "weight", "hidden"), rng)


SLIPS = [
    # law, family and std (or bound) drawn, name, words that must be said
    ("he(distribution='truncated_normal')", "truncated", math.sqrt(2 / 128), "correction", "0.87962566"),
    ("he", "truncated", math.sqrt(2 / 128), "correction", "0.87962566"),
    ("truncated_normal(std_before=0.02)", "normal", 0.02, "not cut", "absolute values"),
    ("he(distribution='truncated_normal')", "normal", math.sqrt(2 / 128), "he", ""),
    ("he(distribution='truncated_normal')", "normal", math.sqrt(2 / 128) / 0.87962566, "not cut", "absolute values"),
    ("he_uniform", "uniform", math.sqrt(2 / 128), "its std for the bound", "sqrt(3)"),
    ("he", "normal", 2 / 128, "its variance for the std", "square root"),
]


@pytest.mark.parametrize(("law", "family", "std", "called", "said"), SLIPS)
def test_a_slip_in_the_std_or_the_bounds_is_caught_and_named(law, family, std, called, said):
    rng = np.random.default_rng(22)
    for _ in range(10):
        tensor = audit({"w": scaled(std, family, rng)}, law)["w"]
        assert kinds(tensor) == ["law"]
        assert any(called in name for name in tensor.looks_like), tensor
        assert said in tensor.sentence or called not in tensor.looks_like[0]


def test_absolute_bounds_at_a_small_std_leave_values_outside_the_support():
    law = "truncated_normal(std_before=0.02)"
    honest_pytorch = "truncated_normal(std_before=0.02, absolute_bounds=(-2, 2))"
    arrays = draw(honest_pytorch, [(128, 64)], np.random.default_rng(23))
    tensor = audit(arrays, law)["1/weight"]
    beyond = int((abs(arrays["1/weight"]) > 0.04).sum())
    assert tensor.outside == beyond
    assert abs(beyond - 0.0455 * 8192) < 4.5 * math.sqrt(0.0455 * 8192)
    assert "absolute" in tensor.sentence
    assert audit(arrays, honest_pytorch).ok


@pytest.mark.parametrize(
    ("fan_in", "called"), [(16, "without the kernel in its fans"), (16 * 32 * 3, "with its axes misread")]
)
def test_fans_of_a_convolution_counted_wrongly_are_named(fan_in, called):
    x = np.random.default_rng(24).standard_normal((3, 3, 16, 32)) * math.sqrt(2 / fan_in)
    assert audit({"conv/kernel": x}, "he")["conv/kernel"].looks_like[0] == f"he {called}"


def test_an_unknown_scale_is_a_finding_with_its_factor():
    x = np.random.default_rng(25).standard_normal((128, 64))
    tensor = audit({"w": x * 0.3}, "he")["w"]
    assert kinds(tensor) == ["scale"]
    assert tensor.looks_like[0].startswith("normal(std=0.3")
    tensor = audit({"w": x * math.sqrt(2 / 128) * math.sqrt(3)}, "he")["w"]
    assert "a factor sqrt(3)" in tensor.sentence
    assert "a factor sqrt(2)" in audit({"w": x * math.sqrt(2 / 128)}, "xavier")["w"].sentence


def test_a_mean_a_shape_or_a_value_that_alone_is_off_is_caught():
    rng = np.random.default_rng(27)
    std = math.sqrt(2 / 128)
    drawn = rng.standard_normal((128, 64))
    exact = rng.permutation(ndtri((np.arange(drawn.size) + 0.5) / drawn.size)).reshape(drawn.shape)
    shifted = audit({"w": (exact + 4.2 / math.sqrt(exact.size)) * std}, "he")["w"]
    assert shifted.verdict == "differs"
    assert "+4.2 standard errors off" in shifted.sentence
    middle = abs(exact) < 2.3  # two peaks in place of one, with the same mean, std and tails
    peaks = np.where(middle, np.sign(exact) * math.sqrt(np.square(exact[middle]).mean()), exact)
    assert not audit({"w": (peaks + 1e-3 * drawn) * std}, "he").ok
    uniform = rng.uniform(-1, 1, (128, 64)) * math.sqrt(6 / 128)
    uniform[0, 0] = 1.2 * math.sqrt(6 / 128)
    outlier = audit({"w": uniform}, "he_uniform")["w"]
    assert outlier.outside == 1
    assert outlier.findings


def test_a_name_that_explains_more_layers_is_preferred():
    sizes = [(64, 128), (128, 48), (48, 80)]  # in the first, 1/fan_in is 2/fan_out
    report = audit(draw("xavier", sizes, np.random.default_rng(28)), "he")
    assert [report[f"{i}/weight"].looks_like[0] for i in (1, 2, 3)] == ["xavier"] * 3
    assert len(report["1/weight"].looks_like) > 1


def power(factor, elements, kurtosis, tests=TESTS):
    """Chance that the test of the std catches a factor, from the distribution of the sample variance."""
    freedom = 2 * elements / (kurtosis - (elements - 3) / (elements - 1))
    limit, spread = largest_z(1e-3 / tests), math.sqrt(2 / (9 * freedom))
    low, high = ((1 - spread**2 + sign * limit * spread) ** 3 for sign in (-1, 1))
    return chdtr(freedom, freedom * low / factor**2) + chdtrc(freedom, freedom * high / factor**2)


def test_the_power_is_what_sampling_theory_says():
    rng = np.random.default_rng(26)
    n, audits = 128 * 64, 150
    for factor in (1.02, 1.031, 1.045, 0.97):  # the power rises from a tenth to all
        caught = 0
        for _ in range(audits):
            x = rng.standard_normal((128, 64)) * math.sqrt(2 / 128) * factor
            caught += abs(audit({"w": x}, "he")["w"].std_z) > largest_z(1e-3 / TESTS)
        expected = power(factor, n, 3.0)
        assert abs(caught - audits * expected) < 4.5 * math.sqrt(audits * max(expected * (1 - expected), 1 / audits))


def test_at_128x64_the_grave_mistakes_escape_with_no_chance_to_speak_of():
    n = 128 * 64
    for factor in (math.sqrt(2), math.sqrt(0.5)):  # He for Xavier, and fans of 128 and 64 swapped
        assert 1 - power(factor, n, 3.0) < 1e-9
        assert 1 - power(factor, n, 1.8) < 1e-9
    assert 1 - power(0.87962566, n, 2.37) < 1e-9


# Faults of other kinds


@pytest.fixture
def arrays():
    return draw("he", [(64, 96), (96, 128), (128, 96), (96, 128)], np.random.default_rng(31))


def test_not_a_number_and_infinity(arrays):
    arrays["1/weight"][3, 4], arrays["2/weight"][0, :2] = np.nan, np.inf
    arrays["3/weight"][:] = np.nan
    report = audit(arrays, "he")
    assert [report[f"{i}/weight"].not_finite for i in (1, 2, 3, 4)] == [1, 2, 128 * 96, 0]
    assert kinds(report["1/weight"]) == ["not_finite"]
    assert report["4/weight"].verdict == "follows"
    assert report.verdict == "differs"
    json.dumps(report.as_dict(), allow_nan=False)


def test_a_pair_of_zeros_is_what_a_generator_of_normal_numbers_makes_now_and_then():
    x = np.random.default_rng(3).standard_normal((64, 64)).astype(np.float32) * np.float32(0.125)
    x.flat[[100, 108]] = 0
    assert audit({"layer.weight": x}, {"*": "xavier"}).ok
    x.flat[[900, 908]] = 0
    assert kinds(audit({"layer.weight": x}, {"*": "xavier"})["layer.weight"]) == ["zeros"]


@pytest.mark.parametrize(("value", "kind"), [(0.0, "zeros"), (0.01, "constant")])
def test_one_value_everywhere(arrays, value, kind):
    arrays["2/weight"][:] = value
    report = audit(arrays, "he")
    assert kinds(report["2/weight"]) == [kind]
    assert [t.name for t in report.tensors if t.findings] == ["2/weight"]


def test_zeros_among_the_weights_are_told_apart_from_the_law(arrays):
    arrays["1/weight"][np.random.default_rng(1).random((64, 96)) < 0.3] = 0
    arrays["2/weight"][:40] = 0
    report = audit(arrays, "he")
    for name in ("1/weight", "2/weight"):
        assert kinds(report[name]) == ["zeros"]
        assert report[name].zeros == (arrays[name] == 0).sum()


def test_cloned_layers_and_shared_noise(arrays):
    arrays["4/weight"] = arrays["2/weight"].copy()
    arrays["3/weight"] = np.random.default_rng(7).standard_normal((128, 96)) * math.sqrt(2 / 128)
    arrays["5/weight"] = (np.random.default_rng(7).standard_normal((96, 50)) * math.sqrt(2 / 96)).astype(np.float16)
    report = audit(arrays, "he")
    assert (kinds(report["4/weight"]), report["4/weight"].same_as) == (["copy"], "2/weight")
    assert (kinds(report["5/weight"]), report["5/weight"].same_as) == (["noise"], "3/weight")
    assert report["1/weight"].verdict == report["1/bias"].verdict == report["2/bias"].verdict == "follows"


def test_identical_units(arrays):
    arrays["1/weight"][:, 5] = arrays["1/weight"][:, 90]
    arrays["2/weight"][:] = arrays["2/weight"][:, :1]
    report = audit(arrays, "he")
    assert (kinds(report["1/weight"]), report["1/weight"].repeated_units) == (["units"], 1)
    assert (kinds(report["2/weight"]), report["2/weight"].repeated_units) == (["units"], 127)


def test_repeated_inputs_and_negated_units_are_always_found():
    rng = np.random.default_rng(32)
    for law in ("he", "he_uniform", "flax", "orthogonal", "sparse(nonzero=40)"):
        for _ in range(20):
            w = draw(law, [(64, 48)], rng)["1/weight"]
            (first, other), (unit, last) = rng.choice(64, 2, False), rng.choice(48, 2, False)
            rows, columns, negated = w.copy(), w.copy(), w.copy()
            rows[other] = rows[first]
            columns[:, last] = -columns[:, unit]
            negated[other] = -negated[first]
            found = [audit({"w": x}, law)["w"] for x in (rows, columns, negated)]
            assert [kinds(t)[0] for t in found] == ["inputs", "units", "inputs"]
            counts = [(t.repeated_units, t.negated_units, t.repeated_inputs, t.negated_inputs) for t in found]
            assert counts == [(0, 0, 1, 0), (0, 1, 0, 0), (0, 0, 0, 1)]
            assert len(audit({"w": rows}, law, level=1e-6)["w"].findings) > 0


def test_repeated_channels_of_a_convolution_and_units_made_as_pairs():
    rng = np.random.default_rng(33)
    x = rng.standard_normal((3, 3, 16, 32)) * math.sqrt(2 / 144)
    x[:, :, 9] = x[:, :, 4]
    assert (kinds(audit({"w": x}, "he")["w"]), audit({"w": x}, "he")["w"].repeated_inputs) == (["inputs"], 1)
    half = rng.standard_normal((64, 24)) * math.sqrt(2 / 64)
    report = audit({"w": np.concatenate([half, -half], 1)}, "he")["w"]  # Balduzzi et al. 2017
    assert (kinds(report), report.negated_units) == (["units"], 24)
    assert "looks-linear" in report.sentence


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_repeats_no_rows_of_small_or_narrow_weights(dtype):
    rng = np.random.default_rng(34)
    for law in ("he", "he_uniform", "sparse(nonzero=1)"):
        for shape in ((2, 2), (2, 1), (1, 300), (300, 1), (2, 400), (60, 50)):
            for _ in range(5):
                assert not {"units", "inputs", "constant"} & {
                    *kinds(audit(draw(law, [shape], rng, dtype), law)["1/weight"])
                }


def test_biases_left_at_pytorchs_default_and_at_a_wrong_constant(arrays):
    arrays["1/bias"] = draw("pytorch", [(64, 96)], np.random.default_rng(2))["1/bias"]
    arrays["2/bias"][:] = 0.01
    report = audit(arrays, "he")
    assert report["1/bias"].looks_like == ("pytorch",)
    assert kinds(report["2/bias"]) == ["constant"]
    assert report.verdict == "differs"
    assert report["1/weight"].verdict == "follows"


def test_a_fixed_matrix_must_be_that_matrix():
    assert audit({"w": np.eye(20, 30)}, "identity").ok
    assert not audit({"w": np.eye(20, 30) * 1.1}, "identity").ok
    assert not audit({"w": np.eye(20, 30)}, "he").ok


def test_the_identity_of_a_convolution_is_diracs_kernel():
    assert audit({"k": initializers.dirac(None, (3, 3, 8, 16))}, "identity").ok
    assert audit({"k": initializers.dirac(None, (3, 3, 8, 16), gain=2.0)}, "identity(gain=2.0)").ok
    assert not audit({"k": np.ones((3, 3, 8, 16))}, "identity").ok
    assert not audit({"w": np.eye(20)[np.random.default_rng(1).permutation(20)]}, "identity").ok


RNG = np.random.default_rng(35)
WRITTEN_DOWN = {
    "identity": np.eye(20, 30),
    "identity(gain=0.5)": np.eye(30, 20) / 2,
    "dirac kernel": initializers.dirac(None, (3, 3, 8, 16)),
    "dirac(gain=2) kernel": initializers.dirac(None, (5, 8, 16), gain=2.0, groups=2),
    "permutation": np.eye(20)[RNG.permutation(20)],
    "Hadamard matrix times 0.25": hadamard(16) / 4,
    "signs times 0.1": RNG.choice([-0.1, 0.1], (20, 30)),
    "delta_orthogonal(gain=1) kernel": initializers.delta_orthogonal(RNG, (3, 3, 8, 16)),
    "delta kernel": np.pad(RNG.standard_normal((1, 1, 8, 16)), [(1, 1), (1, 1), (0, 0), (0, 0)]),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", WRITTEN_DOWN)
def test_a_kernel_that_is_written_down_has_its_name(name, dtype):
    x = cast(WRITTEN_DOWN[name], dtype)
    for law in ("he", "he_uniform", "orthogonal"):
        tensor = audit({"k": x}, law)["k"]
        assert (tensor.verdict, kinds(tensor), tensor.looks_like[0][:8]) == ("differs", ["law"], name[:8])
    assert audit({"k": x})["k"].looks_like[0][:8] == name[:8]
    assert dtype != "float32" or audit({"k": x})["k"].looks_like == (name,)


def test_a_zero_row_is_padding_of_an_embedding_and_a_fault_elsewhere():
    x = np.random.default_rng(36).standard_normal((100, 32))
    x[0] = 0
    for name, layout in (("embed.weight", "auto"), ("token_embedding/embedding", "auto"), ("wte", "in_out")):
        tensor = audit({name: x}, "normal", layout=layout)[name]
        assert (tensor.verdict, tensor.remark) == ("follows", "Its vector 0 is zero, as padding of an embedding is.")
        assert abs(tensor.std_z) < 4
    assert not audit({"embed.weight": x * 1.2}, "normal").ok
    tensor = audit({"dense/kernel": x}, "normal")["dense/kernel"]
    assert kinds(tensor) == ["zeros"]
    assert tensor.sentence.startswith("1 of 100 inputs is zero, number 0.")
    x[:, [3, 5]] = 0
    assert (
        "2 of 32 units are zero, the first number 3 and 1 of 100 inputs is zero"
        in audit({"w": x}, "normal")["w"].sentence
    )


def test_sparse_draws_are_named():
    x = draw("sparse(nonzero=15, std=0.5)", [(100, 40)], np.random.default_rng(37))["1/weight"]
    tensor = audit({"w": x}, "he")["w"]
    assert kinds(tensor) == ["law"]
    assert tensor.looks_like[0].startswith("sparse(nonzero=15, std=0.")


# Half precision


def of_few_bits(distribution, dtype, bits, shape, rng):
    """Draws of JAX's generators in half precision, after ``jax._src.random`` 0.10: every step is rounded.

    Its uniform numbers are k / 2^bits, with 7 bits in bfloat16 and 10 in float16. PyTorch's have a bit more.
    """
    numbers = rng.integers(2**bits, size=shape) / 2**bits
    match distribution:
        case "uniform":
            return cast(cast(numbers * 2 - 1, dtype) * cast(np.array(math.sqrt(6 / shape[0])), dtype), dtype)
        case "normal":
            u = cast(numbers * 2 - (1 - 2.0 ** -(bits + 1)), dtype)
            low, high, std = -1, 1, math.sqrt(2 / shape[0])
        case _:
            low, high = (float(cast(np.array(sign * erf(math.sqrt(2))), dtype)) for sign in (-1, 1))
            u = cast(cast(numbers * float(cast(np.array(high - low), dtype)), dtype) + low, dtype)
            std = math.sqrt(2 / shape[0]) / 0.87962566
    return cast(cast(math.sqrt(2) * erfinv(u.astype(float)), dtype) * float(cast(np.array(std), dtype)), dtype)


HALF = [("bfloat16", 7), ("float16", 10)]
DISTRIBUTIONS = {"normal": "he", "uniform": "he_uniform", "truncated_normal": "he(distribution='truncated_normal')"}


@pytest.mark.parametrize(("dtype", "bits"), HALF)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_draws_in_half_precision_follow_their_law(distribution, dtype, bits):
    rng = np.random.default_rng(38)
    for shape in ((7, 5), (64, 32), (100, 50), (500, 400), (900, 1000)):
        report = audit({"w": of_few_bits(distribution, dtype, bits, shape, rng)}, DISTRIBUTIONS[distribution])
        assert report.ok, report
    assert f"random numbers of {bits} bits" in report["w"].remark
    assert f"{2**bits} distinct values" in str(report)


@pytest.mark.parametrize(("dtype", "bits"), HALF)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_z_scores_in_half_precision_are_normal_deviates(distribution, dtype, bits):
    rng = np.random.default_rng(39)
    law = DISTRIBUTIONS[distribution]
    found = [audit({"w": of_few_bits(distribution, dtype, bits, (200, 150), rng)}, law)["w"] for _ in range(60)]
    for z in (np.array([t.mean_z for t in found]), np.array([t.std_z for t in found])):
        assert abs(z.mean()) < 4.5 / math.sqrt(z.size)
        assert 0.6 < z.std() < 1.4


@pytest.mark.parametrize(("dtype", "bits"), HALF)
def test_half_precision_hides_no_mistake(dtype, bits):
    rng = np.random.default_rng(40)
    shape = (256, 128)
    for law, distribution, factor in (
        ("he", "normal", 1.05),
        ("he_uniform", "uniform", 0.95),
        ("he", "uniform", 1.0),
        ("he", "truncated_normal", 1.0),
        ("xavier", "normal", 1.0),
    ):
        x = of_few_bits(distribution, dtype, bits, shape, rng) * np.float32(factor)
        assert audit({"w": x.astype(np.float32)}, law).verdict in ("differs", "trained"), (law, distribution)


def test_uniform_numbers_of_pytorch_and_tensorflow_in_half_precision():
    rng = np.random.default_rng(41)
    for dtype, bits in (("bfloat16", 8), ("float16", 11), ("float16", 10)):
        numbers = rng.integers(2**bits, size=(600, 500)) / 2**bits
        for bound in (math.sqrt(6 / 600), 1.05 * 2**-3, 1.9 * 2**-3):
            x = cast((numbers * 2 - 1) * bound, dtype)
            assert audit({"w": x}, f"uniform(low={-bound}, high={bound})").ok


# Trained weights


@pytest.mark.parametrize(
    "settings",
    [
        "scheme=he architecture.depth=3",
        "scheme=orthogonal architecture.depth=3",
        "scheme=pytorch architecture.depth=2",
        "scheme=he_uniform architecture.depth=3 architecture.bias=false",
    ],
)
def test_trained_weights_get_no_verdict_and_their_start_a_good_one(settings):
    shared = "data=digits architecture.width=64 training.steps=300 training.batch_size=32 tracking=none"
    [trial] = Composer().trials([[*shared.split(), "training.save=both", *settings.split()]])
    [outcome] = train([trial])
    for when, verdict in (("initial", "follows"), ("final", "trained")):
        prefix = f"{when}/"
        weights = {name.removeprefix(prefix): x for name, x in outcome.arrays.items() if name.startswith(prefix)}
        report = audit(weights, trial.scheme, specs=trial.network.weights)
        assert report.verdict == verdict, str(report)
    assert report.sentence.startswith("No verdict")
    assert not report.ok


def test_heavy_tails_and_directions_look_trained():
    rng = np.random.default_rng(41)
    tails = rng.standard_t(3, (128, 64)) * math.sqrt(2 / 128 / 3)
    drawn = rng.standard_normal((128, 64)) * math.sqrt(2 / 128)
    direction = np.outer(rng.standard_normal(128), rng.standard_normal(64)) * math.sqrt(2 / 128) * 0.3
    for x in (tails, drawn + direction):
        report = audit({"w": x}, "he")
        assert report.verdict == "trained"
        assert "looks trained" in report["w"].sentence


def test_one_odd_layer_of_many_is_a_finding_and_one_factor_for_all_is_no_training(arrays):
    odd = {**arrays, "1/weight": np.random.default_rng(3).standard_t(3, (64, 96)) * 0.1}
    report = audit(odd, "he")
    assert (report.verdict, report["1/weight"].verdict) == ("differs", "trained")
    assert audit({name: 1.3 * x for name, x in arrays.items()}, "he").verdict == "differs"
    assert audit({name: x * 1.3 ** int(name[0]) for name, x in arrays.items()}, "he").verdict == "trained"


def test_biases_that_all_scatter_look_trained_and_one_alone_does_not(arrays):
    rng = np.random.default_rng(42)
    arrays["4/bias"] = rng.standard_normal(128) * 0.05
    report = audit(arrays, "he")
    assert (report.verdict, kinds(report["4/bias"])) == ("differs", ["scale"])
    arrays["1/bias"], arrays["2/bias"] = rng.standard_normal(96) * 0.03, rng.standard_normal(128) * 0.08
    report = audit(arrays, "he")
    assert (report.verdict, report["1/bias"].verdict, report["1/weight"].verdict) == ("trained", "trained", "follows")
    assert audit(arrays, {"*weight": "he", "*bias": UNKNOWN}).ok


def test_an_orthogonal_matrix_that_moved_looks_trained():
    rng = np.random.default_rng(43)
    w = draw("orthogonal", [(128, 64)], rng)["1/weight"]
    assert audit({"w": w}, "orthogonal").ok
    assert audit({"w": w + 0.01 * rng.standard_normal(w.shape)}, "orthogonal").verdict == "trained"


# Layouts, names, laws


def test_pytorchs_layout_is_told_by_the_names_or_said():
    rng = np.random.default_rng(51)
    dense, conv = rng.standard_normal((48, 128)), rng.standard_normal((32, 16, 3, 3))
    torch = {"fc.weight": dense * math.sqrt(2 / 128), "conv.weight": conv * math.sqrt(2 / 144)}
    report = audit(torch, "he")
    assert report.ok
    assert (report["fc.weight"].fans, report["conv.weight"].fans) == (Fans(128, 48), Fans(144, 288))
    assert (report["fc.weight"].shape, report["conv.weight"].shape) == ((48, 128), (32, 16, 3, 3))
    wrong = audit(torch, "he", layout="in_out")["fc.weight"]
    assert "this looks like fan_out" in wrong.sentence
    other = {name.replace(".", "/"): x for name, x in torch.items()}
    assert not audit(other, "he").ok
    assert audit(other, "he", layout="out_in").ok
    keras = {"fc/kernel": torch["fc.weight"].T, "conv/kernel": torch["conv.weight"].transpose(2, 3, 1, 0)}
    assert audit(keras, "he").ok


def test_roles_are_told_by_names_and_biases_take_the_fans_beside_them():
    rng = np.random.default_rng(52)
    bound = 1 / math.sqrt(100)
    state = {
        "fc.weight": rng.uniform(-bound, bound, (64, 100)),
        "fc.bias": rng.uniform(-bound, bound, 64),
        "bn.weight": np.ones(64),
        "bn.bias": np.zeros(64),
        "bn.running_mean": np.zeros(64),
        "bn.running_var": np.ones(64),
        "bn.num_batches_tracked": np.array(0),
    }
    report = audit(state, "pytorch")
    assert report.ok
    assert report["fc.bias"].fans == (100, 64)
    assert report["bn.bias"].verdict == report["bn.num_batches_tracked"].verdict == "unjudged"
    state["bn.weight"] = np.full(64, 0.5)
    assert kinds(audit(state, "pytorch")["bn.weight"]) == ["constant"]
    assert audit({"W1": state["fc.weight"].T, "b1": state["fc.bias"][None]}, "pytorch").ok


def test_patterns_give_laws_and_the_first_that_matches_counts(arrays):
    arrays["output/weight"] = np.random.default_rng(53).standard_normal((64, 64)) * 0.02
    laws = {"output/*": Normal(std=0.02), "*/weight": "he", "1/bias": Law("constant", 0.0, 0.0, (0.0, 0.0))}
    report = audit(arrays, laws)
    assert report.ok
    assert report["2/bias"].verdict == "unjudged"
    assert "3 without a law were not judged" in report.sentence
    assert not audit(arrays, {"*/weight": "he", "output/*": "normal(std=0.02)"}).ok


def test_biases_take_a_law_by_name_and_by_pattern():
    rng = np.random.default_rng(54)
    state = {
        "fc.weight": rng.standard_normal((64, 100)) * math.sqrt(2 / 100),
        "fc.bias": rng.uniform(-0.1, 0.1, 64),
        "bn.weight": np.full(64, 0.5),
        "alpha": np.array(0.1),
    }
    law = "uniform(low=-.1, high=.1)"
    for pattern in ("*.bias", "fc.bias"):
        report = audit(state, {"*.weight": "he", pattern: law})
        assert report["fc.bias"].verdict == "follows"
        assert report["fc.bias"].law == Law("uniform", 0.0, 0.2 / math.sqrt(12), (-0.1, 0.1))
        assert kinds(report["bn.weight"]) == ["constant"]  # he leaves gains at 1
        assert not audit(state | {"fc.bias": np.zeros(64)}, {pattern: law}).ok
    laws = {"fc.weight": "he", "fc.bias": Uniform(low=-0.1, high=0.1), "bn.weight": "constant(value=0.5)"}
    assert audit(state, {**laws, "alpha": "constant(value=0.1)"}).ok
    assert not audit(state, {**laws, "alpha": "zeros"}).ok
    assert audit(state, laws)["alpha"].verdict == "unjudged"
    assert audit({"b1": state["fc.bias"]}, law).ok


@pytest.mark.parametrize(
    ("law", "bias"),
    [
        ("pytorch", Law("uniform", 0.0, 1 / math.sqrt(300), (-0.1, 0.1))),
        ("keras", ZERO),
        ("he(bias_std=0.2)", Law("normal", 0.0, 0.2)),
        ("he", Law("normal", 0.0, math.sqrt(0.02))),
        ("zeros", ZERO),
    ],
)
def test_a_law_of_biases_alone_is_theirs_and_a_librarys_name_means_its_biases(law, bias):
    arrays = {"fc.weight": np.ones((64, 100)), "fc.bias": np.ones(64)}
    found = audit(arrays, {"*.bias": law})["fc.bias"].law
    assert (found.family, found.std) == (bias.family, pytest.approx(bias.std))
    assert audit(arrays, "he(bias_std=0.2)")["fc.bias"].law == Law("normal", 0.0, 0.2)
    assert audit(arrays, "he")["fc.bias"].law == ZERO


def test_a_law_of_matrices_is_refused_for_biases():
    for law in ("orthogonal", "sparse", "identity"):
        with pytest.raises(ValueError, match=r"is one of matrices; got it for 'fc\.bias'"):
            audit({"fc.weight": np.ones((64, 100)), "fc.bias": np.ones(64)}, {"*.bias": law})


def test_without_a_law_only_copies_and_nans_are_findings(arrays):
    assert audit(arrays, {"*": UNKNOWN}).verdict == "unjudged"
    arrays["2/weight"][0] = np.nan
    assert audit(arrays, {"*": UNKNOWN}).verdict == "differs"


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "conf" / "scheme").glob("*.yaml")))
def test_a_name_means_what_the_scheme_of_that_name_is(path):
    if path.stem not in NAMED:
        pytest.skip("a scheme that states its laws with the weights has no name here")
    spec = WeightSpec("hidden/1/weight", (48, 32), Fans(48, 32), "weight", "input")
    named, shipped = rule(path.stem), instantiate(OmegaConf.load(path))
    assert named.law(spec) == shipped.law(spec)
    assert named.bias_law(spec) == shipped.bias_law(spec)


def test_options_of_a_name():
    assert rule("he(gain=1.5)") == VarianceScaling(gain=1.5)
    assert rule(" normal( std=0.02 )") == Normal(std=0.02)
    assert rule("pytorch") == PyTorchLinear()


@pytest.mark.parametrize(
    ("error", "law", "options", "said"),
    [
        (ValueError, "hee", {}, "Pass law='he'"),
        (ValueError, "he(std=1)", {}, "he takes"),
        (ValueError, "normal(0.02)", {}, "options as in a call"),
        (ValueError, "normal(std=open('x'))", {}, "options as in a call"),
        (ValueError, "normal(std=0)", {}, "std must be positive"),
        (ValueError, {"x*": "he"}, {}, "matches none"),
        (ValueError, {"x*": "he"}, {"specs": ()}, "must match specs"),
        (ValueError, "he", {"layout": "torch"}, "layout must be one of"),
        (ValueError, "he", {"level": 1.0}, "level must lie"),
        (TypeError, 3, {}, "law must be a name"),
        (TypeError, VarianceScaling, {}, "law must be a name"),
    ],
)
def test_wrong_input_is_refused_in_words(error, law, options, said):
    with pytest.raises(error) as caught:
        audit({"w": np.ones((3, 4))}, law, **options)
    assert said in str(caught.value)


def test_arrays_must_be_real_and_there():
    with pytest.raises(ValueError, match="at least one"):
        audit({}, "he")
    with pytest.raises(TypeError, match="real numbers"):
        audit({"w": np.ones((3, 4), complex)}, "he")
    assert audit({"w": np.ones((0, 4)), "n": np.arange(3)}, "he").verdict == "unjudged"


# Without a law

LOOKS = {
    # name: what it should be called first
    "he": "he",
    "he_uniform": "he_uniform",
    "pytorch": "pytorch",
    "glorot_uniform": "glorot_uniform",
    "flax": "lecun_normal(distribution='truncated_normal')",
    "normal(std=0.02)": "normal(std=0.02)",
    "random": "random",
    "orthogonal(gain=1.5)": "orthogonal(gain=1.5)",
    "sparse": "sparse(nonzero=15, std=",
    "normal(std=0.3)": "normal(std=0.",
    "uniform(low=0.0, high=0.5)": "uniform(low=",
    "zeros": "zeros",
    "ones": "ones",
    "constant": "constant(value=0.01)",
}


@pytest.mark.parametrize("law", LOOKS)
def test_without_a_law_each_array_is_described(law):
    rng = np.random.default_rng(55)
    for _ in range(5):
        report = audit({"w": draw(law, [(200, 90)], rng)["1/weight"]})
        assert (report.verdict, report.ok, report["w"].verdict, report["w"].findings) == (
            "unjudged",
            False,
            "unjudged",
            (),
        )
        assert report["w"].looks_like[0].startswith(LOOKS[law])
        assert report["w"].remark.startswith(f"Looks like {LOOKS[law]}")
        assert report["w"].sentence == report["w"].remark
        assert LOOKS[law] in str(report)
        json.dumps(report.as_dict(), allow_nan=False)


def test_a_description_says_what_is_odd():
    rng = np.random.default_rng(56)
    w = rng.standard_normal((128, 64)) * math.sqrt(2 / 128)
    arrays = {
        "direction/kernel": w + 0.3 * np.outer(rng.standard_normal(128), rng.standard_normal(64)),
        "tails/kernel": rng.standard_t(3, (128, 64)),
        "masked/kernel": w * (rng.random(w.shape) < 0.7),
        "embed.weight": np.concatenate([np.zeros((1, 64)), rng.standard_normal((99, 64))]),
        "few/kernel": rng.standard_normal((2, 2)),
        "bf16/kernel": of_few_bits("normal", "bfloat16", 7, (128, 64), rng),
        "count": np.array(3),
        "bias": np.zeros(5),
        "nan": np.array([np.nan, 1.0]),
    }
    arrays["copy/kernel"] = arrays["tails/kernel"]
    report = audit(arrays)
    said = {t.name: t.sentence for t in report.tensors}
    assert "looks trained" in said["direction/kernel"]
    assert "looks trained" in said["tails/kernel"]
    assert "values are zero" in said["masked/kernel"]
    assert said["masked/kernel"].startswith("Looks like he, N(0, 0.125²)")
    assert "padding" in said["embed.weight"]
    assert "others" in said["few/kernel"]
    assert "half precision" in said["bf16/kernel"]
    assert said["count"] == "It holds no floating-point numbers."
    assert said["bias"] == "Looks like zeros."
    assert (kinds(report["nan"]), kinds(report["copy/kernel"])) == (["not_finite"], ["copy"])
    assert {t.verdict for t in report.tensors} == {report.verdict} == {"unjudged"}
    text = str(report)
    assert max(map(len, text.splitlines())) <= 100
    assert text.endswith("Described, not judged: no law was given.")


# Whatever the numbers

EXTREME = [0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324, 1e-300, 1e155, 1e-160, 65504.0, 6e-8]


def any_array(rng):
    shape = tuple(rng.integers(0 if rng.random() < 0.05 else 1, 9, size=rng.integers(5)))
    scale = 10 ** rng.uniform(-320, 308)
    match rng.integers(6):
        case 0 | 1:
            x = rng.standard_normal(shape) * scale
        case 2:
            x = rng.choice(EXTREME, shape)
        case 3:
            x = np.full(shape, rng.choice(EXTREME))
        case 4:
            x = np.where(rng.random(shape) < 0.3, 0.0, rng.uniform(-1, 1, shape) * scale)
        case _:
            x = np.broadcast_to(rng.standard_cauchy(shape[-1:]) * scale, shape).copy()
    dtype = rng.choice(["f2", "f4", "f4", "f8", "f8", "f8", "g", ">f4", "i4", "?"])
    with np.errstate(all="ignore"):
        return (np.nan_to_num(x).clip(-9, 9) if dtype in ("i4", "?") else np.asarray(x)).astype(dtype)


@pytest.mark.filterwarnings("error")
def test_any_numbers_have_a_report():
    rng = np.random.default_rng(57)
    laws = [*LAWS, "zeros", "he(bias_std=0.1)", "normal(std=1e200)", "normal(std=1e-300)", None]
    names = ["w", "fc.weight", "conv/kernel", "fc.bias", "b", "bn.scale", "embed.weight"]
    for i in range(600):
        arrays = {f"{rng.choice(names)}{j or ''}": any_array(rng) for j in range(rng.integers(1, 4))}
        law = laws[i % len(laws)]
        if law in ("identity", "sparse") or str(law).startswith("orthogonal"):
            arrays["w/kernel"] = rng.standard_normal((3, 4))  # so that biases are not given a law of matrices
        report = audit(arrays, law, level=10 ** rng.uniform(-9, -0.1))
        assert report.verdict in ("follows", "differs", "trained", "unjudged")
        assert str(report)
        json.dumps(report.as_dict(), allow_nan=False)


@pytest.mark.parametrize("std", [1e-300, 1e-160, 1e154, 1e155, 1e200, 1e307])
def test_weights_of_absurd_size_differ(std):
    x = np.random.default_rng(58).standard_normal((64, 32)) * std
    for law in ("he", "he_uniform", "flax", "orthogonal", "sparse"):
        assert audit({"w": x}, law).verdict in ("differs", "trained")
    assert audit({"w": x}, f"normal(std={std})").ok
    assert audit({"w": x})["w"].looks_like[0].startswith("normal(std=")


@pytest.mark.parametrize(
    "x",
    [
        np.ones((3, 4), complex),
        np.array(["a", "b"]),
        np.array([{}, None]),
        np.zeros(2, [("a", "f4")]),
        np.zeros(2, "M8[s]"),
        [[1.0], [1.0, 2.0]],
    ],
)
def test_arrays_that_are_not_of_real_numbers_are_refused(x):
    with pytest.raises(TypeError, match=r"arrays must hold .*real numbers; got .* in 'w'"):
        audit({"w": x}, "he")


def test_every_dtype_and_rank():
    rng = np.random.default_rng(59)
    x = rng.standard_normal((64, 32)) * math.sqrt(2 / 64)
    for dtype in ("f2", "f4", "f8", "g", ">f4", ">f8"):
        assert audit({"w": x.astype(dtype)}, "he").ok
        assert not audit({"w": 2 * x.astype(dtype)}, "he").ok
    for dtype in ("i1", "u2", "i8", "?"):
        assert audit({"w": np.ones((4, 3), dtype)}, "he").verdict == "unjudged"
    for shape in ((), (0,), (0, 3), (3, 0, 2)):
        assert audit({"w": np.zeros(shape), "v": x}, "he").ok
        assert audit({"w": np.zeros(shape)}).verdict == "unjudged"
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    assert audit({"w": x.astype(bfloat16)}, "he").ok
    assert not audit({"w": (2 * x).astype(bfloat16)}, "he").ok


# Report


def test_the_report_reads_well(arrays):
    for i in (1, 2, 3):
        arrays[f"{i}/weight"] *= math.sqrt(0.5)
    arrays["a/very/long/name/of/a/layer/in/a/deep/network/weight"] = arrays.pop("4/weight")
    report = audit(arrays, "he")
    text = str(report)
    assert max(map(len, text.splitlines())) <= 100
    assert len([line for line in text.splitlines() if line.startswith(("1/weight", "1/weight, 2/weight, 3/weight:"))])
    assert text.count("Looks like xavier") == 1
    assert text.endswith("All of them look like xavier.")
    for tensor in report.tensors:
        assert tensor.sentence
    with pytest.raises(KeyError, match="name must be one of"):
        report["nowhere"]
    plain = report.as_dict()
    assert json.loads(json.dumps(plain, allow_nan=False))["verdict"] == "differs"
    assert plain["tensors"][0]["looks_like"][0] == "xavier"


# Files


def safetensors(header, data=b"", *, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype, shape, start, stop):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def test_safetensors_of_every_dtype(tmp_path):
    x = np.array([[0.5, -1.25], [3.0, 0.0]])
    kinds = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I8": "i1", "U8": "u1", "BOOL": "?"}
    blobs = {kind: np.abs(x).astype(dtype).tobytes() for kind, dtype in kinds.items()}
    blobs["BF16"] = (np.abs(x).astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    header, data = {"__metadata__": {"format": "pt"}}, b"\x01"  # an odd byte first, so that nothing is aligned
    header["odd"] = entry("U8", [1], 0, 1)
    for kind, blob in blobs.items():
        header[kind] = entry(kind, [2, 2], len(data), len(data) + len(blob))
        data += blob
    header["empty"] = entry("F32", [0, 3], len(data), len(data))
    (path := tmp_path / "all.safetensors").write_bytes(safetensors(header, data))
    arrays = read_arrays(path)
    assert list(arrays) == ["odd", *kinds, "BF16", "empty"]
    for kind, dtype in (*kinds.items(), ("BF16", "<f4")):
        np.testing.assert_array_equal(arrays[kind], np.abs(x).astype(dtype))
    assert arrays["BF16"].dtype == np.float32
    assert arrays["empty"].shape == (0, 3)
    path.write_bytes(safetensors({"empty": entry("F32", [0], 0, 0)}))
    assert read_arrays(path)["empty"].shape == (0,)


F32 = entry("F32", [2], 0, 8)
BROKEN = {
    "nothing at all": b"",
    "less than a length": b"\x00\x01",
    "a header longer than the file": safetensors({"w": F32}, b"\0" * 8, length=10_000),
    "a header of absurd length": struct.pack("<Q", 2**63) + b"{}",
    "no JSON": safetensors(b"{not json}"),
    "no UTF-8": safetensors(b"\xff\xfe{}"),
    "JSON nested too deep": safetensors(b"[" * 100_000),
    "a list": safetensors([1, 2]),
    "no tensors": safetensors({"__metadata__": {}}),
    "a name twice": safetensors(json.dumps({"v": F32, "w": F32}).replace("v", "w").encode(), b"\0" * 8),
    "an entry that is no object": safetensors({"w": 3}),
    "no offsets": safetensors({"w": {"dtype": "F32", "shape": [2]}}, b"\0" * 8),
    "a negative size": safetensors({"w": entry("F32", [-2], 0, 8)}, b"\0" * 8),
    "a fraction for a size": safetensors({"w": entry("F32", [2.0], 0, 8)}, b"\0" * 8),
    "true for a size": safetensors({"w": entry("F32", [True, 2], 0, 8)}, b"\0" * 8),
    "an unknown dtype": safetensors({"w": entry("F8_E4M3", [8], 0, 8)}, b"\0" * 8),
    "a shape that doesn't fit": safetensors({"w": entry("F32", [3], 0, 8)}, b"\0" * 8),
    "a huge shape": safetensors({"w": entry("F32", [2**40, 2**40], 0, 8)}, b"\0" * 8),
    "offsets the wrong way": safetensors({"w": entry("F32", [2], 8, 0)}, b"\0" * 8),
    "an end beyond the file": safetensors({"w": F32}, b"\0" * 4),
    "bytes left over": safetensors({"w": F32}, b"\0" * 12),
    "tensors that overlap": safetensors({"v": F32, "w": entry("F32", [2], 4, 12)}, b"\0" * 12),
    "a hole": safetensors({"v": F32, "w": entry("F32", [2], 12, 20)}, b"\0" * 20),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_safetensors_file_is_refused(tmp_path, content):
    (path := tmp_path / "broken.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.safetensors") as caught:
        read_arrays(path)
    assert len(str(caught.value)) < 600


def test_npz_without_pickles(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, W1=np.eye(3))
    np.testing.assert_array_equal(read_arrays(path)["W1"], np.eye(3))
    np.savez(path, W1=np.array([{}, []], object))
    with pytest.raises(ValueError, match="plain arrays"):
        read_arrays(path)
    np.savez_compressed(path, W1=np.eye(100))
    whole = path.read_bytes()
    np.save(tmp_path / "one.npy", np.eye(3))
    one = (tmp_path / "one.npy").read_bytes()
    for content in (b"", b"no zip", one, whole[:200], whole[:60] + b"\xff" * 40 + whole[100:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"weights\.npz"):
            read_arrays(path)
    np.savez(path)
    with pytest.raises(ValueError, match="no arrays"):
        read_arrays(path)
    with pytest.raises(ValueError, match=r"safetensors\.torch\.save_model"):
        read_arrays(tmp_path / "model.pt")


# From the shell


@pytest.fixture
def model(tmp_path):
    """A model as PyTorch would save it, its last layer left at the default."""
    rng = np.random.default_rng(61)
    tensors = {
        "head.bias": np.zeros(10, "<f4"),
        "layers.0.bias": np.zeros(48, "<f4"),
        "layers.0.weight": (rng.standard_normal((48, 128)) * math.sqrt(2 / 128)).astype("<f4"),
        "head.weight": rng.uniform(-1, 1, (10, 48)).astype("<f4") / np.float32(math.sqrt(48)),
    }
    header, data = {}, b""
    for name, x in tensors.items():
        header[name] = entry("F32", list(x.shape), len(data), len(data) + x.nbytes)
        data += x.tobytes()
    (path := tmp_path / "model.safetensors").write_bytes(safetensors(header, data))
    return str(path)


def test_statuses_and_patterns(model, capsys):
    assert main(["audit", model, "--law", "he_normal"]) == 1
    assert "Looks like pytorch" in capsys.readouterr().out
    laws = ["--law", "head.weight=lecun_uniform(gain=0.57735026919)", "--law", "he_normal"]
    assert main(["audit", model, *laws]) == 0
    assert "All 4 tensors" in capsys.readouterr().out
    assert main(["audit", model, "--law", "layers.*=he_normal", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "follows"
    assert main(["audit", model, "--law", "layers.*=he_normal", "--layout", "in_out"]) == 1
    assert "this looks like fan_out" in capsys.readouterr().out


def test_biases_from_the_shell(model, capsys):
    law = "*.bias=uniform(low=-.1,high=.1)"
    assert main(["audit", model, "--law", law]) == 1
    assert "All values are 0 (the first; the others alike)" in capsys.readouterr().out.replace("\n  ", " ")
    assert main(["audit", model, "--law", "*.bias=zeros"]) == 0
    assert main(["audit", model, "--law", "*.bias=orthogonal"]) == 2


def test_without_a_law_the_shell_shows_a_description(model, capsys):
    assert main(["audit", model]) == 0
    text = capsys.readouterr().out
    assert re.search(r"layers.0.weight +48x128 .* he, N\(0, 0.125²\)\.", text)
    assert re.search(r"head.weight +10x48 .* pytorch, U\(-0.1443, 0.1443\)\.", text)
    assert re.search(r"head.bias +10 .* zeros\.", text)
    assert main(["audit", model, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["verdict"] == "unjudged"
    assert [tensor["looks_like"][0] for tensor in plain["tensors"]] == ["zeros", "zeros", "he", "pytorch"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{model}", "--law", "hee"], "Pass law='he'"),
        (["{model}", "--law", "conv*=he"], "matches none of the arrays"),
        (["{model}", "--law", "he", "--law", "xavier"], "only one --law"),
        (["{model}", "--law", "a=he", "--law", "a=xavier"], "twice"),
        (["{model}", "--law", "he(gain=1e200)"], "leaves the range of float64"),
        (["nowhere.safetensors", "--law", "he"], "No such file"),
        (["nowhere.npz", "--law", "he"], "No such file"),
        (["model.txt", "--law", "he"], "must end in .npz or .safetensors"),
        (["{model}", "--as", "gtp2"], "--as takes a family"),
        (["{model}", "--as", "gpt2", "--law", "he"], "Leave one out"),
        (["{model}", "--as", "t5"], "needs the model's configuration with d_model"),
        (["{model}", "--config", "{model}"], "must hold a configuration"),
    ],
)
def test_bad_input_has_status_2_and_one_message(model, capsys, arguments, said):
    assert main(["audit", *(argument.format(model=model) for argument in arguments)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert said in output.err


def test_from_a_shell(model):
    done = subprocess.run(
        [sys.executable, "-m", "weightinit", "audit", model, "--law", "he_normal"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "head.weight" in done.stdout


def test_each_run_of_a_stack_is_audited_as_alone():
    network = mlp(16, 4, "relu", depth=2, width=12)
    runs = 7
    initialized = VarianceScaling()(network, range(runs))
    arrays = {spec.name: initialized.params[spec.name].copy() for spec in network.weights}
    arrays["hidden/1/weight"][1] *= 1.5
    arrays["hidden/2/weight"][2, 3, 4] = math.nan
    arrays["hidden/2/bias"][3] += 0.1
    arrays["hidden/2/weight"][4] = 0.0
    arrays["hidden/2/weight"][5, :, 1] = -arrays["hidden/2/weight"][5, :, 0]
    laws = {name: list(by_run) for name, by_run in initialized.laws.items()}
    laws["output/weight"][6] = UNKNOWN
    reports = audit_stack(arrays, laws, network.weights, level=1e-6)
    for run, report in enumerate(reports):
        alone = {name: x[run] for name, x in arrays.items()}
        of_run = {name: by_run[run] for name, by_run in laws.items()}
        assert repr(report) == repr(audit(alone, of_run, specs=network.weights, level=1e-6))
    assert [report.ok for report in reports] == [True, False, False, False, False, False, True]
