"""Entries: a finished run as MLflow stores it, in MLflow's units."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import yaml

from runner.config.secrets import without_password
from runner.config.trial import Trial
from runner.data import Dataset
from runner.records import Outcome, Session
from runner.tracking.frames import describe
from runner.tracking.metrics import budget_of, select
from runner.tracking.notes import LONGEST_TAG, NOTE, run_note
from weightinit.arrays import Array

LONGEST_PARAMETER = 6_000
LONGEST_DIGEST = 36
# Parts of the config without effect on results; MLflow's comparison of runs then shows the parts with one.
_BESIDE = ("outputs", "tracking", "mode", "report")


@dataclass(frozen=True)
class Input:
    """A data set in MLflow's terms; ``name`` and ``digest`` identify it there."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str
    profile: str


# MLflow's tag for the use of an input.
CONTEXT = ("mlflow.data.context", "training")


@dataclass(frozen=True)
class Entry:
    """A finished run; times are in milliseconds.

    ``metrics``: distinct (key, value, time, step); ``config``: YAML text.
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


def entry_of(trial: Trial, outcome: Outcome, session: Session, tags: Mapping[str, str]) -> Entry:
    """Return the entry of a trial; ``tags``: those of all runs of the session."""
    selection = select(outcome, budget_of(session.total))
    notes = [*outcome.notes, selection.left_out] if selection.left_out else outcome.notes
    described = {
        "trial_key": outcome.key,
        "fate": outcome.fate,
        "network": trial.network.shape,
        NOTE: run_note(trial.overrides, notes, session.directory),
        **{name: text[:LONGEST_TAG] for name, text in outcome.labels.items()},
    }
    if outcome.error is not None:
        described["error"] = outcome.error[:LONGEST_TAG]
    metrics = [(key, value, milliseconds(seconds), step) for key, value, step, seconds in selection.points]
    config = "".join(_yaml(pickle.dumps({name: value})) for name, value in trial.config.items())
    return Entry(
        outcome.key,
        trial.name,
        "FAILED" if outcome.fate == "failed" else "FINISHED",
        milliseconds(outcome.start_time),
        milliseconds(outcome.end_time),
        {**tags, **described},
        {
            name: _text(value)[:LONGEST_PARAMETER]
            for name, value in describe(trial).items()
            if name not in ("key", "name") and name.partition(".")[0] not in _BESIDE
        },
        tuple(dict.fromkeys(metrics)),
        _input(trial.dataset),
        without_password(config),
    )


def typed(overrides: Sequence[str]) -> dict[str, str]:
    """Return what a command set and swept, by key, as parameters: ``{"seed": "range(0,5)"}``."""
    pairs = [text.lstrip("+").partition("=") for text in overrides if not text.startswith("~")]
    beside = (*_BESIDE, "hydra", "resume")
    return {
        key: without_password(value)[:LONGEST_PARAMETER]
        for key, _, value in pairs
        if re.split(r"[./]", key)[0] not in beside
    }


@lru_cache(maxsize=1024)
def _yaml(section: bytes) -> str:
    """Return a pickled section of a configuration as YAML; runs of a sweep share most sections."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(pickle.loads(section), Dumper=dumper, sort_keys=False))


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
    """Return the value as in YAML."""
    if isinstance(value, str):
        return without_password(value)
    if value is None or pd.isna(value):
        return "null"
    return str(value).lower() if isinstance(value, bool | np.bool) else str(value)


def milliseconds(seconds: float) -> int:
    """Convert seconds to MLflow's unit of time."""
    return round(seconds * 1000)
