"""Schemes of whole networks: their formulas by the papers, what they need, and that they train."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import pytest

from tests.test_schemes import FILES, LAWS, instantiate
from weightinit import audit
from weightinit.arrays import Array
from weightinit.nn import Moments, Network
from weightinit.nn.architectures import Form, cnn, layers, mlp, residual_mlp, resnet, transformer
from weightinit.schemes import NEEDS, ByWeight, suits
from weightinit.schemes.needs import needs_of

IMAGE, TOKENS = Form((8, 8, 1)), Form((6,), 5, True)
NAMES = sorted(set(FILES) - {"custom"})


def varied(dtype: str = "float32") -> dict[str, Network]:
    """Every architecture, with what schemes ask for."""
    return {
        "mlp": mlp(10, 3, "relu", depth=3, width=8, dtype=dtype),
        "residual_mlp": residual_mlp(10, 3, "relu", depth=3, width=8, trained_scale=True, dtype=dtype),
        "residual_mlp, normed": residual_mlp(
            10, 3, "tanh", depth=3, width=8, norm="layer", trained_scale="unit", dtype=dtype
        ),
        "cnn": cnn(64, 3, "tanh", width=4, form=IMAGE, dtype=dtype),
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


@pytest.mark.parametrize("name", [row[0] for row in FORMULAS if row[1] == {}])
def test_draws_follow_the_laws(name: str) -> None:
    """The audit finds no fault with them, and finds 1.2 times their std."""
    net = next(row[2] for row in FORMULAS if row[0] == name)
    assert alarms(name, net, range(3)) == 0
    assert alarms(name, net, range(3), factor=1.2) == 3


def alarms(name: str, net: Network, seeds: Sequence[int], factor: float = 1.0) -> int:
    """Number of networks that the audit faults; random weights are multiplied by ``factor``."""
    initialized = instantiate(name)(net, seeds)
    laws = {weight: by_run[0] for weight, by_run in initialized.laws.items()}
    found = 0
    for run in range(len(seeds)):
        arrays = {
            weight: values[run] * (np.float32(factor) if laws[weight].std > 0 else 1)
            for weight, values in initialized.params.items()
        }
        found += audit(arrays, laws, specs=net.weights).verdict == "differs"
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({row[0] for row in FORMULAS}))
def test_false_alarms_of_the_audit_keep_to_its_level(name: str) -> None:
    """In 1,000 draws; a level of .1% gives more than 6 alarms with a chance of 1e-4."""
    net = next(row[2] for row in FORMULAS if row[0] == name)
    assert alarms(name, net, range(1000)) <= 6
    assert alarms(name, net, range(1000), factor=1.2) == 1000


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


# Needs


def test_a_refusal_says_what_is_needed_and_how_to_mend_it() -> None:
    said = "fixup needs residual branches; this network has none. Use architecture=residual_mlp or resnet."
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        instantiate("fixup")(SMALL["mlp"], [0])


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
        assert met == {True, False}, name


# Theory and training


def batch_of(net: Network, samples: int = 16) -> Array:
    rng = np.random.default_rng(0)
    if net.takes_tokens:
        return rng.integers(0, 5, (1, samples, net.inputs)).astype(net.dtype)
    return rng.standard_normal((1, samples, net.inputs)).astype(net.dtype)


PAIRS = [(name, of) for name in NAMES for of in SMALL]


def check_theory(name: str, of: str) -> None:
    """Theory has a number for the whole network, or a reason."""
    net = SMALL[of]
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
    net = SMALL[of]
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
            instantiate(name)(SMALL[of], [0], batch_of(SMALL[of]))


@pytest.mark.parametrize("number", range(len(SMALL)))
def test_some_schemes_train_each_network(number: int) -> None:
    """A covering design: each scheme with one network that it suits, each network with some schemes."""
    for index, name in enumerate(NAMES):
        suited = [of for of in SMALL if fits(name, of)]
        if suited and list(SMALL).index(suited[index % len(suited)]) == number:
            check_training(name, suited[index % len(suited)])
            if name not in LAWS and "transformer" not in suited[index % len(suited)]:
                check_theory(name, suited[index % len(suited)])
