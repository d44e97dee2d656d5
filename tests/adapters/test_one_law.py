"""One law, four frameworks: the same audit passes draws of all, and sees the same mistake in each."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import keras
import pytest
import torch

import weightinit.jax as wj
import weightinit.keras as wk
import weightinit.torch as wt
from weightinit.auditing.models import audit_model
from weightinit.model import Model
from weightinit.testing import assert_initialized

WIDTHS = (64, 96, 80, 10)
"""Units of the same dense network, no two layers alike, so that swapped fans show."""


def in_torch(law: str) -> Model:
    model = torch.nn.Sequential(*(torch.nn.Linear(*pair) for pair in pairwise(WIDTHS)))
    wt.initialize_(model, law, seed=0)
    return wt.translate(model)


def in_keras(law: str) -> Model:
    keras.utils.set_random_seed(0)
    dense = [keras.layers.Dense(units, kernel_initializer=wk.Initializer(law)) for units in WIDTHS[1:]]
    return wk.translate(keras.Sequential([keras.layers.Input((WIDTHS[0],)), *dense]))


def in_flax(law: str) -> Model:
    init = wj.initializer(law)
    model = nn.Sequential([nn.Dense(units, kernel_init=init) for units in WIDTHS[1:]])
    return wj.translate(model.init(jax.random.key(0), jnp.zeros((1, WIDTHS[0]))))


def in_equinox(law: str) -> Model:
    keys = jax.random.split(jax.random.key(0), 3)
    model = [eqx.nn.Linear(*pair, key=key) for pair, key in zip(pairwise(WIDTHS), keys, strict=True)]
    return wj.translate(wj.initialize(model, law, jax.random.key(1))[0])


@pytest.mark.parametrize("build", [in_torch, in_keras, in_flax, in_equinox])
@pytest.mark.parametrize("law", ["he", "glorot_uniform", "lecun_normal", "orthogonal", "sparse"])
def test_one_audit_passes_the_draws_of_all(build: Callable[[str], Model], law: str) -> None:
    model: Any = build(law)
    report = audit_model(model, law)
    assert report.ok, [finding.sentence for finding in report.findings]
    assert [tuple(t.fans) for t in model if t.core_role == "weight"] == [(64, 96), (96, 80), (80, 10)]
    other = "he(mode='fan_out')" if law != "glorot_uniform" else "he_uniform"
    assert not audit_model(model, other).ok


def test_a_test_asserts_the_initialization_of_models_of_all() -> None:
    init = wk.Initializer("he", seed=0)
    key = jax.random.key(0)
    model = nn.Dense(64, kernel_init=wj.initializer("he"))
    built = keras.Sequential([keras.layers.Input((64,)), keras.layers.Dense(64, kernel_initializer=init)])
    for each in (
        built,
        wj.initialize(eqx.nn.Linear(64, 64, key=key), "he", key)[0],
        model.init(key, jnp.zeros((1, 64))),
    ):
        assert_initialized(each, "he")
        with pytest.raises(AssertionError, match=r"std \.1"):
            assert_initialized(each, "glorot_normal")
