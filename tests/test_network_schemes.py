"""Schemes of whole networks: their formulas by the papers, what they need, and that they train."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from runner.config.composition import Composer
from tests.test_schemes import FILES, LAWS, instantiate
from weightinit import activations, audit
from weightinit.arrays import Array
from weightinit.fans import Fans
from weightinit.meanfield import c_map, chi, q_map
from weightinit.nn import Moments, Network, WeightSpec
from weightinit.nn.architectures import Form, autoencoder, cnn, layers, mlp, residual_mlp, resnet, transformer
from weightinit.nn.moments import moments_of
from weightinit.nn.weights import Branch
from weightinit.schemes import (
    DKS,
    LSUV,
    NEEDS,
    ROLES,
    TAT,
    Admin,
    AutoInit,
    ByWeight,
    Constant,
    DeltaOrthogonal,
    Fixup,
    Normal,
    Rules,
    Tailoring,
    WithinLayer,
    suits,
)
from weightinit.schemes.measured import Pass
from weightinit.schemes.needs import needs_of
from weightinit.schemes.roles import takes_in
from weightinit.schemes.tailored import leaky_slope, local_slope, maximal, transformation

IMAGE, TOKENS = Form((8, 8, 1)), Form((6,), 5, True)
NAMES = sorted(set(FILES) - {"custom", "rules"})


def varied(dtype: str = "float32") -> dict[str, Network]:
    """Every architecture, with what schemes ask for."""
    return {
        "mlp": mlp(10, 3, "relu", depth=3, width=8, dtype=dtype),
        "autoencoder": autoencoder(10, 10, "tanh", depth=2, width=8, code=3, dtype=dtype),
        "residual_mlp": residual_mlp(10, 3, "relu", depth=3, width=8, trained_scale=True, dtype=dtype),
        "residual_mlp, normed": residual_mlp(
            10, 3, "tanh", depth=3, width=8, norm="layer", trained_scale="unit", dtype=dtype
        ),
        "cnn": cnn(64, 3, "tanh", width=4, form=IMAGE, dtype=dtype),
        "level residual_mlp": residual_mlp(
            10, 3, "tanh", depth=3, width=8, branch_scale=0.6, skip_scale=0.8, dtype=dtype
        ),
        "level cnn": cnn(64, 3, "leaky_relu", width=4, pools=0, form=IMAGE, dtype=dtype),
        "resnet": resnet(64, 3, "relu", depth=4, width=4, form=IMAGE, dtype=dtype),
        "resnet, post-activation": resnet(64, 3, "relu", depth=3, width=4, placement="post", form=IMAGE, dtype=dtype),
        "transformer": transformer(64, 3, "gelu", depth=2, width=8, heads=2, form=IMAGE, dtype=dtype),
        "transformer, post-norm": transformer(
            6, 5, "silu", depth=2, width=8, heads=2, placement="post", gated=True, causal=True, form=TOKENS, dtype=dtype
        ),
        "transformer, no norms": transformer(
            6, 5, "relu", depth=2, width=8, heads=2, norm="none", form=TOKENS, dtype=dtype
        ),
        "transformer, tied": transformer(6, 5, "relu", depth=2, width=8, heads=2, tied=True, form=TOKENS, dtype=dtype),
    }


SMALL = varied()


UNLIKELY = (mlp(10, 3, "relu", depth=2, width=7), cnn(64, 3, "relu", widths=[6, 4], form=IMAGE))

# Formulas, by hand, of one weight in a network of 16 units; blocks are 3 in a residual network, 2 in a transformer.

RESIDUAL = residual_mlp(16, 4, "relu", depth=3, width=16, branch_layers=3, trained_scale=True)
UNITS = residual_mlp(16, 4, "relu", depth=3, width=16, trained_scale="unit")
ENDING = resnet(64, 4, "relu", depth=3, width=16, stages=1, placement="post", form=IMAGE)
PRE = transformer(6, 5, "gelu", depth=2, width=16, heads=2, form=TOKENS)
POST = transformer(6, 5, "gelu", depth=2, width=16, heads=2, placement="post", form=TOKENS)
BARE = transformer(6, 5, "relu", depth=2, width=16, heads=2, norm="none", form=TOKENS)
GLOROT = math.sqrt(2 / 32)  # 16 to 16 units
DENSE = math.sqrt(2 / 80)  # 16 to 64 units

FORMULAS: list[tuple[str, dict[str, object], Network, dict[str, float]]] = [
    (
        "fixup",
        {},
        RESIDUAL,
        {
            "input/weight": math.sqrt(2 / 16),
            "block/2/dense/1/weight": math.sqrt(2 / 16) * 3 ** (-1 / 4),  # m = 3: L^(-1/(2m-2))
            "block/2/dense/2/weight": math.sqrt(2 / 16) * 3 ** (-1 / 4),
            "block/2/dense/3/weight": 0.0,
            "output/weight": 0.0,
        },
    ),
    ("skipinit", {}, RESIDUAL, {"block/2/dense/1/weight": math.sqrt(2 / 16), "block/2/scale": 0.0}),
    ("skipinit", {"alpha": None}, RESIDUAL, {"block/2/scale": math.sqrt(1 / 3)}),
    ("rezero", {}, RESIDUAL, {"block/2/dense/1/weight": 1 / 4, "block/1/scale": 0.0}),
    ("layerscale", {}, UNITS, {"block/2/dense/1/weight": 1 / 4, "block/1/scale": 0.1}),
    (
        "zero_gamma",
        {},
        ENDING,
        {"block/2/conv/1/weight": math.sqrt(2 / 144), "block/2/norm/1/gain": 1.0, "block/2/norm/2/gain": 0.0},
    ),
    (
        "gpt2",
        {},
        PRE,
        {
            "embedding/weight": 0.02,
            "block/1/attention/value/weight": 0.02,
            "block/1/attention/out/weight": 0.02 / 2,  # sqrt(2 blocks) = 2
            "block/2/mlp/dense/1/weight": 0.02,
            "block/2/mlp/dense/2/weight": 0.02 / 2,
        },
    ),
    (
        "megatron",
        {},
        PRE,
        {"block/1/attention/value/weight": math.sqrt(1 / 48), "block/2/mlp/dense/2/weight": math.sqrt(1 / 48) / 2},
    ),
    (
        "small_init",
        {},
        PRE,
        {"embedding/weight": math.sqrt(2 / 80), "block/2/mlp/dense/2/weight": math.sqrt(2 / 80)},
    ),
    (
        "wang",
        {},
        PRE,
        {"block/1/attention/key/weight": math.sqrt(2 / 80), "block/1/attention/out/weight": 2 / (2 * 4)},
    ),
    (
        "deepnorm",
        {},
        POST,
        {
            "block/1/attention/query/weight": GLOROT,
            "block/1/attention/value/weight": GLOROT * 16 ** (-1 / 4),  # 8N = 16
            "block/1/attention/out/weight": GLOROT / 2,
            "block/2/mlp/dense/1/weight": DENSE / 2,
            "block/2/mlp/skip_scale": 4 ** (1 / 4),  # 2N = 4
            "block/1/attention/skip_scale": math.sqrt(2),
        },
    ),
    (
        "t_fixup",
        {},
        BARE,
        {
            "embedding/weight": 0.25 * 18 ** (-1 / 4),  # 9N = 18
            "block/1/attention/key/weight": GLOROT,
            "block/1/attention/value/weight": 0.67 * 2 ** (-1 / 4) * GLOROT,
            "block/2/mlp/dense/2/weight": 0.67 * 2 ** (-1 / 4) * DENSE,
            "output/weight": math.sqrt(2 / 21),
        },
    ),
]


@pytest.mark.parametrize(("name", "options", "net", "expected"), FORMULAS)
def test_the_formulas_of_the_papers(
    name: str, options: dict[str, object], net: Network, expected: dict[str, float]
) -> None:
    scheme = instantiate(name, **options)
    laws = scheme.rule_for(net).laws(net)
    for weight, size in expected.items():
        assert math.sqrt(laws[weight].second_moment) == pytest.approx(size, rel=1e-12), weight
    if isinstance(scheme, ByWeight):  # a formula asks for nothing but the weight, unless the trunk has to be told
        for spec in net.weights:
            if spec.role == "weight" and spec.branch is not None:
                assert scheme.law(spec) == laws[spec.name]


PUBLISHED = [  # scheme, blocks, units of the stream, std inside a branch and at its end, in a model of this size
    ("gpt2", 12, 768, 0.02, 0.00408248),  # GPT-2, the smallest
    ("megatron", 105, 20480, 0.00403434, 0.000278397),  # MT-NLG, whose report says 4e-3
    ("small_init", 44, 6144, 0.00806872, 0.00806872),  # GPT-NeoX-20B
    ("wang", 44, 6144, 0.00806872, 0.000579898),
    ("deepnorm", 100, 512, 0.00830984, 0.00830984),  # DeepNet, 100 layers of an encoder: beta .188030
    ("t_fixup", 6, 512, 0.0189192, 0.0189192),  # the Transformer: .67 N^(-1/4) = .428092
]


@pytest.mark.parametrize(("name", "blocks", "d", "inside", "end"), PUBLISHED)
def test_the_stds_of_published_models(name: str, blocks: int, d: int, inside: float, end: float) -> None:
    """In numbers: value and out of attention, d by d, in the last block."""
    for part, place, std in (("value", 1, inside), ("out", 2, end)):
        branch = Branch(2 * blocks - 1, 2 * blocks, place, 2)
        spec = WeightSpec(part, (d, d), Fans(d, d), "weight", "hidden", branch, part=part)
        assert instantiate(name).law(spec).std == pytest.approx(std, rel=1e-5)
    if name == "deepnorm":
        net = transformer(6, 5, "relu", depth=100, width=4, heads=1, placement="post", form=TOKENS)
        assert instantiate(name).constants(net)["block/7/mlp/skip_scale"] == pytest.approx(3.76060, rel=1e-5)


@pytest.mark.parametrize("name", [row[0] for row in FORMULAS if row[1] == {}])
def test_draws_follow_the_laws(name: str) -> None:
    """The audit finds no fault with them, and finds 1.2 times their std."""
    net = next(row[2] for row in FORMULAS if row[0] == name)
    assert alarms(name, net, range(3)) == 0
    assert alarms(name, net, range(3), factor=1.2) == 3


def alarms(name: str, net: Network, seeds: Sequence[int], factor: float = 1.0) -> int:
    """Number of networks that the audit faults; random weights are multiplied by ``factor``."""
    initialized = instantiate(name)(net, seeds, batch_of(net))
    laws = {weight: by_run[0] for weight, by_run in initialized.laws.items()}
    found = 0
    for run in range(len(seeds)):
        arrays = {
            weight: values[run] * (np.float32(factor) if laws[weight].std > 0 else 1)
            for weight, values in initialized.params.items()
        }
        found += audit(arrays, laws, specs=net.weights).verdict == "differs"
    return found


PLAIN = mlp(16, 4, "relu", depth=3, width=32)


def test_random_biases_of_another_scale_are_a_fault_and_no_training() -> None:
    assert alarms("sklearn", PLAIN, range(8), factor=1.2) == 8
    initialized = instantiate("sklearn")(PLAIN, [0])
    learned = {"hidden/1/bias": 2.0, "hidden/2/bias": 0.3, "hidden/3/bias": 4.0}  # to sizes of their own
    arrays = {name: by_run[0] * np.float32(learned.get(name, 1)) for name, by_run in initialized.params.items()}
    given = {name: law[0] for name, law in initialized.laws.items()}
    assert audit(arrays, given, specs=PLAIN.weights).verdict == "trained"


CONVOLUTIONAL = cnn(64, 4, "tanh", width=8, pools=0, form=IMAGE)
AUDITED = (PLAIN, mlp(16, 4, "tanh", depth=3, width=32), CONVOLUTIONAL, RESIDUAL, UNITS, ENDING, PRE, POST, BARE)
WITHOUT_LAW = ("lsuv", "within_layer", "as_built")  # they depend on data, or on a module


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(NAMES) - set(WITHOUT_LAW)))
def test_false_alarms_of_the_audit_keep_to_its_level(name: str) -> None:
    """In 1,000 draws of each scheme; a level of .1% gives more than 6 alarms with a chance of 1e-4.

    Of 1.2 times the std all are found, where anything is drawn.
    """
    net = next((row[2] for row in FORMULAS if row[0] == name), None)
    net = network_for(instantiate(name), net or next(one for one in AUDITED if suits(instantiate(name), one)))
    assert sum(alarms(name, net, range(start, start + 100)) for start in range(0, 1000, 100)) <= 6
    drawn = name not in ("constant", "zeros")
    assert alarms(name, net, range(20), factor=1.2) == 20 * drawn


def test_mimetic_attention_has_the_products_of_the_paper() -> None:
    net = transformer(64, 3, "gelu", depth=1, width=12, heads=3, form=IMAGE, dtype="float64")
    params = {name: array[0] for name, array in instantiate("mimetic")(net, [3]).params.items()}
    query, key, value, out = (params[f"block/1/attention/{part}/weight"] for part in ("query", "key", "value", "out"))
    noise = value @ out + 0.4 * np.eye(12)
    assert np.abs(noise).max() < 1.5  # .4 Z, Z ~ N(0, 1/12)
    assert noise.std() == pytest.approx(0.4 / math.sqrt(12), rel=0.2)
    for head in range(3):
        columns = slice(4 * head, 4 * head + 4)
        product = query[:, columns] @ key[:, columns].T
        assert np.linalg.matrix_rank(product) == 4
        assert np.trace(product) > 0
        np.testing.assert_allclose(
            query[:, columns].T @ query[:, columns], key[:, columns].T @ key[:, columns], atol=1e-12
        )


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "silu"])
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_mirrored_networks_are_linear(activation: str, kind: str) -> None:
    if kind == "mlp":
        net = mlp(6, 3, activation, depth=5, width=12, dtype="float64")
    else:
        net = cnn(64, 3, activation, depth=4, width=6, padding="circular", form=IMAGE, dtype="float64")
    params = instantiate("mirrored")(net, [0]).params
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1, 4, net.inputs))

    def of(inputs: Array) -> Array:
        return net.forward(params, {}, inputs, net.tape(1, 4), phase="evaluate").copy()

    np.testing.assert_allclose(of(x + 2 * y), of(x) + 2 * of(y), atol=1e-12)
    if kind == "mlp":  # an isometry, seen through the last layer's three outputs
        np.testing.assert_allclose(
            net.jacobian(params, {}, x)[0, 0] @ net.jacobian(params, {}, x)[0, 0].T, np.eye(3), atol=1e-12
        )


def test_zero_is_identity_and_hadamard() -> None:
    net = mlp(4, 3, "relu", widths=[4, 6, 3], dtype="float64")
    first, wider, narrower = (instantiate("zero")(net, [0]).params[f"hidden/{i}/weight"][0] for i in (1, 2, 3))
    np.testing.assert_array_equal(first, np.eye(4))
    np.testing.assert_array_equal(np.abs(wider), np.full((4, 6), 0.5))  # 2^(-(m-1)/2), m = 3
    np.testing.assert_array_equal(np.sign(wider[1]), [1, -1, 1, -1, 1, -1])
    np.testing.assert_array_equal(narrower, np.eye(6, 3))
    kernel = instantiate("zero")(SMALL["cnn"], [0]).params["hidden/2/weight"][0]
    np.testing.assert_array_equal(kernel[1, 1], np.eye(4))
    assert np.count_nonzero(kernel) == 4
    blocks = instantiate("zero")(SMALL["residual_mlp"], [0]).params
    assert blocks["block/1/dense/1/weight"].any()
    assert not blocks["block/1/dense/2/weight"].any()


def test_delta_orthogonal_networks_are_isometries_under_circular_padding() -> None:
    tree = [
        {"convolution": {"filters": 4, "padding": "circular"}},
        {"convolution": {"filters": 4, "padding": "circular"}},
    ]
    net = layers(5 * 5 * 4, 5 * 5 * 4, "linear", tree=[*tree, "flatten"], form=Form((5, 5, 4)), dtype="float64")
    params = instantiate("delta_orthogonal")(net, [0]).params
    jacobian = net.jacobian(params, {}, np.zeros((1, 1, 100)))[0, 0]
    np.testing.assert_allclose(np.linalg.svd(jacobian, compute_uv=False), 1.0, atol=1e-12)


@pytest.mark.parametrize("padding", ["circular", "same", "valid"])
def test_theory_knows_that_delta_orthogonal_kernels_mix_no_positions(padding: str) -> None:
    """In a linear network to the last digits, at each position; in a tanh network on average."""
    convolution = {"convolution": {"filters": 6, "padding": padding}}
    linear = layers(150, 6, "linear", tree=[convolution, convolution], form=Form((5, 5, 6)), dtype="float64")
    params, x = instantiate("delta_orthogonal")(linear, [0]).params, np.random.default_rng(0).standard_normal((3, 150))
    predicted = linear.expect(moments_of(x, (5, 5, 6)), DeltaOrthogonal().laws(linear))
    tape = linear.tape(1, 3)
    linear.forward(params, {}, x[np.newaxis], tape)
    for number, at in (("1", predicted[0]), ("2", predicted[1])):
        z = tape.preactivation[f"convolution/{number}"][0]
        np.testing.assert_allclose(np.mean(z**2, axis=-1), at.moments.squares, rtol=1e-12)
        flat = z.reshape(3, -1, 6)
        np.testing.assert_allclose(np.einsum("spc,zqc->spzq", flat, flat) / 6, at.moments.covariance, atol=1e-12)
    first, second = (at.gradient.second_moment for at in predicted[:2])
    assert first == pytest.approx(second / 9 if padding == "valid" else second)  # one of nine positions is seen


def test_theory_of_a_delta_orthogonal_tanh_network_is_what_its_draws_do() -> None:
    """To 1% a layer: the sums of a narrow network are no Gaussians."""
    net = cnn(120, 3, "tanh", depth=4, width=60, pools=0, padding="circular", form=Form((2, 1, 60)), dtype="float64")
    runs = 32
    initialized = instantiate("delta_orthogonal")(net, range(runs))
    x = np.random.default_rng(1).standard_normal((1, 4, 2, 60))  # of equal size at each position
    x = (x / np.sqrt(np.mean(x**2, axis=3, keepdims=True))).reshape(1, 4, 120)
    predicted = net.expect(moments_of(x[0], (2, 1, 60)), initialized.laws_of(0))
    tape = net.tape(runs, 4)
    net.forward(net.views(net.flatten(initialized.params)), {}, x, tape)
    d_output = np.random.default_rng(2).standard_normal((runs, 4, 3))
    net.backward(initialized.params, d_output, tape)
    for at in predicted[:-2:2]:
        measured = np.mean(tape.preactivation[at.layer] ** 2), np.mean(tape.d_preactivation[at.layer] ** 2)
        assert measured[0] == pytest.approx(at.moments.second_moment, rel=0.04), at.layer
        assert measured[1] == pytest.approx(at.gradient.second_moment, rel=0.04), at.layer
    values = net.expect_jacobian(predicted, initialized.laws_of(0))
    squares = np.linalg.svd(net.jacobian(initialized.params, {}, x[:, :1])[:, 0], compute_uv=False) ** 2
    assert squares.mean() == pytest.approx(values.mean, rel=0.04)


# Tailored activations: figures of the authors' own code (github.com/google-deepmind/dks, tests of version 0.1.2)


def modified_resnet(local: Callable[[float], float], x: float) -> float:
    """Largest value that a subnetwork of their residual network of 101 layers makes of ``x``."""
    alone = local(local(local(x)))
    for blocks in (3, 4, 23, 3):
        for block in range(blocks):
            x = 0.36 * (local(x) if block == 0 else x) + 0.64 * local(local(local(x)))
    return max(local(x), alone)


def test_the_slope_of_tat_is_the_published_one() -> None:
    slope = leaky_slope(lambda local: modified_resnet(local, 0.0), 0.75)
    assert slope == pytest.approx(0.6291800290346146, abs=1e-8)
    assert math.sqrt(2 / (1 + slope**2)) == pytest.approx(1.196996549778802, abs=1e-8)


@pytest.mark.parametrize(
    ("activation", "published"),
    [
        ("softplus", (0.18761008168267976, 0.40688063442262007, 8.878672543665223, -0.9213466151411376)),
        ("tanh", (0.07461073057540868, 0.5566915199964182, 18.002635964442558, -0.5034378768692127)),
        ("gelu_tanh", (0.07036271496383567, 0.2586837248593587, 20.249573305194307, -0.15758328114374964)),
        ("gelu", (0.07043253126531114, 0.259489297927707, 20.21158902315857, -0.15815378961903598)),
    ],
)
def test_the_transformations_of_dks_are_the_published_ones(activation: str, published: tuple[float, ...]) -> None:
    slope = local_slope(lambda local: modified_resnet(local, 1.0), 1.2)
    np.testing.assert_allclose(transformation(activations.get(activation), slope), published, rtol=1e-7)


@pytest.mark.parametrize("activation", ["tanh", "gelu", "silu", "softplus"])
@pytest.mark.parametrize("depth", [3, 50])
def test_dks_sets_the_maps_of_the_network(activation: str, depth: int) -> None:
    """Q(1) = 1 and Q'(1) = 1 in a layer; C(0) = 0, and C'(1) = zeta over the network, by mean-field theory."""
    phi = DKS(zeta=1.5).network_for(mlp(8, 3, activation, depth=depth, width=8)).activations[0]
    assert q_map(1.0, phi, 1.0, 0.0) == pytest.approx(1.0, abs=1e-9)
    assert (q_map(1.001, phi, 1.0, 0.0) - q_map(0.999, phi, 1.0, 0.0)) / 0.002 == pytest.approx(1.0, abs=1e-4)
    assert c_map(0.0, phi, 1.0, 0.0, q=1.0) == pytest.approx(0.0, abs=1e-8)
    assert chi(1.0, phi, 1.0) ** depth == pytest.approx(1.5, rel=1e-6)


def test_tat_leaves_independent_inputs_at_eta() -> None:
    net = mlp(8, 3, "relu", depth=50, width=8)
    phi = TAT(eta=0.9).network_for(net).activations[0]
    c = 0.0
    for _ in range(50):
        c = float(c_map(c, phi, 1.0, 0.0, q=1.0))
    assert c == pytest.approx(0.9, abs=1e-7)
    assert q_map(1.0, phi, 1.0, 0.0) == pytest.approx(1.0, abs=1e-9)
    level = residual_mlp(8, 3, "relu", depth=50, width=8, branch_scale=0.6, skip_scale=0.8)
    assert TAT().network_for(level).activations[0].parameters["output_scale"] > 1.0
    assert maximal(level.layers, lambda x: 1.01 * x, 1.0) == pytest.approx((0.64 + 0.36 * 1.01**2) ** 50)


def test_tailored_activations_have_their_slope_and_keep_float32() -> None:
    for scheme, activation in ((TAT(), "relu"), (DKS(), "tanh")):
        phi = scheme.network_for(mlp(8, 3, activation, depth=20, width=8)).activations[0]
        z = np.linspace(-2.03, 2.0, 101)
        numerical = (phi.phi(z + 1e-6) - phi.phi(z - 1e-6)) / 2e-6
        np.testing.assert_allclose(phi.dphi(z), numerical, rtol=1e-6)
        assert phi.phi(z.astype(np.float32)).dtype == np.float32
        assert pickle.loads(pickle.dumps(phi)).parameters == phi.parameters


def test_schemes_with_activations_of_their_own_need_the_network_that_has_it() -> None:
    with pytest.raises(ValueError, match=r"Pass network_for\(network\)"):
        TAT()(SMALL["mlp"], [0])
    net = TAT().network_for(SMALL["mlp"])
    assert TAT().network_for(net) is net
    with pytest.raises(ValueError, match="dks needs one activation without kinks"):
        DKS().network_for(SMALL["mlp"])


def test_runs_with_an_activation_of_their_scheme_train_apart() -> None:
    network = ["data=iris", "architecture.widths=[6,6]", "tracking=none"]
    he, tat, other = Composer().trials([[*network, scheme] for scheme in ("scheme=he", "scheme=tat", "scheme=zeros")])
    assert he.signature == other.signature != tat.signature
    assert he.network.activations[0].name == "relu"
    (tailored,) = tat.network.activations
    assert tailored.name == "tat_leaky_relu"
    assert pickle.loads(pickle.dumps(tat)).network.activations[0].parameters == tailored.parameters


# Schemes that measure a batch


@pytest.mark.parametrize("of", SMALL)
def test_lsuv_is_exact_on_its_batch(of: str) -> None:
    """Every weight of every layer has outputs of variance 1, also of attention, gates and branches."""
    net = replace(SMALL[of], dtype=np.dtype(np.float64))
    x = batch_of(net)
    params = LSUV(tolerance=1e-10)(net, [0, 1], x).params
    by_batch = Pass(net, params, x)
    for specs in by_batch.layers():
        for spec in specs:
            if spec.part not in ("embedding", "positions") and spec.layer != "embedding":
                std = by_batch.output(spec, "preactivation").reshape(2, -1).std(axis=1)
                np.testing.assert_allclose(std, 1.0, rtol=1e-10, err_msg=spec.name)


@pytest.mark.parametrize("of", SMALL)
def test_within_layer_every_unit_has_mean_0_and_variance_1(of: str) -> None:
    net = replace(SMALL[of], dtype=np.dtype(np.float64))
    x = batch_of(net)
    params = WithinLayer()(net, [0, 1], x).params
    by_batch = Pass(net, params, x)
    for specs in by_batch.layers():
        for spec in specs:
            if spec.part in ("embedding", "positions") or spec.layer == "embedding":
                continue
            z = by_batch.output(spec, "preactivation")
            flat = z.reshape(2, -1, z.shape[-1])
            alive = flat.std(axis=1) > 0
            np.testing.assert_allclose(flat.std(axis=1)[alive], 1.0, rtol=1e-9, err_msg=spec.name)
            if f"{spec.layer}/bias" in params:
                np.testing.assert_allclose(flat.mean(axis=1)[alive], 0.0, atol=1e-9, err_msg=spec.name)


def test_admin_weighs_skips_by_the_branches_before() -> None:
    net = replace(SMALL["transformer, post-norm"], dtype=np.dtype(np.float64))
    x = batch_of(net)
    initialized = Admin()(net, [5, 6], x)
    omega = {name: values for name, values in initialized.constants.items() if name.endswith("skip_scale")}
    assert len(omega) == 4
    tape = net.tape(2, x.shape[1])
    net.forward(initialized.params, net.state(2, initialized.constants), x, tape, phase="probe")
    total = np.ones(2)
    for name, values in omega.items():
        np.testing.assert_allclose(values, np.sqrt(total))
        branch = tape.input[name.removesuffix("/skip_scale"), "activation"]
        total += branch.reshape(2, -1).var(axis=1)
    assert (total > 1.5).all()


# Rules


def test_the_first_rule_that_takes_in_a_weight_draws_it() -> None:
    net = SMALL["transformer"]
    by_rules = {
        "*/attention/out": Normal(std=0.5),
        "query": instantiate("zeros"),
        "bias": Constant(0.25),
        "block/2/mlp/*": Fixup(),
        "*": AutoInit(),
    }
    rule = Rules(by_rules).rule_for(net)
    laws, drawn = rule.laws(net), Rules(by_rules)(net, [3, 4])
    assert laws["block/1/attention/out/weight"].std == 0.5
    assert laws["block/1/attention/query/weight"].second_moment == 0
    assert laws["block/1/attention/key/weight"] == AutoInit().rule_for(net).laws(net)["block/1/attention/key/weight"]
    assert laws["block/2/mlp/dense/2/weight"].std == 0
    assert laws["block/1/mlp/dense/2/weight"].std > 0
    found = drawn.params["block/1/attention/key/weight"][1]
    np.testing.assert_array_equal(found, AutoInit()(net, [4]).params["block/1/attention/key/weight"][0])
    (said,) = drawn.notes[0]
    # Out: weight and bias in each of 2 blocks. Query likewise. Biases: of the others.
    biases = sum(spec.role == "bias" for spec in net.weights) - 4
    assert said.startswith(f"weights drawn: 4 by '*/attention/out', 4 by 'query', {biases} by 'bias'")
    assert sum(map(int, re.findall(r"(\d+) by", said))) == len(net.weights)


def test_a_rule_gives_its_constants_to_the_blocks_that_it_takes_in() -> None:
    net = SMALL["transformer, post-norm"]
    initialized = Rules({"block/1/*": instantiate("deepnorm"), "*": instantiate("xavier")})(net, [0])
    assert set(initialized.constants) == {"block/1/attention/skip_scale", "block/1/mlp/skip_scale"}
    initialized.check(net, 1)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({}, "rules must map roles or patterns to schemes"),
        ({"*": LSUV()}, r"takes schemes that draw each weight from a law; '\*' has LSUV"),
        ({"*": TAT()}, "which is one of whole networks. Pass scheme=tat alone"),
        ({"querry": Normal(), "*": Normal()}, "'querry' has no weight; it names none of"),
        ({"*": Normal(), "query": Normal()}, "'query' has no weight; an earlier rule takes in all that it names"),
        ({"query": Normal()}, "must take in every weight; none has input/weight"),
        ({"*": DeltaOrthogonal()}, "delta_orthogonal needs convolutions"),
    ],
)
def test_rules_are_checked(rules: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Rules(rules).rule_for(SMALL["transformer"])


def test_every_role_has_weights_in_some_network() -> None:
    specs = [spec for net in SMALL.values() for spec in net.weights]
    assert all(any(takes_in(role, spec) for spec in specs) for role in ROLES)


# Needs


def test_a_refusal_says_what_is_needed_and_how_to_mend_it() -> None:
    said = "fixup needs residual branches; this network has none. Use architecture=residual_mlp or resnet."
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        instantiate("fixup")(SMALL["mlp"], [0])
    said = "needs a norm behind each sum of branch and skip; this network has none. Use architecture=transformer"
    for name in ("deepnorm", "admin"):  # the norms of pre-norm blocks follow sums too, and a skip goes past them
        with pytest.raises(ValueError, match=said):
            instantiate(name)(PRE, [0], batch_of(PRE))


@pytest.mark.parametrize("name", NAMES)
def test_the_file_says_what_the_scheme_needs(name: str) -> None:
    lines = [line[13:] for line in FILES[name].read_text().splitlines() if line.startswith("#   needs")]
    needs = "; ".join(NEEDS[need].what for need in needs_of(instantiate(name)))
    assert "".join(lines) == needs


def test_every_need_is_met_by_some_network_and_refused_to_another() -> None:
    used = {need for name in NAMES for need in needs_of(instantiate(name))}
    assert used == set(NEEDS)
    for name, need in NEEDS.items():
        met = {need.met(net) for net in (*SMALL.values(), *UNLIKELY)}
        assert met == ({False} if name == "module" else {True, False}), name  # modules are no networks of the lab's


# Theory and training


def batch_of(net: Network, samples: int = 16) -> Array:
    rng = np.random.default_rng(0)
    if net.takes_tokens:
        return rng.integers(0, 5, (1, samples, net.inputs)).astype(net.dtype)
    return rng.standard_normal((1, samples, net.inputs)).astype(net.dtype)


PAIRS = [(name, of) for name in NAMES for of in SMALL]


def network_for(scheme: object, net: Network) -> Network:
    """The network, with the activation that the scheme asks for."""
    return scheme.network_for(net) if isinstance(scheme, Tailoring) else net


@pytest.mark.parametrize(
    ("name", "of", "reason"),
    [
        ("mirrored", "mlp", "units are pairs of opposites, and the network is linear at the start"),
        ("zero", "residual_mlp", "the weights are written down, not drawn"),
        ("mimetic", "transformer", "query and key, and value and out, are factors of one matrix"),
        ("lsuv", "cnn", "the scheme depends on data or iterates"),
    ],
)
def test_where_there_is_no_theory_the_law_says_why(name: str, of: str, reason: str) -> None:
    net = SMALL[of]
    laws = instantiate(name)(net, [0], batch_of(net)).laws_of(0)
    last = net.expect(Moments(1.0, correlation=0.2), laws)[-1].moments
    assert last.reason == f"the law of the weights is unknown: {reason}"


def check_theory(name: str, of: str) -> None:
    """Theory has a number for the whole network, or a reason."""
    net = network_for(instantiate(name), SMALL[of])
    initialized = instantiate(name)(net, [0], batch_of(net))
    initialized.check(net, 1)
    first, *_, last = net.expect(Moments(1.0, correlation=0.2), initialized.laws_of(0))
    assert last.moments.reason or math.isfinite(last.moments.second_moment)
    assert first.gradient.reason or math.isfinite(first.gradient.second_moment)


def trained(net: Network, name: str, seeds: list[int], steps: int = 3) -> tuple[Array, Array]:
    """Weights (runs, parameters) before and after a few steps of length .1 down the gradient of a fixed batch."""
    x, runs = batch_of(net), len(seeds)
    initialized = instantiate(name)(net, seeds, x)
    flat = net.flatten(initialized.params)
    before, tape = flat.copy(), net.tape(runs, x.shape[1])
    state = net.state(runs, initialized.constants)
    target = np.random.default_rng(1).standard_normal((1, x.shape[1], *net.out_shape)).astype(net.dtype)
    for _ in range(steps):
        output = net.forward(net.views(flat), state, x, tape)
        d_output = np.subtract(output, target, out=tape.d_output)
        d_output *= net.dtype.type(1 / target[0].size)
        net.backward(net.views(flat), d_output, tape)
        gradient = tape.flat_gradient
        flat -= net.dtype.type(0.1) * gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
    return before, flat


def check_training(name: str, of: str) -> None:
    """A network trains, and its bits are those that it has alone."""
    net = network_for(instantiate(name), SMALL[of])
    before, after = trained(net, name, [3, 4, 5])
    assert np.isfinite(after).all()
    assert (np.abs(after - before).max(axis=1) > 0).all()
    alone_before, alone = trained(net, name, [4])
    np.testing.assert_array_equal(before[1], alone_before[0])
    np.testing.assert_array_equal(after[1], alone[0])


def fits(name: str, of: str) -> bool:
    if of == "transformer, tied" and name == "autoinit":
        return False  # its outputs have no theory
    return suits(instantiate(name), SMALL[of]) and not (name == "zeros" and "residual" in of)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "of"), PAIRS, ids=[f"{name} {of}" for name, of in PAIRS])
def test_every_scheme_trains_every_network_that_it_suits(name: str, of: str) -> None:
    if fits(name, of):
        check_training(name, of)
        check_theory(name, of)
    elif not suits(instantiate(name), SMALL[of]):
        with pytest.raises(ValueError, match=" needs "):
            instantiate(name)(network_for(instantiate(name), SMALL[of]), [0], batch_of(SMALL[of]))


@pytest.mark.parametrize("number", range(len(SMALL)))
def test_some_schemes_train_each_network(number: int) -> None:
    """A covering design: each scheme with one network that it suits, each network with some schemes."""
    for index, name in enumerate(NAMES):
        suited = [of for of in SMALL if fits(name, of)]
        if suited and list(SMALL).index(suited[index % len(suited)]) == number:
            check_training(name, suited[index % len(suited)])
            if name not in LAWS and "transformer" not in suited[index % len(suited)]:
                check_theory(name, suited[index % len(suited)])
