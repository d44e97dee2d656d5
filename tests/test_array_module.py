"""A training step on arrays that are not NumPy's: same code, same bits, and nothing goes through host memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runner.optimizers import SGD, Adam, AdamW, Optimizer, Scale, Updater
from tests import cupy_stand_in
from weightinit import activations
from weightinit.activations import Activation
from weightinit.arrays import array_module
from weightinit.nn import CrossEntropy, Loss, MeanSquaredError, mlp
from weightinit.schemes import VarianceScaling

RUNS, BATCH, STEPS = 3, 8, 3


def train(to_array: Any, activation: str | Activation, optimizers: list[Optimizer], loss: Loss) -> tuple[Any, Any]:
    """Weights and losses after a few steps on the arrays that ``to_array`` makes of NumPy's."""
    network = mlp(5, 4, activation, depth=2, width=6)
    rng = np.random.default_rng(0)
    start = VarianceScaling(scale=2.0)(network, range(RUNS)).params
    flat = network.flatten({name: to_array(weight) for name, weight in start.items()})
    x = to_array(rng.standard_normal((RUNS, BATCH, 5)).astype(np.float32))
    y = to_array(np.eye(4, dtype=np.float32)[rng.integers(0, 4, (RUNS, BATCH))])
    xp = array_module(flat)
    tape = network.tape(RUNS, BATCH, xp=xp)
    params = network.views(flat)
    kernels, factors = network.kernel_parameters, np.linspace(0.5, 2.0, RUNS)[:, None]
    scales = [Scale(slice(0, kernels), factors, 1 / factors), Scale(slice(kernels, flat.shape[1]), factors**2, factors)]
    updater = Updater(optimizers, STEPS, flat, tape.flat_gradient, kernels, scales)
    losses = []
    for step in range(STEPS):
        output = network.forward(params, {}, x, tape)
        losses.append(loss(output, y, tape.d_output))
        network.backward(params, tape.d_output, tape)
        updater.step(step)
    return flat, xp.stack(losses)


OPTIMIZERS: list[list[Optimizer]] = [
    [
        SGD(learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=0.01, clip_norm=norm)
        for norm in (0.1, 1.0, 9.0)
    ],
    [Adam(learning_rate=0.01, beta1=beta) for beta in (0.8, 0.9, 0.95)],
    [AdamW(learning_rate=0.01, weight_decay=decay) for decay in (0.1, 0.2, 0.3)],
]


@pytest.mark.parametrize("optimizers", OPTIMIZERS, ids=lambda optimizers: type(optimizers[0]).__name__)
@pytest.mark.parametrize("loss", [CrossEntropy(), MeanSquaredError()], ids=lambda loss: loss.name)
@pytest.mark.parametrize("activation", [*activations.NAMES, "own"])
def test_a_step_runs_on_the_arrays_of_another_module(activation: str, loss: Loss, optimizers: list[Optimizer]) -> None:
    phi = activations.get(np.tanh) if activation == "own" else activations.get(activation)
    expected = train(np.asarray, phi, optimizers, loss)
    with cupy_stand_in.installed():
        weights, losses = train(cupy_stand_in.ndarray, phi, optimizers, loss)
    assert isinstance(weights, cupy_stand_in.ndarray)
    assert {"matmul", "multiply"} <= set(cupy_stand_in.calls)
    assert weights.host.tobytes() == expected[0].tobytes()
    assert losses.host.tobytes() == expected[1].tobytes()


def test_the_jacobian_runs_on_the_arrays_of_another_module() -> None:
    network = mlp(5, 4, "tanh", depth=2, width=6)
    params = VarianceScaling(scale=1.0)(network, [0, 1]).params
    x = np.random.default_rng(0).standard_normal((1, 3, 5)).astype(np.float32)
    with cupy_stand_in.installed():
        jacobian: Any = network.jacobian(
            {name: cupy_stand_in.ndarray(weight) for name, weight in params.items()},
            {},
            cupy_stand_in.ndarray(x),  # type: ignore[misc, arg-type]
        )
    np.testing.assert_array_equal(jacobian.host, network.jacobian(params, {}, x))


def test_the_stand_in_refuses_host_arrays_as_cupy_does() -> None:
    array = cupy_stand_in.ndarray(np.ones(3))
    with cupy_stand_in.installed() as cupy:
        assert array_module(array) is cupy
        for mix in (lambda: np.add(array, np.ones(3)), lambda: np.asarray(array), lambda: cupy.add(array, np.ones(3))):
            with pytest.raises(TypeError):
                mix()
    assert array_module(np.ones(3)) is np
