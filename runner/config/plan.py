"""Numbers that steer one training: filled in where left open, and checked against each other and the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from runner.config.settings import LARGEST
from runner.data import Dataset

_LEAST = {"steps": 0, "evaluation_batch_size": 1, "batch_size": 1, "evaluate_every": 1, "measure_every": 1}
# Files of weights that a logged model needs, beside those that ``training.save`` asks for.
_WITH_MODEL = {"none": "final", "initial": "both"}


@dataclass(frozen=True)
class Plan:
    """Numbers that steer one training: all whole, checked against each other and the data.

    ``steps`` updates of ``batch_size`` samples; validation every ``evaluate_every`` steps, in batches of
    ``evaluation_batch_size``; statistics by layer every ``measure_every`` steps; ``probe`` samples of ``probe_source``
    measure the initial and the final state; ``threshold`` of the training loss, for a regression a share of the loss
    of the best constant; ``threshold_loss``, that loss; ``save`` none, initial, final or both; ``seed`` of the order
    of the batches.
    """

    steps: int
    batch_size: int
    seed: int
    evaluate_every: int
    evaluation_batch_size: int
    measure_every: int
    threshold: float
    threshold_loss: float
    probe: int
    probe_source: str
    save: str


def make_plan(training: Mapping[str, Any], dataset: Dataset, *, logs_model: bool) -> Plan:
    """Return the plan of the group ``training`` on a data set; ``logs_model``: whether MLflow gets the network.

    Raises ValueError for numbers out of range and for batches that the data can't fill.
    """
    for key, least in _LEAST.items():
        if training[key] is not None and training[key] < least:
            raise ValueError(f"training.{key} must be at least {least}; got {training[key]}. Pass a larger one.")
    if not (math.isfinite(training["threshold"]) and training["threshold"] > 0):
        raise ValueError(f"training.threshold must be a finite loss above 0; got {training['threshold']}. Pass 0.5.")
    samples = len(dataset.x_train)
    batch_size = _batch_size(training["batch_size"], samples, dataset.name)
    per_epoch = samples // batch_size
    steps = _steps(training, per_epoch)
    probe = training["probe"]
    if probe["size"] < 2:
        raise ValueError(f"training.probe.size must be at least 2; got {probe['size']}. Pass training.probe.size=256.")
    available = {"train": samples, "validation": len(dataset.x_validation), "gaussian": probe["size"]}
    save = training["save"]
    return Plan(
        steps=steps,
        batch_size=batch_size,
        seed=training["seed"],
        evaluate_every=training["evaluate_every"] or per_epoch,
        evaluation_batch_size=training["evaluation_batch_size"],
        measure_every=training["measure_every"] or max(1, math.ceil(steps / 10)),
        threshold=float(training["threshold"]),
        threshold_loss=float(training["threshold"]) * _unit_of_loss(dataset),
        probe=min(probe["size"], available[probe["source"]]),
        probe_source=probe["source"],
        save=_WITH_MODEL.get(save, save) if logs_model else save,
    )


def _unit_of_loss(dataset: Dataset) -> float:
    """Return the loss of the best constant on the training targets of a regression; 1 for a classification.

    A squared error has the unit of its targets, and predicting their mean may cost less than any fixed threshold.
    """
    if dataset.task == "classification":
        return 1.0
    return float(np.square(dataset.y_train - dataset.y_train.mean(axis=0)).sum() / (2 * len(dataset.y_train)))


def _batch_size(given: int | None, samples: int, data: str) -> int:
    fitting = max(1, min(64, samples // 8))
    if given is not None and given > samples:
        raise ValueError(
            f"training.batch_size must be at most the {samples} training samples of {data}; got {given}. "
            f"Pass training.batch_size={fitting}."
        )
    return fitting if given is None else given


def _steps(training: Mapping[str, Any], per_epoch: int) -> int:
    """The number of updates: of ``epochs`` where given, else ``steps``."""
    steps: int = training["steps"]
    epochs: float | None = training["epochs"]
    if epochs is None:
        return steps
    if not (math.isfinite(epochs) and epochs >= 0):
        raise ValueError(
            f"training.epochs must be a finite number of at least 0; got {epochs}. Pass training.epochs=20."
        )
    if epochs * per_epoch >= LARGEST:
        raise ValueError(
            f"training.epochs must give fewer than 2**63 steps; got {epochs}, of {per_epoch} steps each. "
            "Pass training.epochs=20."
        )
    return round(epochs * per_epoch)
