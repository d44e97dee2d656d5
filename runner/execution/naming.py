"""Names of runs: what differs between the runs of a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from runner.config.schema import CUSTOM, VARIANTS
from runner.config.trial import Trial, called

WITHOUT_EFFECT = ("outputs", "tracking", "report", "resume", "mode")


def named(trials: Sequence[Trial]) -> list[Trial]:
    """The trials under names that say what differs: ``he``, ``xavier s3``, ``he depth=10``.

    The scheme's name stands in each; of the rest only what varies.
    """
    varying: dict[str, set[str]] = {}
    given = [_values(trial) for trial in trials]
    for overrides in given:
        for key, value in overrides.items():
            varying.setdefault(key, set()).add(value)
    if len(trials) == 1:  # differs from the defaults alone
        return [named_by(trials[0], [key for key in given[0] if key.partition(".")[0] not in WITHOUT_EFFECT])]
    keys = [
        key for key, values in varying.items()
        if len(values) > 1 or any(key not in overrides for overrides in given)
    ]  # fmt: skip
    return [named_by(trial, keys) for trial in trials]


def named_by(trial: Trial, keys: Iterable[str]) -> Trial:
    """The trial under its scheme's name and its own values of these keys."""
    values = _values(trial)
    parts = [_short(key, values[key]) for key in keys if key in values and key != "scheme"]
    return trial.named(" ".join([called(trial, "scheme"), *parts]))


def key_of(override: str) -> str:
    """The key that an override sets."""
    return override.lstrip("+").partition("=")[0]


def _values(trial: Trial) -> dict[str, str]:
    """The overrides of a trial by key: a custom choice by its name, in which the target stands already."""
    values = {key_of(override): override.partition("=")[2] for override in trial.overrides}
    custom = [group for group in VARIANTS if trial.choices.get(group) == CUSTOM]
    for group in custom:
        values.pop(f"{group}._target_", None)
    return values | {group: called(trial, group) for group in custom}


def _short(key: str, value: str) -> str:
    if key == "seed":
        return f"s{value}"
    with suppress(ValueError):
        value = value if len(value) < 8 else f"{float(value):.3g}"
    return value if key in ("activation", "data", "optimizer", "architecture") else f"{key.rpartition('.')[2]}={value}"
