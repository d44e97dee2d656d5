"""Schemes that theory fits to the network: the edge of chaos, and AutoInit."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from tests.sampling import assert_follows
from weightinit import activations, gain
from weightinit.arrays import Array
from weightinit.gaussian import expectation
from weightinit.laws import Law
from weightinit.meanfield import chi, q_map
from weightinit.nn import Moments, Network, Nonlinearity, mlp
from weightinit.nn.moments import unknown_moments
from weightinit.schemes import AutoInit, Critical, Ruled

DRAWN = ("normal", "uniform", "truncated_normal", "orthogonal")


def wide(activation: str = "tanh", **options: Any) -> Network:
    """No layer of it is square, so that swapped fans show."""
    return mlp(256, 288, activation, **({"widths": [320, 272]} | options))


def variances(network: Network, scheme: Ruled, second_moment: float = 1.0) -> dict[str, float]:
    """fan_in Var W by layer, and Var b under ``bias``, which all layers share."""
    laws = scheme.rule_for(network, second_moment).laws(network)
    (bias,) = {laws[spec.name].std ** 2 for spec in network.weights if spec.role == "bias"}
    weights = {s.layer: s.fans.fan_in * laws[s.name].std ** 2 for s in network.weights if s.role == "weight"}
    return weights | {"bias": bias}


# The edge of chaos


@pytest.mark.parametrize(
    ("activation", "options", "sigma_w2", "sigma_b2"),
    [
        ("relu", {}, 2.0, 0.0),
        ("linear", {}, 1.0, 0.0),
        ("tanh", {}, 1.0, 0.0),
        ("tanh", {"sigma_b2": 0.05}, 1.760955, 0.05),
        ("tanh", {"sigma_b2": 0.1}, 1.986073, 0.1),
        ("erf", {"sigma_b2": 0.0}, math.pi / 4, 0.0),
        ("gelu", {}, 1.983058, 0.172922),
        ("gelu", {"q": 1.0}, 1 / 0.455851, 1 - 0.425221 / 0.455851),
        ("selu", {}, 0.476771, 0.0),
    ],
)
@pytest.mark.parametrize("drawn", DRAWN)
def test_critical_has_the_known_variances_in_every_layer(
    activation: str, options: dict[str, float], sigma_w2: float, sigma_b2: float, drawn: Any
) -> None:
    found = variances(wide(activation), Critical(**options, distribution=drawn))
    assert found.pop("bias") == pytest.approx(sigma_b2, abs=3e-6)
    assert list(found.values()) == pytest.approx([sigma_w2] * 3, abs=6e-6)


@pytest.mark.parametrize("options", [{}, {"sigma_b2": 0.0}, {"sigma_b2": 0.2}, {"q": 1.0}], ids=str)
@pytest.mark.parametrize("name", activations.NAMES)
def test_critical_lets_gradients_neither_grow_nor_shrink_where_it_exists(name: str, options: dict[str, float]) -> None:
    """By quadrature, apart from mean field's closed forms: chi = 1, and q stays."""
    network, scheme = wide(name), Critical(**options)
    phi = activations.get(name)
    homogeneous = name in ("relu", "leaky_relu", "linear")
    if (
        name == "softplus"
        or (name == "sigmoid" and "sigma_b2" not in options)
        or (homogeneous and 0.2 in options.values())
    ):
        with pytest.raises(ValueError, match="has no critical point"):
            scheme.point(network)
        return
    q = scheme.point(network).q_star.value
    found = variances(network, scheme)
    size = q or 1e-14
    assert found["output"] * expectation(lambda z: phi.dphi(z) ** 2, q=size, kinks=phi.kinks) == pytest.approx(1, 1e-6)
    moment = found["output"] * expectation(lambda z: phi.phi(z) ** 2, q=size, kinks=phi.kinks) + found["bias"]
    assert moment == pytest.approx(q, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("drawn", DRAWN)
@pytest.mark.parametrize("scheme", [Critical(sigma_b2=0.05), AutoInit()], ids=["critical", "autoinit"])
def test_weights_follow_the_laws_that_are_stated(scheme: Any, drawn: Any) -> None:
    network = wide("tanh", widths=[320, 272])
    own = replace(scheme, distribution=drawn)
    initialized, laws = own(network, [3, 4]), own.rule_for(network).laws(network)
    for name in ("hidden/1/weight", "hidden/2/weight", "output/weight"):
        assert initialized.laws[name] == (laws[name],) * 2
        for run in range(2):
            assert_follows(initialized.params[name][run], laws[name])
    if drawn == "orthogonal":
        matrix = initialized.params["hidden/2/weight"][0].astype(np.float64)
        gram = matrix.T @ matrix
        np.testing.assert_allclose(gram, gram[0, 0] * np.eye(272), atol=1e-5)


def test_critical_draws_biases_of_its_variance() -> None:
    network = mlp(8, 2, "tanh", widths=[330])
    initialized = Critical(sigma_b2=0.05)(network, range(200))
    assert initialized.laws["hidden/1/bias"][0] == Law("normal", 0.0, math.sqrt(0.05))
    assert_follows(initialized.params["hidden/1/bias"], initialized.laws["hidden/1/bias"][0])


def test_a_critical_point_that_signals_drift_off_comes_with_a_note() -> None:
    drifting = Critical(q=1.0)(mlp(4, 2, "gelu", widths=[8]), [0, 1]).notes
    assert len(drifting) == 2
    assert "drift off this critical point" in drifting[0][0]
    assert "factor 1.067 a layer" in drifting[0][0]
    for scheme, name in ((Critical(), "gelu"), (Critical(q=1.0), "tanh"), (Critical(), "relu")):
        assert scheme(mlp(4, 2, name, widths=[8]), [0]).notes == ((),)


def test_a_network_without_nonlinearity_is_linear() -> None:
    assert variances(mlp(40, 3, "tanh", depth=0), Critical()) == pytest.approx({"output": 1.0, "bias": 0.0})


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (wide("softplus"), {}, "softplus has no critical point .* Nor has it others near. Take scheme=autoinit"),
        (wide("sigmoid"), {}, "It has another at sigma_w2 = 103.008, sigma_b2 = 0 and q = 45.62: pass sigma_b2=0"),
        (wide("relu"), {"sigma_b2": 0.1}, "relu has no critical point at sigma_b2=0.1. .* pass sigma_b2=null q=null"),
        (wide("sigmoid"), {"q": 1.0}, "sigmoid has no critical point at q=1. It has another at"),
        (wide("gelu", bias=False), {}, "needs biases, of variance 0.172922.*Pass architecture.bias=true"),
    ],
)
def test_critical_says_what_it_cannot_do(network: Network, options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Critical(**options).rule_for(network)
    with pytest.raises(ValueError, match=message):
        Critical(**options)(network, [0])


def test_critical_needs_one_activation() -> None:
    tanh, relu = wide("tanh").layers, wide("relu").layers
    mixed = Network(256, (*tanh[:2], *relu[2:]), np.dtype(np.float32))
    assert [phi.name for phi in mixed.activations] == ["tanh", "relu"]
    with pytest.raises(ValueError, match=r"one activation in all layers; got tanh, relu\. Take scheme=autoinit"):
        Critical()(mixed, [0])
    assert variances(mixed, AutoInit())["output"] == pytest.approx(2)


@pytest.mark.parametrize("kind", [Critical, AutoInit])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"q": "large"}, TypeError, "q must be a number; got 'large'"),
        ({"q": True}, TypeError, "q must be a number; got True"),
        ({"q": -1.0}, ValueError, "q, a second moment, must be .*positive.*; got -1.0"),
        ({"q": math.nan}, ValueError, "q, a second moment, must be"),
        ({"distribution": "gauss"}, ValueError, "one of normal, uniform, truncated_normal, orthogonal; got 'gauss'"),
    ],
)
def test_options_are_checked_when_they_are_given(
    kind: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        kind(**options)


def test_critical_takes_one_wish() -> None:
    with pytest.raises(ValueError, match="q and sigma_b2 determine each other; got both, 1 and 0"):
        Critical(q=1.0, sigma_b2=0.0)


# AutoInit


@pytest.mark.parametrize("q", [1.0, 0.3])
@pytest.mark.parametrize("name", activations.NAMES)
def test_autoinit_holds_the_second_moment_at_every_layer(name: str, q: float) -> None:
    network = wide(name)
    laws = AutoInit(q=q).rule_for(network, 2.5).laws(network)
    predicted = [p.moments.second_moment for p in network.expect(Moments(2.5), laws) if p.quantity == "preactivation"]
    assert predicted == pytest.approx([q] * 3, rel=1e-12)
    assert laws["hidden/2/weight"].std == pytest.approx(gain(name, q=q) / math.sqrt(320), rel=1e-9)
    assert laws["hidden/1/weight"].std == pytest.approx(math.sqrt(q / 2.5 / 256), rel=1e-12)


def test_autoinit_is_he_on_relu_and_keeps_its_noise() -> None:
    network = wide("relu", dtype="float64")
    weights = AutoInit()(network, [7]).params["hidden/2/weight"][0]
    assert variances(network, AutoInit())["hidden/2"] == pytest.approx(2, rel=1e-12)
    plain = AutoInit(q=2.0)(network, [7]).params["hidden/2/weight"][0]
    np.testing.assert_allclose(plain, weights, rtol=1e-12)  # of relu, q counts at the first layer only


def test_autoinit_takes_each_runs_inputs_as_they_are() -> None:
    network = wide("tanh")
    rng = np.random.default_rng(0)
    batch = rng.standard_normal((3, 32, 256)).astype(np.float32)
    batch[1] *= 3
    batch[2] = batch[0]
    initialized = AutoInit()(network, [5, 6, 7], batch)
    for run, law in enumerate(initialized.laws["hidden/1/weight"]):
        expected = 1 / 256 / np.mean(batch[run].astype(np.float64) ** 2)
        assert law.std**2 == pytest.approx(expected, rel=1e-5)
        alone = AutoInit()(network, [5 + run], batch[run : run + 1])
        assert alone.laws["hidden/1/weight"] == (law,)
        for name, array in alone.params.items():
            assert array[0].tobytes() == initialized.params[name][run].tobytes()
    shared = AutoInit()(network, [5, 6, 7], batch[:1])
    assert len(set(shared.laws["hidden/1/weight"])) == 1


def test_the_rounding_of_scaled_samples_gives_no_run_a_law_of_its_own() -> None:
    batch = np.random.default_rng(1).standard_normal((4, 16, 256)).astype(np.float32)
    batch /= np.sqrt(np.mean(batch**2, axis=2, keepdims=True))
    laws = AutoInit()(wide(), range(4), batch).laws
    assert len(set(laws["hidden/1/weight"])) == 1
    assert laws["hidden/1/weight"][0].std == 1 / 16


@dataclass(frozen=True)
class Silent(Nonlinearity):
    """A layer without theory."""

    def expect(self, moments: Moments, laws: Any) -> Moments:
        return unknown_moments("")


def shut(z: Array) -> Array:
    return np.zeros_like(z)


def test_autoinit_stops_at_a_layer_that_theory_knows_nothing_of() -> None:
    layers = wide().layers
    silent = Network(256, (layers[0], Silent("hidden/1", 320, activations.get("tanh")), *layers[2:]), np.dtype("f4"))
    with pytest.raises(ValueError, match="what leaves hidden/1 is unknown"):
        AutoInit()(silent, [0])
    dead = mlp(8, 2, activations.get(shut), widths=[4])
    with pytest.raises(ValueError, match="what leaves hidden/1 is zero"):
        AutoInit()(dead, [0])
    wild = mlp(8, 2, activations.get(lambda z: np.exp(z**2)), widths=[4])
    with pytest.raises(ValueError, match=r"what leaves hidden/1 is unknown \(the function outgrows"):
        AutoInit()(wild, [0])


def test_maps_agree_that_autoinit_keeps_q_and_lets_gradients_grow_by_chi() -> None:
    for name, growth in (("tanh", 1.177807), ("gelu", 1.072032), ("selu", 1.071575)):
        sigma_w2 = variances(wide(name), AutoInit())["output"]
        assert q_map(1.0, name, sigma_w2) == pytest.approx(1, abs=1e-9)
        assert chi(1.0, name, sigma_w2) == pytest.approx(growth, abs=6e-7)
