"""Training loop of a stack.

All runs of a stack take a step together. The numbers of a run do not depend on the other runs of its stack.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np

from runner.config.trial import Trial
from runner.records import Outcome, Rows
from runner.torch.network import ModuleNetwork
from runner.training import numpy_engine
from runner.training.engine import Engine, Labelled
from runner.training.evaluation import evaluate
from runner.training.measurement import Log
from runner.training.samples import epoch_orders, part_arrays
from runner.training.stacks import rows_for
from runner.training.summary import summary
from weightinit.arrays import Array

Progress = Callable[[int], None]


def train(trials: Sequence[Trial], *, progress: Progress = lambda steps: None, threads: int = 1) -> list[Outcome]:
    """Return the outcome of each trial, in order. The trials must share a signature.

    ``progress`` receives the number of steps, summed over runs, since its last call. A run whose loss is not finite has
    diverged, which is a result, and leaves the stack. A run whose scheme raises has failed. A stack of a large network
    may use ``threads``, which change no bit.
    """
    start = time.time()
    work = _work(trials[0])
    with work.at_work():
        engine, alive, failures = work.begin(trials, threads)
        outcomes: dict[int, Outcome] = {
            index: Outcome(trials[index].key, "failed", Rows.of(()), {}, start, time.time(), error=_describe(error))
            for index, error in failures.items()
        }
        if engine is not None:
            results = _Run([trials[index] for index in alive], engine, progress).outcomes(start)
            outcomes |= dict(zip(alive, results, strict=True))
    return [outcomes[index] for index in range(len(trials))]


class _Work(Protocol):
    """The module of an engine."""

    def at_work(self) -> AbstractContextManager[None]:
        """Return the context in which the engine works."""

    def begin(self, trials: Sequence[Trial], threads: int) -> tuple[Engine | None, list[int], dict[int, Exception]]:
        """Return the engine of the runs that have an initial state, their indices, and errors of the others."""


def _work(trial: Trial) -> _Work:
    if isinstance(trial.network, ModuleNetwork):
        from runner.training import torch_engine  # with PyTorch, which nothing else needs

        return torch_engine
    return numpy_engine


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class _Run:
    """Training of a stack from its first step to its last."""

    def __init__(self, trials: Sequence[Trial], engine: Engine, progress: Progress) -> None:
        self.trials, self.engine, self.progress = trials, engine, progress
        self.plan, self.dataset = trials[0].plan, trials[0].dataset
        self.log = Log(len(trials))
        self.alive = np.arange(len(trials))
        self.losses = np.full((self.plan.steps, len(trials)), np.nan)
        self.diverged: dict[int, int] = {}
        self.saved: list[dict[str, Array]] = [{} for _ in trials]
        self.final: list[dict[str, float]] = [{} for _ in trials]
        self.labels: list[Labelled] = []
        # Runs of one seed see the samples in one order, which takes as long to draw as some steps of a small network.
        self.orders = {trial.plan.seed: epoch_orders(trial.plan, len(self.dataset.x_train)) for trial in trials}

    def outcomes(self, start: float) -> list[Outcome]:
        arrays, self.labels = self.engine.initial(self.log)
        self._keep("initial", arrays)
        self._evaluate(0)
        self._steps()
        if len(self.alive):
            self._keep("final", self.engine.final(self.log, self.plan.steps, self.alive))
            self._finish()
        end = time.time()
        self._log_losses()
        return [
            Outcome(
                key=trial.key,
                fate="diverged" if run in self.diverged else "finished",
                rows=rows,
                summary=summary(rows, self.losses[:, run], self.plan, trial.network)
                | self.labels[run][0]
                | self.final[run],
                start_time=start,
                end_time=end,
                diverged_at_step=self.diverged.get(run),
                arrays=self.saved[run],
                labels=self.labels[run][1],
                notes=(*trial.notes, *self.engine.notes[run]),
            )
            for run, (trial, rows) in enumerate(zip(self.trials, self.log.rows(), strict=True))
        ]

    def _steps(self) -> None:
        plan, engine = self.plan, self.engine
        batch, per_epoch = plan.batch_size, len(self.dataset.x_train) // plan.batch_size
        for step in range(plan.steps):
            position = step % per_epoch
            if position == 0:
                order = self._order()
            losses = engine.gradients(step, order[:, position * batch : (position + 1) * batch])
            self.losses[step, self.alive] = losses
            finite = np.isfinite(losses)
            if not finite.all():
                self.diverged |= {int(run): step for run in self.alive[~finite]}
                order, self.alive = order[finite], self.alive[finite]
                if not finite.any():
                    break
                engine.leave(np.flatnonzero(finite))
            if step % plan.measure_every == 0:
                for quantity, layer, values in engine.measured_update(step):
                    self.log.add(step, quantity, layer, values, self.alive)
            else:
                engine.update(step)
            if (step + 1) % plan.evaluate_every == 0 or step + 1 == plan.steps:
                self._evaluate(step + 1)
            self.progress(len(self.alive))  # at each step, because it may stop the stack

    def _order(self) -> Array:
        """Return the order of the samples in the next epoch of each run alive (runs, samples)."""
        seeds = [self.trials[int(run)].plan.seed for run in self.alive]
        drawn = {seed: next(self.orders[seed]) for seed in dict.fromkeys(seeds)}
        return np.stack([drawn[seed] for seed in seeds])

    def _keep(self, state: str, arrays: Sequence[dict[str, Array]]) -> None:
        """Keep the arrays of each run alive, and on request its weights, of the ``initial`` or the ``final`` state."""
        prefix = "final_" if state == "final" else ""
        weights = self.engine.weights() if self.plan.save in ("both", state) else {}
        for position, run in enumerate(self.alive):
            self.saved[run] |= {f"{prefix}{key}": kept for key, kept in arrays[position].items()}
            self.saved[run] |= {f"{state}/{key}": values[position].copy() for key, values in weights.items()}

    def _evaluate(self, step: int) -> None:
        if len(self.alive):
            loss, score = self._score("validation")
            self.log.add(step, "validation_loss", "", loss, self.alive)
            self.log.add(step, f"validation_{self._score_name}", "", score, self.alive)

    def _finish(self) -> None:
        dataset = self.dataset
        plain = dataset.task == "classification" and dataset.y_test.ndim == 1
        for part in ("train", "validation", "test"):
            further: dict[str, Array] = {}
            loss, score = self._score(part, further if plain and part != "train" else None)
            for position, run in enumerate(self.alive):
                found = {"loss": loss, self._score_name: score, **further}
                self.final[run] |= {
                    f"{part}_{number}": float(values[position])
                    for number, values in found.items()
                    if number in ("loss", self._score_name) or np.isfinite(values[position])
                }
        if plain:
            usual = np.bincount(dataset.y_train).argmax()
            for run in self.alive:
                self.final[run]["test_majority"] = float((dataset.y_test == usual).mean())

    def _score(self, part: str, further: dict[str, Array] | None = None) -> tuple[Array, Array]:
        """Return loss and score (runs,) of the runs alive on a part; ``further`` gets other scores by name."""
        first = self.trials[0]
        x, y = part_arrays(self.dataset, part, first.network.dtype.name)
        size = min(self.plan.evaluation_batch_size, len(x))
        rows = rows_for(len(self.trials), self.plan.batch_size, size)
        regression = self.dataset.task == "regression"
        outputs = self.engine.outputs()
        return evaluate(outputs, len(self.alive), x, y, first.loss, size, rows, regression, further=further)

    @property
    def _score_name(self) -> str:
        return "r2" if self.dataset.task == "regression" else "accuracy"

    def _log_losses(self) -> None:
        everyone = np.arange(len(self.trials))
        for step, losses in enumerate(self.losses):
            self.log.add(step, "train_loss", "", losses, everyone)
