"""Checks of the keys that every trial has, whatever is chosen in its groups."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from runner.config import schema
from runner.config.mistakes import unknown_key
from runner.records import SUMMARY
from runner.scores import AUTO, SCORES
from runner.text import shortened
from weightinit.nn import LOSSES
from weightinit.nn.architectures.checks import DTYPES

# What the tables' columns of whole numbers can't hold.
LARGEST = 2**63
TAGS = ("sweep_id", "session", "trial_key", "fate", "network", "error")  # by which the lab finds its runs again
_ALLOWED = {
    "report.score": (AUTO, *SCORES),
    "tracking.backend": ("mlflow", "none"),
    "tracking.log_model": ("none", "best", "all"),
    "training.dtype": DTYPES,
    "training.loss": ("auto", *LOSSES),
    "training.save": ("none", "initial", "final", "both"),
    "training.probe.source": ("train", "validation", "gaussian"),
}


def check(config: Mapping[str, Any]) -> None:
    """Raises ValueError for shared keys that were added or deleted, and for values that aren't allowed."""
    _check_names("", config, schema.DEFAULTS)
    _check_whole_numbers("", config)
    for key in ("seed", "training.seed"):
        if (value := _value(config, key)) < 0:
            raise ValueError(f"{key} must be zero or positive; got {value}. Pass {key}=0.")
    for key in ("outputs", "tracking.experiment"):
        if not _value(config, key).strip():
            raise ValueError(f"{key} must not be empty. Pass {key}={_value(schema.DEFAULTS, key)}.")
    for key, allowed in _ALLOWED.items():
        if (value := _value(config, key)) not in allowed:
            raise ValueError(f"{key} must be one of {', '.join(allowed)}; got {value!r}. Pass {key}={allowed[0]}.")
    for key, form in (("columns", "[{}]"), ("answer", "{{{}: words}}")):
        for name in config["report"][key]:
            if name not in SUMMARY and not name.startswith("steps_to_loss_"):
                close = [*get_close_matches(name, SUMMARY, n=1), "train_accuracy"][0]
                raise ValueError(
                    f"report.{key} must name summary numbers: {', '.join(SUMMARY)} or steps_to_loss_...; got {name!r}. "
                    f"Pass report.{key}={form.format(close)}."
                )
    tracking = config["tracking"]
    if tracking["register"] is not None and tracking["log_model"] == "none":
        raise ValueError(
            f"tracking.register={tracking['register']} needs a logged model to register. Pass tracking.log_model=best."
        )
    if wrong := [name for name in tracking["tags"] if name in TAGS or name.startswith("mlflow.")]:
        raise ValueError(f"tracking.tags must have names of your own; {wrong[0]} is the lab's or MLflow's. Rename it.")
    if tracking["backend"] == "none" and tracking["log_model"] != "none":
        raise ValueError(
            f"tracking.log_model={tracking['log_model']} needs MLflow to log to; got tracking=none. "
            "Pass tracking=mlflow, or training.save=final to keep the weights in files."
        )


def _value(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = value[name]
    return value


def _check_whole_numbers(prefix: str, values: Mapping[str, Any]) -> None:
    """Refuses whole numbers that a column of 64 bits can't hold."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            _check_whole_numbers(f"{prefix}{name}.", value)
        elif isinstance(value, int) and not -LARGEST < value < LARGEST:
            raise ValueError(
                f"{prefix}{name} must be a whole number below 2**63 in size; got {shortened(value)}. "
                f"Pass {prefix}{name}= with a smaller one."
            )


def _check_names(prefix: str, values: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuses shared keys that were added or deleted: nothing reads an added key, something needs a deleted one."""
    for key in values:
        if key not in expected:
            raise ValueError(unknown_key(f"{prefix}{key}", [f"{prefix}{name}" for name in expected]))
    for key, value in expected.items():
        if key not in values:
            raise ValueError(f"{prefix}{key} needs a value; it was deleted. Take ~{prefix}{key} out.")
        if isinstance(value, Mapping) and value:  # an empty one takes any name
            _check_names(f"{prefix}{key}.", values[key], value)
