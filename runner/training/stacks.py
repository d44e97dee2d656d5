"""Plan of stacks: trials that train together.

The runs of a stack have equal shapes; seed, scheme and step sizes differ. A stack holds enough runs that NumPy's calls
and the waits for Python's lock cost little beside the arithmetic. It holds few enough that the memory of a step stays
in the last level of cache. Microseconds per step per run, alone and with two workers, on a core with 1 MB of
second-level and 16 MB of last-level cache (a step of a run touches 80 kB, 2 MB and 4.4 MB):

    runs                           1      2      4      8     16     32     64    128
    64-32-32-10, batch 32   alone  73                   20     14     12     12     12
                              two                              12             7      7
    64-(10x100)-10, 64      alone 607    492    463    466    526
                              two                      260    284    298
    784-256-256-10, 128     alone 1650   1630   1730   1775   1830
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from runner.config.trial import Trial
from runner.torch.network import ModuleNetwork

# Bytes that a step of a stack may touch.
CACHE = 8 * 2**20
MOST = 64
# Bytes for each step's loss, until the run is recorded.
REMEMBERED = 350


def plan(trials: Sequence[Trial], *, workers: int = 1, memory: float = math.inf) -> list[list[int]]:
    """Return the indices of the trials of each stack, the longest stack first, so that no worker ends alone.

    Runs that may share a stack are divided evenly over a multiple of ``workers`` stacks. ``memory``: bytes for the
    stacks of all workers together.
    """
    groups: dict[str, list[int]] = {}
    for index, trial in enumerate(trials):
        groups.setdefault(trial.signature, []).append(index)
    stacks = []
    for indices in groups.values():
        first = trials[indices[0]]
        most = capacity(first, memory / workers)
        count = math.ceil(len(indices) / most / workers) * workers
        # With many workers, stacks far below their capacity would only wait for Python's lock.
        count = max(math.ceil(len(indices) / most), min(count, len(indices) // math.ceil(most / 8)))
        cuts = [len(indices) * number // count for number in range(count + 1)]
        stacks += [indices[start:stop] for start, stop in pairwise(cuts)]
    return sorted(stacks, key=lambda indices: -len(indices) * seconds(trials[indices[0]]))


def needed(trial: Trial) -> int:
    """Bytes that a run alone takes at least: in a step, at a measurement, and for the losses that it remembers."""
    plan = trial.plan
    samples = max(plan.batch_size, plan.probe, min(plan.evaluation_batch_size, len(trial.dataset.x_train)))
    return _touched(trial, samples) + REMEMBERED * plan.steps


def capacity(trial: Trial, memory: float = math.inf) -> int:
    """Number of runs like ``trial`` in a stack of ``memory`` bytes: at least one, two if memory allows."""
    touched = _touched(trial, trial.plan.batch_size)
    # Statistics copy weights, gradients and updates, and read arrays as float64. That at most doubles the memory.
    return max(1, int(min(MOST, max(2, CACHE // touched), memory // (2 * touched))))


def _touched(trial: Trial, samples: int) -> int:
    """Bytes of a run that a step on so many samples reads or writes: samples, activations, parameter vectors."""
    network = trial.network
    elements = samples * (network.inputs + network.outputs) + network.memory.elements(samples)
    return network.dtype.itemsize * (elements + (2 + trial.optimizer.slots) * network.parameters)


def rows_for(runs: int, batch: int, samples: int) -> int:
    """Return how many runs take about the memory of a stack's training step, when each sees so many samples."""
    return max(1, runs * batch // samples)


def seconds(trial: Trial) -> float:
    """Rough time in which a core trains a run: 6 operations per step, weight and sample, and the calls."""
    calls = 3e-4 if isinstance(trial.network, ModuleNetwork) else 3e-6
    return trial.plan.steps * (6 * trial.plan.batch_size * trial.network.multiplications / 5e10 + calls)
