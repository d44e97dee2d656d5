"""Recorded runs made by hand, for tests of what is said about runs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from runner.records import Outcome, Rows

HISTORY = 5


def run(
    scheme: str = "he",
    *,
    seed: int = 0,
    factor: float = 1.0,
    expected: float | None = 1.0,
    kept: float = 0.5,
    scatter: float | None = 0.1,
    gradient: Sequence[float] | None = None,
    depth: int = 6,
    shape: str | None = None,
    fate: str = "finished",
    step: int | None = None,
    choices: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    name: str | None = None,
    error: str | None = None,
    notes: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    **summary: float,
) -> tuple[Any, Outcome]:
    """A trial and its outcome.

    ``factor``: of the mean square from layer to layer as measured, ``expected`` by theory (None: it says nothing), the
    activation keeping ``kept``; ``scatter``: of log rms at the last hidden layer, over networks of the same laws (None:
    nobody judged); ``gradient``: std by hidden layer.
    """
    plain: dict[str, Any] = {
        "seed": seed,
        "outputs": "outputs",
        "architecture": {"_target_": "weightinit.nn.mlp", "depth": depth, "width": 128, "widths": None},
        "activation": {"_target_": "weightinit.activations.relu"},
        "scheme": {"_target_": f"weightinit.schemes.{scheme}"},
        "data": {"_target_": "runner.data.digits"},
        "optimizer": {"_target_": "runner.optimizers.SGD", "learning_rate": 0.03},
        "training": {"seed": seed, "steps": 420, "threshold": 0.5},
        "tracking": {"backend": "mlflow"},
        "report": {"title": None, "columns": [], "score": None},
    }
    for key, value in (config or {}).items():
        group, _, leaf = key.rpartition(".")
        (plain[group] if group else plain)[leaf] = value
    chosen = {"scheme": scheme, "activation": "relu", "data": "digits", "architecture": "mlp"} | dict(choices or {})
    key = hashlib.sha256(json.dumps([plain, chosen], sort_keys=True).encode()).hexdigest()
    trial = SimpleNamespace(
        config=plain, key=key, name=name or f"{scheme} s{seed}", overrides=tuple(overrides), choices=chosen,
        network=SimpleNamespace(shape=shape or f"64-{depth}x128-10", activations=("relu",)), dataset=SimpleNamespace(),
    )  # fmt: skip
    rows: list[tuple[int, str, str, float]] = []
    if fate != "failed":
        layers = [f"hidden/{number}" for number in range(1, depth + 1)]
        for number, layer in enumerate(layers, start=1):
            rms, std = factor ** (number / 2), 0.01 if gradient is None else gradient[number - 1]
            rows += [
                (0, "init_activation_rms", layer, rms),
                (0, "init_preactivation_rms", layer, rms / math.sqrt(kept)),
            ]
            rows += [(0, "init_gradient_std", layer, std)]
            if expected is not None:
                theory = expected ** (number / 2)
                rows += [(0, "predicted_activation_rms", layer, theory)]
                rows += [(0, "predicted_preactivation_rms", layer, theory / math.sqrt(kept))]
            if scatter is not None:
                rows += [(0, "predicted_scatter", layer, scatter * math.sqrt(number / depth))]
                rows += [(0, "reference_activation_rms", layer, expected ** (number / 2) if expected else rms)]
        rows += [(0, "init_activation_rms", "output", 1.0)]
        rows += [(0, "predicted_activation_rms", "output", 1.0)] * (expected is not None)
        rows += [(0, "reference_growth_scatter", "", scatter)] * (scatter is not None)
        rows += [(s, "train_loss", "", 1.0 / (1 + s)) for s in range(0, 421, 420 // HISTORY)]
    if scatter is not None:
        summary = {"init_activation_deviation": 1.0} | summary
    outcome = Outcome(
        key, fate, Rows.of(rows), {k.replace("steps_to", "steps_to_loss_0.5"): v for k, v in summary.items()},  # type: ignore[arg-type]
        100.0, 100.4, step, notes=tuple(notes), error=error,
        labels=labels or {},
    )  # fmt: skip
    return trial, outcome


def seeds(
    count: int, scheme: str, accuracy: float, *, noise: float = 0.01, steps: float = 30, **settings: Any
) -> list[Any]:
    """``count`` runs of a scheme, whose accuracies scatter by ``noise`` about what each seed gives every scheme."""
    own = np.random.default_rng(sum(scheme.encode())).normal(0, noise, (count, 2))
    shared = np.random.default_rng(0).normal(0, 0.05, count)
    return [
        run(
            scheme, seed=seed, test_accuracy=accuracy + shared[seed] + own[seed, 0], validation_accuracy=accuracy,
            steps_to=float(round(steps * math.exp(shared[seed] + own[seed, 1]))), **settings,
        )
        for seed in range(count)
    ]  # fmt: skip
