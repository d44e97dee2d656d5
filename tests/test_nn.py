"""Networks: gradients against finite differences, stacks against single runs, theory against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from weightinit import activations
from weightinit.arrays import Array
from weightinit.laws import UNKNOWN, Law
from weightinit.nn import LOSSES, Moments, Network, mlp
from weightinit.schemes import VarianceScaling


def drawn(network: Network, runs: int, seed: int = 0, scale: float = 1.5) -> Array:
    scheme = VarianceScaling(scale=scale, mode="fan_in", distribution="normal", bias_std=0.3)
    return network.flatten(scheme(network, range(seed, seed + runs)).params)


def loss_and_gradient(network: Network, flat: Array, x: Array, y: Array, loss: str) -> tuple[Array, Array]:
    tape = network.tape(len(flat), x.shape[1])
    output = network.forward(network.views(flat), {}, x, tape)
    value = LOSSES[loss](output, y, tape.d_output)
    network.backward(network.views(flat), tape.d_output, tape)
    return value, tape.flat_gradient


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", activations.NAMES)
def test_gradients_equal_finite_differences(name: str, loss: str) -> None:
    """In float64, along random directions in the space of all weights, to 1e-6."""
    rng = np.random.default_rng(1)
    network = mlp(5, 3, name, widths=[7, 6], dtype="float64")
    flat = drawn(network, runs=3)
    x = rng.standard_normal((1, 11, 5))
    y = np.eye(3)[rng.integers(0, 3, (1, 11))]
    _, gradient = loss_and_gradient(network, flat, x, y, loss)
    step = 1e-6
    for _ in range(5):
        direction = rng.standard_normal(flat.shape)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        above, _ = loss_and_gradient(network, flat + step * direction, x, y, loss)
        below, _ = loss_and_gradient(network, flat - step * direction, x, y, loss)
        expected = (gradient * direction).sum(axis=1)
        scale = np.linalg.norm(gradient, axis=1)
        np.testing.assert_array_less(np.abs((above - below) / (2 * step) - expected), 1e-6 * scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["relu", "tanh", "gelu"])
def test_the_jacobian_is_that_of_finite_differences(name: str, dtype: str) -> None:
    """In float64 whatever the network's dtype, for shared samples and own ones, alone and in a stack."""
    rng = np.random.default_rng(2)
    network = mlp(5, 3, name, widths=[7, 6], dtype=dtype)
    double = mlp(5, 3, name, widths=[7, 6], dtype="float64")
    params = network.views(drawn(network, runs=4))
    wide = {key: weight.astype(np.float64) for key, weight in params.items()}
    step = 1e-6
    for runs in (1, 4):
        x = rng.standard_normal((runs, 2, 5))
        jacobian = network.jacobian(params, {}, x)
        assert (jacobian.shape, jacobian.dtype) == ((4, 2, 3, 5), np.float64)
        for i in range(5):
            moved = [x + sign * step * np.eye(5)[i] for sign in (1, -1)]
            above, below = (double.forward(wide, {}, at, double.tape(4, 2)).copy() for at in moved)
            np.testing.assert_allclose(jacobian[..., i], (above - below) / (2 * step), atol=1e-8)
        for run in range(4):
            alone = {key: weight[run : run + 1] for key, weight in params.items()}
            own = network.jacobian(alone, {}, x if runs == 1 else x[run : run + 1])
            assert own.tobytes() == jacobian[run : run + 1].tobytes()


@pytest.mark.parametrize("bias", [True, False])
def test_each_weight_has_its_own_gradient(bias: bool) -> None:
    """Every single element of every weight, one at a time."""
    rng = np.random.default_rng(2)
    network = mlp(4, 2, "tanh", widths=[3], bias=bias, dtype="float64")
    flat = drawn(network, runs=1)
    x, y = rng.standard_normal((1, 6, 4)), rng.standard_normal((1, 6, 2))
    _, gradient = loss_and_gradient(network, flat, x, y, "mse")
    step = 1e-6
    for index in range(network.parameters):
        change = np.zeros_like(flat)
        change[0, index] = step
        above, below = (loss_and_gradient(network, flat + sign * change, x, y, "mse")[0] for sign in (1, -1))
        assert gradient[0, index] == pytest.approx(float((above - below)[0]) / (2 * step), abs=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(64, 10, [33, 17]), (3, 1, [5]), (7, 2, [130])])
def test_a_run_has_the_same_bits_alone_and_in_a_stack(sizes: tuple[int, int, list[int]], dtype: str) -> None:
    inputs, outputs, widths = sizes
    rng = np.random.default_rng(3)
    network = mlp(inputs, outputs, "gelu", widths=widths, dtype=dtype)
    flat = drawn(network, runs=7)
    x = rng.standard_normal((7, 19, inputs)).astype(dtype)
    y = rng.standard_normal((7, 19, outputs)).astype(dtype)
    values, gradients = loss_and_gradient(network, flat, x, y, "mse")
    for run in range(7):
        part = slice(run, run + 1)
        value, gradient = loss_and_gradient(network, flat[part], x[part], y[part], "mse")
        assert value.tobytes() == values[part].tobytes()
        assert gradient.tobytes() == gradients[part].tobytes()


def test_an_input_shared_by_all_runs_gives_the_bits_of_one_each() -> None:
    rng = np.random.default_rng(4)
    network = mlp(20, 4, "relu", widths=[30, 30])
    flat = drawn(network, runs=5)
    x = rng.standard_normal((1, 16, 20)).astype(np.float32)
    y = np.eye(4, dtype=np.float32)[rng.integers(0, 4, (1, 16))]
    shared = loss_and_gradient(network, flat, x, y, "cross_entropy")
    each = loss_and_gradient(network, flat, np.repeat(x, 5, 0), np.repeat(y, 5, 0), "cross_entropy")
    for one, other in zip(shared, each, strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 10), (5, 1), (19, 2), (32, 10), (64, 33), (7, 300)], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_its_formula_and_has_the_same_bits_alone_and_in_a_stack(
    name: str, shape: tuple[int, int], dtype: str
) -> None:
    rng = np.random.default_rng(6)
    output = rng.standard_normal((64, *shape)).astype(dtype) * 3
    target = rng.dirichlet(np.ones(shape[1]), (64, shape[0])).astype(dtype)
    gradient, own = np.empty_like(output), np.empty_like(output[:1])
    loss = LOSSES[name](output, target, gradient)
    wide = output.astype(np.float64)
    formulas = {
        "cross_entropy": -(target * special.log_softmax(wide, axis=2)).sum(2).mean(1),
        "mse": 0.5 * ((wide - target) ** 2).sum(2).mean(1),
    }
    np.testing.assert_allclose(loss, formulas[name], rtol=1e-5 if dtype == "float32" else 1e-12)
    assert LOSSES[name](output, target).tobytes() == loss.tobytes()
    for run in range(64):
        part = slice(run, run + 1)
        assert LOSSES[name](output[part].copy(), target[part].copy(), own).tobytes() == loss[part].tobytes()
        assert own.tobytes() == gradient[part].tobytes()


def test_cross_entropy_of_certain_and_hopeless_outputs() -> None:
    output = np.array([[[1000.0, 0.0, 0.0], [0.0, 1000.0, 0.0]]])
    right, wrong = np.eye(3)[None, [0, 1]], np.eye(3)[None, [1, 0]]
    assert LOSSES["cross_entropy"](output, right)[0] == 0
    assert LOSSES["cross_entropy"](output, wrong)[0] == 1000
    assert LOSSES["cross_entropy"](np.zeros((1, 2, 40)), np.eye(40)[None, :2])[0] == pytest.approx(np.log(40))


WIDE, NETS, SAMPLES = 300, 32, 6


@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("name", [name for name in activations.NAMES if name != "sine"])
def test_wide_networks_do_what_theory_expects(name: str, scale: float) -> None:
    """Means over 32 networks of width 300, against theory, at each layer, forward and backward.

    Mean squares within four standard errors and 1% a layer, correlations and means within four standard errors and
    .02: the margins stand for the corrections of order 1/width that the mean of finite networks has.
    """
    network = mlp(WIDE, WIDE, name, depth=4, width=WIDE, dtype="float64")
    scheme = VarianceScaling(scale=scale, mode="fan_in", distribution="normal", bias_std=0.2)
    initialized = scheme(network, range(NETS))
    rng = np.random.default_rng(5)
    x = rng.standard_normal((1, SAMPLES, WIDE)) + 0.7
    x /= np.sqrt(np.mean(x**2, axis=2, keepdims=True))
    tape = network.tape(NETS, SAMPLES)
    params = network.views(network.flatten(initialized.params))
    network.forward(params, {}, x, tape)
    tape.d_output[...] = rng.standard_normal(tape.d_output.shape) + 1.0  # correlated between samples
    back = {"output": tape.d_output.copy()}
    network.backward(params, tape.d_output, tape)
    back |= {layer: array for layer, array in tape.d_preactivation.items() if layer != "output"}
    laws = {weight: law[0] for weight, law in initialized.laws.items()}
    predictions = network.expect(Moments(1.0, correlation=correlation(x)[0]), laws)

    def close(measured: Array, expected: float, margin: float) -> None:
        error = np.std(measured, ddof=1) / np.sqrt(NETS)
        assert abs(measured.mean() - expected) < 4 * error + margin, (prediction.layer, prediction.quantity)

    for depth, prediction in enumerate(predictions, start=2):
        array, expected = getattr(tape, prediction.quantity)[prediction.layer], prediction.moments
        close(np.mean(array**2, axis=(1, 2)), expected.second_moment, 0.01 * expected.second_moment)
        close(np.mean(array, axis=(1, 2)), expected.mean, 0.02 * expected.rms)
        close(correlation(array), float(expected.correlation), 0.02)
        if prediction.quantity == "preactivation":
            array, flow = back[prediction.layer], prediction.gradient
            square = 2.0 * flow.second_moment  # d_output has mean square 2 and correlation 1/2
            close(np.mean(array**2, axis=(1, 2)), square, 0.01 * (12 - depth) / 2 * square)
            close(correlation(array), 0.5 * float(flow.correlation), 0.02)


def correlation(x: Array) -> Array:
    """E[x x'] / E[x²] over pairs of different samples, of each run."""
    norms = (x**2).sum(axis=(1, 2))
    return ((x.sum(axis=1) ** 2).sum(axis=1) - norms) / ((x.shape[1] - 1) * norms)


def test_theory_is_silent_where_it_has_nothing_to_say() -> None:
    network = mlp(8, 2, "relu", depth=2, width=8)
    zero = Law("constant", 0.0, 0.0)
    laws = {spec.name: Law("normal", 0.0, 0.5) if spec.role == "weight" else zero for spec in network.weights}
    known = [p.moments.second_moment for p in network.expect(Moments(1.0), laws)]
    assert np.isfinite(known).all()
    for silent in (UNKNOWN, Law("normal", 0.1, 0.5)):
        predictions = network.expect(Moments(1.0), laws | {"hidden/2/weight": silent})
        moments = [p.moments.second_moment for p in predictions]
        assert np.isfinite(moments[:2]).all()
        assert np.isnan(moments[2:]).all()


def test_names_shapes_and_layout() -> None:
    network = mlp(64, 10, "relu", depth=6, width=128)
    assert network.shape == "64-6x128-10"
    assert mlp(4, 3, "relu", widths=[8, 8, 5]).shape == "4-2x8-5-3"
    assert mlp(4, 3, "relu", depth=0).shape == "4-3"
    assert [spec.name for spec in network.weights][:2] == ["hidden/1/weight", "hidden/1/bias"]
    assert [spec.position for spec in network.weights if spec.role == "weight"] == ["input", *["hidden"] * 5, "output"]
    flat = np.arange(2 * network.parameters, dtype=np.float32).reshape(2, -1)
    views = network.views(flat)
    assert all(np.shares_memory(view, flat) for view in views.values())
    np.testing.assert_array_equal(network.flatten(views), flat)
    kernels = sum(views[spec.name][0].size for spec in network.weights if spec.role == "weight")
    assert kernels == network.kernel_parameters
    assert max(views["output/weight"][0].flat) == kernels - 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": -1}, "architecture.depth must be at least 0; got -1"),
        ({"width": 0}, "architecture.width must be at least 1; got 0"),
        ({"widths": []}, "architecture.widths must name at least one hidden layer"),
        ({"widths": [4, 0]}, "every width in architecture.widths must be at least 1; got 0"),
        ({"dtype": "float16"}, "dtype must be one of float32, float64; got 'float16'"),
        ({"activation": "rlu"}, "rlu"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mlp(4, 2, **{"activation": "relu", **arguments})  # type: ignore[arg-type]
