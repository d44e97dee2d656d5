"""Words on a search: its best run, and the command that repeats it."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence

from runner.analysis.search import Search
from runner.report.sentences import METRICS, score
from runner.scores import deciding
from runner.text import setting, short

WIDTH = 100


def search_lines(search: Search, fixed: Sequence[str]) -> list[str]:
    """Return the best run in words and its command; ``fixed``: the overrides that all runs share."""
    best, count = search.best, len(search.comparison.runs)
    if best is None:
        return [f"none of {count} runs has a {search.metric.replace('_', ' ')}"]
    chosen = {key: best[name] for key in search.keys if setting(best.get(name := key.lstrip("+")))}
    values = ", ".join(f"{short(key.lstrip('+'))} {setting(value)}" for key, value in chosen.items())
    metric = search.metric.replace("validation_", "test_")
    reached = [f"validation {METRICS[metric]} {score(best[search.metric], metric)}"]
    test = deciding("test", [name for name in best if best[name] == best[name]], best.get("report.score"))
    if test is not None:
        reached.append(f"test {METRICS[test]} {score(best[test], test)}")
    said = f"best:     of {count} runs, by validation {METRICS[metric]}: {values}; {', '.join(reached)}"
    command = ["python", "-m", "runner", *fixed, *(f"{key}={value}" for key, value in chosen.items())]
    return [*textwrap.wrap(said, WIDTH, subsequent_indent=" " * 10), f"again:    {shlex.join(command)}"]
