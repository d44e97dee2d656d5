"""Named arrays from files: npz and safetensors, never pickle."""

from __future__ import annotations

import json
import lzma
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from weightinit.arrays import Array

DTYPES: Final = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
INDEX: Final = ".safetensors.index.json"
LARGEST_HEADER: Final = 100_000_000
# An NPZ file of more bytes than the first, that packs them to less than one in the second, is no file of weights.
LARGEST_UNPACKED, MOST_PACKED = 2**28, 100
# Errors that a broken NPZ file, or one that claims to be huge, is read with.
BROKEN: Final = (
    *(ValueError, EOFError, LookupError, ArithmeticError, MemoryError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


def read_arrays(path: str | Path) -> dict[str, Array]:
    """Return the arrays of a ``.npz`` or ``.safetensors`` file by name; bfloat16 as float32.

    Several ``.safetensors`` are read as one by their index (``model.safetensors.index.json``), or by the folder that
    holds them. Raises ValueError for a file of another kind and for a broken one, OSError for one that can't be read.
    """
    path = Path(path)
    if path.is_dir() or path.name.endswith(INDEX):
        return _read_sharded(path)
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors}
    if path.suffix not in readers:
        raise ValueError(
            f"the file must end in .npz or .safetensors; got {path}. Save a PyTorch model with "
            "safetensors.torch.save_model(model, 'model.safetensors'), other arrays with numpy.savez."
        )
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} must be a file; it is a folder, a pipe or a device.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty. Save it again.")
    arrays = readers[path.suffix](path)
    if not arrays:
        raise ValueError(f"{path} holds no arrays")
    return arrays


def _read_sharded(path: Path) -> dict[str, Array]:
    """Arrays of all files that an index names, each by its name; of a folder without one, of the one file there."""
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        indices = sorted(path.glob(f"*{INDEX}"))
        if not indices and len(files) == 1:
            return read_arrays(files[0])
        if len(indices) != 1:
            raise ValueError(f"{path} must be a file, or a folder with one .safetensors or one index of several.")
        (path,) = indices
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        named = {str(name): str(file) for name, file in index["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no index of safetensors files: {error!r}. It needs a weight_map.") from None
    if outside := [file for file in named.values() if Path(file).name != file]:
        raise ValueError(f"{path} names a file outside its own folder: {outside[0]!r}. Save the model again.")
    shards = {file: read_arrays(path.with_name(file)) for file in sorted(set(named.values()))}
    if missing := [name for name, file in named.items() if name not in shards[file]]:
        raise ValueError(f"{path} names {missing[0]!r} in {named[missing[0]]}, which doesn't hold it. Save it again.")
    return {name: shards[file][name] for name, file in named.items()}


def check_unpacked(path: Path) -> None:
    """Raise ValueError for an NPZ file that unpacks to far more than it holds, as no array of numbers does."""
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > LARGEST_UNPACKED and size > MOST_PACKED * path.stat().st_size:
        raise ValueError(
            f"its {path.stat().st_size / 2**20:.3g} MiB unpacks to {size / 2**20:,.0f} MiB of almost nothing"
        )


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        if zipfile.is_zipfile(path):
            check_unpacked(path)
        with path.open("rb") as file:  # NumPy leaves the file open if it's broken
            if file.read(2) not in (b"PK", b"\x93N"):
                raise ValueError("it doesn't begin as one")
            file.seek(0)
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array without a name")
            return {name: loaded[name] for name in loaded.files}
    except BROKEN as error:
        raise ValueError(f"{path} is no npz file of plain arrays: {error}") from None


def _read_safetensors(path: Path) -> dict[str, Array]:
    """Header length as 8 bytes, header as JSON, then the elements of all tensors one after another, little-endian."""
    with path.open("rb") as file:
        size = file.seek(0, 2) - 8
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if size < 0 or length > min(size, LARGEST_HEADER):
            raise _broken(path, f"its header should be {length} bytes long, {max(size, 0)} are there")
        header = file.read(length)
    try:
        entries = json.loads(header.decode(), object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise _broken(path, f"its header is no JSON object of distinct names: {error}") from None
    if not isinstance(entries, dict):
        raise _broken(path, "its header is no JSON object")
    entries.pop("__metadata__", None)
    spans = {name: _span(path, name, entry) for name, entry in entries.items()}
    end = 0
    for name, (_, _, start, stop) in sorted(spans.items(), key=lambda item: item[1][2:]):
        if start != end:
            raise _broken(path, f"tensor {name!r} starts at byte {start} of the data, not where the last ended, {end}")
        end = stop
    if end != size - length:
        raise _broken(path, f"its tensors take {end} bytes, {size - length} are there")
    if not end:
        return {name: np.empty(shape, DTYPES[dtype]) for name, (dtype, shape, _, _) in spans.items()}
    data = np.memmap(path, np.uint8, "r", offset=8 + length)
    return {name: _values(data[a:b], dtype).reshape(shape) for name, (dtype, shape, a, b) in spans.items()}


def _values(data: Array, dtype: str) -> Array:
    values: Array = data.view(DTYPES[dtype])
    return (values.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else values


def _span(path: Path, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [start, stop]} if all(
            type(number) is int and number >= 0 for number in (*shape, start, stop)
        ):
            pass
        case _:
            raise _broken(path, f"tensor {name!r} needs a dtype, a shape and two data_offsets; got {entry!r}"[:300])
    if dtype not in DTYPES:
        raise _broken(path, f"tensor {name!r} has dtype {dtype}; readable are {', '.join(DTYPES)}")
    if stop - start != math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize:
        raise _broken(path, f"tensor {name!r} of shape {shape} and dtype {dtype} doesn't fit bytes {start} to {stop}")
    return dtype, tuple(shape), start, stop


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a name stands twice")
    return result


def _broken(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is no valid safetensors file: {why}. Save it again.")
