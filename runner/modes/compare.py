"""``mode=compare``: recorded sweeps shown again or together, or held against each other."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd

from runner.analysis import best_rates
from runner.analysis.comparison import Comparison
from runner.analysis.diff import changes
from runner.analysis.search import Search, search
from runner.records import Tracking
from runner.report import artifacts, figures, page, terminal
from runner.report.diff import changes_lines
from runner.report.ranking import FORMATS, ranked
from runner.text import PAGE, UNPRINTABLE, printable, relative, shortened
from runner.tracking import files, recorded

PICTURES = ("png", "svg", "pdf")
CHANGED = 1


@dataclass(frozen=True)
class Request:
    """Request of a command: which sweeps, against which, and in which form.

    ``sweeps``: recorded commands, several as one; ``against``: another, held against them number by number;
    ``format``: of the printed table, text or one of ``FORMATS``; ``pictures``: formats of figures to draw.
    """

    sweeps: tuple[str, ...]
    against: str | None
    format: str
    pictures: tuple[str, ...]


def requested(config: Any) -> Request:
    """Return the request of a configuration of ``mode=compare``; raises ValueError for an impossible one."""
    formats = ("text", *FORMATS)
    if config["format"] not in formats:
        raise ValueError(f"format must be one of {', '.join(formats)}; got {config['format']!r}. Pass format=markdown.")
    pictures = _several("figures", config["figures"])
    if wrong := [name for name in pictures if name not in PICTURES]:
        raise ValueError(f"figures must be of {', '.join(PICTURES)}; got {wrong[0]!r}. Pass figures=[png,svg].")
    sweeps = _several("sweep", config["sweep"])
    if not sweeps:
        raise ValueError("sweep needs a value. Pass sweep=latest.")
    against = _several("against", config["against"])
    if len(against) > 1:
        raise ValueError(f"against takes one sweep; got {len(against)}. Pass against=ID.")
    return Request(sweeps, against[0] if against else None, config["format"], pictures)


def _printable(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table, that anybody may have written, without control characters in its texts and names."""
    table = table.rename(columns=lambda name: printable(str(name)))
    for name in table.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]]:
        texts = table[name].cat.categories if table[name].dtype == "category" else table[name]
        if any(UNPRINTABLE.search(text) for text in texts if isinstance(text, str)):
            mended = table[name].astype(object).map(lambda text: printable(text) if isinstance(text, str) else text)
            table[name] = mended.astype("category") if table[name].dtype == "category" else mended
    return table


def _several(key: str, value: Any) -> tuple[str, ...]:
    given = value if isinstance(value, list | tuple) else [] if value is None else [value]
    for text in given:
        if not isinstance(text, str | int) or isinstance(text, bool):
            raise ValueError(f"{key} must be text, and {text!r} reads as a number. Quote it: {key}=\"'...'\".")
    return tuple(map(str, given))


def review(config: Any, tracking: Tracking) -> int:
    """Print the results of recorded sweeps and write them beside these; return 1 where something has changed, else 0.

    Raises ValueError where there is no such sweep, and for tables that are none of runs and curves.
    """
    asked = requested(config)
    sweeps = recorded.find(asked.sweeps, tracking)
    with _readable(sweeps):
        return _review(asked, sweeps, tracking)


def table(config: Any, tracking: Tracking) -> pd.DataFrame:
    """Return the ranking of recorded sweeps, or what differs between them; raises ValueError as ``review`` does."""
    asked = requested(config)
    sweeps = recorded.find(asked.sweeps, tracking)
    with _readable(sweeps):
        if (other := _other(asked, tracking)) is not None:
            return changes(recorded.joined(sweeps), recorded.joined([other])).quantities
        runs, curves = map(_printable, recorded.joined(sweeps))
        compared, _ = best_rates.compared(runs, curves)
        found = _search(compared, sweeps)
        return ranked(compared if found is None else found.comparison).reset_index(drop=True)


@contextmanager
def _readable(sweeps: Sequence[recorded.Recorded]) -> Iterator[None]:
    """Raises ValueError where tables are none of runs and curves."""
    try:
        yield
    except (LookupError, AttributeError, TypeError) as error:  # of columns that are missing, or of another type
        names = ", ".join(str(relative(sweep.directory)) for sweep in sweeps)
        raise ValueError(
            f"sweep must be what the lab has recorded; the tables in {names} differ from that "
            f"({type(error).__name__}: {shortened(error)}). Pass another."
        ) from error


def _other(asked: Request, tracking: Tracking) -> recorded.Recorded | None:
    """Return the other sweep that was asked for, if one was."""
    return None if asked.against is None else recorded.find([asked.against], tracking)[0]


def _search(comparison: Comparison, sweeps: Sequence[recorded.Recorded]) -> Search | None:
    """Return the search that was recorded, where it is looked at alone."""
    if len(sweeps) > 1:
        return None
    (state,) = (sweep.state for sweep in sweeps)
    return search(comparison, state["searched"], state["fixed"])


def _review(asked: Request, sweeps: Sequence[recorded.Recorded], tracking: Tracking) -> int:
    if (other := _other(asked, tracking)) is not None:
        held = changes(recorded.joined(sweeps), recorded.joined([other]))
        names = " and ".join(str(relative(sweep.directory)) for sweep in sweeps)
        print("\n".join([f"{names} against {relative(other.directory)}", *changes_lines(held)]))
        return 0 if held.same else CHANGED
    runs, curves = map(_printable, recorded.joined(sweeps))
    directory = recorded.beside(sweeps, tracking.outputs)
    files.check_writable(directory)
    directory.mkdir(parents=True, exist_ok=True)
    compared, tuned = best_rates.compared(runs, curves)
    found = _search(compared, sweeps)

    def arrays(key: str) -> Any:
        return next((found for sweep in sweeps if (found := files.arrays(sweep.directory, key))), {})

    page.write(directory / PAGE, compared, tuned, curves, [sweep.state for sweep in sweeps], arrays, found)
    if asked.pictures:
        drawn = artifacts.drawn(directory, runs, curves, (compared, tuned), found)
        figures.save(drawn, directory / "figures", asked.pictures)
    if asked.format == "text":
        color = sys.stdout.isatty()
        print(terminal.sweep_text(compared, tuned=tuned, search=found, directory=relative(directory), color=color))
    else:
        ending, write = FORMATS[asked.format]
        text = write(compared if found is None else found.comparison)
        (directory / f"ranking.{ending}").write_text(text, encoding="utf-8")
        print(text, end="")
    return 0
