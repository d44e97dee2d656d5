"""The key of a trial: a hash of everything that its results depend on, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from runner.config import schema
from runner.config.factories import Part
from runner.data import Dataset

# Raised whenever numerics or a default change: a key then never names two different results.
RESULTS_VERSION = 5

# Where data lie, not what they are.
_PLACES = ("path", "data_home")
_TRAINING: Mapping[str, Any] = schema.DEFAULTS["training"]


def trial_key(config: Mapping[str, Any], parts: Mapping[str, Part], dataset: Dataset) -> str:
    """Return the sha256 of everything that a trial's results depend on, as 64 hexadecimal digits.

    ``config``: the resolved configuration as plain values; ``parts``: those of its groups. Keys at their default are
    left out, so that a new key with a default moves no old trial's key. The content of the data counts, not its place;
    of a target from outside the lab the source counts too.
    """
    training = dict(config["training"])
    training_seed = training.pop("seed")
    relevant: dict[str, Any] = {
        "results_version": RESULTS_VERSION,
        "seed": config["seed"],
        "dataset": dataset.digest,
        "training": _without_defaults(training, _TRAINING),
    }
    if training_seed != config["seed"]:
        relevant["training"]["seed"] = training_seed
    for group, part in parts.items():
        values = {key: value for key, value in part.values.items() if group != "data" or key not in _PLACES}
        relevant[group] = _without_defaults(values, part.target.defaults) | part.sources()
    return hashlib.sha256(canonical(relevant).encode()).hexdigest()


def canonical(value: Any) -> str:
    """Return the value as JSON with sorted keys. Whole floats are integers: ``scale=2`` and ``scale=2.0`` are one."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _without_defaults(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    kept = {}
    for key, value in values.items():
        if key not in defaults:
            kept[key] = value
        elif isinstance(value, Mapping) and isinstance(defaults[key], Mapping):
            if nested := _without_defaults(value, defaults[key]):
                kept[key] = nested
        elif value != defaults[key]:
            kept[key] = value
    return kept
