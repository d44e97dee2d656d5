"""Format of the records: a table of runs and a table of curves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from runner.config.trial import Trial, called
from runner.records import LABELS, Outcome
from weightinit.arrays import Array

# The runs, one row each, and their curves.
Tables: TypeAlias = tuple[pd.DataFrame, pd.DataFrame]


def frames(recorded: Iterable[tuple[Trial, Outcome]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of runs (a row per run) and curves (a row per point).

    Columns of runs: key, name, the choice in each group, network, the flattened config; then, from ``fate`` on, what
    happened, labels of the initial state (``LABELS``), notes and the summary. Lists are JSON text; a column of mixed
    types is text. Columns of curves: key, step, quantity, layer, value.
    """
    recorded = list(recorded)
    described = [describe(trial) for trial, _ in recorded]
    happened = [_happened(outcome) for _, outcome in recorded]
    columns = list(dict.fromkeys(["key", "name", *(name for row in described for name in row)]))
    results = ["fate", "diverged_at_step", "start_time", "end_time", *LABELS, "notes", "error"]
    results = list(dict.fromkeys([*results, *(name for row in happened for name in row)]))
    runs = pd.concat([pd.DataFrame(described, columns=columns), pd.DataFrame(happened, columns=results)], axis=1)
    for name in columns:
        if runs[name].dtype == object and len({type(value) for value in runs[name].dropna()}) > 1:
            runs[name] = runs[name].map(str, na_action="ignore")
    rows = [outcome.rows for _, outcome in recorded]
    curves = {
        "key": _encode([(outcome.key,) * len(outcome.rows) for _, outcome in recorded]),
        "step": np.concatenate([np.empty(0, np.int64), *(row.step for row in rows)]),
        "quantity": _encode([row.quantity for row in rows]),
        "layer": _encode([row.layer for row in rows]),
        "value": np.concatenate([np.empty(0), *(row.value for row in rows)]),
    }
    return runs, pd.DataFrame(curves)


def describe(trial: Trial) -> dict[str, Any]:
    """Return the columns of a trial in the table of runs: key, name, choices, network, flattened config."""
    described = {"key": trial.key, "name": trial.name} | {group: called(trial, group) for group in trial.choices}
    return described | {"network": trial.network.shape} | dict(_flatten(trial.config))


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        elif name != "_target_":
            yield prefix + name, json.dumps(value) if isinstance(value, list | tuple) else value


def _happened(outcome: Outcome) -> dict[str, Any]:
    step = math.nan if outcome.diverged_at_step is None else float(outcome.diverged_at_step)
    times = {"start_time": outcome.start_time, "end_time": outcome.end_time}
    happened = {"fate": outcome.fate, "diverged_at_step": step, **times, "error": outcome.error}
    happened["notes"] = json.dumps(outcome.notes) if outcome.notes else None
    return happened | {name: outcome.labels.get(name) for name in LABELS} | dict(outcome.summary)


def _encode(columns: Sequence[tuple[str, ...]]) -> pd.Categorical[str]:
    """Join columns end to end. Similar runs have equal columns, and each distinct column is encoded once."""
    codes: dict[str, int] = {}
    encoded: dict[tuple[str, ...], Array] = {}
    for column in columns:
        if column not in encoded:
            encoded[column] = np.array([codes.setdefault(name, len(codes)) for name in column], np.int32)
    joined: Any = np.concatenate([np.empty(0, np.int32), *(encoded[column] for column in columns)])
    return pd.Categorical.from_codes(joined, pd.Index(list(codes), dtype=str))
