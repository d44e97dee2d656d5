"""What MLflow gets of a run: one record, in MLflow's units, whichever way it goes there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import yaml

from runner.config.trial import Trial
from runner.data import Dataset
from runner.records import Outcome, Session
from runner.tracking.address import without_password
from runner.tracking.frames import describe
from runner.tracking.metrics import points
from runner.tracking.notes import LONGEST_TAG, NOTE, run_note
from weightinit.arrays import Array

LONGEST_PARAMETER = 6_000
LONGEST_DIGEST = 36
# Parts of the config that don't change what a run shows, so that MLflow's comparison of runs shows what does.
_BESIDE = ("outputs", "tracking", "mode", "report")


@dataclass(frozen=True)
class Input:
    """A data set as MLflow describes it, with what stands for it in MLflow: its name and ``digest``."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str
    profile: str


# What an input is for: a tag of MLflow's.
CONTEXT = ("mlflow.data.context", "training")


@dataclass(frozen=True)
class Entry:
    """A finished run. Times are in milliseconds; ``metrics``: (key, value, time, step), none of them twice.

    ``config``: the text of its ``config.yaml``.
    """

    key: str
    name: str
    status: str
    start_time: int
    end_time: int
    tags: Mapping[str, str]
    parameters: Mapping[str, str]
    metrics: tuple[tuple[str, float, int, int], ...]
    input: Input
    config: str


def entry(trial: Trial, outcome: Outcome, session: Session, tags: Mapping[str, str]) -> Entry:
    """The entry of a trial; ``tags``: those that all runs of the session have."""
    own = {
        "trial_key": outcome.key,
        "fate": outcome.fate,
        "network": trial.network.shape,
        NOTE: run_note(trial.overrides, outcome.notes, session.directory),
        **{name: text[:LONGEST_TAG] for name, text in outcome.labels.items()},
    }
    if outcome.error is not None:
        own["error"] = outcome.error[:LONGEST_TAG]
    metrics = [(key, value, milliseconds(seconds), step) for key, value, step, seconds in points(outcome)]
    config = yaml.dump(dict(trial.config), Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)
    return Entry(
        outcome.key,
        trial.name,
        "FAILED" if outcome.fate == "failed" else "FINISHED",
        milliseconds(outcome.start_time),
        milliseconds(outcome.end_time),
        {**tags, **own},
        {
            name: _text(value)[:LONGEST_PARAMETER]
            for name, value in describe(trial).items()
            if name not in ("key", "name") and name.partition(".")[0] not in _BESIDE
        },
        tuple(dict.fromkeys(metrics)),
        _input(trial.dataset),
        without_password(config),
    )


def _input(dataset: Dataset) -> Input:
    def tensor(array: Array) -> str:
        spec = {"dtype": array.dtype.name, "shape": [-1, *array.shape[1:]]}
        return json.dumps([{"type": "tensor", "tensor-spec": spec}])

    parts = {"training": dataset.x_train, "validation": dataset.x_validation, "test": dataset.x_test}
    profile = {"task": dataset.task, "classes": len(dataset.classes)} | {name: len(x) for name, x in parts.items()}
    schema = {"features": tensor(dataset.x_train), "targets": tensor(dataset.y_train)}
    return Input(
        name=dataset.name,
        digest=dataset.digest[:LONGEST_DIGEST],
        source_type="code",
        source=json.dumps({"tags": {"mlflow.source.name": dataset.source}}),
        schema=json.dumps({"mlflow_tensorspec": schema}),
        profile=json.dumps(profile),
    )


def _text(value: Any) -> str:
    """The value as it stands in YAML."""
    if isinstance(value, str):
        return without_password(value)
    if value is None or pd.isna(value):
        return "null"
    return str(value).lower() if isinstance(value, bool | np.bool) else str(value)


def milliseconds(seconds: float) -> int:
    """Time as MLflow counts it."""
    return round(seconds * 1000)
