"""Keras: initializers that survive saving and know einsum kernels' axes; models audited by their layers."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
import pytest
from keras import layers

import weightinit.keras as wk


def array(variable: keras.Variable) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable.value))


def transformer(**options: object) -> keras.Model:
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(200, 64)(tokens)
    for _ in range(2):
        attended = layers.MultiHeadAttention(4, 16, **options)(x, x)
        x = layers.LayerNormalization()(layers.Add()([x, attended]))
        x = layers.Add()([x, layers.Dense(64, **options)(layers.Dense(128, "relu", **options)(x))])
    return keras.Model(tokens, layers.Dense(200, **options)(x))


def convolutional(**options: object) -> keras.Model:
    return keras.Sequential(
        [
            layers.Input((16, 16, 8)),
            layers.Conv2D(32, 3, **options),
            layers.BatchNormalization(),
            layers.PReLU(),
            layers.Conv2D(32, 3, groups=4, **options),
            layers.SeparableConv2D(32, 3),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, **options),
        ]
    )


def recurrent() -> keras.Model:
    return keras.Sequential(
        [
            layers.Input((5, 32)),
            layers.LSTM(32, return_sequences=True),
            layers.Bidirectional(layers.GRU(32, return_sequences=True)),
            layers.SimpleRNN(32),
        ]
    )


@pytest.fixture(autouse=True)
def seeded() -> None:
    keras.utils.set_random_seed(0)


@pytest.mark.parametrize("build", [transformer, convolutional, recurrent])
def test_models_as_keras_makes_them_pass(build: Callable[[], keras.Model]) -> None:
    report = wk.audit(build())
    assert report.ok, [finding.sentence for finding in report.findings]


def test_a_models_weights_carry_role_axes_and_true_fans() -> None:
    record = wk.translate(transformer())
    query, output = (
        next(t for t in record if t.name.endswith(end)) for end in ("query/kernel", "attention_output/kernel")
    )
    assert (query.in_axes, query.out_axes, tuple(query.fans or ())) == ((0,), (1, 2), (64, 64))
    assert (output.in_axes, output.out_axes, tuple(output.fans or ())) == ((0, 1), (2,), (64, 64))
    record = wk.translate(convolutional())
    kernels = [tensor for tensor in record if tensor.role == "convolution"]
    assert [tuple(each.fans or ()) for each in kernels] == [(72, 288), (72, 72), (9, 9), (32, 32)]
    assert not any("moving" in tensor.name for tensor in record)


def test_draws_of_an_einsum_kernel_have_its_fans() -> None:
    layer = layers.MultiHeadAttention(8, 32, kernel_initializer=wk.Initializer("he"))
    layer.build((None, 5, 256), (None, 5, 256))
    assert wk.audit(layer, "he").ok
    for kernel in (layer.query_dense.kernel, layer.output_dense.kernel):
        assert np.std(array(kernel)) == pytest.approx(math.sqrt(2 / 256), rel=0.02)
    isometry = layers.EinsumDense("abc,cde->abde", (None, 4, 8), kernel_initializer=wk.Initializer("orthogonal"))
    isometry.build((None, 3, 32))
    matrix = array(isometry.kernel).reshape(32, 32)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(32), atol=1e-5)
    plain = layers.EinsumDense("abc,cde->abde", (None, 8, 32), kernel_initializer=wk.Initializer("normal", std=0.02))
    plain.build((None, 3, 256))  # a law without fans, which no axes concern
    assert np.std(array(plain.kernel)) == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize("seed", [None, 7])
def test_a_reused_instance_never_repeats_its_weights(seed: int | None) -> None:
    shared = wk.Initializer("he", seed=seed)
    model = transformer(kernel_initializer=shared)
    kernels = [array(v) for v in model.trainable_variables if v.name == "kernel"]
    first = [kernel.ravel()[:64].tolist() for kernel in kernels]
    assert len({tuple(each) for each in first}) == len(kernels) == 13
    assert wk.audit(model, "he").ok
    assert not np.array_equal(shared((4, 4)), shared((4, 4)))


def test_a_reused_initializer_of_keras_is_found() -> None:
    model = transformer(kernel_initializer=keras.initializers.HeNormal(seed=1))
    (finding, *_) = wk.audit(model).faults
    assert finding.kind in ("copies", "cloned", "copy"), finding


def test_seeds_give_the_same_bits_by_the_layers_name() -> None:
    def weights(order: list[str]) -> dict[str, np.ndarray]:
        made = {}
        for name in order:
            layer = layers.Dense(8, kernel_initializer=wk.Initializer("he", seed=3), name=name)
            layer.build((None, 8))
            made[name] = array(layer.kernel)
        return made

    one, other = weights(["a", "b"]), weights(["b", "a"])
    np.testing.assert_array_equal(one["a"], other["a"])
    np.testing.assert_array_equal(one["b"], other["b"])
    assert not np.array_equal(one["a"], one["b"])
    unseeded = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        unseeded.append(wk.Initializer("he")((8, 8)))
    np.testing.assert_array_equal(*unseeded)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, when it saves
def test_an_initializer_survives_configuration_and_file(tmp_path: Path) -> None:
    initializer = wk.Initializer("variance_scaling", scale=3.0, mode="fan_out", seed=4, in_axis=(0,), out_axis=1)
    config = keras.initializers.serialize(initializer)
    assert config["registered_name"] == "weightinit>Initializer"
    again = keras.initializers.deserialize(config)
    assert again.get_config() == initializer.get_config()
    np.testing.assert_array_equal(again((30, 40)), wk.Initializer(**initializer.get_config())((30, 40)))
    model = convolutional(kernel_initializer=wk.Initializer("he", distribution="uniform"))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].kernel_initializer.get_config() == model.layers[0].kernel_initializer.get_config()
    for one, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(array(one), array(other))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_every_type_is_drawn_in_double_and_rounded_last(dtype: str) -> None:
    values = wk.Initializer("he", seed=1)((512, 512), dtype=dtype)
    assert keras.backend.standardize_dtype(values.dtype) == dtype
    doubles = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(values, "float32")), np.float64)
    assert abs(doubles.mean()) < 4.5 * math.sqrt(2 / 512) / 512
    if dtype == "bfloat16":
        assert len(np.unique(doubles)) > 1000  # Keras' own draw has 128 distinct values on JAX


def test_errors_are_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"name must be one of .* got 'hee'. Pass name='he'"):
        wk.Initializer("hee")
    with pytest.raises(TypeError, match=r"he takes distribution, .*; got gian"):
        wk.Initializer("he", gian=2)
    with pytest.raises(TypeError, match="seed must be a whole number from 0 or None; got True"):
        wk.Initializer("he", seed=True)
    with pytest.raises(ValueError, match="belong together"):
        wk.Initializer("he", input_axes=(0,))
    with pytest.raises(ValueError, match="Build it first"):
        wk.audit(layers.Dense(3))
    with pytest.raises(TypeError, match="a model or a layer of Keras; got list"):
        wk.audit([])


def test_running_variances_of_zero_are_found() -> None:
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16), keras.layers.BatchNormalization(name="norm")])
    assert wk.audit(model).ok
    model.get_layer("norm").moving_variance.assign(np.zeros(16))
    (fault,) = wk.audit(model).faults
    assert fault.kind == "zeros"
    assert fault.tensors[0].endswith("norm/moving_variance")
