"""Session directory: its file names the owning process and its heartbeat.

The file tells a dead owner from a working one, so the same command can continue where a dead one stopped.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import weightinit
from runner.records import Session
from runner.tracking import files
from runner.tracking.files import locked, replaced

FILE = "session.json"
# Seconds between heartbeats, and the age at which the heartbeat of another machine's process means its death.
BEAT = 10.0
STALE = 60.0

# POSIX checks for a process by signal 0; on Windows that number is Ctrl-C.
_ASKABLE = os.name == "posix"

State = dict[str, Any]


class Hold:
    """Ownership of a session's directory by this process. ``id``: the same for all owners."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.state: State = {}
        self._stop = threading.Event()
        self._beat = threading.Thread(target=self._beats, name="heartbeat", daemon=True)

    @property
    def id(self) -> str:
        """Identity of the directory, wherever it is moved to."""
        return str(self.state["id"])

    def take(self) -> bool:
        """Take the directory; return True if it had an owner before. Raises ValueError if the owner still works."""
        directory, session = self.session.directory, self.session
        with locked(directory / ".lock"):
            earlier = read(directory)
            if earlier is not None and (holder := at_work(earlier)) is not None:
                raise ValueError(
                    f"resume=true needs a command that has ended; the one in {directory} is still at work ({holder}). "
                    "Wait for it, or end it and try again."
                )
            for left in directory.glob("**/.*.tmp"):  # of processes that were killed while they wrote
                left.unlink(missing_ok=True)
            self.state = {
                "id": (earlier and earlier["id"]) or uuid.uuid4().hex,
                "sweep_id": session.sweep_id,
                "name": session.name,
                "overrides": list(session.overrides),
                "multirun": session.multirun,
                "searched": list(session.searched),
                "fixed": list(session.fixed),
                "total": session.total,
                "started": earlier["started"] if earlier else time.time(),
                "complete": None,
                "versions": {
                    "weightinit": weightinit.__version__,
                    "python": platform.python_version(),
                    "numpy": np.__version__,
                },
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "born": born(os.getpid()),
            }
            self._write()
        self._beat.start()
        return earlier is not None

    def drop(self, complete: str | None) -> None:
        """Release the directory, if taken. ``complete``: the places that have the whole session, or None."""
        if self.state:
            self._stop.set()
            self._beat.join()
            self.state |= {"complete": complete, "pid": None}
            self._write()

    def _beats(self) -> None:
        while not self._stop.wait(BEAT):
            with suppress(OSError):
                self._write()

    def _write(self) -> None:
        text = json.dumps(self.state | {"heartbeat": time.time()}, indent=1)
        replaced(self.session.directory / FILE, lambda file: file.write(text.encode()), private=True)


def read(directory: Path) -> State | None:
    """Return the state of the session in ``directory``; None where there has been none, or its file is damaged.

    What the file lacks, or holds as something else than it should, is as in a session of unknown origin.
    """
    path = directory / FILE
    try:
        found = json.loads(path.read_text()) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    state = unknown(directory)
    for name, value in found.items():
        kinds = _KINDS.get(name)
        if kinds is None or (isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds)):
            state[name] = value
    return state


def unknown(directory: Path) -> State:
    """Return the state of a session of which nothing is known but its directory."""
    owner = {"host": "", "pid": None, "born": None, "heartbeat": 0.0}
    names = {"id": "", "sweep_id": directory.name, "name": directory.name, "overrides": [], "multirun": True}
    names |= {"searched": [], "fixed": [], "total": math.inf}
    return {**names, "started": _started(directory), "complete": None, "versions": {}, **owner}


def _started(directory: Path) -> float:
    try:
        return directory.stat().st_mtime
    except OSError:
        return 0.0


# Types of what a session's file holds.
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "sweep_id", "name", "host"), (str,)),
    **dict.fromkeys(("complete", "born"), (str, type(None))),
    **dict.fromkeys(("started", "heartbeat", "total"), (int, float)),
    **dict.fromkeys(("overrides", "searched", "fixed"), (list,)),
    "multirun": (bool,),
    "versions": (dict,),
    "pid": (int, type(None)),
}


def latest(root: Path, sweep_id: str, *, multirun: bool) -> Path | None:
    """Return the directory below ``root`` of the last command with that ``sweep_id``, or None."""
    found = []
    for path in root.glob(f"*/{FILE}"):
        state = read(path.parent)
        if state is not None and (state["sweep_id"], state["multirun"]) == (sweep_id, multirun):
            found.append((state["started"], path.parent))
    return max(found, default=(0.0, None))[1]


def discard(directory: Path, parents: Sequence[Path]) -> None:
    """Remove a session's directory without a recorded run, and those of its ``parents`` that are empty, nearest first.

    A directory that another process owns stays.
    """
    state = read(directory)
    if files.recorded(directory) or (state is not None and at_work(state) is not None):
        return
    shutil.rmtree(directory, ignore_errors=True)
    with suppress(OSError):
        for folder in parents:
            folder.rmdir()


def sweep_up(root: Path, *, keep: Path | None, made_here: bool) -> None:
    """Remove the directories below ``root``, all but ``keep``, of commands that were killed before their first run.

    Each holds nothing but what a command writes before it trains, and the session of a dead process. Without a session,
    ``made_here`` says that only commands make directories there, and the directory must be old.
    """
    for path in root.glob("*"):
        if path == keep or not path.is_dir():
            continue
        names = {entry.name for entry in path.iterdir() if not entry.name.endswith(".tmp")}
        if names <= _BEFORE_TRAINING:
            state = read(path)
            dead = at_work(state) is None if state else made_here and time.time() - _started(path) > STALE
            if dead:
                shutil.rmtree(path, ignore_errors=True)


# Names that a command makes in its directory before its first run.
_BEFORE_TRAINING = {FILE, ".lock", ".hydra", "multirun.yaml", "runner.log", "study.json"}


def at_work(state: State) -> str | None:
    """Return the process that owns a directory, in words; None where it has ended or died.

    A process of this machine is looked up where the system allows it. Any other must have a recent heartbeat.
    """
    pid, host = state["pid"], state["host"]
    if pid is None:
        return None
    if host == socket.gethostname() and _ASKABLE:
        return f"process {pid}" if born(pid) == state["born"] else None
    return f"process {pid} on {host}" if time.time() - state["heartbeat"] < STALE else None


def born(pid: int) -> str | None:
    """Return the start time of a living process, empty where the system does not tell; None for an ended one.

    It tells apart processes that get the same number.
    """
    if not _ASKABLE:
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # alive, of another user
    try:
        status, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return ""
    return None if status in "ZX" else fields[18]
