"""Claims about deep networks, written before they were run: which schemes train where others don't.

Each is of mean test accuracy over seeds. docs/schemes.md shows what was measured.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import runner

CHANCE = 0.2  # of ten digits, with room for a lucky class
TRAINS = 0.8

COMMON = ["tracking=none", "training.probe.size=16"]

RESIDUAL = [
    "architecture=residual_mlp",
    "architecture.width=64",
    "optimizer=momentum",
    "optimizer.learning_rate=0.01",
    "training.steps=400",
    "seed=range(0,3)",
]
DEPTHS = (8, 32, 64)

CONVOLUTIONS = [
    "architecture=cnn",
    "architecture.depth=100",
    "architecture.width=16",
    "architecture.padding=circular",
    "activation=tanh",
    "optimizer=adam",
    "optimizer.learning_rate=0.0003",
    "training.steps=150",
    "seed=range(0,2)",
]

POST_NORM = [
    "architecture=transformer",
    "architecture.placement=post",
    "architecture.depth=24",
    "architecture.width=32",
    "optimizer=adam",
    "optimizer.learning_rate=0.001",
    "training.steps=300",
    "seed=range(0,2)",
]


def accuracy(*overrides: str, tmp_path: Path) -> float:
    """Mean test accuracy; a diverged run counts as 0."""
    runs, _ = runner.run([*COMMON, *overrides, f"outputs={tmp_path}"])
    if "test_accuracy" not in runs:  # all have diverged
        return 0.0
    return float(pd.to_numeric(runs["test_accuracy"]).fillna(0.0).mean())


def residual(scheme: str, depth: int, tmp_path: Path) -> float:
    with_factor = ["architecture.trained_scale=true", "scheme.scale=2"] if scheme == "rezero" else []
    smaller = [f"architecture.branch_scale={depth**-0.5:.4f}"] if scheme == "smaller branches" else []
    name = scheme if scheme in ("fixup", "rezero") else "he"
    return accuracy(
        f"scheme={name}", *RESIDUAL, f"architecture.depth={depth}", *with_factor, *smaller, tmp_path=tmp_path
    )


@pytest.mark.slow
def test_plain_residual_networks_fail_at_64_blocks(tmp_path: Path) -> None:
    assert residual("plain", 8, tmp_path) > TRAINS
    assert residual("plain", 64, tmp_path) < CHANCE


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["fixup", "rezero", "smaller branches"])
def test_accuracy_stays_within_two_points_over_depth(scheme: str, tmp_path: Path) -> None:
    reached = [residual(scheme, depth, tmp_path) for depth in DEPTHS]
    assert min(reached) > TRAINS
    assert max(reached) - min(reached) <= 0.02


@pytest.mark.slow
def test_a_tanh_network_of_100_convolutions_trains_if_they_are_delta_orthogonal(tmp_path: Path) -> None:
    assert accuracy("scheme=delta_orthogonal", *CONVOLUTIONS, tmp_path=tmp_path) > TRAINS
    assert accuracy("scheme=random", *CONVOLUTIONS, tmp_path=tmp_path) < CHANCE


@pytest.mark.slow
def test_a_post_norm_transformer_of_24_blocks_trains_with_deepnorm_alone(tmp_path: Path) -> None:
    assert accuracy("scheme=deepnorm", *POST_NORM, tmp_path=tmp_path) > TRAINS
    assert accuracy("scheme=glorot_normal", *POST_NORM, tmp_path=tmp_path) < CHANCE
