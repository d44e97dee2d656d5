"""Synthetic data, a function of its seed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from runner.data.dataset import Samples, check_whole, source
from weightinit.arrays import stream


@source
def two_spirals(*, samples: int = 1000, turns: float = 1.5, noise: float = 0.05, seed: int = 0) -> Samples:
    """Two classes of points in the plane, on spirals that wind around each other (Lang & Witbrock 1988).

    ``turns`` of each spiral, from radius 0 to 1; ``noise``: standard deviation added to both coordinates. Pass
    ``scale_samples=False``: scaled to mean x² = 1, all points would lie on one circle.
    """
    check_whole(1, samples=samples)
    check_whole(0, seed=seed)
    _check_noise(noise)
    if not math.isfinite(turns):
        raise ValueError(f"data.turns must be a finite number; got {turns}. Pass data.turns=1.5.")
    rng = stream(seed, "two_spirals")
    label = np.arange(samples) % 2
    radius = np.sqrt(rng.random(samples))
    angle = 2 * np.pi * turns * radius + np.pi * label
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1) + noise * rng.standard_normal((samples, 2))
    return Samples("two_spirals", "classification", x, label, f"two spirals of {turns} turns", ("x", "y"))


@source
def gaussian_noise(*, samples: int = 1000, features: int = 64, classes: int = 10, seed: int = 0) -> Samples:
    """Independent N(0, 1) features with random labels in equal numbers (Zhang et al. 2017).

    A network can only memorize the samples.
    """
    check_whole(1, samples=samples, features=features, classes=classes)
    check_whole(0, seed=seed)
    rng = stream(seed, "gaussian_noise")
    x, label = rng.standard_normal((samples, features)), rng.permutation(np.arange(samples) % classes)
    return Samples("gaussian_noise", "classification", x, label, f"N(0, 1) noise with {classes} random labels")


@source
def linear_teacher(
    *,
    samples: int = 1000,
    features: int = 24,
    outputs: int = 24,
    modes: Sequence[float] = (1.0,) * 10,
    noise: float = 0.0,
    seed: int = 0,
) -> Samples:
    """N(0, 1) inputs x with targets x @ T + ``noise`` N(0, 1): the linear teacher of Saxe et al. 2014.

    T has the singular values ``modes``, all others 0, between random orthonormal directions.

    Pass ``standardize=False, scale_samples=False`` to keep the targets linear in the inputs with just these modes.
    """
    from threadpoolctl import threadpool_limits

    check_whole(1, samples=samples, features=features, outputs=outputs)
    check_whole(0, seed=seed)
    _check_noise(noise)
    strengths = np.array(list(modes), np.float64)
    if not 1 <= len(strengths) <= min(features, outputs) or not (strengths > 0).all():
        raise ValueError(
            f"data.modes must be 1 to {min(features, outputs)} positive singular values, no more than features "
            f"and than outputs; got {list(modes)}. Pass data.modes=[3,2,1]."
        )
    rng = stream(seed, "linear_teacher")
    x = rng.standard_normal((samples, features))
    with threadpool_limits(1, "blas"):  # the same bits on any number of threads
        left, right = (np.linalg.qr(rng.standard_normal((size, len(strengths))))[0] for size in (features, outputs))
        y = x @ (left * strengths) @ right.T
    y += noise * rng.standard_normal(y.shape)
    return Samples("linear_teacher", "regression", x, y, f"linear teacher of {len(strengths)} modes")


def _check_noise(noise: float) -> None:
    if not 0 <= noise < np.inf:
        raise ValueError(f"data.noise must be a standard deviation, 0 or more; got {noise}. Pass data.noise=0.1.")
