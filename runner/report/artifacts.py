"""Figures of a command, and a sweep's page, drawn beside its tables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from runner.analysis import comparison
from runner.records import Session
from runner.report import figures, page
from runner.text import PAGE
from runner.tracking import files, sessions


def draw(session: Session, runs: pd.DataFrame, curves: pd.DataFrame) -> Mapping[str, Path]:
    """Draw a command's figures, and a sweep's page; return the paths of the figures by file name."""
    arrays = partial(files.arrays, session.directory)
    if session.multirun:
        state = sessions.read(session.directory)
        page.write(session.directory / PAGE, runs, curves, [state] if state else [], arrays)
        drawn = figures.sweep_figures(runs, curves, group=comparison.swept(runs) or ["scheme"])
    else:
        (run,) = runs.to_dict("records")
        step = run["diverged_at_step"]
        drawn = figures.run_figures(
            run["name"], curves, arrays(run["key"]), diverged_at_step=None if pd.isna(step) else int(step)
        )
    return figures.save(drawn, session.directory / "figures")
