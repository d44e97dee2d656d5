"""Words on a search: its best run, and the command that repeats it."""

from __future__ import annotations

import shlex
import textwrap
from typing import Any

from runner.analysis.importance import importances
from runner.analysis.search import Search
from runner.config.secrets import without_password
from runner.report.sentences import METRICS, score
from runner.scores import deciding
from runner.text import Column, number, setting, short, table

WIDTH = 100
IMPORTANCE = (
    "Share of the variance of the runs' ranks that is lost where each run is predicted from the others without it. A "
    "key whose interval does not lie above 0 may not matter."
)


def search_lines(search: Search) -> list[str]:
    """Return the best run in words, its command, and what was important, as lines of the terminal."""
    if search.best is None:
        return [best_words(search)]
    said = textwrap.wrap(f"best:     {best_words(search)}", WIDTH, subsequent_indent=" " * 10)
    said.append(f"again:    {best_command(search)}")
    if columns := importance_columns(search):
        said += ["", *table(columns), *textwrap.wrap(IMPORTANCE, WIDTH)]
    return said


def importance_columns(search: Search) -> list[Column]:
    """Return the importance of what was searched for, with its intervals; no columns where the runs are too few."""
    found = importances(search)
    if not found:
        return []
    shares = [f"{number(one.share, 2)} [{number(one.low, 2)}, {number(one.high, 2)}]" for one in found]
    return [
        Column("importance", [short(one.key.lstrip("+")) for one in found], left=True),
        Column("share [95%]", [text.replace("-", "−") for text in shares]),
    ]


def best_words(search: Search) -> str:
    """Return what the best run chose and what it reached: ``of 24 runs, by validation loss: ...``."""
    best, count = search.best, len(search.comparison.runs)
    if best is None:
        return f"none of {count} runs has a {search.metric.replace('_', ' ')}"
    values = ", ".join(f"{short(key.lstrip('+'))} {setting(value)}" for key, value in _chosen(search, best).items())
    metric = search.metric.replace("validation_", "test_")
    reached = [f"validation {METRICS[metric]} {score(best[search.metric], metric)}"]
    test = deciding("test", [name for name in best if best[name] == best[name]], best.get("report.score"))
    if test is not None:
        reached.append(f"test {METRICS[test]} {score(best[test], test)}")
    return f"of {count} runs, by validation {METRICS[metric]}: {values}; {', '.join(reached)}"


def best_command(search: Search) -> str:
    """Return the command that repeats the best run; an empty text without any."""
    if search.best is None:
        return ""
    chosen = [f"{key}={value}" for key, value in _chosen(search, search.best).items()]
    return without_password(shlex.join(["python", "-m", "runner", *search.fixed, *chosen]))


def _chosen(search: Search, run: dict[Any, Any]) -> dict[str, Any]:
    return {key: run[name] for key in search.keys if setting(run.get(name := key.lstrip("+")))}
