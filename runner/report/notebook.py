"""Results as HTML, for the output of a notebook's cell."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import pandas as pd

from runner.analysis.comparison import Comparison
from runner.report.experiment import Experiment
from runner.report.ranking import ranking
from runner.text import PAGE, relative


def sweep_html(comparison: Comparison, directory: Path) -> str:
    """Return a sweep's title and answers, its ranking as a table, and links to its page and files."""
    experiment = Experiment.of(comparison.runs)
    said = [f"<b>{escape(experiment.title)}</b>", *map(escape, experiment.answers(comparison))]
    columns = ranking(comparison)
    table = pd.DataFrame(list(zip(*(column.cells for column in columns), strict=True)))
    table.columns = pd.Index([column.header for column in columns])
    return "\n".join([*(f"<p>{text}</p>" for text in said), table.to_html(index=False, border=0), links(directory)])


def text_html(text: str, directory: Path) -> str:
    """Return a text as it stands on a terminal, and links to the page, if there is one, and the files."""
    return f"<pre>{escape(text)}</pre>\n{links(directory)}"


def links(directory: Path) -> str:
    """Return links to a command's page, if there is one, and to its files."""
    places: Sequence[tuple[str, Path]] = [("page", directory / PAGE), ("files", directory)]
    shown = [f'<a href="{escape(str(relative(path)))}">{name}</a>' for name, path in places if path.exists()]
    return f"<p>{' · '.join(shown)}</p>"
