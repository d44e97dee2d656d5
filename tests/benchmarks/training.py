"""Training steps: our stacks against the machine's peak, against other frameworks, and against themselves."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from itertools import pairwise
from statistics import median

from runner.config.composition import Composer
from runner.config.trial import Trial
from runner.training import stacks, worker
from runner.training.loop import train
from tests.benchmarks.rivals import jax_stack, torch_eager
from tests.benchmarks.timing import MISSING, WORKERS, Row, percent, ratio, sgemm_peak, turns

TURNS = 5
# Of the default run, 420 steps, every tenth of which is measured.
MEASURE_EVERY = 42
WINDOW = 2 * MEASURE_EVERY
# First steps of a stack, which find its memory cold.
SKIPPED = 3


@dataclass(frozen=True)
class Setting:
    """A network and how many runs of it are trained, with what is aimed at."""

    data: str
    widths: tuple[int, ...]
    batch: int
    runs: int
    microseconds: float | None = None
    peak: float | None = None
    torch: float | None = None

    @property
    def overrides(self) -> list[str]:
        widths = ",".join(map(str, self.widths))
        return [
            "tracking=none",
            f"data={self.data}",
            f"architecture.widths=[{widths}]",
            f"training.batch_size={self.batch}",
        ]

    @property
    def sizes(self) -> list[int]:
        """Units from the inputs to the outputs; both data sets have ten classes."""
        return [{"digits": 64, "mnist_5k": 784}[self.data], *self.widths, 10]

    @property
    def name(self) -> str:
        """Hidden layers and their width: ``3x128``."""
        return f"{len(self.widths)}x{self.widths[0]}"

    @property
    def window(self) -> int:
        """Number of steps that take a second or less."""
        return max(10, min(WINDOW, int(2e10 / (self.operations * self.runs))))

    @property
    def operations(self) -> int:
        """Floating-point operations in the matrix products of a training step of one run."""
        first, *rest = (fan_in * fan_out for fan_in, fan_out in pairwise(self.sizes))
        return 2 * self.batch * (2 * first + 3 * sum(rest))


SMALL = Setting("digits", (32, 32), 32, 128, microseconds=15, torch=15)
DEEP = Setting("digits", (100,) * 10, 64, 32, peak=0.55)
WIDE = Setting("mnist_5k", (256, 256), 128, 32, peak=0.65, torch=2)
# From the smallest network to the largest, beside JAX.
BESIDE_JAX = (
    Setting("digits", (32, 32), 64, 64),
    Setting("digits", (128, 128, 128), 64, 32),
    Setting("digits", (512, 512, 512), 64, 8),
    Setting("digits", (1024, 1024, 1024), 64, 4),
)


def jax_rows() -> Iterator[Row]:
    """Training steps alone beside JAX's program of all steps and runs, at each size, both on one core."""
    for setting in BESIDE_JAX:
        what = f"{setting.name}, {setting.runs} runs: of JAX's CPU time, jit(vmap(scan)), it takes"
        found = MISSING
        if find_spec("jax") is not None:
            # JAX has as many threads as the process has cores when it is imported.
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _on_one_core) as alone:
                found = f"{alone.submit(_beside_jax, setting).result():.2f} times"
        yield Row(what, found, "at most 1.1")


def _on_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _beside_jax(setting: Setting) -> float:
    """Ratio of CPU times of training steps, ours to JAX's."""
    steps = setting.window
    rival = jax_stack(setting.sizes, setting.batch, setting.runs, steps, time.process_time)
    assert rival is not None
    trials = _bare(setting, steps)
    planned = [[trials[index] for index in indices] for indices in stacks.plan(trials)]

    def ours() -> float:
        return sum(_bare_seconds(stack, time.process_time) * len(stack) for stack in planned) / setting.runs

    times = turns({"ours": ours, "jax": rival}, TURNS)
    return ratio(times["ours"], times["jax"])


def few_rows() -> Iterator[Row]:
    """A single run of a large network, on all cores."""
    for setting in (Setting("digits", (width,) * 3, 64, 1) for width in (512, 1024)):
        trials = _bare(setting, setting.window)
        contestants = {
            name: partial(_bare_seconds, trials, time.perf_counter, threads)
            for name, threads in (("one", 1), ("all", WORKERS))
        }
        times = turns(contestants, TURNS)
        what = f"{setting.name}, one run: {WORKERS} cores are faster than one by"
        yield Row(what, f"{ratio(times['one'], times['all']):.2f}")


def _bare(setting: Setting, steps: int) -> list[Trial]:
    """Runs of so many steps and ``SKIPPED`` ones, without statistics or evaluation between them."""
    options = [f"training.steps={SKIPPED + steps + 1}", "training.measure_every=1000000"]
    options.append("training.evaluate_every=1000000")
    return Composer().trials([[*setting.overrides, *options, f"seed={seed}"] for seed in range(setting.runs)])


def _bare_seconds(trials: Sequence[Trial], clock: Callable[[], float], threads: int = 1) -> float:
    """Seconds per step per run of a stack, without the first steps and the last, after which it is evaluated."""
    times: list[float] = []
    train(trials, progress=lambda steps: times.append(clock()), threads=threads)
    return (times[-2] - times[SKIPPED - 1]) / (len(times) - SKIPPED - 1) / len(trials)


def rows(setting: Setting) -> Iterator[Row]:
    """The rows of one network."""
    runs = setting.runs
    torch_steps, jax_steps = max(5, 100 // len(setting.sizes)), 20
    found = {
        "peak": sgemm_peak,
        "ours": steps_of_stacks(setting),
        "bare": steps_of_stacks(setting, "training.measure_every=1000000"),
        "adam": steps_of_stacks(setting, "optimizer=adam"),
        "alone": steps_of_stacks(setting, workers=1),
        "torch": torch_eager(setting.sizes, setting.batch, WORKERS, torch_steps),
        "torch, one thread": torch_eager(setting.sizes, setting.batch, 1, torch_steps),
        "jax": jax_stack(setting.sizes, setting.batch, runs, jax_steps),
    }
    times = turns({name: measure for name, measure in found.items() if measure is not None}, TURNS)
    ours = times["ours"]
    share = median(setting.operations / seconds / peak for seconds, peak in zip(ours, times["peak"], strict=True))
    aim = f"at most {setting.microseconds:g}" if setting.microseconds else ""
    yield Row("a step of a run, statistics included", f"{1e6 * median(ours):.1f} µs", aim)
    aim = f"at least {percent(setting.peak)}" if setting.peak else ""
    yield Row(f"share of the sgemm peak ({median(times['peak']) / 1e9:.0f} GFLOP/s)", percent(share), aim)
    yield Row(f"{WORKERS} workers are faster than one by", f"{ratio(times['alone'], ours):.2f}")
    yield Row("statistics at the default density add", percent(ratio(ours, times["bare"]) - 1))
    yield Row(
        "Adam takes, of SGD's time", f"{ratio(times['adam'], ours):.2f}", "at most 1.6" if setting is WIDE else ""
    )
    for name, what in (
        ("torch", f"faster than PyTorch, eager, run by run, {WORKERS} threads"),
        ("torch, one thread", "faster than PyTorch, eager, run by run, one thread"),
        ("jax", "faster than JAX, jit(vmap(scan)), all runs at once"),
    ):
        aim = f"at least {setting.torch:g}" if setting.torch and name != "jax" else ""
        yield Row(what, f"{ratio(times[name], ours):.1f} times" if name in times else MISSING, aim)


def steps_of_stacks(setting: Setting, *overrides: str, workers: int = WORKERS) -> Callable[[], float]:
    """Seconds per step per run while every worker has a stack to train."""
    composer = Composer()
    (first,) = composer.trials([setting.overrides])
    epoch = first.plan.evaluate_every
    steps = [f"training.steps={epoch + WINDOW}", f"training.measure_every={MEASURE_EVERY}"]
    trials = composer.trials([[*setting.overrides, *steps, *overrides, f"seed={i}"] for i in range(setting.runs)])
    planned = [[trials[index] for index in indices] for indices in stacks.plan(trials, workers=workers)]
    return partial(_step_seconds, planned[: 2 * workers], workers, epoch)


def _step_seconds(stacks: Sequence[Sequence[Trial]], workers: int, epoch: int) -> float:
    """Seconds per step per run, from the first epoch's end to the last step: what the ends cost is not a step's."""
    seconds, steps = zip(*_processes(workers).map(partial(_timed, epoch=epoch), stacks), strict=True)
    return sum(seconds) / sum(steps) / workers


def _timed(trials: Sequence[Trial], epoch: int) -> tuple[float, int]:
    """Seconds of a stack's steps after its first epoch, and how many steps of a run those are."""
    times: list[float] = []
    train(trials, progress=lambda steps: times.append(time.perf_counter()))
    return times[-1] - times[epoch - 1], len(trials) * (len(times) - epoch)


@cache
def _processes(workers: int) -> ProcessPoolExecutor:
    """Workers as a long sweep has them."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), worker.follow)
