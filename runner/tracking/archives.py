"""Archives of many small arrays, to the byte as ``numpy.savez`` writes them, in a tenth of its time."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import BinaryIO
from zipfile import ZipInfo

import numpy as np

from weightinit.arrays import Array

# Bytes and members from which on an archive has another form.
LARGE, MANY = 2**31 - 1, 2**16 - 1
UTF_8 = 0x800
VERSION, MODE = 45, 0o600 << 16
# The first day that a ZIP file knows, which NumPy writes for every day.
TIME, DATE = 0, 1 << 5 | 1


def save(file: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Write arrays by name, uncompressed. Raises ValueError for arrays of Python objects."""
    if len(arrays) >= MANY or sum(array.nbytes + 2**10 for array in arrays.values()) >= LARGE:
        np.savez(file, allow_pickle=False, **arrays)
        return
    parts: list[bytes] = []
    directory: list[bytes] = []
    place = length = 0
    system = ZipInfo().create_system
    for name, array in arrays.items():
        content = _content(array)
        path, flags, size = *_encoded(f"{name}.npy"), len(content)
        shared = struct.pack("<4HL", flags, 0, TIME, DATE, zlib.crc32(content))
        sizes = struct.pack("<2H2Q", 1, 16, size, size)
        begin = struct.pack("<4s2B", b"PK\3\4", VERSION, 0) + shared
        begin += struct.pack("<2L2H", 2**32 - 1, 2**32 - 1, len(path), len(sizes)) + path + sizes
        entry = struct.pack("<4s4B", b"PK\1\2", VERSION, system, VERSION, 0) + shared
        entry += struct.pack("<2L5H2L", size, size, len(path), 0, 0, 0, 0, MODE, place) + path
        parts += [begin, content]
        directory.append(entry)
        place += len(begin) + size
        length += len(entry)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(arrays), len(arrays), length, place, 0)
    file.write(b"".join([*parts, *directory, end]))


def _content(array: Array) -> bytes:
    """Return an array as a file of its own."""
    if array.flags.c_contiguous and not array.dtype.hasobject and array.dtype.names is None:
        return _head(array.dtype.str, array.shape) + array.tobytes()
    whole = io.BytesIO()
    np.lib.format.write_array(whole, array, allow_pickle=False)
    return whole.getvalue()


@lru_cache(maxsize=256)
def _head(dtype: str, shape: tuple[int, ...]) -> bytes:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": dtype, "fortran_order": False, "shape": shape})
    return head.getvalue()


@lru_cache(maxsize=1024)
def _encoded(name: str) -> tuple[bytes, int]:
    """Return a name in a ZIP file, and the flag that says how it is encoded."""
    return (name.encode(), 0) if name.isascii() else (name.encode(), UTF_8)
