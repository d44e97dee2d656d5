"""Facts about a run's origin: tags of the machine, the software and the source."""

from __future__ import annotations

import os
import platform
import re
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import numpy as np

import weightinit

ROOT = Path(weightinit.__file__).parents[1]


def facts() -> dict[str, str]:
    """Return tags by name: host, process, processor, versions, and the state of the source in git."""
    tags = {
        "host": socket.gethostname(),
        "pid": str(os.getpid()),
        "platform": platform.platform(),
        "cpu": _processor(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "weightinit": weightinit.__version__,
    }
    return tags | _source(ROOT)


def _processor() -> str:
    with suppress(OSError):
        if found := re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return found[1]
    return platform.processor() or platform.machine()


def _source(root: Path) -> dict[str, str]:
    """Commit, branch and whether files differ; empty where ``root`` is no working tree of git.

    An installed lab may lie below another project's working tree, whose commit is unrelated.
    """
    if not (root / ".git").exists():
        return {}
    command = ["git", "-C", str(root), "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return {}
    names = {"branch.oid": "commit", "branch.head": "branch"}
    head = [line[2:].split(" ", 1) for line in lines if line.startswith("# ")]
    tags = {f"mlflow.source.git.{names[key]}": value for key, value in head if key in names}
    return tags | {"mlflow.source.git.dirty": str(any(not line.startswith("# ") for line in lines)).lower()}
