"""Sentence on the audit of the initial weights of runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from runner.text import number

FINDINGS = {
    "not_finite": "holds NaN or infinity",
    "zeros": "is zero where it should not be",
    "constant": "holds a single value",
    "copy": "is a copy of another tensor",
    "noise": "shares its random numbers with another tensor",
    "units": "has equal units",
    "law": "follows another law",
    "scale": "has another mean or std",
    "dependent": "has elements that are not independent",
    "trained": "looks trained",
}


def audit_sentence(runs: pd.DataFrame) -> str:
    """Return which of a comparison's runs have weights that differ from their declared law; empty where none has."""
    wrong = runs[runs["audit"].fillna("").str.startswith("differs")]
    if wrong.empty:
        return ""
    (first,) = wrong.head(1).to_dict("records")
    where = f"in {len(wrong)} of {len(runs)} runs, first in {first['name']}, " if len(runs) > 1 else ""
    return f"{where}weights do not follow the law that the scheme declares ({_finding(first)})"


def _finding(run: Mapping[Any, Any]) -> str:
    """Return how many tensors of a run differ, and what was found of the first."""
    _, _, recorded = run["audit"].partition(": ")
    if recorded:  # records of earlier versions hold the sentence
        return str(recorded)
    tensors = int(run["audit_faults"])
    finding = FINDINGS.get(run["audit_finding"], "differs")
    ratio = run["audit_std"] / run["audit_law_std"] if run["audit_law_std"] > 0 else 1.0
    if run["audit_finding"] in ("law", "scale") and abs(ratio - 1) > 0.005:
        finding = f"std {number(run['audit_std'])} is {number(ratio)} times the law's {number(run['audit_law_std'])}"
    return f"{tensors} tensor{'s' * (tensors != 1)}, first {run['audit_tensor']}: {finding}"
