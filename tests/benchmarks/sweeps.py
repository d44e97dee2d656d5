"""Whole commands, as a person types them: what a run costs around its training, and how long sweeps take."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.benchmarks.timing import MISSING, WORKERS, Row, percent

ROOT = Path(__file__).parents[2]
RUNNER, BY_HAND = "runner", "tests.benchmarks.by_hand"

FEW, MANY = 20, 220
LIGHT = ("training.steps=0", "architecture.widths=[8]", "training.probe.size=2", "tracking=none")

SCHEMES = "scheme=xavier,he"
BY_HAND_SWEEP = ("epochs=20", "depth=3", "width=128", "batch_size=64")
SWEEP = (
    "training.epochs=20",
    "architecture.depth=3",
    "architecture.width=128",
    "training.batch_size=64",
    "training.measure_every=21",  # statistics by layer at each epoch, as by hand
)
# Runs of a sweep, and how many times faster than by hand it is to be.
SWEEPS = {60: 4.5, 200: 5.0}
# As many of them are done by hand; the rest is reckoned.
BY_HAND_FEW, BY_HAND_MANY = 2, 22

THOUSAND = ("training.steps=100", "architecture.depth=2", "architecture.width=32")


LARGE = (1_000, 3_000, 10_000)
TINY = ("training.steps=20", "architecture.depth=2", "architecture.width=8")


@dataclass(frozen=True)
class Command:
    """A process that has ended: wall and processor time in seconds, and the most memory it had, in bytes."""

    seconds: float
    busy: float
    memory: int


def command(module: str, *overrides: str, multirun: bool = True) -> Command:
    """``python -m module overrides [-m]`` in a folder of its own; raises RuntimeError where it fails."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", module, *overrides, *["-m"] * multirun],
            cwd=folder,
            env=environment,
            stdout=said,
            stderr=said,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{module} {' '.join(overrides)} failed:\n{said.read().decode()[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Command(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def seeds(runs: int) -> str:
    return f"seed=range(0,{runs})"


def launcher_rows() -> Iterator[Row]:
    """What a run costs around its training: the difference between sweeps of many runs and of few, that don't train."""

    def a_run(few: int, many: int, *overrides: str) -> float:
        less, more = (command(RUNNER, *LIGHT, *overrides, seeds(runs)).seconds for runs in (few, many))
        return (more - less) / (many - few)

    ours = min(a_run(FEW, MANY) for _ in range(2))
    yield Row("a run that trains no step, all but MLflow", f"{1e3 * ours:.1f} ms", "at most 25")
    basic = a_run(5, 35, "hydra/launcher=basic", "hydra/sweeper=basic")
    yield Row("the same with Hydra's own launcher and sweeper", f"{1e3 * basic:.1f} ms")


def sweep_rows() -> Iterator[Row]:
    """Sweeps from end to end, against the same ones written by hand."""
    compared = all(find_spec(name) is not None for name in ("torch", "mlflow"))
    before = _by_hand() if compared else []
    ours = {runs: command(RUNNER, SCHEMES, seeds(runs // 2), *SWEEP) for runs in SWEEPS}
    after = _by_hand() if compared else []
    for runs, aim in SWEEPS.items():
        done = ours[runs]
        yield Row(f"{runs} runs, 64-3x128-10, 20 epochs, recorded", f"{done.seconds:.1f} s")
        yield Row("of the cores' time it used", percent(done.busy / done.seconds / WORKERS))
        if compared:
            few, many = (statistics.mean(pair) for pair in zip(before, after, strict=True))
            a_run = (many - few) / (BY_HAND_MANY - BY_HAND_FEW)
            theirs = few + a_run * (runs - BY_HAND_FEW)
            yield Row(f"by hand, reckoned from twice {BY_HAND_MANY} runs ({a_run:.2f} s each)", f"{theirs:.0f} s")
        faster = f"{theirs / done.seconds:.1f} times" if compared else MISSING
        yield Row("faster than by hand (PyTorch, Hydra, MLflow)", faster, f"at least {aim:g}")


def _by_hand() -> list[float]:
    """Seconds of few runs by hand, and of many."""
    return [command(BY_HAND, SCHEMES, seeds(runs // 2), *BY_HAND_SWEEP).seconds for runs in (BY_HAND_FEW, BY_HAND_MANY)]


def thousand_rows() -> Iterator[Row]:
    """A thousand runs of a small network."""
    done = command(RUNNER, SCHEMES, seeds(500), *THOUSAND)
    yield Row("1,000 runs, 64-2x32-10, 100 steps, recorded", f"{done.seconds:.0f} s", "at most 120")
    yield Row("core time a run, tracking and page included", f"{done.busy:.1f} ms", "at most 12")
    yield Row("most memory", f"{done.memory / 1e9:.2f} GB", "at most 2")


def large_rows() -> Iterator[Row]:
    """Sweeps that grow: what a run costs must stay the same."""
    for runs in LARGE:
        with tempfile.TemporaryDirectory() as folder:
            outputs = f"outputs={folder}"
            done = command(RUNNER, outputs, SCHEMES, seeds(runs // 2), *TINY)
            shown = command(RUNNER, outputs, "mode=compare", "sweep=latest", multirun=False)
            (page,) = Path(folder).glob("sweeps/*/report.html")
            size = page.stat().st_size
        yield Row(f"{runs:,} runs, 64-2x8-10, 20 steps: core time a run", f"{1e3 * done.busy / runs:.0f} ms")
        yield Row("most memory", f"{done.memory / 1e9:.2f} GB", "at most 2")
        yield Row("mode=compare, its page included", f"{shown.busy:.1f} core s", "at most 15")
        yield Row("page", f"{size / 1e6:.1f} MB", "at most 10")


def single_rows() -> Iterator[Row]:
    """One run of the default network with MLflow and figures, whose references are made too."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = f"outputs={folder}"
        first = command(RUNNER, outputs, multirun=False)
        shutil.rmtree(Path(folder) / "references")
        second = command(RUNNER, outputs, "seed=1", multirun=False)
    yield Row("one run with MLflow, figures and references", f"{second.busy:.1f} core s", "at most 2.8")
    yield Row("the first, which makes MLflow's database", f"{first.busy:.1f} core s")
