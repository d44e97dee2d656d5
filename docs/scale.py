"""Measure what each further run of a sweep costs, and print the table of docs/scale.md.

``python docs/scale.py 100 300 1000``: with so many runs.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SWEEP = ("architecture.depth=2", "architecture.width=32", "training.steps=100")
# Commands that do more and more; a part costs what its command takes beyond the one above.
PARTS = {
    "training, its files, the table": ("tracking=none", "tracking.figures=false"),
    "MLflow on SQLite": ("tracking.figures=false",),
    "page and figures": (),
}
FARTHEST = (10**5, 10**6)


def measured(runs: int, words: tuple[str, ...], outputs: str) -> dict[str, float]:
    """Return the core seconds of a sweep, the seconds it took, its largest process and what it has left behind."""
    start = time.monotonic()
    command = [sys.executable, "-m", "runner", *SWEEP, f"seed=range(0,{runs})", f"outputs={outputs}", *words, "-m"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    found = {
        "core seconds": usage.ru_utime + usage.ru_stime,
        "seconds": time.monotonic() - start,
        "memory": usage.ru_maxrss * 1024,
    }
    for path in Path(outputs).rglob("*"):
        if path.name in ("runs.parquet", "curves.parquet", "mlflow.db") or path.suffix == ".html":
            found[path.name] = path.stat().st_size
    if (store := Path(outputs, "mlflow.db")).exists():
        with sqlite3.connect(store) as database:
            found["rows of metrics"] = database.execute("SELECT count(*) FROM metrics").fetchone()[0]
    return found


def main(sizes: list[int]) -> None:
    """Print, for each part and file, what a run adds, and where the line leads."""
    costs: dict[str, list[float]] = {}
    for runs in sizes:
        before = 0.0
        for part, words in PARTS.items():
            with tempfile.TemporaryDirectory() as outputs:
                found = measured(runs, words, outputs)
            print(runs, part, found, file=sys.stderr)
            seconds = found.pop("core seconds")
            costs.setdefault(f"core seconds, {part}", []).append(seconds - before)
            before = seconds
        for name, value in found.items():
            costs.setdefault(name, []).append(value)
    print("|", " | ".join(["", *(f"{runs:,} runs" for runs in sizes), "each more", *(f"{n:,}" for n in FARTHEST)]), "|")
    print("|---" * (len(sizes) + len(FARTHEST) + 2) + "|")
    for name, values in costs.items():
        slope, start = np.polyfit(sizes, values, 1)
        row = [*values, slope, *(start + slope * runs for runs in FARTHEST)]
        print("|", " | ".join([name, *(f"{value:,.3g}" for value in row)]), "|")


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]])
