"""Words on signals: the course of the activations' mean square, and the fate of the runs that carry it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runner.text import number
from weightinit.meanfield import Stability

if TYPE_CHECKING:
    import pandas as pd


def signal_words(signal: Stability, *, brief: bool = False) -> str:
    """Return a signal in words: ``halves at each layer``, ``x.80 at each layer``, ``vanishes, x.0032``.

    ``brief``: ``halves``, ``x.80``, ``vanishes``.
    """
    label, factor = signal.label, signal.factor
    if label in ("decays", "grows"):
        near_two = abs(abs(math.log2(factor)) - 1) < 0.15
        change = ("doubles" if factor > 1 else "halves") if near_two else f"x{number(factor, 2)}"
        return change if brief else f"{change} at each layer"
    if label in ("vanishes", "explodes") and 0 < factor < math.inf and not brief:
        return f"{label}, x{number(factor, 2)}"
    return label


def predicted_words(group: Mapping[Any, Any]) -> str:
    """Return the signal that theory expects of a group, briefly; a dash without hidden layers."""
    if not isinstance(group["layer"], str):
        return "–"
    return signal_words(Stability(group["predicted_signal"], group["predicted_signal_factor"]), brief=True)


def signal_or_fate(group: Mapping[Any, Any], *, brief: bool = False) -> str:
    """Return the signal of a group's runs at initialization, or their fate where runs diverged or failed."""
    seeds, diverged = group["seeds"], group["diverged"]
    if not seeds:
        return "failed"
    if diverged == seeds:
        at = "at" if group["diverged_from"] == group["diverged_to"] else "by"
        return f"diverged {at} {'' if brief else 'step '}{group['diverged_to']:.0f}"
    if diverged:
        return f"{diverged} of {seeds} diverged"
    if group["equal_units"]:
        return "all units equal"
    if 0 < group["dead"] < seeds:
        return f"{group['dead']} of {seeds} born dead"
    if group["signal"] == "unknown":
        return "–"
    return signal_words(Stability(group["signal"], group["signal_factor"]), brief=brief)


def signal_header(groups: pd.DataFrame) -> str:
    """Return the header of a column of ``signal_or_fate``."""
    return "signal or fate" if groups[["diverged", "failed"]].any(axis=None) else "signal"


def rms_words(group: Mapping[Any, Any]) -> str:
    """Return a group's rms in the last hidden layer, with theory in brackets where there is one."""
    theory = "" if math.isnan(group["rms_predicted"]) else f" ({number(group['rms_predicted'])})"
    return number(group["rms"]) + theory
