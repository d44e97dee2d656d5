"""Engine of the lab's own networks: stacks of arrays, bit-identical alone and among others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from runner.config.trial import Trial
from runner.optimizers import Updater
from runner.training import initial_state, judging
from runner.training.blas import single_blas_thread
from runner.training.engine import Labelled
from runner.training.evaluation import Outputs, outputs_of
from runner.training.helpers import Helpers
from runner.training.initialization import initialize, scales
from runner.training.measurement import Log, layer_statistics, probe
from runner.training.prediction import predict
from runner.training.samples import ProbeSamples, part_arrays, probe_samples
from runner.training.stacks import rows_for
from weightinit.arrays import Array, stream
from weightinit.laws import Law
from weightinit.nn.layers import NOISE
from weightinit.schemes import Initialized


@contextmanager
def at_work() -> Iterator[None]:
    """Limit BLAS to one thread inside, and take what isn't finite without a warning."""
    with single_blas_thread(), np.errstate(all="ignore"):
        yield


def begin(trials: Sequence[Trial], threads: int) -> tuple[NumpyEngine | None, list[int], dict[int, Exception]]:
    """Return the engine of the runs that have an initial state, their indices, and errors of the others by index."""
    initialized, alive, failures = initialize(trials)
    if initialized is None:
        return None, alive, failures
    return NumpyEngine([trials[index] for index in alive], initialized, threads), alive, failures


class NumpyEngine:
    """A stack of the lab's networks, as ``Engine`` describes."""

    def __init__(self, trials: Sequence[Trial], initialized: Initialized, threads: int) -> None:
        first = trials[0]
        self.trials, self.initialized = trials, initialized
        self.network, self.loss, self.plan = first.network, first.loss, first.plan
        self.runs = len(trials)
        self.x, self.y = part_arrays(first.dataset, "train", self.network.dtype.name)
        self.flat = self.network.flatten(initialized.params)
        self.state = self.network.state(len(trials), initialized.constants)
        self.state[NOISE] = np.array([stream(trial.plan.seed, NOISE).integers(2**63) for trial in trials], np.uint64)
        self.helpers = Helpers.of(first, len(trials), threads)
        self.tape = self.network.tape(len(trials), self.plan.batch_size)
        self.updater = Updater(
            [trial.optimizer for trial in trials],
            self.plan.steps,
            self.network.trained(self.flat),
            self.network.trained(self.tape.flat_gradient),
            self.network.kernel_parameters,
            scales(self.network, initialized),
            self.helpers,
        )
        self._allocate()

    @property
    def notes(self) -> Sequence[tuple[str, ...]]:
        return self.initialized.notes

    def gradients(self, step: int, chosen: Array) -> Array:
        x, y = self.batch
        # mode="clip" saves a copy: with "raise", NumPy buffers the output.
        self.x.take(chosen, axis=0, out=x, mode="clip")
        self.y.take(chosen, axis=0, out=y, mode="clip")
        self.tape.step = step
        output = self.network.forward(self.params, self.state, x, self.tape)
        losses = self.loss(output, y, self.tape.d_output)
        self.network.backward(self.params, self.tape.d_output, self.tape)
        return losses

    def leave(self, keep: Array) -> None:
        old = self.tape
        self.flat = self.flat[keep]
        self.state = {name: values[keep] for name, values in self.state.items()}
        self.tape = self.network.tape(len(keep), self.plan.batch_size)
        old.keep(self.tape, keep)
        self.updater.keep(keep, self.network.trained(self.flat), self.network.trained(self.tape.flat_gradient))
        self._allocate()

    def update(self, step: int) -> None:
        self.updater.step(step)

    def measured_update(self, step: int) -> Iterator[tuple[str, str, Array]]:
        before, gradient = self.flat.copy(), self.tape.flat_gradient.copy()
        self.updater.step(step)
        self.tape.flat_gradient[...] = gradient  # the update works in the gradient's memory
        params, update = self.network.views(before), self.network.views(self.flat - before)
        yield from layer_statistics(self.network, params, self.tape, ends=False, update=update)

    def initial(self, log: Log) -> tuple[list[dict[str, Array]], list[Labelled]]:
        samples = self._samples()
        everyone = np.arange(self.runs)
        arrays, d_output = self._probe(log, "init", 0, everyone, samples, laws=self.initialized.laws)
        reasons = predict(log, self.network, self.initialized, samples, d_output)
        judged = judging.judge_stack(self.trials, self.network, self.flat, self.initialized, samples, self.loss)
        judging.record(log, judged)
        audits = initial_state.audited(self.network, self.initialized)
        return arrays, initial_state.initial(log, self.network, judged, reasons, audits)

    def final(self, log: Log, step: int, alive: Array) -> list[dict[str, Array]]:
        arrays, _ = self._probe(log, "final", step, alive, self._samples())
        return arrays

    def weights(self) -> Mapping[str, Array]:
        state = {name: values for name, values in self.state.items() if name != NOISE}
        return {**self.params, **state}

    def outputs(self) -> Outputs:
        return outputs_of(self.network, self.flat, self.state)

    def _allocate(self) -> None:
        """Take views of the weights, and memory for a batch of the runs at hand."""
        runs, batch, dtype = len(self.flat), self.plan.batch_size, self.network.dtype
        self.params = self.network.views(self.flat)
        self.tape.helpers = self.helpers
        self.batch = tuple(np.empty((runs, batch, *part.shape[1:]), dtype) for part in (self.x, self.y))

    def _samples(self) -> ProbeSamples:
        plan = self.plan
        return probe_samples(self.trials[0].dataset, plan.probe, plan.probe_source, self.network.dtype.name)

    def _probe(
        self,
        log: Log,
        prefix: str,
        step: int,
        alive: Array,
        samples: ProbeSamples,
        laws: Mapping[str, Sequence[Law]] | None = None,
    ) -> tuple[list[dict[str, Array]], Array]:
        network = self.network
        rows = rows_for(self.runs, self.plan.batch_size, samples.x.shape[1])
        return probe(
            log, prefix, step, network, self.flat, self.state, alive, samples, self.loss, rows=rows, laws=laws
        )  # fmt: skip
