"""Notes on a comparison's runs: what a scheme, an activation or a table has to say of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 5


def notes(runs: pd.DataFrame) -> list[str]:
    """Return the notes of a comparison's runs, each once, with the runs that it is of where it isn't of all."""
    found: dict[str, list[str]] = {}
    for name, note in _each(runs):
        found.setdefault(note, []).append(name)
    said = []
    for note, names in found.items():
        first = f"{names[0]}, ..." if len(names) > 1 else names[0]
        said.append(note if len(names) == len(runs) else f"{note} ({len(names)} of {len(runs)} runs: {first})")
    more = f"{len(said) - SHOWN} more notes are in the column notes of runs.parquet"
    return said[:SHOWN] + [more] * (len(said) > SHOWN)


def _each(runs: pd.DataFrame) -> Iterator[tuple[str, str]]:
    if "notes" in runs:  # records of earlier versions have none
        for name, text in runs.loc[runs["notes"].notna(), ["name", "notes"]].itertuples(index=False, name=None):
            yield from ((str(name), str(note)) for note in json.loads(text))
