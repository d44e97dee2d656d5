"""Whose a command's directory is: a file in it names the process at work there and gives signs of its life.

So a directory whose process has died is told from one at work, and the same command can go on where it ended.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import weightinit
from runner.records import Session
from runner.tracking.files import locked, replaced

FILE = "session.json"
# Seconds between signs of life, and the age at which those of another machine's process mean its death.
BEAT = 10.0
STALE = 60.0

# Only POSIX looks for a process by a signal 0; on Windows that number is a Ctrl-C.
_ASKABLE = os.name == "posix"

State = dict[str, Any]


class Hold:
    """This process's hold on the directory of a session. ``id``: the same for all that ever held it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.state: State = {}
        self._stop = threading.Event()
        self._beat = threading.Thread(target=self._beats, name="signs of life", daemon=True)

    @property
    def id(self) -> str:
        """What tells this directory from all others, wherever it is moved to."""
        return str(self.state["id"])

    def take(self) -> bool:
        """Whether another process held the directory before; raises ValueError where one still does."""
        directory, session = self.session.directory, self.session
        with locked(directory / ".lock"):
            earlier = read(directory)
            if earlier is not None and (holder := at_work(earlier)) is not None:
                raise ValueError(
                    f"resume=true needs a command that has ended; the one in {directory} is still at work ({holder}). "
                    "Wait for it, or end it and try again."
                )
            self.state = {
                "id": earlier["id"] if earlier else uuid.uuid4().hex,
                "sweep_id": session.sweep_id,
                "name": session.name,
                "overrides": list(session.overrides),
                "multirun": session.multirun,
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
        """Lets go of the directory, if it was taken. ``complete``: where all of the session is recorded, if all is."""
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
        replaced(self.session.directory / FILE, lambda file: file.write(text.encode()))


def read(directory: Path) -> State | None:
    """What is known of the session in ``directory``; None where no session has ever been."""
    try:
        state: State = json.loads((directory / FILE).read_text())
    except (OSError, ValueError):
        return None
    return state


def latest(root: Path, sweep_id: str, *, multirun: bool) -> Path | None:
    """The directory right below ``root`` where a command of that ``sweep_id`` was started last."""
    found = []
    for path in root.glob(f"*/{FILE}"):
        state = read(path.parent)
        if state is not None and (state["sweep_id"], state["multirun"]) == (sweep_id, multirun):
            found.append((state["started"], path.parent))
    return max(found, default=(0.0, None))[1]


def at_work(state: State) -> str | None:
    """The process that holds a directory, in words; None where it has ended or died.

    A process of this machine is looked up, where the system lets one; of any other, the last sign of life must be
    young.
    """
    pid, host = state["pid"], state["host"]
    if pid is None:
        return None
    if host == socket.gethostname() and _ASKABLE:
        return f"process {pid}" if born(pid) == state["born"] else None
    return f"process {pid} on {host}" if time.time() - state["heartbeat"] < STALE else None


def born(pid: int) -> str | None:
    """When a living process began, empty where the system doesn't say; None for one that has ended.

    Numbers of processes are used again: two of the same number differ in this.
    """
    if not _ASKABLE:
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it lives, and is somebody else's
    try:
        status, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return ""
    return None if status in "ZX" else fields[18]
