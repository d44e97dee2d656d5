"""Which trials train together: a stack holds runs of equal shapes, each with its own seed, scheme and step sizes.

How many: enough that NumPy's calls, and the waits of several workers for Python's lock between them, cost little beside
the arithmetic; few enough that what a step touches stays in the last level of cache. Microseconds per step per run,
alone and with two workers, on a core with 1 MB of second-level and 16 MB of last-level cache; a run touches 80 kB,
2 MB and 4.4 MB:

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

# Bytes that a stack may touch in a step.
CACHE = 8 * 2**20
MOST = 64


def plan(trials: Sequence[Trial], *, workers: int = 1, memory: float = math.inf) -> list[list[int]]:
    """Indices of the trials that share each stack, in the order of work: the longest first, so that none ends alone.

    The runs that may share stacks are divided evenly over a multiple of ``workers``. ``memory``: bytes that the stacks
    of all workers may take together.
    """
    groups: dict[str, list[int]] = {}
    for index, trial in enumerate(trials):
        groups.setdefault(trial.signature, []).append(index)
    stacks = []
    for indices in groups.values():
        first = trials[indices[0]]
        most = capacity(first, memory / workers)
        count = math.ceil(len(indices) / most / workers) * workers
        # Where there are many workers, stacks much smaller than they may be would only wait for Python's lock.
        count = max(math.ceil(len(indices) / most), min(count, len(indices) // math.ceil(most / 8)))
        cuts = [len(indices) * number // count for number in range(count + 1)]
        stacks += [indices[start:stop] for start, stop in pairwise(cuts)]
    return sorted(stacks, key=lambda indices: -len(indices) * seconds(trials[indices[0]]))


def capacity(trial: Trial, memory: float = math.inf) -> int:
    """How many runs like ``trial`` a stack holds that may take ``memory`` bytes: at least one, two if memory allows."""
    touched = _touched(trial)
    # Statistics copy weights, gradients and updates, and read arrays as float64: at most as much again.
    return max(1, int(min(MOST, max(2, CACHE // touched), memory // (2 * touched))))


def _touched(trial: Trial) -> int:
    """Bytes of a run that a training step reads or writes: samples, activations, parameter vectors, all but once."""
    network, samples = trial.network, trial.plan.batch_size
    units = {"preactivation": 0, "activation": 0}
    for layer in network.layers:
        units[layer.quantity] += layer.units
    by_sample = network.inputs + network.outputs + 2 * units["preactivation"] + units["activation"]
    return network.dtype.itemsize * (samples * by_sample + (2 + trial.optimizer.slots) * network.parameters)


def seconds(trial: Trial) -> float:
    """How long a core trains a run, very roughly: 6 operations a step for each weight and sample, and the calls."""
    return trial.plan.steps * (6 * trial.plan.batch_size * trial.network.kernel_parameters / 5e10 + 3e-6)
