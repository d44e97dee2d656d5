"""Theory against simulation: every scheme with a law and every activation, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.test_schemes import FILES, instantiate
from weightinit import activations
from weightinit.arrays import Array
from weightinit.nn import Moments, Network, mlp
from weightinit.schemes import VarianceScaling
from weightinit.schemes.needs import suits


def network(activation: str, width: int = 200) -> Network:
    """No layer is square, so that swapped fans show."""
    parameters = {"frequency": 2.0} if activation == "sine" else {}
    phi = activations.get(activation, **parameters)
    return mlp(width - 20, width + 20, phi, widths=[width, width + 30, width - 10])


SAMPLES, SIZE = 6, 1.7  # inputs per network, and their second moment
# Their weights have a mean, depend on each other or on data: no theory.
SILENT = ("constant", "identity", "lsuv", "within_layer", "mirrored", "zero")
# In tests of their own.
ELSEWHERE = ("custom", "zeros", "rules", "tat", "dks", "mup", "depth_mup", "completep", "delta_orthogonal")
SCHEMES = sorted(name for name in set(FILES) - {*SILENT, *ELSEWHERE} if suits(instantiate(name), network("relu")))
# Sums of few or very large weights: what they feed is Gaussian too late, or saturates all units.
SMOOTH = sorted(set(SCHEMES) - {"sparse", "normal", "uniform", "truncated_normal", "siren", "random"})
GENERAL = VarianceScaling(scale=1.5, bias_std=0.2)


@dataclass(frozen=True)
class Compared:
    """A number of one layer: measured in each of many networks, and in theory; ``steps``: layers that it took."""

    what: str
    layer: str
    measured: Array
    theory: float
    steps: int

    @property
    def mean(self) -> float:
        return float(self.measured.mean())

    @property
    def error(self) -> float:
        return float(self.measured.std(ddof=1)) / float(np.sqrt(len(self.measured)))


def inputs(features: int) -> Array:
    """Alike by about a third, each of mean square ``SIZE``."""
    x = np.random.default_rng(5).standard_normal((1, SAMPLES, features)) + 0.7
    return x * np.sqrt(SIZE / np.mean(x**2, axis=2, keepdims=True))


def alike(x: Array) -> Array:
    """E[x x'] / E[x²] over pairs of different samples, of each network."""
    norms = (x**2).sum(axis=(1, 2))
    return ((x.sum(axis=1) ** 2).sum(axis=1) - norms) / ((x.shape[1] - 1) * norms)


def compared(network: Network, scheme: Any, nets: int, *, at_once: int = 32) -> Iterator[Compared]:
    """Second moments and correlations of pre-activations, and second moments of gradients over the output's."""
    x = inputs(network.inputs)
    layers = [spec.layer for spec in network.weights if spec.role == "weight"]
    q, c, gradient = np.empty((3, len(layers), nets))
    for start in range(0, nets, at_once):
        seeds = range(start, min(start + at_once, nets))
        initialized = scheme(network, seeds, x)
        tape = network.tape(len(seeds), SAMPLES)
        params = network.views(network.flatten(initialized.params))
        network.forward(params, {}, x.astype(network.dtype), tape)
        tape.d_output[...] = np.random.default_rng(start).standard_normal(tape.d_output.shape)
        network.backward(params, tape.d_output, tape)
        for row, layer in enumerate(layers):
            z, d_z = (array.astype(np.float64) for array in (tape.preactivation[layer], tape.d_preactivation[layer]))
            q[row, seeds], c[row, seeds] = np.mean(z**2, axis=(1, 2)), alike(z)
            gradient[row, seeds] = np.mean(d_z**2, axis=(1, 2))
    laws = {name: own[0] for name, own in initialized.laws.items()}
    predictions = network.expect(Moments(SIZE, correlation=float(alike(x)[0])), laws)
    expected = {p.layer: p for p in predictions if p.quantity == "preactivation"}
    for row, layer in enumerate(layers):
        theory, back = expected[layer], len(layers) - 1 - row
        yield Compared("q", layer, q[row], theory.moments.second_moment, row + 1)
        yield Compared("c", layer, c[row], float(theory.moments.correlation), row + 1)
        if back:
            yield Compared("gradient", layer, gradient[row] / gradient[-1], theory.gradient.second_moment, back)


def of(scheme: str, **settings: Any) -> Any:
    return instantiate(scheme, **({"omega": 2.0} if scheme == "siren" else {}), **settings)


def assert_explained(found: Compared) -> None:
    """Within what chance explains, and 1% a layer for corrections of order 1 / width."""
    margin = 0.01 if found.what == "c" else 0.01 * found.steps * found.theory
    assert found.error < (0.02 if found.what == "c" else 0.08 * found.theory), found
    assert abs(found.mean - found.theory) < 4.5 * found.error + margin, found


def assert_close(found: Compared) -> None:
    """Second moments within 3%, correlations within .02, gradients within 1% a layer."""
    if found.what == "c":
        assert abs(found.mean - found.theory) < 0.02, found
    elif found.what == "q":
        assert found.mean == pytest.approx(found.theory, rel=0.03), found
    else:
        assert (found.mean / found.theory) ** (1 / found.steps) == pytest.approx(1, abs=0.01), found


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_does_what_its_law_lets_theory_expect(scheme: str) -> None:
    for found in compared(network("sine" if scheme == "siren" else "relu"), of(scheme), 32):
        assert_explained(found)


@pytest.mark.parametrize("scheme", ["critical", "autoinit"])
@pytest.mark.parametrize("activation", ["tanh", "gelu", "selu"])
def test_schemes_that_theory_fits_do_what_it_expects(activation: str, scheme: str) -> None:
    for found in compared(network(activation), of(scheme), 32):
        assert_explained(found)


@pytest.mark.parametrize("activation", activations.NAMES)
def test_every_activation_does_what_theory_expects(activation: str) -> None:
    for found in compared(network(activation), GENERAL, 32):
        assert_explained(found)


@pytest.mark.slow
@pytest.mark.parametrize("activation", activations.NAMES)
def test_every_activation_comes_close_to_theory(activation: str) -> None:
    for found in compared(network(activation, 400), GENERAL, 700):
        assert_close(found)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_comes_close_to_theory(scheme: str, activation: str) -> None:
    if activation == "tanh" and scheme not in SMOOTH:
        activation = "linear" if scheme != "siren" else "sine"
    # A sum over 15 inputs is not Gaussian yet, as the next test shows.
    settings = {"nonzero": 60} if scheme == "sparse" else {}
    for found in compared(network(activation, 400), of(scheme, **settings), 700):
        assert_close(found)


@pytest.mark.slow
def test_what_theory_misses_of_sparse_weights_goes_with_one_over_their_number() -> None:
    """Units differ by which inputs they have, so that their sums are Gaussian only where these are many."""
    missed = {}
    for nonzero in (15, 60):
        (output,) = (
            found
            for found in compared(network("relu", 400), of("sparse", nonzero=nonzero), 1500)
            if found.what == "c" and found.layer == "output"
        )
        missed[nonzero] = output.mean - output.theory, output.error
    (few, few_error), (many, many_error) = missed[15], missed[60]
    assert few < -0.015  # so much closer are inputs in truth to being independent
    assert abs(few - 4 * many) < 4.5 * np.hypot(few_error, 4 * many_error) + 0.004


@pytest.mark.parametrize("scheme", ["constant", "identity", "lsuv"])
def test_theory_says_nothing_of_weights_with_a_mean(scheme: str) -> None:
    assert all(np.isnan(found.theory) for found in compared(network("relu", 40), of(scheme), 2))


def test_weights_of_zero_let_nothing_pass() -> None:
    small = network("relu", 40)
    laws = {name: own[0] for name, own in of("zeros")(small, [0]).laws.items()}
    assert [p.moments.second_moment for p in small.expect(Moments(SIZE), laws)] == [0.0] * len(small.layers)
