"""JAX: initializers of Flax and Equinox modules, initialization of pytrees by rules, audits of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import weightinit.jax as wj

KEY = jax.random.key(0)


class Linen(nn.Module):
    """A small transformer with a convolution and a recurrent layer."""

    kernel_init: Callable[..., Any] = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, tokens: Any) -> Any:
        x = nn.Embed(100, 32)(tokens)
        x = nn.MultiHeadDotProductAttention(num_heads=4, kernel_init=self.kernel_init)(x, x)
        x = nn.LayerNorm()(x)
        x = nn.Conv(32, (3,), kernel_init=self.kernel_init)(x)
        x = nn.BatchNorm(use_running_average=True)(x)
        x = nn.RNN(nn.LSTMCell(32, kernel_init=self.kernel_init))(x)
        x = nn.DenseGeneral((4, 8), kernel_init=self.kernel_init)(x)
        return nn.DenseGeneral(100, (-2, -1), kernel_init=self.kernel_init)(x)


def linen(key: Any = KEY, **options: Any) -> Any:
    return Linen(**options).init(key, jnp.zeros((1, 4), int))


class Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, **options: Any) -> None:
        self.norm = nnx.LayerNorm(32, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(4, 32, decode=False, rngs=rngs, **options)
        self.out = nnx.Linear(32, 32, rngs=rngs, **options)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)


class Nnx(nnx.Module):
    def __init__(self, seed: int = 0, **options: Any) -> None:
        rngs = nnx.Rngs(seed)
        self.embed = nnx.Embed(100, 32, rngs=rngs)
        self.blocks = nnx.List([Block(rngs, **options) for _ in range(2)])
        self.conv = nnx.Conv(32, 64, (3, 3), feature_group_count=4, rngs=rngs, **options)
        self.norm = nnx.BatchNorm(64, rngs=rngs)
        self.heads = nnx.LinearGeneral((4, 8), (2, 16), axis=(-2, -1), rngs=rngs, **options)


def equinox(key: Any = KEY) -> Any:
    keys = jax.random.split(key, 7)
    return {
        "mlp": eqx.nn.MLP(32, 10, 64, 2, key=keys[0]),
        "attention": eqx.nn.MultiheadAttention(4, 32, key=keys[1]),
        "conv": eqx.nn.Conv2d(8, 32, 3, key=keys[2]),
        "up": eqx.nn.ConvTranspose2d(32, 8, 3, key=keys[3]),
        "cell": eqx.nn.GRUCell(32, 32, key=keys[4]),
        "tokens": eqx.nn.Embedding(100, 32, key=keys[5]),
        "norm": eqx.nn.LayerNorm(32),
    }


@pytest.mark.parametrize("build", [linen, Nnx, equinox])
def test_models_as_their_libraries_make_them_pass(build: Callable[[], Any]) -> None:
    report = wj.audit(build())
    assert report.ok, [finding.sentence for finding in report.findings]


def test_every_array_has_its_role_axes_and_fans() -> None:
    found = {t.name: (t.role, t.in_axes, t.out_axes, tuple(t.fans or ())) for t in wj.translate(linen())}
    attention = "MultiHeadDotProductAttention_0"
    assert found[f"{attention}/query/kernel"] == ("dense", (0,), (1, 2), (32, 32))
    assert found[f"{attention}/out/kernel"] == ("dense", (0, 1), (2,), (32, 32))
    assert found["Conv_0/kernel"] == ("convolution", (1,), (2,), (96, 96))
    assert found["DenseGeneral_1/kernel"] == ("dense", (0, 1), (2,), (32, 100))
    assert found["LSTMCell_0/hi/kernel"][0] == "recurrent"
    assert not any("batch_stats" in name or name.endswith("mean") for name in found)
    record = wj.translate(Nnx())
    found = {t.name: (t.role, t.in_axes, t.out_axes, tuple(t.fans or ())) for t in record}
    assert found["conv/kernel"] == ("convolution", (2,), (3,), (72, 144))
    assert found["heads/kernel"] == ("dense", (0, 1), (2, 3), (32, 32))
    assert record["blocks/1/out/kernel"].block is not None
    assert not any("rngs" in name or name == "norm/mean" for name in found)
    found = {t.name: (t.role, t.in_axes, t.out_axes, tuple(t.fans or ())) for t in wj.translate(equinox())}
    assert found["mlp/layers/0/weight"] == ("dense", (1,), (0,), (32, 64))
    assert found["up/weight"] == ("convolution", (1,), (0,), (288, 72))
    assert found["norm/weight"][0] == "gain"


class Copies(nn.Module):
    """Experts that ``vmap`` stacks, with biases and without."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        options = {"in_axes": 0, "out_axes": 0, "variable_axes": {"params": 0}, "split_rngs": {"params": True}}
        dense = nn.vmap(nn.Dense, **options)
        return dense(48, use_bias=False)(dense(48, name="experts")(x))


def test_stacked_einsum_and_empty_kernels_are_read_right() -> None:
    variables = Copies().init(KEY, jnp.zeros((4, 2, 32)))
    record = wj.translate(variables)
    for name, fans in (("experts/kernel", (32, 48)), ("VmapDense_0/kernel", (48, 48))):
        assert (record[name].stacked, record[name].in_axes, tuple(record[name].fans or ())) == ((0,), (1,), fans)
    assert wj.audit(variables).ok
    drawn, _ = wj.initialize(variables, "orthogonal", KEY)
    expert = drawn["params"]["experts"]["kernel"][3]
    np.testing.assert_allclose(expert @ expert.T, np.eye(32), atol=1e-5)
    einsum = nnx.Einsum("bti,ihd->bthd", (64, 4, 16), (4, 16), rngs=nnx.Rngs(0))
    assert wj.audit(einsum).ok  # as Flax draws it, by fans of (4 x 64, 4 x 16)
    (finding,) = wj.audit(einsum, {"kernel": "flax"}).faults
    assert "fans (256, 1024) for (64, 64)" in finding.sentence
    assert wj.audit({"Dense_0": {"kernel": jnp.zeros((0, 8)), "bias": jnp.zeros(8)}}).ok


def test_flax_draws_by_the_librarys_initializers() -> None:
    he = wj.initializer("he")
    for model in (linen(kernel_init=he), Nnx(kernel_init=he)):
        kernels = {"*/kernel": "he"} if isinstance(model, Nnx) else {"*/h?/kernel": "orthogonal", "*/kernel": "he"}
        report = wj.audit(model, kernels)
        assert report.ok, [finding.sentence for finding in report.findings]
        assert not wj.audit(model, {"*/kernel": "glorot_normal"}).ok


def test_a_key_gives_the_same_bits_however_it_is_traced() -> None:
    init = wj.initializer("orthogonal", gain=2.0)
    direct = init(KEY, (16, 8))
    assert isinstance(direct, jax.Array)
    np.testing.assert_array_equal(direct, jax.jit(lambda key: init(key, (16, 8)))(KEY))
    np.testing.assert_array_equal(direct, init(jax.random.PRNGKey(0), (16, 8)))
    keys = jax.random.split(KEY, 3)
    stacked = jax.vmap(lambda key: init(key, (16, 8)))(keys)
    for i in range(3):
        np.testing.assert_array_equal(stacked[i], init(keys[i], (16, 8)))
    assert len(np.unique(np.asarray(stacked)[:, 0, 0])) == 3
    assert jax.eval_shape(lambda key: init(key, (16, 8), jnp.bfloat16), KEY).dtype == jnp.bfloat16


def test_half_precision_and_complex_draws_keep_their_law() -> None:
    init = wj.initializer("he")
    half = np.asarray(init(KEY, (512, 512), jnp.bfloat16))
    exact = np.asarray(init(KEY, (512, 512), jnp.float32))
    np.testing.assert_allclose(half.astype(np.float32), exact, rtol=2.0**-8)
    assert len(np.unique(half.astype(np.float32))) > 1000  # JAX's own draw has 128 distinct values
    assert abs(half.astype(np.float64).mean()) < 4.5 * math.sqrt(2 / 512) / 512
    for name in ("he", "he_uniform", "orthogonal"):
        values = wj.initializer(name)(KEY, (256, 256), jnp.complex64)
        assert values.dtype == jnp.complex64
        variance = np.mean(abs(np.asarray(values)) ** 2)
        assert variance == pytest.approx(1 / 256 if name == "orthogonal" else 2 / 256, rel=0.03)
    tree = {"kernel": init(KEY, (256, 256), jnp.complex64), "bias": jnp.zeros(256, jnp.complex64)}
    assert wj.audit(tree, "he").ok
    assert not wj.audit(tree, "xavier").ok
    assert wj.audit({"kernel": jnp.asarray(half), "bias": jnp.zeros(512)}, "he").ok


def test_initialize_draws_any_pytree_by_rules() -> None:
    model = equinox()
    rules = [wj.rule(eqx.nn.Embedding, "normal(std=0.02)"), wj.rule("mlp/*", "he"), wj.rule("*", "xavier")]
    drawn, report = wj.initialize(model, rules, KEY)
    assert jax.tree_util.tree_structure(drawn) == jax.tree_util.tree_structure(model)
    assert report.kept == ()
    assert wj.audit(drawn, rules).ok
    assert not np.asarray(drawn["mlp"].layers[0].bias).any()
    assert np.asarray(model["mlp"].layers[0].bias).any()  # the model itself is as it was
    assert drawn["mlp"](jnp.ones(32)).shape == (10,)
    alone, _ = wj.initialize({"mlp": model["mlp"]}, "he", KEY)
    np.testing.assert_array_equal(alone["mlp"].layers[1].weight, drawn["mlp"].layers[1].weight)
    module, _ = wj.initialize(Nnx(), "he", KEY)
    assert isinstance(module, Nnx)
    assert wj.audit(module, "he").ok


def test_initialize_fills_shapes_and_keeps_types() -> None:
    shapes = jax.eval_shape(lambda: {"kernel": jnp.zeros((256, 256), jnp.bfloat16), "bias": jnp.zeros(256)})
    drawn, _ = wj.initialize(shapes, "he", KEY)
    assert drawn["kernel"].dtype == jnp.bfloat16
    assert wj.audit(drawn, "he").ok
    drawn, _ = wj.initialize({"kernel": jnp.zeros((256, 256), jnp.complex64)}, "he", KEY)
    assert drawn["kernel"].dtype == jnp.complex64
    assert np.mean(abs(np.asarray(drawn["kernel"])) ** 2) == pytest.approx(2 / 256, rel=0.03)


def test_plain_pytrees_are_read_by_their_vectors() -> None:
    layers = [(jnp.zeros((64, 32)), jnp.zeros(64)), (jnp.zeros((10, 64)), jnp.zeros(10))]
    drawn, _ = wj.initialize(layers, "he", KEY)
    assert [tuple(t.fans or ()) for t in wj.translate(drawn) if len(t.shape) == 2] == [(32, 64), (64, 10)]
    assert wj.audit(drawn, "he").ok


def test_faults_are_found() -> None:
    same = wj.initializer("he")(KEY, (64, 64))
    tree = {f"Dense_{i}": {"kernel": same + 0, "bias": jnp.zeros(64)} for i in range(2)}
    tree["Dense_2"] = {"kernel": wj.initializer("he")(jax.random.key(1), (64, 64)) * 1.2, "bias": jnp.ones(64)}
    report = wj.audit(tree, "he")
    assert {name for finding in report.faults for name in finding.tensors} >= {"Dense_1/kernel", "Dense_2/kernel"}


def test_errors_are_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"name must be one of .* got 'hee'. Pass name='he'"):
        wj.initializer("hee")
    with pytest.raises(TypeError, match=r"he takes distribution, .*; got gian"):
        wj.initializer("he", gian=2)
    with pytest.raises(ValueError, match="tree must hold arrays"):
        wj.audit({"a": 1})
    with pytest.raises(ValueError, match=r"rule\('\*/gamma', he\) matches none"):
        wj.initialize(linen(), [wj.rule("*/gamma", "he")], KEY)
    with pytest.raises(TypeError, match="key must be one of JAX; got int"):
        wj.initialize({"w": jnp.ones((3, 3))}, "he", 3)
    with pytest.raises(TypeError, match="Call it outside jit"):
        jax.jit(lambda key: wj.initialize({"kernel": jnp.zeros((2, 2))}, "he", key)[0])(KEY)
    with pytest.raises(ValueError, match="shape must have at least 2 axes"):
        wj.initializer("he")(KEY, (3,))


def test_running_variances_of_zero_are_found_in_flax() -> None:
    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return nn.BatchNorm(use_running_average=True)(nn.Dense(16)(x))

    variables = Normed().init(jax.random.key(0), jnp.ones((2, 8)))
    assert wj.audit(variables).ok
    off = {**variables, "batch_stats": jax.tree.map(jnp.zeros_like, variables["batch_stats"])}
    (fault,) = wj.audit(off).faults
    assert (fault.kind, fault.tensors) == ("zeros", ("BatchNorm_0/var",))
