"""Scores of a run, and which of them decides: ``report.score``, or the first that there is."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple


class Score(NamedTuple):
    """Score: its word in a sentence and in a table's header, its least and largest value."""

    word: str
    header: str
    least: float
    most: float


SCORES = {
    "accuracy": Score("accuracy", "acc", 0.0, 1.0),
    "r2": Score("R²", "R²", -math.inf, 1.0),
    "balanced_accuracy": Score("balanced accuracy", "bal acc", 0.0, 1.0),
    "macro_f1": Score("macro F1", "macro F1", 0.0, 1.0),
    "auc": Score("AUC", "AUC", 0.0, 1.0),
    "loss": Score("loss", "loss", 0.0, math.inf),
}
AUTO = "auto"


def deciding(part: str, known: Collection[str], asked: object = AUTO) -> str | None:
    """Return the name of the number of a part (``test``, ``validation``) that decides, None where none is known.

    It is the one asked for, or the first in the order of ``SCORES``. More is better, but for a loss.
    """
    names = ([str(asked)] if asked in SCORES else []) + list(SCORES)
    return next((f"{part}_{name}" for name in names if f"{part}_{name}" in known), None)
