"""Engine of a person's own modules: PyTorch trains them, as a stack where the module allows, else run by run.

Its numbers are those of the lab's definitions, up to rounding: bits may differ between stacks, devices and versions.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from runner.config.trial import Trial
from runner.torch.drawing import Drawn, drawn
from runner.torch.losses import LOSSES
from runner.torch.measuring import Readings
from runner.torch.network import ModuleNetwork
from runner.torch.stack import Stack
from runner.torch.updates import Updates
from runner.training import initial_state
from runner.training.engine import Labelled
from runner.training.evaluation import Outputs
from runner.training.judging import Judged
from runner.training.measurement import Log
from runner.training.samples import epoch_orders, part_arrays, probe_samples
from weightinit.arrays import Array
from weightinit.reference import Judgement
from weightinit.statistics import histogram, measure
from weightinit.torch.random_states import random_states, seed_all

_NOT_JUDGED = "there is no reference for a module of one's own"
_NO_THEORY = "the lab's theory isn't applied to a module of one's own; weightinit.torch.forecast says how far it goes"
_ROUNDING = "PyTorch trains this module: the same run gives the same numbers up to rounding, not to the last bit."


@contextmanager
def at_work() -> Iterator[None]:
    """Give back random generators and PyTorch's threads as they were; take what isn't finite without a warning.

    Both belong to the process, so that one stack trains at a time here; several processes train several. The stacks of
    most modules are too small for more than one thread.
    """
    with _alone:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with random_states(), np.errstate(all="ignore"):
                yield
        finally:
            torch.set_num_threads(threads)


_alone = threading.Lock()


def begin(trials: Sequence[Trial], threads: int) -> tuple[TorchEngine | None, list[int], dict[int, Exception]]:
    """Return the engine of the runs that have an initial state, their indices, and errors of the others by index.

    PyTorch's own number of threads holds, not ``threads``.
    """
    found: dict[int, Drawn] = {}
    failures: dict[int, Exception] = {}
    network = _network(trials[0])
    x, _ = part_arrays(trials[0].dataset, "train", network.dtype.name)
    for index, trial in enumerate(trials):
        first = x[next(epoch_orders(trial.plan, len(x)))[: trial.plan.batch_size]]
        try:
            sample = network.recipe.arranged(torch.from_numpy(first))
            found[index] = drawn(trial.scheme, network.recipe, trial.seed, sample, initial_state.LEVEL)
        except Exception as error:  # a module is foreign code
            failures[index] = error
    alive = sorted(found)
    if not alive:
        return None, alive, failures
    return TorchEngine([trials[index] for index in alive], [found[index] for index in alive]), alive, failures


class TorchEngine:
    """A stack of modules, as ``Engine`` describes."""

    def __init__(self, trials: Sequence[Trial], modules: Sequence[Drawn]) -> None:
        first = trials[0]
        self.trials, self.plan, self.dataset = trials, first.plan, first.dataset
        self.network, self.loss = _network(first), LOSSES[first.loss.name]
        self.laws, self.audits = [each.laws for each in modules], [each.audit for each in modules]
        self.stack = Stack(self.network.recipe, [each.module for each in modules], self.network.device)
        self.runs = len(self.stack)
        self.updates = Updates([trial.optimizer for trial in trials], self.plan.steps, self.stack)
        propagated = self.network.gradient_quantity == "backward_norm"
        self.readings = Readings(self.stack, self.loss, propagated)
        self.x, self.y = map(self._tensor, part_arrays(self.dataset, "train", self.network.dtype.name))
        orders = np.stack([next(epoch_orders(trial.plan, len(self.x)))[: self.plan.batch_size] for trial in trials])
        reason = self.stack.settle(*self._batch(orders), self.loss)
        said = (_ROUNDING, f"The runs were trained one by one, as torch.func can't stack them: {reason}.")
        self.notes = [(*each.notes, *said[: 2 if reason else 1]) for each in modules]
        seed_all(first.plan.seed)  # what a module draws while it trains, as dropout does

    def gradients(self, step: int, chosen: Array) -> Array:
        self.batch = self._batch(chosen)
        losses: Array = self.stack.gradients(*self.batch, self.loss).cpu().numpy()
        return losses

    def leave(self, keep: Array) -> None:
        self.stack.keep(keep.tolist())
        self.updates.keep(keep.tolist())
        places = torch.from_numpy(keep)
        self.batch = self.batch[0][places], self.batch[1][places]

    def update(self, step: int) -> None:
        self.updates.step(step)

    def measured_update(self, step: int) -> Iterator[tuple[str, str, Array]]:
        before = self.stack.flat.clone()
        self.updates.step(step)
        update = self.stack.flat - before
        found = [
            self.readings.of(run, self.batch[0][run], self.batch[1][run], flat=before, update=update)
            for run in range(len(self.stack))
        ]
        yield from _measured(found, ends=False)

    def initial(self, log: Log) -> tuple[list[dict[str, Array]], list[Labelled]]:
        arrays = self._probe(log, "init", 0, np.arange(self.runs), laws=True)
        judged = [Judged(Judgement(reason=_NOT_JUDGED))] * self.runs
        reasons = [_NO_THEORY] * self.runs
        return arrays, initial_state.initial(log, self.network, judged, reasons, self.audits)

    def final(self, log: Log, step: int, alive: Array) -> list[dict[str, Array]]:
        return self._probe(log, "final", step, alive)

    def weights(self) -> Mapping[str, Array]:
        return {name: values.cpu().numpy() for name, values in {**self.stack.weights(), **self.stack.fixed}.items()}

    def outputs(self) -> Outputs:
        def outputs(runs: slice, x: Array) -> Array:
            found: Array = self.stack.outputs(runs, self._tensor(x)).cpu().numpy()
            return found

        return outputs

    def _probe(self, log: Log, prefix: str, step: int, alive: Array, *, laws: bool = False) -> list[dict[str, Array]]:
        plan = self.plan
        samples = probe_samples(self.dataset, plan.probe, plan.probe_source, self.network.dtype.name)
        x, y = self._tensor(samples.x[0]), self._tensor(samples.y[0])
        found, arrays = [], []
        for run in range(len(self.stack)):
            readings = self.readings.of(run, x, y, laws=self.laws[run] if laws else None)
            arrays.append(
                {
                    f"histogram/{quantity}/{layer}": histogram(values[quantity])[0]
                    for layer, values in readings.items()
                    for quantity in ("weight", "preactivation", "gradient")
                    if quantity in values
                }
            )
            found.append(readings)
        for quantity, layer, values in _measured(found, ends=True):
            log.add(step, f"{prefix}_{quantity}", layer, values, alive)
        return arrays

    def _batch(self, chosen: Array) -> tuple[torch.Tensor, torch.Tensor]:
        places = torch.from_numpy(chosen).to(self.stack.device)
        return self.x[places], self.y[places]

    def _tensor(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.stack.device)


def _network(trial: Trial) -> ModuleNetwork:
    assert isinstance(trial.network, ModuleNetwork)
    return trial.network


def _measured(found: Sequence[Mapping[str, Mapping[str, Array]]], *, ends: bool) -> Iterator[tuple[str, str, Array]]:
    """Yield (quantity, layer, values (runs,)) of the readings of each run."""
    for layer in found[0]:
        by_run = [measure(readings[layer], ends=ends) for readings in found]
        for quantity in by_run[0]:
            yield quantity, layer, np.concatenate([values[quantity] for values in by_run])
