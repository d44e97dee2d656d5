"""Figures of a command, and a sweep's page, drawn beside its tables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from runner.analysis.best_rates import Tuned
from runner.analysis.comparison import Comparison
from runner.analysis.search import Search, search
from runner.analysis.transfer import transfers
from runner.records import Session
from runner.report import figures, page
from runner.text import PAGE
from runner.tracking import files, sessions


def draw(
    session: Session, runs: pd.DataFrame, curves: pd.DataFrame, compared: tuple[Comparison, Tuned | None] | None
) -> Mapping[str, Path]:
    """Draw a command's figures, and a sweep's page; return the paths of the figures by file name.

    ``compared``: a sweep's comparison, and its groups at chosen learning rates where those were swept.
    """
    found = None
    if compared is not None:
        comparison, tuned = compared
        state = sessions.read(session.directory)
        arrays = partial(files.arrays, session.directory)
        found = search(comparison, session.searched, session.fixed)
        page.write(session.directory / PAGE, comparison, tuned, curves, [state] if state else [], arrays, found)
    return figures.save(drawn(session.directory, runs, curves, compared, found), session.directory / "figures")


def drawn(
    directory: Path,
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    compared: tuple[Comparison, Tuned | None] | None,
    found: Search | None = None,
) -> dict[str, Any]:
    """Return a command's figures, of matplotlib's, by name; ``directory`` and ``compared`` as for :func:`draw`.

    ``found``: the sweep as a search, whose order its figures have.
    """
    if compared is not None:
        comparison, _ = compared
        ranked = (comparison if found is None else found.comparison).ranked_runs
        of_sweep = figures.sweep_figures(ranked, curves, group=list(comparison.by) or ["scheme"])
        return of_sweep | figures.transfer_figures(transfers(comparison))
    (run,) = runs.to_dict("records")
    step = run["diverged_at_step"]
    return figures.run_figures(
        run["name"],
        curves,
        files.arrays(directory, run["key"]),
        diverged_at_step=None if pd.isna(step) else int(step),
    )
