"""Timing on a machine that is not quiet: contestants take turns, and what is reported is the median over the turns."""

from __future__ import annotations

import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from runner.execution.resources import cores
from runner.training.blas import single_blas_thread

WORKERS = cores()
MISSING = "not installed"


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, the number in words, and the aim where there is one."""

    what: str
    value: str
    aim: str = ""


def turns(contestants: Mapping[str, Callable[[], float]], count: int) -> dict[str, list[float]]:
    """What each contestant returned in each of ``count`` turns, after one that doesn't count."""
    results: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(count + 1):
        for name, measure in contestants.items():
            value = measure()
            if turn:
                results[name].append(value)
    return results


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median over the turns of one contestant's number over another's."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def percent(share: float) -> str:
    """``0.553`` as ``55%``."""
    return f"{100 * share:.0f}%"


def sgemm_peak(seconds: float = 0.15, size: int = 512) -> float:
    """Floating-point operations per second of float32 matrix products of this size, one thread a core, together."""
    rates = [0.0] * WORKERS
    start = threading.Barrier(WORKERS)

    def work(worker: int) -> None:
        a = np.random.default_rng(worker).random((size, size), np.float32)
        product = a @ a
        start.wait()
        begun, count = time.perf_counter(), 0
        while (passed := time.perf_counter() - begun) < seconds:
            np.matmul(a, a, out=product)
            count += 1
        rates[worker] = 2 * size**3 * count / passed

    with single_blas_thread():
        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sum(rates)


@contextmanager
def load_of_others() -> Iterator[list[float]]:
    """A list that at the end holds the share of the machine that other processes took inside; empty if unknown."""
    found: list[float] = []
    before = _busy()
    yield found
    if before is not None and (after := _busy()) is not None:
        found.append((after[0] - before[0]) / (after[1] - before[1]))


def _busy() -> tuple[float, float] | None:
    """Seconds that others have been at work on all cores, and seconds that there were; since the machine started."""
    try:
        line = Path("/proc/stat").read_text().partition("\n")[0]
    except OSError:
        return None
    user, nice, system, idle, wait, *interrupts = (int(text) / os.sysconf("SC_CLK_TCK") for text in line.split()[1:9])
    own = os.times()
    mine = own.user + own.system + own.children_user + own.children_system
    busy = user + nice + system + sum(interrupts)
    return busy - mine, busy + idle + wait


def machine() -> str:
    """Processor, cores, versions, and which kernels BLAS runs."""
    blas = next((info for info in threadpool_info() if info["user_api"] == "blas" and "numpy" in info["filepath"]), {})
    forced = [f"OPENBLAS_CORETYPE={os.environ['OPENBLAS_CORETYPE']}"] if os.environ.get("OPENBLAS_CORETYPE") else []
    facts = [
        f"{_processor()}, {WORKERS} cores",
        f"Python {platform.python_version()}, NumPy {np.__version__}",
        f"{blas.get('internal_api', 'BLAS')} {blas.get('version', '')} ({blas.get('architecture', 'unknown')} kernels)",
        *forced,
        *(f"{name} {_version(name)}" for name in ("torch", "jax", "hydra-core", "mlflow")),
    ]
    return "\n".join(facts)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return MISSING
