"""Steps of convolutional, residual and attention networks: time of a run, and its share of the machine's peak."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import numpy as np

from runner.training.blas import single_blas_thread
from tests.benchmarks.rivals import torch_network
from tests.benchmarks.timing import MISSING, Row, percent, ratio, sgemm_peak, turns
from weightinit.nn import Network
from weightinit.nn.architectures import Form, cnn, resnet, transformer
from weightinit.schemes import VarianceScaling

TURNS, BATCH = 5, 64
AIMS = {"cnn": 2.5, "resnet": 1.0, "transformer": 1.0}
DIGITS, MNIST = Form((8, 8, 1)), Form((28, 28, 1))
NETWORKS: dict[str, Callable[[], Network]] = {
    "cnn": lambda: cnn(784, 10, "relu", widths=[16, 32, 32], pools=2, form=MNIST),
    "resnet": lambda: resnet(64, 10, "relu", form=DIGITS),
    "transformer": lambda: transformer(64, 10, "gelu", form=DIGITS),
}


def rows(name: str) -> Iterator[Row]:
    """The rows of one network: passes of one run on one thread, of eight runs in a stack, and of PyTorch's."""
    network = NETWORKS[name]()
    found = {"peak": sgemm_peak, "alone": _steps(network, 1), "stacked": _steps(network, 8)}
    rival = torch_network(name, BATCH, 3)
    times = turns(found if rival is None else {**found, "torch": rival}, TURNS)
    operations = 6 * BATCH * network.multiplications
    yield Row("forward and backward pass of a run, alone", f"{1e3 * median(times['alone']):.1f} ms")
    yield Row("forward and backward pass of a run, in a stack of 8", f"{1e3 * median(times['stacked']):.1f} ms")
    shares = [operations / seconds / peak for seconds, peak in zip(times["stacked"], times["peak"], strict=True)]
    yield Row("share of the sgemm peak, everything included", percent(median(shares)))
    times_of = f"{ratio(times['stacked'], times['torch']):.2f} times" if rival else MISSING
    yield Row("of PyTorch's pass, eager, one thread, it takes", times_of, f"at most {AIMS[name]:g}")


def _steps(network: Network, runs: int, steps: int = 3) -> Callable[[], float]:
    params = network.views(network.flatten(VarianceScaling(scale=2.0)(network, range(runs)).params))
    x = np.random.default_rng(0).standard_normal((runs, BATCH, network.inputs)).astype(np.float32)
    state, tape = network.state(runs), network.tape(runs, BATCH)
    return partial(_seconds, network, params, state, x, tape, steps)


def _seconds(network: Network, params: dict, state: dict, x: np.ndarray, tape: object, steps: int) -> float:
    with single_blas_thread():
        start = time.perf_counter()
        for _ in range(steps):
            network.forward(params, state, x, tape)
            tape.d_output[...] = 1e-3
            network.backward(params, tape.d_output, tape)
        return (time.perf_counter() - start) / steps / len(x)
