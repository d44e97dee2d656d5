"""Local files of recorded runs: shards, merged into two Parquet files at the end.

A shard holds the runs that finished together: their rows of both tables, as two Arrow streams in one file. It appears
whole or not at all. These files alone decide which runs are finished. What is damaged counts as absent: a shard, or
both merged tables where one of them is.
"""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from filelock import FileLock

from runner.records import LABELS, Outcome, Rows
from runner.tracking import archives, seals
from weightinit.arrays import Array
from weightinit.auditing.files import BROKEN

_log = logging.getLogger(__name__)

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
            replaced(arrays_path(directory, outcome.key), partial(archives.save, arrays=outcome.arrays))
    tables = (
        pa.Table.from_pandas(runs, preserve_index=False).replace_schema_metadata(),
        pa.Table.from_pandas(curves, schema=_CURVES, preserve_index=False).replace_schema_metadata(),
    )

    sink = pa.BufferOutputStream()
    for table in tables:
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    content = seals.sealed(sink.getvalue().to_pybytes())
    replaced(directory / "shards" / f"{outcomes[0].key}.arrow", lambda file: file.write(content))


def arrays_path(directory: Path, key: str) -> Path:
    """Return the path of a run's arrays."""
    return directory / "arrays" / f"{key}.npz"


def arrays(directory: Path, key: str) -> dict[str, Array]:
    """Return the arrays of a run, empty if it has none, or none that are whole."""
    path = arrays_path(directory, key)
    if not path.is_file():
        return {}
    try:
        with np.load(path) as found:
            return dict(found)
    except BROKEN as error:
        _log.warning("%s is damaged (%s): it counts as absent.", path, error)
        return {}


def read(directory: Path | str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of runs and curves that a command recorded in ``directory``, in the order recorded.

    Both are complete at any moment, while the command runs and after it was killed. Raises FileNotFoundError where
    nothing is recorded, ValueError where it is damaged.
    """
    found = _load(Path(directory))
    runs, curves = found.runs, found.curves
    for path, reason in found.damaged.items():
        text = f"{path} is damaged ({reason}); the command's resume=true sets it aside and trains its runs again"
        if path.suffix == ".parquet":
            raise ValueError(f"{text}.")
        _log.warning("%s.", text)
    if runs is None:
        raise FileNotFoundError(
            f"a directory of recorded runs holds {RUNS} and {CURVES}; {Path(directory)} holds none. "
            "Pass the directory that the command named under 'files'."
        )
    return runs.to_pandas(), curves.to_pandas()


def keys(directory: Path) -> set[str]:
    """Return the keys of the runs recorded in ``directory``."""
    runs = _load(directory).runs
    return set() if runs is None else set(runs["key"].to_pylist())


def outcomes(directory: Path) -> dict[str, Outcome]:
    """Return the outcomes recorded in ``directory`` by key, without arrays."""
    found = _load(directory)
    if (runs := found.runs) is None:
        return {}
    table = found.curves.to_pandas()
    rows = table.groupby("key", observed=True, sort=False).indices
    names = runs.column_names[runs.column_names.index("error") + 1 :]
    result = {}
    for run in runs.to_pylist():
        points = table.iloc[rows.get(run["key"], [])]
        result[run["key"]] = Outcome(
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
            notes=tuple(json.loads(run.get("notes") or "[]")),
            labels={name: run[name] for name in LABELS if run.get(name) is not None},
        )
    return result


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)


def merge(directory: Path, keys: Sequence[str] = ()) -> pd.DataFrame:
    """Move all shards into ``runs.parquet`` and ``curves.parquet``; return the table of runs, empty without runs.

    Runs stand in the order of ``keys``; others follow in the order recorded. What is damaged is set aside.
    """
    with locked(directory / ".lock"):
        found = _load(directory)
        for path, reason in found.damaged.items():
            _set_aside(directory, path, reason)
        runs, curves = found.runs, found.curves
        if runs is None:
            return pd.DataFrame()
        if found.shards:
            place = {key: index for index, key in enumerate(keys)}
            runs, curves = (_ordered(table, place) for table in (runs, curves))
            # Shards count until they are gone, so an end at any point loses and doubles nothing.
            for name, table in ((CURVES, curves), (RUNS, runs)):
                content = seals.parquet_bytes(table)
                replaced(directory / name, partial(_put, content=content))
            for shard in found.shards:
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


def _put(file: BinaryIO, content: bytes) -> None:
    file.write(content)


def _set_aside(directory: Path, path: Path, reason: str) -> None:
    """Move a damaged file out of the way, and say so."""
    aside = directory / "damaged" / path.name
    number = 2
    while aside.exists():
        aside, number = aside.with_name(f"{path.stem}-{number}{path.suffix}"), number + 1
    aside.parent.mkdir(exist_ok=True)
    with suppress(FileNotFoundError):
        path.replace(aside)
        _log.warning("%s is damaged (%s): set aside as %s; its runs are trained again.", path, reason, aside)


class _Found(NamedTuple):
    """Tables of runs (None without runs) and of curves; the shards in them; what is damaged, and how."""

    runs: pa.Table | None
    curves: pa.Table
    shards: list[Path]
    damaged: dict[Path, str]


def _load(directory: Path) -> _Found:
    """Return what is recorded in a directory."""
    runs, curves, shards, damaged = [], [], [], {}
    # Shards first: a shard that another process merges meanwhile is then in the merged files.
    for path in sorted((directory / "shards").glob("*.arrow"), key=_modified):
        try:
            stream = pa.BufferReader(seals.unsealed(path.read_bytes()))
            pair = [pa.ipc.open_stream(stream).read_all() for _ in range(2)]
        except FileNotFoundError:
            continue
        except (seals.Damaged, pa.ArrowException, OSError) as error:
            damaged[path] = str(error)
            continue
        runs.append(pair[0])
        curves.append(pair[1])
        shards.append(path)
    merged, broken = _merged(directory)
    damaged |= broken
    if merged:
        # A run in a shard replaces the same run in the merged files.
        keys = pa.chunked_array([table["key"].cast(pa.string()) for table in runs], pa.string()).combine_chunks()
        for name, tables in ((CURVES, curves), (RUNS, runs)):
            there = pa.compute.is_in(merged[name]["key"].cast(pa.string()), value_set=keys)
            tables.insert(0, merged[name].filter(pa.compute.invert(there)))
    if not runs:
        return _Found(None, _CURVES.empty_table(), [], damaged)
    return _Found(_concatenated(runs), pa.concat_tables(curves).unify_dictionaries(), shards, damaged)


def _merged(directory: Path) -> tuple[dict[str, pa.Table], dict[Path, str]]:
    """Return the merged tables by name, empty unless both are whole; and what of them is of no use, and why."""
    paths = [directory / RUNS, directory / CURVES]
    there = [path for path in paths if path.exists()]
    tables, damaged = {}, {}
    if paths[0] not in there:  # it is written last, while all shards are there
        return {}, {}
    for path in there:
        try:
            tables[path.name] = _checked(path)
        except seals.Damaged as error:
            damaged[path] = str(error)
    if len(tables) == len(paths):
        return tables, {}
    other = "the other table is missing" if len(there) < len(paths) else "the other table is damaged"
    return {}, damaged | {path: other for path in there if path not in damaged}


def _checked(path: Path) -> pa.Table:
    """Return a merged table; raises Damaged where it lacks columns that every such table has."""
    table = seals.read_parquet(path)
    needed = ("key", "fate", "error") if path.name == RUNS else _CURVES.names
    if missing := [name for name in needed if name not in table.column_names]:
        raise seals.Damaged(f"it has no column {missing[0]}")
    return table


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
