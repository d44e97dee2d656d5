"""An experiment's own words, as its runs record them: title, question, what answers it, and columns to show."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from runner.analysis.comparison import Comparison
from runner.text import Column, number

ANSWER = "report.answer."
SHOWN = 12  # groups in a sentence


@dataclass(frozen=True)
class Experiment:
    """Words of an experiment; each is empty unless all runs have the same.

    ``answer``: by the name of a summary number what it says, as in ``distinct_units``: Distinct units of a layer;
    ``columns``: names of summary numbers to show beside the usual.
    """

    title: str
    question: str
    answer: Mapping[str, str]
    columns: Sequence[str]

    @classmethod
    def of(cls, runs: pd.DataFrame) -> Experiment:
        """Return the words that the table of runs records."""
        names = [str(name) for name in runs]
        answers = {name.removeprefix(ANSWER): _shared(runs, name) for name in names if name.startswith(ANSWER)}
        return cls(
            title=_shared(runs, "report.title"),
            question=_shared(runs, "report.question"),
            answer={name: words for name, words in answers.items() if words},
            columns=tuple(json.loads(_shared(runs, "report.columns") or "[]")),
        )

    def showing(self, name: str) -> Experiment:
        """Return the experiment with a summary number of that name as its first column."""
        return replace(self, columns=tuple(dict.fromkeys([name, *self.columns])))

    def answers(self, comparison: Comparison) -> list[str]:
        """Return a sentence for each number that answers the question, with its mean in each group."""
        groups = comparison.groups.to_dict("records")
        more = f", and {len(groups) - SHOWN} more" if len(groups) > SHOWN else ""
        found = []
        for name, words in self.answer.items():
            values = [(row["label"] or "all runs", row.get(name, math.nan)) for row in groups[:SHOWN]]
            if any(math.isfinite(value) for _, value in values):
                said = ", ".join(f"{group} {mean(value)}" for group, value in values)
                found.append(f"{words}: {said}{more}.")
        return found

    def extra(self, rows: Sequence[Mapping[Any, Any]]) -> list[Column]:
        """Return the columns that the experiment shows beside the usual, for these groups."""
        return [
            Column(name.replace("_", "\n"), [mean(row.get(name, math.nan)) for row in rows]) for name in self.columns
        ]


def mean(value: float) -> str:
    """Return a mean for people: whole numbers without digits after the point."""
    return f"{value:g}" if math.isfinite(value) and value == round(value) and abs(value) < 1e5 else number(value)


def _shared(runs: pd.DataFrame, name: str) -> str:
    values = list(runs[name].dropna().unique()) if name in runs else []
    return str(values[0]) if len(values) == 1 else ""
