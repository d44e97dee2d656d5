"""References: their draws, the range of correct networks, and what they say of faulty ones."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.calibration import DEPTHS, FAULTS, LAWS, SCALES, Setting, band_of, judged, probe, study
from tests.schemes_for_tests import HE, Mislabelled, Unlawful
from weightinit import activations, initializers, schemes
from weightinit.arrays import Array
from weightinit.laws import Law
from weightinit.nn import LOSSES, Dense, Network, Nonlinearity, Residual, Sum, mlp
from weightinit.reference import (
    JACOBIAN,
    SAMPLES,
    Band,
    Batches,
    Draws,
    Judgement,
    Observation,
    Probe,
    Store,
    draws_of,
    judge,
    observe,
    reference,
)
from weightinit.reference import store as store_module
from weightinit.reference.draws import RESERVED
from weightinit.reference.observation import QUANTITIES
from weightinit.reference.response import response
from weightinit.reference.scales import recorded, scaled, unscaled
from weightinit.schemes import LSUV, AutoInit, Critical, Identity, Orthogonal, Rule, Sparse, Tailoring, TruncatedNormal
from weightinit.schemes.needs import suits
from weightinit.statistics import STATISTICS

NETWORK = mlp(64, 10, "relu", depth=3, width=16)
SMALL = Probe(probe().x[:, :16], probe().y[:, :16], LOSSES["cross_entropy"])


def draws(scheme: Rule = HE) -> Draws:
    found = draws_of(NETWORK, scheme, scheme.laws(NETWORK))
    assert isinstance(found, Draws)
    return found


# Draws


@pytest.mark.parametrize("family", ["constant", "normal", "uniform", "truncated_normal"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_elements_follow_their_law(family: str, dtype: str) -> None:
    network = mlp(128, 16, "relu", depth=0, dtype=dtype)
    law = {
        "constant": Law("constant", 0.3, 0.0, (0.3, 0.3)),
        "normal": Law("normal", 0.1, 0.5),
        "uniform": Law("uniform", 0.5, 1 / math.sqrt(12), (0.0, 1.0)),
        "truncated_normal": TruncatedNormal(mean=0.2, std_before=0.5).law(network.weights[0]),
    }[family]
    laws = {spec.name: law for spec in network.weights}
    (drawn,) = Draws(laws).stacks(network, 40, 40)
    assert drawn.laws["output/weight"] == (law,) * 40
    values = drawn.params["output/weight"]
    assert values.dtype == dtype
    assert values.shape == (40, 128, 16)
    assert not np.array_equal(values[0], values[1]) or family == "constant"
    values = values.astype(np.float64).ravel()
    size = len(values)
    assert abs(values.mean() - law.mean) <= 4 * law.std / math.sqrt(size) + 1e-7
    kurtosis = np.mean((values - values.mean()) ** 4) / max(values.var(), 1e-30) ** 2
    assert abs(values.std() - law.std) <= 4 * law.std * math.sqrt(max(kurtosis - 1, 0.1) / (4 * size)) + 1e-7
    if family == "normal":
        assert kurtosis == pytest.approx(3.0, abs=4 * math.sqrt(24 / size))
    assert law.support[0] - 1e-6 <= values.min()
    assert values.max() <= law.support[1] + 1e-6


@pytest.mark.parametrize("std", [1e-30, 1e30])
def test_laws_of_any_size_are_drawn_from(std: float) -> None:
    """The square of such a std is beyond float32."""
    network = mlp(9, 3, "relu", widths=[7])
    laws = {spec.name: Law("normal", 0.0, std) for spec in network.weights}
    (drawn,) = Draws(laws).stacks(network, 200, 200)
    assert np.std(drawn.params["hidden/1/weight"].astype(np.float64)) == pytest.approx(std, rel=0.03)


@pytest.mark.parametrize("shape", [(64, 64), (64, 16), (16, 64)])
def test_orthogonal_laws_draw_orthogonal_matrices(shape: tuple[int, int]) -> None:
    network = mlp(shape[0], shape[1], "relu", depth=0, dtype="float64")
    for preserve in ("isometry", "rms"):
        scheme = Orthogonal(gain=1.5, preserve=preserve)  # type: ignore[arg-type]
        drawn = scheme(network, [0]).params["output/weight"][0]
        (stack,) = Draws(scheme.laws(network)).stacks(network, 2, 2)
        for matrix in stack.params["output/weight"]:
            singular = np.linalg.svd(matrix, compute_uv=False)
            assert np.allclose(singular, np.linalg.svd(drawn, compute_uv=False))


def test_square_orthogonal_matrices_are_uniform_and_any_two_are_independent() -> None:
    """Of a uniform Q of size n, E[(tr Q)²] is 1 and Q has no preferred element; so of Q' R for independent Q and R."""
    networks, size = 200, 8
    network = mlp(size, 3, "relu", depth=2, width=size, dtype="float64")
    (stack,) = Draws(Orthogonal().laws(network)).stacks(network, networks, networks)
    matrices = stack.params["hidden/1/weight"]
    assert np.allclose(matrices @ matrices.swapaxes(1, 2), np.eye(size))
    one, other = np.triu_indices(networks, 1)
    traces = np.einsum("nij,nij->n", matrices[one], matrices[other])  # 19,900 pairs, a tenth of them with an A or B
    across = np.einsum("nij,nij->n", matrices, stack.params["hidden/2/weight"])
    for squares in (traces**2, across**2, np.trace(matrices, axis1=1, axis2=2) ** 2):
        assert squares.mean() == pytest.approx(1.0, abs=5 * math.sqrt(2 / min(networks, len(squares))))
    assert np.abs(matrices.mean(axis=0)).max() < 4.5 / math.sqrt(size * networks)
    assert (size * matrices**2).mean(axis=0) == pytest.approx(1.0, abs=5 * math.sqrt(2 / networks))
    parts = list(Draws(Orthogonal().laws(network)).stacks(network, networks, 7))
    assert np.array_equal(np.concatenate([part.params["hidden/1/weight"] for part in parts]), matrices)


def test_who_draws() -> None:
    batches = Batches(SMALL.x[0], 8, "digits")
    laws = HE.laws(NETWORK)
    assert draws_of(NETWORK, HE, laws) == Draws(laws)
    assert draws_of(NETWORK, Critical(), laws) == Draws(laws)
    assert draws_of(NETWORK, Mislabelled(), laws) == Draws(laws)  # its own scheme, and a law that says it all
    sparse = Sparse()
    assert draws_of(NETWORK, sparse, sparse.laws(NETWORK), batches) == Draws(sparse.laws(NETWORK), sparse)
    skewed = TruncatedNormal(sigma_bounds=(-1, 2))
    assert draws_of(NETWORK, skewed, skewed.laws(NETWORK)) == Draws(skewed.laws(NETWORK), skewed)
    for scheme in (LSUV(), AutoInit()):  # fitted to data
        assert draws_of(NETWORK, scheme, laws, batches) == Draws(laws, scheme, batches)
        assert draws_of(NETWORK, scheme, laws) == "the scheme fits the weights to data, and there are none"
    unknown = dict.fromkeys(laws, Law("unknown"))
    said = draws_of(NETWORK, Unlawful(), unknown, batches)
    assert said == "the scheme states no law that hidden/1/weight could be drawn from"


def test_rules_do_not_depend_on_data() -> None:
    """References of rules are drawn without data: one reference for all data sets of a shape."""
    rules = [rule() for rule in vars(schemes).values() if isinstance(rule, type) and issubclass(rule, Rule)
             if not inspect.isabstract(rule) and rule.name != "rules"]  # fmt: skip
    assert len(rules) > 10  # all but the one that is made of others
    for scheme in [*(rule for rule in rules if suits(rule, NETWORK)), Critical()]:
        network = scheme.network_for(NETWORK) if isinstance(scheme, Tailoring) else NETWORK
        one, other = (scheme(network, [3], size * np.ones((1, 4, 64), np.float32)) for size in (1, 5))
        for name, values in one.params.items():
            assert np.array_equal(values, other.params[name])


def test_seeds_are_out_of_reach_and_differ() -> None:
    drawn = Draws({}, Sparse())
    parts = list(drawn.stacks(NETWORK, 3, 2))
    weights = np.concatenate([part.params["hidden/1/weight"] for part in parts])
    assert len({weight.tobytes() for weight in weights}) == 3
    assert all(
        not np.array_equal(weights[0], weight) for weight in Sparse()(NETWORK, range(50)).params["hidden/1/weight"]
    )
    assert RESERVED > 2**128


def test_the_same_networks_are_drawn_every_time() -> None:
    one, other = (reference(NETWORK, draws(), SMALL, networks=30).observation for _ in range(2))
    assert one is not None
    assert other is not None
    for name, values in one.values.items():
        assert np.array_equal(values, other.values[name], equal_nan=True)


# Response


def test_the_response_is_one_whatever_entered() -> None:
    rng = np.random.default_rng(0)
    runs, units = 400, 64
    weight, bias = Law("normal", 0.02, 0.3), Law("normal", 0.1, 0.5)
    for x in (
        rng.standard_normal((1, SAMPLES, 20)),
        1 + 0.01 * rng.standard_normal((1, SAMPLES, 20)),
        1e-30 * rng.standard_normal((1, SAMPLES, 3)),
    ):
        w = 0.02 + 0.3 * rng.standard_normal((runs, x.shape[2], units))
        b = 0.1 + 0.5 * rng.standard_normal((runs, 1, units))
        size, evenness = response(x, x @ w + b, (weight,) * runs, (bias,) * runs)
        assert size.mean() == pytest.approx(1.0, abs=4 * size.std() / math.sqrt(runs))
        larger, same = response(x, 1.2 * (x @ w + b), (weight,) * runs, (bias,) * runs)
        assert larger == pytest.approx(1.44 * size)
        assert same == pytest.approx(evenness)
    for rank in (1, 3, 16):  # of what entered
        x = rng.standard_normal((runs, SAMPLES, rank)) @ rng.standard_normal((runs, rank, 20))
        z = x @ rng.standard_normal((runs, 20, units))
        laws, nothing = (Law("normal", 0.0, 1.0),) * runs, (Law("constant", 0.0, 0.0),) * runs
        _, evenness = response(x, z, laws, nothing)
        assert evenness.mean() == pytest.approx(1.0, abs=0.02)
        _, equal = response(x, z[:, :, :1].repeat(units, axis=2), laws, nothing)
        assert np.all(equal > 1.5 * evenness) or rank == 1
        turn = np.stack([initializers.orthogonal(rng, (20, 20), dtype=np.float64) for _ in range(runs)])
        _, evenness = response(x, x @ turn, (Law("orthogonal", 0.0, 20**-0.5),) * runs, nothing)
        assert evenness == pytest.approx(1.0, abs=1e-6)
    for broken in (np.zeros_like(x), np.full_like(x, np.nan)):
        assert np.isnan(response(broken, broken @ turn, laws, nothing)).all()


def test_a_fault_shows_in_its_own_layer_alone() -> None:
    """hidden/2 takes in what a wrong hidden/1 gives out, and responds as it should; its rms is off."""
    setting = Setting("relu", "normal", 128, 3)
    band = band_of(setting)
    found = [judgement for judgement, layer in judged(setting, band, range(30), "scaled") if layer == "hidden/1"]
    assert len(found) == 10
    z = np.mean([judgement.z["response"] for judgement in found], axis=0)
    assert z[0] > 8
    assert np.all(np.abs(z[1:]) < 1.5)
    assert np.mean([judgement.z["activation_rms"][1] for judgement in found]) > 2


# Scales


@pytest.mark.parametrize("name", ["activation_rms", "activation_correlation", "jacobian_spread"])
def test_a_scale_leads_there_and_back_and_its_scatter_to_that_of_the_quantity(name: str) -> None:
    values = np.array([0.01, 0.3, 0.9])
    there = scaled(name, values, 64)
    assert unscaled(name, there, 64) == pytest.approx(values)
    by_hand = (unscaled(name, there + 1e-6, 64) - values) / 1e-6
    expected = by_hand / values if name == "activation_rms" else by_hand
    assert recorded(name, np.ones(3), values, 64) == pytest.approx(expected, rel=1e-4)
    if name == "activation_correlation":
        assert unscaled(name, np.array([-50.0, 50.0]), 64) == pytest.approx([-1 / 63, 1.0])
        assert np.isnan(scaled(name, np.array([1.0, -1 / 63, -0.5]), 64)).all()


# Judgement


@pytest.mark.parametrize(
    "setting",
    [Setting("relu", "normal", 32, 2), Setting("tanh", "orthogonal", 8, 10), Setting("gelu", "sparse", 32, 2)],
    ids=str,
)
def test_correct_networks_rarely_alarm_and_z_is_of_unit_size(setting: Setting) -> None:
    row = study(setting)
    assert row["alarms"] <= 10
    for name in ("activation_rms", "gradient_std"):
        assert 0.7 <= row[f"{name}_z"] <= 1.3
    for fault in ("zero", "infinite", *["copied"] * (setting.depth > 2)):
        assert row[f"{fault}_found"] == 1.0
        assert row[f"{fault}_named"] >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize(("width", "depth"), [*product((8, 32), DEPTHS), (128, 2), (128, 10)])
def test_the_claims_of_the_documentation_hold(width: int, depth: int) -> None:
    rows = [study(Setting(*parts, width, depth)) for parts in product(SCALES, LAWS)]
    networks = sum(row["seeds"] for row in rows)
    assert sum(row["alarms"] for row in rows) <= stats.binom.ppf(0.999, networks, 0.01)
    # A reference's scatter is itself uncertain: of silu, uniform, 8 x 50 one gives 1.37, five others .84 to 1.04.
    sizes = np.array([[row[f"{name}_z"] for name in ("activation_rms", "gradient_std")] for row in rows])
    assert ((sizes < 0.7) | (sizes > 1.3)).sum() <= 1
    for row in rows:
        assert row["alarms"] <= 0.05 * row["seeds"]
        for fault in FAULTS:
            if f"{fault}_found" in row:
                assert row[f"{fault}_found"] >= (0.95 if fault == "scaled" else 1.0)
                assert row[f"{fault}_named"] >= 0.95


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_layer_is_found_and_named(fault: str) -> None:
    setting = Setting("relu", "normal", 128, 6)
    found = judged(setting, band_of(setting), range(40), fault)
    assert np.mean([judgement.layer == layer for judgement, layer in found]) >= 0.95
    if fault != "scaled":
        assert all(math.isinf(judgement.deviation["activation"]) for judgement, _ in found)


def test_faults_without_weights_are_found() -> None:
    """Units that are all the same, or an activation that is twice as large."""
    band = reference(NETWORK, draws(), SMALL).band
    assert band is not None
    drawn = HE(NETWORK, range(20))
    alike = {name: values.copy() for name, values in drawn.params.items()}
    alike["hidden/2/weight"][:] = alike["hidden/2/weight"][:, :, :1]
    for judgement in judge(observe(NETWORK, alike, SMALL, drawn.laws), band):
        assert judgement.layer == "hidden/2"
        assert judgement.fault in ("evenness", "zero")  # one unit is off for all samples more often than sixteen
    steeper = mlp(64, 10, lambda z: 3 * np.maximum(z, 0), depth=3, width=16)
    judgements = judge(observe(steeper, drawn.params, SMALL, drawn.laws), band)
    assert np.mean([judgement.alarm for judgement in judgements]) > 0.9
    assert {judgement.fault for judgement in judgements if judgement.alarm} <= {"activation_rms"}


def test_samples_that_look_alike_and_a_jacobian_of_another_size_are_found() -> None:
    """By networks whose other numbers are those of the reference."""
    band = reference(NETWORK, draws(), SMALL).band
    assert band is not None
    drawn = HE(NETWORK, range(10))
    seen = observe(NETWORK, drawn.params, SMALL, drawn.laws)
    for name, place, layer in (("activation_correlation", 1, "hidden/2"), *((name, -1, "output") for name in JACOBIAN)):
        off = seen.values[name].copy()
        at = unscaled(name, band.centre[name] + 40 * band.scatter[name], 16)
        off[:, place] = at[place]
        for judgement in judge(replace(seen, values={**seen.values, name: off}), band):
            assert (judgement.layer, judgement.fault) == (layer, name)


def test_a_network_that_dies_as_others_do_is_no_alarm() -> None:
    setting = Setting("relu", "normal", 8, 50)
    band = band_of(setting)
    share = float(band.share("activation_rms", "zero")[-1])
    assert 0.02 < share < 0.4
    found = [judgement for judgement, _ in judged(setting, band, range(100))]
    died = [judgement for judgement in found if not math.isnan(judgement.died)]
    assert abs(len(died) / 100 - share) < 4 * math.sqrt(2 * share * (1 - share) / 100)
    assert all(0 < judgement.died <= share and not judgement.alarm for judgement in died)
    assert sum(judgement.alarm for judgement in found) <= 5


def test_a_network_of_zeros_is_right_where_zeros_are_the_law() -> None:
    zeros = dict.fromkeys((spec.name for spec in NETWORK.weights), Law("constant", 0.0, 0.0, (0.0, 0.0)))
    band = reference(NETWORK, Draws(zeros), SMALL).band
    assert band is not None
    still = {spec.name: np.zeros((1, *spec.shape), np.float32) for spec in NETWORK.weights}
    (judgement,) = judge(observe(NETWORK, still, SMALL, {name: (law,) for name, law in zeros.items()}), band)
    assert not judgement.alarm
    assert judgement.died == 1.0
    alive = HE(NETWORK, [0]).params
    (judgement,) = judge(observe(NETWORK, alive, SMALL, {name: (law,) for name, law in zeros.items()}), band)
    assert (judgement.layer, judgement.fault) == ("hidden/1", "alive")


def made(**columns: Sequence[Sequence[float]]) -> Observation:
    shape = np.shape(next(iter(columns.values())))
    values: dict[str, Array] = {name: np.ones(shape) for name in QUANTITIES} | {"copied": np.zeros(shape)}
    return Observation(
        tuple("abcdefgh"[: shape[1]]), values | {name: np.array(v) for name, v in columns.items()}, SAMPLES
    )


def test_the_line_is_exceeded_by_one_network_in_two_hundred_whatever_the_distribution() -> None:
    rng = np.random.default_rng(1)
    for sizes in (rng.standard_normal((30_000, 5)), rng.standard_t(2, (30_000, 5)), -rng.exponential(1, (30_000, 5))):
        rates = []
        for start in range(0, 20_000, 200):
            band = Band(made(activation_rms=np.exp(sizes[start : start + 200].clip(-300, 300))))  # type: ignore[arg-type]
            z = band.z("activation_rms", np.exp(sizes[20_000:].clip(-300, 300)))
            rates.append(np.mean(np.abs(z).max(axis=1) > band.line["activation"]))
        error = np.hypot(np.std(rates) / math.sqrt(100), math.sqrt(0.005 / 10_000))
        assert 0.001 < np.mean(rates) < 1 / 201 + 3 * error
        assert max(rates) < 0.05


def test_a_layer_that_few_correct_networks_reach_is_not_judged() -> None:
    rng = np.random.default_rng(0)
    values = np.exp(rng.standard_normal((200, 3)))
    values[19:, 1] = 0.0
    band = Band(made(activation_rms=values))  # type: ignore[arg-type]
    one, other = judge(made(activation_rms=[[1.0, 0.0, 1.0], [1.0, 1e9, 1.0]]), band)
    assert one.died == pytest.approx(181 / 200)
    assert not one.alarm
    assert not other.alarm
    assert math.isnan(other.z["activation_rms"][1])


def test_a_network_shows_the_same_bits_alone_or_in_a_stack() -> None:
    drawn = HE(NETWORK, range(7))
    together = observe(NETWORK, drawn.params, SMALL, drawn.laws)
    for run in range(7):
        laws = {name: by_run[run : run + 1] for name, by_run in drawn.laws.items()}
        alone = observe(NETWORK, {name: values[run : run + 1] for name, values in drawn.params.items()}, SMALL, laws)
        for name, values in alone.values.items():
            assert values[0].tobytes() == together.values[name][run].tobytes()


# Store


def test_a_reference_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []

    def counted(*arguments: object) -> object:
        computed.append(arguments)
        return reference(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store_module, "reference", counted)
    store = Store(tmp_path / "references")
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: store.get(NETWORK, draws(), SMALL), range(8)))
    assert len(computed) == 1
    assert all(one is found[0] for one in found)
    (file,) = (tmp_path / "references").iterdir()
    again = Store(tmp_path / "references").get(mlp(64, 10, "relu", depth=3, width=16), draws(), SMALL)
    assert len(computed) == 1
    assert again.observation is not None
    for name, values in found[0].observation.values.items():
        assert np.array_equal(values, again.observation.values[name], equal_nan=True)
    for damage in (b"", b"damaged", file.read_bytes()[:-200]):
        file.write_bytes(damage)
        Store(tmp_path / "references").get(NETWORK, draws(), SMALL)
        assert file.stat().st_size > len(damage)
    assert len(computed) == 4
    others = [
        (mlp(64, 10, "tanh", depth=3, width=16), draws(), SMALL),
        (mlp(64, 10, lambda z: z, depth=3, width=16), draws(), SMALL),
        (mlp(64, 10, "relu", depth=3, width=16, dtype="float64"), draws(), SMALL),
        (NETWORK, draws(replace(HE, scale=1.0)), SMALL),
        (NETWORK, Draws({}, Identity()), SMALL),
        (NETWORK, draws(), replace(SMALL, loss=LOSSES["mse"])),
        (NETWORK, draws(), replace(SMALL, x=SMALL.x[:, ::-1])),
    ]
    for other in others:
        store.get(*other)
    assert len(computed) == 4 + len(others)
    assert len(list((tmp_path / "references").iterdir())) == 1 + len(others)


def test_a_folder_that_takes_no_files_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert Store(tmp_path / "file").get(NETWORK, draws(), SMALL).observation is not None
    assert Store().get(NETWORK, draws(), SMALL).observation is not None


def test_what_is_not_judged_says_why() -> None:
    large = mlp(784, 10, "relu", depth=50, width=2048)
    found = Store().get(large, Draws(HE.laws(large)), Probe(np.zeros((1, 64, 784), np.float32), SMALL.y, SMALL.loss))
    assert (found.band, found.reason) == (None, "a reference of 200 networks of 784-50x2048-10 takes too long")
    assert Store().get(NETWORK, "no law", SMALL).reason == "no law"
    assert not Judgement().alarm
    assert math.isnan(Judgement().deviation["activation"])


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e18])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_a_network_shows_is_what_the_statistics_say(dtype: str, size: float) -> None:
    """At any size that the type holds, even where squares leave its range."""
    network = mlp(64, 10, "linear", depth=2, width=8, dtype=dtype)
    drawn = HE(network, range(3))
    size = size**8 if dtype == "float64" else size
    params = drawn.params | {"hidden/1/weight": drawn.params["hidden/1/weight"] * np.dtype(dtype).type(size)}
    some = Probe(SMALL.x.astype(dtype), SMALL.y.astype(dtype), LOSSES["mse"])
    shown = observe(network, params, some, drawn.laws).values
    tape = network.tape(3, 16)
    with np.errstate(over="ignore"):  # of the loss itself
        some.loss(network.forward(params, {}, some.x, tape), some.y, tape.d_output)
    gradient = network.backward(params, tape.d_output, tape)
    for place, layer in enumerate(("hidden/1", "hidden/2")):
        for name, array in (
            ("weight_rms", params[f"{layer}/weight"]),
            ("gradient_std", gradient[f"{layer}/weight"]),
            ("activation_rms", tape.activation[layer]),
            ("activation_correlation", tape.activation[layer]),
        ):
            assert shown[name][:, place] == pytest.approx(STATISTICS[name].function(array), rel=1e-6), name
    count = network.jacobian_samples
    singular = np.linalg.svd(network.jacobian(params, {}, some.x[:, :count]), compute_uv=False)
    for name in JACOBIAN:
        assert np.isnan(shown[name][:, :-1]).all()
        assert shown[name][:, -1] == pytest.approx(STATISTICS[name].function(singular), rel=1e-5), name


def test_residual_blocks_and_constants_are_judged_too() -> None:
    """A place without weights, and a branch whose constant is not at its default."""
    relu = activations.get("relu")

    def block(number: int) -> Residual:
        name = f"block/{number}"
        inner = Nonlinearity(f"{name}/in", 16, relu), Dense(f"{name}/out", 16, 16, "hidden")
        return Residual(Sum(name, 16), inner)

    blocks = [block(number) for number in range(1, 5)]
    layers = Dense("first", 64, 16, "input"), *blocks, Dense("output", 16, 10, "output")
    network = Network(64, layers, np.dtype(np.float32))
    scale = {f"block/{number}/branch_scale": 0.5 for number in range(1, 5)}
    halved = {name: Law("constant", value, 0.0) for name, value in scale.items()}
    found = draws_of(network, HE, HE.laws(network) | halved)
    assert isinstance(found, Draws)
    band = Store().get(network, found, SMALL).band
    assert band is not None

    def judged_with(size: float, seeds: range) -> list[Judgement]:
        drawn = HE(network, seeds)
        constants = {name: np.full(len(seeds), value) for name, value in scale.items()}
        constants["block/3/branch_scale"] *= size
        return judge(observe(network, drawn.params, SMALL, drawn.laws, constants), band)

    assert sum(judgement.alarm for judgement in judged_with(1.0, range(200))) <= 10
    layers_at_fault = [judgement.layer for judgement in judged_with(8.0, range(40))]
    assert layers_at_fault.count("block/3") >= 36
    plain = draws_of(network, HE, HE.laws(network))
    assert isinstance(plain, Draws)
    assert plain.identity != found.identity
