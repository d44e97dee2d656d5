"""The local side of recording: one shard a finished run, all of them merged into two Parquet files.

A shard holds one row of the table of runs and that run's curves as two Arrow streams in one file, so that it appears
whole or not at all. Which runs are finished is decided by these files alone.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from runner.records import Outcome

RUNS = "runs.parquet"
CURVES = "curves.parquet"
_TEXT = pa.dictionary(pa.int32(), pa.string())
_CURVES = pa.schema(
    [("key", _TEXT), ("step", pa.int64()), ("quantity", _TEXT), ("layer", _TEXT), ("value", pa.float64())]
)


def check_writable(directory: Path) -> None:
    """Makes ``directory``; raises ValueError where nothing can be written to it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise ValueError(
            f"outputs must be a folder that can be written; nothing can be written to {directory} ({error.strerror}). "
            "Pass outputs=... with another."
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Inside, no other process is inside with the same file, which stays; a killed process leaves no lock."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(directory: Path, outcome: Outcome, runs: pd.DataFrame, curves: pd.DataFrame) -> None:
    """Keeps a run for good: its shard below ``shards/``, and before that ``arrays/KEY.npz`` where it has arrays."""
    if outcome.arrays:
        arrays = dict(outcome.arrays)
        _replace(directory / "arrays" / f"{outcome.key}.npz", lambda file: np.savez(file, allow_pickle=False, **arrays))
    tables = (
        pa.Table.from_pandas(runs, preserve_index=False).replace_schema_metadata(),
        pa.Table.from_pandas(curves, schema=_CURVES, preserve_index=False).replace_schema_metadata(),
    )

    def streams(file: BinaryIO) -> None:
        for table in tables:
            with pa.ipc.new_stream(file, table.schema) as stream:
                stream.write_table(table)

    _replace(directory / "shards" / f"{outcome.key}.arrow", streams)


def read(directory: Path | str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of runs and curves that a command recorded in ``directory``, in the order recorded.

    Complete at any moment, while the command runs and after it was killed. Raises FileNotFoundError where nothing is.
    """
    runs, curves, _ = _load(Path(directory))
    if runs is None:
        raise FileNotFoundError(
            f"a directory of recorded runs holds {RUNS} and {CURVES}; {Path(directory)} holds none. "
            "Pass the directory that the command named under 'files'."
        )
    return runs.to_pandas(), curves.to_pandas()


def merge(directory: Path) -> pd.DataFrame:
    """Moves all shards into ``runs.parquet`` and ``curves.parquet``; returns the table of runs, empty if none is."""
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / ".lock"):
        runs, curves, shards = _load(directory)
        if runs is None:
            return pd.DataFrame()
        if shards:
            # Until the shards are gone they count, so that an end at any point in between loses and doubles nothing.
            _replace(directory / CURVES, lambda file: parquet.write_table(curves, file))
            _replace(directory / RUNS, lambda file: parquet.write_table(runs, file))
            for shard in shards:
                shard.unlink()
    for left in (directory / "shards").glob(".*.tmp"):
        left.unlink(missing_ok=True)
    with suppress(OSError):
        (directory / "shards").rmdir()
    frame: pd.DataFrame = runs.to_pandas()
    return frame


def _load(directory: Path) -> tuple[pa.Table | None, pa.Table, list[Path]]:
    """The tables of runs (None where nothing is) and curves of the merged files and the shards, and those shards."""
    runs, curves, shards = [], [], []
    # The shards first: one that another process merges meanwhile is then found in the merged files.
    for path in sorted((directory / "shards").glob("*.arrow"), key=_modified):
        with suppress(FileNotFoundError), pa.OSFile(str(path), "rb") as file:
            runs.append(pa.ipc.open_stream(file).read_all())
            curves.append(pa.ipc.open_stream(file).read_all())
            shards.append(path)
    if (directory / RUNS).exists():
        # A shard takes the place of its run in the merged files.
        keys = pa.array([path.stem for path in shards], pa.string())
        for name, tables in ((CURVES, curves), (RUNS, runs)):
            merged = parquet.read_table(directory / name)
            there = pa.compute.is_in(merged["key"].cast(pa.string()), value_set=keys)
            tables.insert(0, merged.filter(pa.compute.invert(there)))
    if not runs:
        return None, _CURVES.empty_table(), []
    return _concatenated(runs), pa.concat_tables(curves).unify_dictionaries(), shards


def _concatenated(tables: list[pa.Table]) -> pa.Table:
    """One table with the columns of all; numbers that meet text in one column become text."""
    types: dict[str, set[pa.DataType]] = {}
    for field in (field for table in tables for field in table.schema):
        types.setdefault(field.name, set()).add(field.type)
    text = {name for name, found in types.items() if not _compatible(found)}
    return pa.concat_tables(
        [
            table.cast(pa.schema([(f.name, pa.large_string() if f.name in text else f.type) for f in table.schema]))
            for table in tables
        ],
        promote_options="permissive",
    )


def _compatible(types: set[pa.DataType]) -> bool:
    """Whether one type can hold them all."""
    try:
        pa.unify_schemas([pa.schema([("", kind)]) for kind in types], promote_options="permissive")
    except pa.ArrowTypeError:
        return False
    return True


def _modified(path: Path) -> int:
    """Time of modification in nanoseconds; 0 for what is gone."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Makes ``path`` hold what ``write`` writes: at one moment the whole of it, before that what it held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        write(file)
    os.replace(temporary, path)
