"""Optimizers against their formulas, and a run alone against the same run in a stack."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runner.optimizers import SGD, Adam, AdamW, Optimizer, Scale, Updater
from runner.optimizers.schedules import Schedule
from runner.optimizers.updater import BLOCK
from weightinit.arrays import Array

STEPS = 12


def formula(optimizer: Any, w: Array, gradients: Array, kernels: int) -> Array:
    """The textbook loop for one run, in float64."""
    w, v, m, s = w.astype(float).copy(), np.zeros(w.shape), np.zeros(w.shape), np.zeros(w.shape)
    decays = np.arange(len(w)) < kernels
    for step, g in enumerate(gradients.astype(float), start=1):
        rate = optimizer.learning_rate * optimizer.rate.factors(STEPS)[step - 1]
        if optimizer.clip_norm is not None:
            g = g * min(1.0, optimizer.clip_norm / np.linalg.norm(g))
        if not isinstance(optimizer, AdamW):
            g = g + optimizer.weight_decay * decays * w
        if isinstance(optimizer, SGD):
            v = optimizer.momentum * v + g
            w = w - rate * (g + optimizer.momentum * v if optimizer.nesterov else v)
        else:
            if isinstance(optimizer, AdamW):
                w = w - rate * optimizer.weight_decay * decays * w
            m = optimizer.beta1 * m + (1 - optimizer.beta1) * g
            s = optimizer.beta2 * s + (1 - optimizer.beta2) * g**2
            m_hat, s_hat = m / (1 - optimizer.beta1**step), s / (1 - optimizer.beta2**step)
            w = w - rate * m_hat / (np.sqrt(s_hat) + optimizer.epsilon)
    return w


OPTIMIZERS: list[list[Optimizer]] = [
    [SGD(learning_rate=rate) for rate in (0.1, 0.01, 1.0)],
    [SGD(learning_rate=rate, momentum=momentum) for rate, momentum in ((0.1, 0.9), (0.3, 0.5), (0.01, 0.99))],
    [SGD(learning_rate=rate, momentum=0.9, nesterov=True, weight_decay=0.1) for rate in (0.1, 0.2, 0.3)],
    [SGD(learning_rate=0.1, clip_norm=clip, schedule="cosine", warmup_steps=3) for clip in (0.5, 3.0, 1e9)],
    [Adam(learning_rate=rate, beta1=beta) for rate, beta in ((0.01, 0.9), (0.1, 0.8), (0.001, 0.99))],
    [Adam(learning_rate=0.01, weight_decay=decay, schedule="step", decay_every=4) for decay in (0.1, 0.2, 0.01)],
    [AdamW(learning_rate=rate, weight_decay=0.1, clip_norm=1.0) for rate in (0.01, 0.02, 0.05)],
]


def run(optimizers: list[Optimizer], w: Array, gradients: Array, kernels: int) -> Array:
    weights, gradient = w.copy(), np.empty_like(w)
    updater = Updater(optimizers, STEPS, weights, gradient, kernels)
    for step in range(STEPS):
        gradient[...] = gradients[step]
        updater.step(step)
    return weights


@pytest.mark.parametrize("size", [7, 100, 2 * BLOCK + 5])
@pytest.mark.parametrize("optimizers", OPTIMIZERS, ids=lambda o: type(o[0]).__name__)
def test_updates_follow_the_formula_and_have_the_same_bits_alone(optimizers: list[Optimizer], size: int) -> None:
    rng = np.random.default_rng(0)
    kernels = size * 2 // 3
    w, gradients = rng.standard_normal((3, size)), rng.standard_normal((STEPS, 3, size))
    wide = run(optimizers, w, gradients, kernels)
    w32, gradients32 = w.astype(np.float32), gradients.astype(np.float32)
    narrow = run(optimizers, w32, gradients32, kernels)
    for index, optimizer in enumerate(optimizers):
        np.testing.assert_allclose(
            wide[index], formula(optimizer, w[index], gradients[:, index], kernels), rtol=1e-12, atol=1e-12
        )
        alone = run([optimizer], w32[index : index + 1], gradients32[:, index : index + 1], kernels)
        assert alone[0].tobytes() == narrow[index].tobytes()
        np.testing.assert_allclose(narrow[index], wide[index], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("optimizers", OPTIMIZERS, ids=lambda o: type(o[0]).__name__)
def test_runs_that_stay_when_others_leave_go_on_unchanged(optimizers: list[Optimizer]) -> None:
    rng = np.random.default_rng(1)
    w = rng.standard_normal((3, 50)).astype(np.float32)
    gradients = rng.standard_normal((STEPS, 3, 50)).astype(np.float32)
    undisturbed = run(optimizers, w, gradients, 30)
    weights, gradient, keep = w.copy(), np.empty_like(w), np.arange(3)
    updater = Updater(optimizers, STEPS, weights, gradient, 30)
    for step in range(STEPS):
        if step == 5:
            keep = np.array([0, 2])
            weights, gradient = weights[keep], gradient[keep]
            updater.keep(keep, weights, gradient)
        gradient[...] = gradients[step][keep]
        updater.step(step)
    assert weights.tobytes() == undisturbed[[0, 2]].tobytes()


MULTIPLIED = {
    "sgd": SGD(learning_rate=0.05, weight_decay=0.3),
    "momentum": SGD(learning_rate=0.05, momentum=0.9, weight_decay=0.3),
    "nesterov": SGD(learning_rate=0.05, momentum=0.9, nesterov=True, weight_decay=0.3),
    "adam, coupled decay": Adam(learning_rate=0.05, weight_decay=0.3, epsilon=1e-2),
    "adamw, decoupled decay": AdamW(learning_rate=0.05, weight_decay=0.3, epsilon=1e-2),
}


@pytest.mark.parametrize("optimizer", MULTIPLIED.values(), ids=MULTIPLIED)
def test_a_multiplier_leaves_training_as_it_is_where_its_scales_are_declared(optimizer: Optimizer) -> None:
    """``multiplier * w`` trains as ``w`` does: the gradient is that many times as large, updates are to be so many
    times smaller. With powers of two not a bit differs, whatever the rule does about momentum, epsilon and decay."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((8, 5)).astype(np.float32)
    start = rng.standard_normal((1, 5)).astype(np.float32)
    multiplier = np.float32([4, 1, 0.25, 0.25, 32])[None]
    plain, w = start.copy(), start / multiplier
    gradients = np.empty_like(w), np.empty_like(w)
    scales = [
        Scale(slice(start, stop), 1 / by, by)
        for start, stop in ((0, 1), (1, 2), (2, 4), (4, 5))
        for by in [multiplier[:, start : start + 1].astype(np.float64)]
    ]
    updaters = (
        Updater([optimizer], STEPS, plain, gradients[0], 3),
        Updater([optimizer], STEPS, w, gradients[1], 3, scales),
    )
    for step in range(STEPS):
        gradients[0][...] = plain @ a.T @ a
        gradients[1][...] = ((w * multiplier) @ a.T @ a) * multiplier
        for updater in updaters:
            updater.step(step)
    assert (w * multiplier).tobytes() == plain.tobytes()
    assert not np.allclose(plain, start)


@pytest.mark.parametrize(
    ("optimizer", "factors"),
    [
        (SGD(learning_rate=1.0, weight_decay=1.0), {"rate": 2 / 5, "weight_decay": 5 / 2}),
        (Adam(learning_rate=1.0, weight_decay=1.0), {"rate": 2.0, "weight_decay": 5 / 2, "epsilon": 5e-8}),
        (AdamW(learning_rate=1.0, weight_decay=1.0), {"rate": 2.0, "weight_decay": 1 / 2, "epsilon": 5e-8}),
    ],
)
def test_scales_become_rate_decay_and_epsilon(optimizer: Optimizer, factors: dict[str, float]) -> None:
    columns = {name: np.full((1, 1), getattr(optimizer, name)) for name in type(optimizer).numbers}
    numbers, rate = type(optimizer).scaled(columns, np.full((1, 1), 2.0), np.full((1, 1), 5.0))
    assert {name: float((numbers | {"rate": rate})[name].item()) for name in factors} == pytest.approx(factors)


@pytest.mark.parametrize("size", [300, BLOCK + 100])
def test_a_run_has_the_same_bits_beside_a_run_with_scales(size: int) -> None:
    """Also where the gradient is clipped: its norm is summed tile by tile, whatever the scales of the other run.

    In float64 and from zero, so that neither a cast nor a large weight hides the order of the sum.
    """
    rng = np.random.default_rng(1)
    start, gradients = np.zeros((2, size)), rng.standard_normal((STEPS, 2, size))
    kind = SGD(learning_rate=0.1, momentum=0.9, weight_decay=0.1, clip_norm=1.0)
    halves = (slice(0, 101), slice(101, size))
    scales = [
        Scale(part, np.array([[1.0], [0.3]]), np.array([[1.0], [by]]))
        for part, by in zip(halves, (2.0, 0.7), strict=True)
    ]
    alone_scales = [Scale(part, update[1:], gradient[1:]) for part, update, gradient in scales]

    def trained(runs: list[int], given: list[Scale]) -> Array:
        w, g = start[runs].copy(), np.empty((len(runs), size))
        updater = Updater([kind] * len(runs), STEPS, w, g, 200, given)
        for step in range(STEPS):
            g[...] = gradients[step][runs]
            updater.step(step)
        return w

    together = trained([0, 1], scales)
    assert together[:1].tobytes() == trained([0], []).tobytes()
    assert together[1:].tobytes() == trained([1], alone_scales).tobytes()


def test_schedules() -> None:
    np.testing.assert_array_equal(Schedule().factors(3), [1, 1, 1])
    np.testing.assert_allclose(Schedule(warmup_steps=4).factors(6), [0.25, 0.5, 0.75, 1, 1, 1])
    np.testing.assert_allclose(Schedule("step", decay_every=2, decay_factor=0.5).factors(5), [1, 1, 0.5, 0.5, 0.25])
    cosine = Schedule("cosine", warmup_steps=2).factors(102)
    assert cosine[2] == 1
    assert cosine[52] == pytest.approx(0.5)
    assert 0 < cosine[-1] < 0.001


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(learning_rate=float("nan")), "optimizer.learning_rate must be a finite number above 0; got nan"),
        (lambda: SGD(learning_rate=-1.0), "optimizer.learning_rate must be"),
        (
            lambda: SGD(learning_rate=0.1, momentum=1.0),
            "optimizer.momentum must be a finite number at least 0 and below 1",
        ),
        (lambda: SGD(learning_rate=0.1, nesterov=True), "nesterov=true needs a momentum"),
        (lambda: SGD(learning_rate=0.1, schedule="cos"), "optimizer.schedule must be one of constant, cosine, step"),
        (lambda: SGD(learning_rate=0.1, schedule="step"), "needs optimizer.decay_every"),
        (lambda: Adam(learning_rate=0.1, clip_norm=0.0), "optimizer.clip_norm"),
        (lambda: Adam(learning_rate=0.1, beta1=1.0), "optimizer.beta1"),
    ],
)
def test_mistakes_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
