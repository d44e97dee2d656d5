"""Local files of recorded runs: shards, merged into two Parquet files at the end.

A shard holds the runs that finished together: their rows of both tables, as two Arrow streams in one file. It appears
whole or not at all. These files alone decide which runs are finished.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
from filelock import FileLock
from pyarrow import parquet

from runner.records import LABELS, Outcome, Rows
from weightinit.arrays import Array

RUNS = "runs.parquet"
CURVES = "curves.parquet"
_TEXT = pa.dictionary(pa.int32(), pa.string())
_CURVES = pa.schema(
    [("key", _TEXT), ("step", pa.int64()), ("quantity", _TEXT), ("layer", _TEXT), ("value", pa.float64())]
)


def check_writable(directory: Path) -> None:
    """Raise ValueError where nothing can be written to ``directory``, or where it can't be made; make nothing."""
    there = next(folder for folder in (directory, *directory.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ValueError(
            f"outputs must be a folder that can be written; nothing can be written to {there} ({error.strerror}). "
            "Pass outputs=... with another."
        ) from error


def recorded(directory: Path) -> bool:
    """Return whether ``directory`` holds a recorded run."""
    return (directory / RUNS).exists() or any((directory / "shards").glob("*.arrow"))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Exclude other processes that lock the same file. The file stays; a killed process leaves no lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


def write(directory: Path, outcomes: Sequence[Outcome], runs: pd.DataFrame, curves: pd.DataFrame) -> None:
    """Write ``arrays/KEY.npz`` of each run, and then a shard of all of them below ``shards/``."""
    for outcome in outcomes:
        if outcome.arrays:
            replaced(arrays_path(directory, outcome.key), partial(_save_arrays, arrays=outcome.arrays))
    tables = (
        pa.Table.from_pandas(runs, preserve_index=False).replace_schema_metadata(),
        pa.Table.from_pandas(curves, schema=_CURVES, preserve_index=False).replace_schema_metadata(),
    )

    def streams(file: BinaryIO) -> None:
        for table in tables:
            with pa.ipc.new_stream(file, table.schema) as stream:
                stream.write_table(table)

    replaced(directory / "shards" / f"{outcomes[0].key}.arrow", streams)


def arrays_path(directory: Path, key: str) -> Path:
    """Return the path of a run's arrays."""
    return directory / "arrays" / f"{key}.npz"


def arrays(directory: Path, key: str) -> dict[str, Array]:
    """Return the arrays of a run, empty if it has none."""
    path = arrays_path(directory, key)
    if not path.exists():
        return {}
    with np.load(path) as found:
        return dict(found)


def _save_arrays(file: BinaryIO, arrays: Mapping[str, Array]) -> None:
    np.savez(file, allow_pickle=False, **arrays)


def read(directory: Path | str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of runs and curves that a command recorded in ``directory``, in the order recorded.

    Both are complete at any moment, while the command runs and after it was killed. Raises FileNotFoundError where
    nothing is recorded.
    """
    runs, curves, _ = _load(Path(directory))
    if runs is None:
        raise FileNotFoundError(
            f"a directory of recorded runs holds {RUNS} and {CURVES}; {Path(directory)} holds none. "
            "Pass the directory that the command named under 'files'."
        )
    return runs.to_pandas(), curves.to_pandas()


def keys(directory: Path) -> set[str]:
    """Return the keys of the runs recorded in ``directory``."""
    runs, _, _ = _load(directory)
    return set() if runs is None else set(runs["key"].to_pylist())


def outcomes(directory: Path) -> dict[str, Outcome]:
    """Return the outcomes recorded in ``directory`` by key, without arrays and notes."""
    runs, curves, _ = _load(directory)
    if runs is None:
        return {}
    table = curves.to_pandas()
    rows = table.groupby("key", observed=True, sort=False).indices
    names = runs.column_names[runs.column_names.index("error") + 1 :]
    found = {}
    for run in runs.to_pylist():
        points = table.iloc[rows.get(run["key"], [])]
        found[run["key"]] = Outcome(
            key=run["key"],
            fate=run["fate"],
            rows=Rows(
                points["step"].to_numpy(), tuple(points["quantity"]), tuple(points["layer"]), points["value"].to_numpy()
            ),
            summary={name: run[name] for name in names if not _missing(run[name])},
            start_time=run["start_time"],
            end_time=run["end_time"],
            diverged_at_step=None if _missing(run["diverged_at_step"]) else int(run["diverged_at_step"]),
            error=run["error"],
            labels={name: run[name] for name in LABELS if run.get(name) is not None},
        )
    return found


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)


def merge(directory: Path, keys: Sequence[str] = ()) -> pd.DataFrame:
    """Move all shards into ``runs.parquet`` and ``curves.parquet``; return the table of runs, empty without runs.

    Runs stand in the order of ``keys``; others follow in the order recorded.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / ".lock"):
        runs, curves, shards = _load(directory)
        if runs is None:
            return pd.DataFrame()
        if shards:
            place = {key: index for index, key in enumerate(keys)}
            runs, curves = (_ordered(table, place) for table in (runs, curves))
            # Shards count until they are gone, so an end at any point loses and doubles nothing.
            replaced(directory / CURVES, lambda file: parquet.write_table(curves, file))
            replaced(directory / RUNS, lambda file: parquet.write_table(runs, file))
            for shard in shards:
                shard.unlink()
    for left in (directory / "shards").glob(".*.tmp"):
        left.unlink(missing_ok=True)
    with suppress(OSError):
        (directory / "shards").rmdir()
    frame: pd.DataFrame = runs.to_pandas()
    return frame


def _ordered(table: pa.Table, place: Mapping[str, int]) -> pa.Table:
    """Sort the rows by the place of their key, stably."""
    key = table["key"].combine_chunks() if table.num_rows else None
    if key is None:
        return table
    key = key if pa.types.is_dictionary(key.type) else key.dictionary_encode()
    ranks = np.array([place.get(name, len(place)) for name in key.dictionary.to_pylist()])
    return table.take(np.argsort(ranks[key.indices.to_numpy()], kind="stable"))


def _load(directory: Path) -> tuple[pa.Table | None, pa.Table, list[Path]]:
    """Return the tables of runs (None without runs) and of curves, and the shards that went into them."""
    runs, curves, shards = [], [], []
    # Shards first: a shard that another process merges meanwhile is then in the merged files.
    for path in sorted((directory / "shards").glob("*.arrow"), key=_modified):
        with suppress(FileNotFoundError), pa.OSFile(str(path), "rb") as file:
            runs.append(pa.ipc.open_stream(file).read_all())
            curves.append(pa.ipc.open_stream(file).read_all())
            shards.append(path)
    if (directory / RUNS).exists():
        # A run in a shard replaces the same run in the merged files.
        keys = pa.chunked_array([table["key"].cast(pa.string()) for table in runs], pa.string()).combine_chunks()
        for name, tables in ((CURVES, curves), (RUNS, runs)):
            merged = parquet.read_table(directory / name)
            there = pa.compute.is_in(merged["key"].cast(pa.string()), value_set=keys)
            tables.insert(0, merged.filter(pa.compute.invert(there)))
    if not runs:
        return None, _CURVES.empty_table(), []
    return _concatenated(runs), pa.concat_tables(curves).unify_dictionaries(), shards


def _concatenated(tables: list[pa.Table]) -> pa.Table:
    """Join tables with the columns of all; where a column holds numbers and text, numbers become text."""
    types: dict[str, set[pa.DataType]] = {}
    for field in (field for table in tables for field in table.schema):
        types.setdefault(field.name, set()).add(field.type)
    text = {name for name, found in types.items() if not _compatible(found)}
    together = pa.concat_tables(
        [
            table.cast(pa.schema([(f.name, pa.large_string() if f.name in text else f.type) for f in table.schema]))
            for table in tables
        ],
        promote_options="permissive",
    )
    # Columns that describe the runs come first; results follow from "fate" on.
    happened = {name for table in tables for name in table.column_names[table.column_names.index("fate") :]}
    return together.select(sorted(together.column_names, key=lambda name: name in happened))


def _compatible(types: set[pa.DataType]) -> bool:
    """True where a common type exists."""
    try:
        pa.unify_schemas([pa.schema([("", kind)]) for kind in types], promote_options="permissive")
    except pa.ArrowTypeError:
        return False
    return True


def _modified(path: Path) -> int:
    """Return the time of modification in nanoseconds; 0 for a missing file."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def replaced(path: Path, write: Callable[[BinaryIO], object], *, private: bool = False) -> None:
    """Replace the content of ``path`` by what ``write`` writes, as a whole; ``private``: for its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb", opener=partial(os.open, mode=0o600 if private else 0o666)) as file:
        write(file)
    os.replace(temporary, path)
