"""LSUV: unit variance in every layer of every run, whoever shares its stack."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from weightinit.arrays import Array, stream
from weightinit.nn.architectures import mlp, transformer
from weightinit.nn.architectures.form import Form
from weightinit.nn.network import Network
from weightinit.schemes import LSUV

SEEDS = [3, 0, 8, 5]


def network(activation: str = "relu", depth: int = 6, dtype: str = "float32") -> Network:
    return mlp(20, 5, activation, depth=depth, width=40, dtype=dtype)


def batch(runs: int = 1) -> Array:
    return stream(1, "batch").standard_normal((runs, 64, 20)).astype(np.float32)


def preactivations(network: Network, params: Mapping[str, Array], x: Array) -> dict[str, Array]:
    """By layer, (runs, samples, units)."""
    tape = network.tape(len(params["output/weight"]), x.shape[1])
    network.forward(params, {}, x, tape)
    return tape.preactivation


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "linear"])
def test_every_layer_of_every_run_has_unit_variance_after_one_division(activation: str) -> None:
    net = network(activation)
    one, more = (LSUV(tolerance=1e-3, max_iterations=most)(net, SEEDS, batch(4)) for most in (1, 10))
    for name, z in preactivations(net, one.params, batch(4)).items():
        np.testing.assert_allclose(z.var(axis=(1, 2), dtype=np.float64), 1, atol=1e-3, err_msg=name)
    assert one.notes == ((),) * 4
    for name, array in one.params.items():
        np.testing.assert_array_equal(array, more.params[name])


def test_directions_are_those_of_the_orthogonal_start() -> None:
    for name, weight in LSUV()(network(), SEEDS, batch()).params.items():
        if name.endswith("hidden/3/weight"):
            product = weight.astype(np.float64).swapaxes(1, 2) @ weight
            scale = product[:, 0, 0][:, None, None]
            np.testing.assert_allclose(product / scale, np.broadcast_to(np.eye(40), product.shape), atol=1e-5)


@pytest.mark.parametrize("measure", ["preactivation", "activation"])
def test_each_run_stops_by_itself(measure: str) -> None:
    """Divisions go on in some runs while others are done; no run notices."""
    net = network("gelu")  # not homogeneous, so that activations take several divisions
    scheme = LSUV(tolerance=0.02, measure=measure, max_iterations=30)  # type: ignore[arg-type]
    x = batch(4) * np.array([0.1, 1.0, 3.0, 30.0], np.float32)[:, None, None]
    together = scheme(net, SEEDS, x)
    for run, seed in enumerate(SEEDS):
        alone = scheme(net, [seed], x[run : run + 1])
        assert alone.notes[0] == together.notes[run]
        for name, array in alone.params.items():
            np.testing.assert_array_equal(array[0], together.params[name][run])


def test_a_variance_out_of_reach_is_noted() -> None:
    """No tanh leaves a variance of 1."""
    initialized = LSUV(measure="activation", tolerance=0.02)(network("tanh", depth=2), SEEDS, batch())
    for notes in initialized.notes:
        assert [note.partition(":")[0] for note in notes] == ["hidden/1", "hidden/2"]
        assert "the variance of its activations is 0." in notes[0]
    dead = LSUV()(network(), [0], np.zeros((1, 64, 20), np.float32))
    assert len(dead.notes[0]) == 7
    assert all(np.isfinite(array).all() for array in dead.params.values())


def test_theory_is_silent_about_the_weights() -> None:
    laws = LSUV()(network(), SEEDS, batch()).laws
    assert {name.rpartition("/")[2] for name, each in laws.items() if not each[0].known} == {"weight"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0}, "tolerance must be a positive number; got 0"),
        ({"max_iterations": 0}, "max_iterations must be a whole number from 1; got 0"),
        ({"measure": "output"}, "measure must be one of preactivation, activation; got 'output'"),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LSUV(**options)  # type: ignore[arg-type]


def test_it_needs_a_batch() -> None:
    with pytest.raises(ValueError, match="lsuv measures a batch of data; got none"):
        LSUV()(network(), SEEDS)


def test_each_weight_of_attention_is_scaled_by_its_own_output() -> None:
    network = transformer(64, 10, "relu", depth=1, width=16, heads=2, form=Form((8, 8, 1)))
    batch = np.random.default_rng(0).standard_normal((1, 128, *network.in_shape)).astype(network.dtype)
    initialized = LSUV(tolerance=0.01)(network, [0, 1], batch)
    tape = network.tape(2, 128)
    network.forward(initialized.params, network.state(2), batch, tape, phase="probe")
    for part in ("query", "key", "value", "out"):
        outputs = tape[f"block/1/attention/{part}", "preactivation"]
        assert outputs.reshape(2, -1).var(axis=1) == pytest.approx([1, 1], abs=0.012), part
