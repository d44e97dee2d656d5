"""Progress of a command: a bar on a terminal or in a notebook, a line at every tenth elsewhere."""

from __future__ import annotations

import sys
import time
from html import escape
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from runner.kernel import Shown, is_kernel
from runner.text import plain

# Lines on a stream that isn't a terminal come at least this many seconds apart, but for the last one.
PAUSE = 1.0


class Progress:
    """Runs finished, steps per second, time left and the best validation score, over all ``runs`` of a command.

    ``steps``: those of all runs together. A context manager; from one thread at a time.
    """

    def __init__(self, runs: int, steps: int, *, stream: TextIO | None = None) -> None:
        self.runs, self.steps = runs, steps
        self.stream = stream or sys.stderr
        self.start = self.said_at = time.monotonic()
        self.tenths = self.skipped = 0
        console = Console(file=self.stream)
        self.bar = Bar(BarColumn(), TextColumn("{task.description}"), console=console, transient=True)
        self.terminal = console.is_terminal
        self.notebook = Shown("") if stream is None and is_kernel() else None
        self.task = self.bar.add_task("", total=1.0)

    def skip(self, steps: int) -> None:
        """Takes one run, of so many steps, for done before this command began."""
        self.skipped += 1
        self.steps -= steps

    def __enter__(self) -> Progress:
        if self.terminal:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.terminal:
            self.bar.stop()
        if self.notebook is not None:
            self.notebook.update("")

    def update(self, runs_done: int, steps_done: int, best: float | None = None) -> None:
        """Shows that so many runs and steps are done in all, and the best validation score so far."""
        part = (runs_done - self.skipped) / max(self.runs - self.skipped, 1)
        part = max(part, steps_done / self.steps) if self.steps > 0 else part  # of a search, nobody knows its steps
        part = 1.0 if runs_done >= self.runs else min(part, 0.99)  # after its last step a run is measured and recorded
        now = time.monotonic()
        elapsed = max(now - self.start, 1e-9)
        words = [f"{runs_done:,}/{self.runs:,} runs", f"{steps_done / elapsed:,.0f} steps/s"]
        if 0 < part < 1:
            words.append(f"{_duration(elapsed * (1 - part) / part)} left")
        if best is not None:
            words.append(f"best validation {plain(f'{best:.3f}')}")
        text = " · ".join(words)
        if self.notebook is not None:
            self.notebook.update(f'<progress value="{part:.3f}"></progress> {escape(text)}')
        elif self.terminal:
            self.bar.update(self.task, completed=part, description=text)
        elif int(part * 10) > self.tenths and (now - self.said_at >= PAUSE or part == 1):
            self.tenths, self.said_at = int(part * 10), now
            self.stream.write(f"{part:4.0%}  {text}\n")  # at once, so that Ctrl-C does not come before the line's end
            self.stream.flush()


def _duration(seconds: float) -> str:
    """About how long: 40 s, 3 min, 1.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
