"""A PostgreSQL server of the tests' own, where its programs are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

# Debian keeps the programs out of the path.
_PLACES = [os.environ.get("PATH", ""), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))]
INITDB, PG_CTL = (shutil.which(name, path=os.pathsep.join(_PLACES)) for name in ("initdb", "pg_ctl"))


@contextmanager
def postgresql() -> Iterator[str]:
    """Start a server; give the address of its databases with ``{}`` for a name, of which ``postgres`` is there."""
    assert INITDB is not None
    assert PG_CTL is not None
    # The path of a socket has at most 107 characters, and only the server's user may own its folder.
    folder = Path(tempfile.mkdtemp(prefix="lab-"))
    call = partial(subprocess.run, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"})
    if os.geteuid() == 0:  # which PostgreSQL refuses
        shutil.chown(folder, "nobody")
        call = partial(call, user="nobody", extra_groups=[], cwd=folder)
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    try:
        call([INITDB, "-D", folder / "data", "-A", "trust", "-U", "lab", "-E", "UTF8", "--no-sync"])
        call([PG_CTL, "-D", folder / "data", "-l", folder / "log", "-o", options, "-w", "start"])
        try:
            yield f"postgresql://lab@/{{}}?host={folder}"
        finally:
            call([PG_CTL, "-D", folder / "data", "-m", "immediate", "-w", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
