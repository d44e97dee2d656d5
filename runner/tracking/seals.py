"""Seals: checksums in the files of tables, so that damage is found before anything in them is believed.

A shard ends with the sha256 of all that stands before. A Parquet file carries its own among its metadata: the sha256 of
the file with zeros in that place.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

DIGEST = 32
MARK = b"weightinit sha256 "
BLANK = b"0" * (2 * DIGEST)
# A table of more cells than this is none of runs.
MOST_CELLS = 2**30


class Damaged(ValueError):
    """A file that doesn't hold what was written to it."""


def sealed(content: bytes) -> bytes:
    """Return a shard's content with its seal."""
    return content + hashlib.sha256(content).digest()


def unsealed(content: bytes) -> bytes:
    """Return the content of a sealed shard. Raises Damaged where it has changed."""
    if len(content) <= DIGEST:
        raise Damaged("it is empty" if not content else "it is cut off")
    if hashlib.sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
        raise Damaged("its checksum differs")
    return content[:-DIGEST]


def parquet_bytes(table: pa.Table) -> bytes:
    """Return the content of a sealed Parquet file."""
    sink = pa.BufferOutputStream()
    parquet.write_table(table.replace_schema_metadata({b"seal": MARK + BLANK}), sink)
    content: bytes = sink.getvalue().to_pybytes()
    before, _, after = content.rpartition(MARK + BLANK)
    return before + MARK + hashlib.sha256(content).hexdigest().encode() + after


def read_parquet(path: Path) -> pa.Table:
    """Return the table of a Parquet file; one without a seal, as others write it, is read as it is.

    Raises Damaged for a file that has changed, or that is none.
    """
    if not path.is_file():
        raise Damaged("it is no file")
    content = path.read_bytes()
    before, found, after = content.rpartition(MARK)
    if found:
        blank = before + MARK + BLANK + after[len(BLANK) :]
        if hashlib.sha256(blank).hexdigest().encode() != after[: len(BLANK)]:
            raise Damaged("its checksum differs")
    try:
        about = parquet.read_metadata(pa.BufferReader(content))
        if about.num_rows * about.num_columns > MOST_CELLS:
            raise Damaged(f"it claims {about.num_rows:,} rows of {about.num_columns:,} columns")
        return parquet.read_table(pa.BufferReader(content)).replace_schema_metadata()
    except (pa.ArrowException, OSError, MemoryError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise Damaged(f"it can't be read: {first[:100]}" if content else "it is empty") from error
