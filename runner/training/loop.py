"""Training loop of a stack.

All runs of a stack take a step together. The numbers of a run do not depend on the other runs of its stack.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from runner.config.trial import Trial
from runner.optimizers import Updater
from runner.records import Outcome, Rows
from runner.training import initial_state, judging
from runner.training.blas import single_blas_thread
from runner.training.evaluation import evaluate
from runner.training.initialization import initialize, scales
from runner.training.measurement import Log, layer_statistics, probe
from runner.training.prediction import predict
from runner.training.samples import epoch_orders, part_arrays, probe_samples
from runner.training.summary import summary
from weightinit.arrays import Array, stream
from weightinit.laws import Law
from weightinit.nn.layers import NOISE
from weightinit.schemes import Initialized

Progress = Callable[[int], None]


def train(trials: Sequence[Trial], *, progress: Progress = lambda steps: None) -> list[Outcome]:
    """Return the outcome of each trial, in order. The trials must share a signature.

    ``progress`` receives the number of steps, summed over runs, since its last call. A run whose loss is not finite has
    diverged, which is a result, and leaves the stack. A run whose scheme raises has failed.
    """
    start = time.time()
    initialized, alive, failures = initialize(trials)
    outcomes: dict[int, Outcome] = {
        index: Outcome(trials[index].key, "failed", Rows.of(()), {}, start, time.time(), error=_describe(error))
        for index, error in failures.items()
    }
    if initialized is not None:
        with single_blas_thread(), np.errstate(all="ignore"):
            results = _Run([trials[index] for index in alive], initialized, progress).outcomes(start)
        outcomes |= dict(zip(alive, results, strict=True))
    return [outcomes[index] for index in range(len(trials))]


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class _Run:
    """Training of a stack from its first step to its last."""

    def __init__(self, trials: Sequence[Trial], initialized: Initialized, progress: Progress) -> None:
        first = trials[0]
        self.trials, self.initialized, self.progress = trials, initialized, progress
        self.network, self.loss, self.plan = first.network, first.loss, first.plan
        self.x, self.y = part_arrays(first.dataset, "train", self.network.dtype.name)
        self.log = Log(len(trials))
        self.alive = np.arange(len(trials))
        self.flat = self.network.flatten(initialized.params)
        self.losses = np.full((self.plan.steps, len(trials)), np.nan)
        self.diverged: dict[int, int] = {}
        self.saved: list[dict[str, Array]] = [{} for _ in trials]
        self.final: list[dict[str, float]] = [{} for _ in trials]
        self.initial: list[tuple[dict[str, float], dict[str, str]]] = []
        self.orders = [epoch_orders(trial.plan, len(self.x)) for trial in trials]
        self.state = self.network.state(len(trials), initialized.constants)
        self.state[NOISE] = np.array([stream(trial.plan.seed, NOISE).integers(2**63) for trial in trials], np.uint64)
        self.tape = self.network.tape(len(trials), self.plan.batch_size)
        self.updater = Updater(
            [trial.optimizer for trial in trials],
            self.plan.steps,
            self.network.trained(self.flat),
            self.network.trained(self.tape.flat_gradient),
            self.network.kernel_parameters,
            scales(self.network, initialized),
        )

    def outcomes(self, start: float) -> list[Outcome]:
        self._measure_end("init", 0)
        self._evaluate(0)
        self._steps()
        if len(self.alive):
            self._measure_end("final", self.plan.steps)
            self._finish()
        end = time.time()
        self._log_losses()
        return [
            Outcome(
                key=trial.key,
                fate="diverged" if run in self.diverged else "finished",
                rows=rows,
                summary=summary(rows, self.losses[:, run], self.plan, self.network)
                | self.initial[run][0]
                | self.final[run],
                start_time=start,
                end_time=end,
                diverged_at_step=self.diverged.get(run),
                arrays=self.saved[run],
                labels=self.initial[run][1],
                notes=(*trial.notes, *self.initialized.notes[run]),
            )
            for run, (trial, rows) in enumerate(zip(self.trials, self.log.rows(), strict=True))
        ]

    def _steps(self) -> None:
        plan, network, loss = self.plan, self.network, self.loss
        batch, per_epoch = plan.batch_size, len(self.x) // plan.batch_size
        params, x, y = self._allocate()
        for step in range(plan.steps):
            position = step % per_epoch
            if position == 0:
                order = np.stack([next(self.orders[run]) for run in self.alive])
            chosen = order[:, position * batch : (position + 1) * batch]
            # mode="clip" saves a copy: with "raise", NumPy buffers the output.
            np.take(self.x, chosen, axis=0, out=x, mode="clip")
            np.take(self.y, chosen, axis=0, out=y, mode="clip")
            self.tape.step = step
            output = network.forward(params, self.state, x, self.tape)
            losses = loss(output, y, self.tape.d_output)
            self.losses[step, self.alive] = losses
            network.backward(params, self.tape.d_output, self.tape)
            finite = np.isfinite(losses)
            if not finite.all():
                self.diverged |= {int(run): step for run in self.alive[~finite]}
                if not finite.any():
                    self.alive = self.alive[:0]
                    break
                order = order[finite]
                self._leave(finite)
                params, x, y = self._allocate()
            if step % plan.measure_every == 0:
                self._measured_step(step)
            else:
                self.updater.step(step)
            if (step + 1) % plan.evaluate_every == 0 or step + 1 == plan.steps:
                self._evaluate(step + 1)
            self.progress(len(self.alive))  # at each step, because it may stop the stack

    def _allocate(self) -> tuple[Mapping[str, Array], Array, Array]:
        runs, batch, dtype = len(self.alive), self.plan.batch_size, self.network.dtype
        x, y = (np.empty((runs, batch, *part.shape[1:]), dtype) for part in (self.x, self.y))
        return self.network.views(self.flat), x, y

    def _leave(self, stay: Array) -> None:
        """Keep the runs of the mask ``stay`` over those alive, and copy their current step to a smaller tape."""
        old, keep = self.tape, np.flatnonzero(stay)
        self.alive, self.flat = self.alive[keep], self.flat[keep]
        self.state = {name: values[keep] for name, values in self.state.items()}
        self.tape = self.network.tape(len(keep), self.plan.batch_size)
        old.keep(self.tape, keep)
        self.updater.keep(keep, self.network.trained(self.flat), self.network.trained(self.tape.flat_gradient))

    def _measured_step(self, step: int) -> None:
        """Update once, and log statistics of the state before and of the update."""
        before, gradient = self.flat.copy(), self.tape.flat_gradient.copy()
        self.updater.step(step)
        self.tape.flat_gradient[...] = gradient  # the update works in the gradient's memory
        params, update = self.network.views(before), self.network.views(self.flat - before)
        for quantity, layer, values in layer_statistics(self.network, params, self.tape, ends=False, update=update):
            self.log.add(step, quantity, layer, values, self.alive)

    def _measure_end(self, prefix: str, step: int) -> None:
        first = self.trials[0]
        samples = probe_samples(first.dataset, self.plan.probe, self.plan.probe_source, self.network.dtype.name)
        initial = prefix == "init"
        laws: Mapping[str, Sequence[Law]] | None = self.initialized.laws if initial else None
        rows = self._rows_for(samples.x.shape[1])
        arrays, d_output = probe(
            self.log,
            prefix,
            step,
            self.network,
            self.flat,
            self.state,
            self.alive,
            samples,
            self.loss,
            rows=rows,
            laws=laws,
        )
        if initial:
            reasons = predict(self.log, self.network, self.initialized, samples, d_output)
            judged = judging.judge_stack(self.trials, self.network, self.flat, self.initialized, samples, self.loss)
            judging.record(self.log, judged)
            self.initial = initial_state.initial(self.log, self.network, self.initialized, judged, reasons)
        params = self.network.views(self.flat)
        kept_state = {name: values for name, values in self.state.items() if name != NOISE}
        save = self.plan.save in ("both", "initial" if initial else "final")
        for position, run in enumerate(self.alive):
            self.saved[run] |= {f"{'' if initial else 'final_'}{key}": kept for key, kept in arrays[position].items()}
            if save:
                kept = {
                    f"{'initial' if initial else 'final'}/{key}": w[position].copy()
                    for key, w in {**params, **kept_state}.items()
                }
                self.saved[run] |= kept

    def _rows_for(self, samples: int) -> int:
        """Number of runs whose ``samples`` samples take about the memory of a training step."""
        return max(1, len(self.trials) * self.plan.batch_size // samples)

    def _evaluate(self, step: int) -> None:
        if len(self.alive):
            loss, score, name = self._score("validation")
            self.log.add(step, "validation_loss", "", loss, self.alive)
            self.log.add(step, f"validation_{name}", "", score, self.alive)

    def _finish(self) -> None:
        dataset = self.trials[0].dataset
        plain = dataset.task == "classification" and dataset.y_test.ndim == 1
        for part in ("train", "validation", "test"):
            further: dict[str, Array] = {}
            loss, score, name = self._score(part, further if plain and part != "train" else None)
            for position, run in enumerate(self.alive):
                found = {"loss": loss, name: score, **further}
                self.final[run] |= {
                    f"{part}_{number}": float(values[position])
                    for number, values in found.items()
                    if number in ("loss", name) or np.isfinite(values[position])
                }
        if plain:
            usual = np.bincount(dataset.y_train).argmax()
            for run in self.alive:
                self.final[run]["test_majority"] = float((dataset.y_test == usual).mean())

    def _score(self, part: str, further: dict[str, Array] | None = None) -> tuple[Array, Array, str]:
        """Return loss and score of each run alive on a part, and the score's name; ``further`` gets other scores."""
        x, y = part_arrays(self.trials[0].dataset, part, self.network.dtype.name)
        regression = self.trials[0].dataset.task == "regression"
        size = min(self.plan.evaluation_batch_size, len(x))
        rows = self._rows_for(size)
        loss, score = evaluate(
            self.network, self.flat, self.state, x, y, self.loss, size, rows, regression, further=further
        )
        return loss, score, "r2" if regression else "accuracy"

    def _log_losses(self) -> None:
        everyone = np.arange(len(self.trials))
        for step, losses in enumerate(self.losses):
            self.log.add(step, "train_loss", "", losses, everyone)
