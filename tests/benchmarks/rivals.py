"""The same training step in other frameworks, on random samples; each function returns a measure for ``turns``."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import pairwise

import numpy as np

SAMPLES = 1400
RATE, MOMENTUM = 0.03, 0.9


def torch_eager(sizes: list[int], batch: int, threads: int, steps: int) -> Callable[[], float] | None:
    """Seconds per step of one PyTorch network, trained the usual way; None without PyTorch."""
    if find_spec("torch") is None:
        return None
    import torch

    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
    x, y = torch.randn(SAMPLES, sizes[0]), torch.randint(sizes[-1], (SAMPLES,))

    def measure() -> float:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        start = time.perf_counter()
        for _ in range(steps):
            chosen = torch.randperm(SAMPLES)[:batch]
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(x[chosen]), y[chosen])
            loss.backward()
            optimizer.step()
        seconds = time.perf_counter() - start
        torch.set_num_threads(before)
        return seconds / steps

    return measure


def torch_network(name: str, batch: int, steps: int) -> Callable[[], float] | None:
    """Seconds of a forward and backward pass of one PyTorch network on one thread; None without PyTorch."""
    if find_spec("torch") is None:
        return None
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, channels: int, filters: int) -> None:
            super().__init__()
            stride = filters // channels
            norms, convolutions = (nn.BatchNorm2d(channels), nn.BatchNorm2d(filters)), (channels, filters)
            first, second = (nn.Conv2d(n, filters, 3, s, 1) for n, s in zip(convolutions, (stride, 1), strict=True))
            self.branch = nn.Sequential(norms[0], nn.ReLU(), first, norms[1], nn.ReLU(), second)
            self.skip = nn.Identity() if stride == 1 else nn.Conv2d(channels, filters, 1, stride)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.skip(x) + self.branch(x)

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.entry, self.positions = nn.Linear(8, 64), nn.Parameter(torch.zeros(8, 64))
            layer = partial(nn.TransformerEncoderLayer, 64, 4, 256, 0.0, "gelu", batch_first=True, norm_first=True)
            self.blocks, self.norm, self.output = (
                nn.Sequential(*(layer() for _ in range(4))),
                nn.LayerNorm(64),
                nn.Linear(64, 10),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.output(self.norm(self.blocks(self.entry(x) + self.positions)).mean(1))

    def convolved(channels: int, filters: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU()]

    torch.manual_seed(0)
    networks: dict[str, tuple[tuple[int, ...], Callable[[], nn.Module]]] = {
        "cnn": (
            (1, 28, 28),
            lambda: nn.Sequential(
                *convolved(1, 16), nn.AvgPool2d(2), *convolved(16, 32), nn.AvgPool2d(2), *convolved(32, 32),
                nn.Flatten(), nn.Linear(32 * 49, 10),
            ),
        ),
        "resnet": (
            (1, 8, 8),
            lambda: nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1), *(Block(16, 16) for _ in range(4)), Block(16, 32),
                *(Block(32, 32) for _ in range(3)), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                nn.Flatten(), nn.Linear(32, 10),
            ),
        ),
        "transformer": ((8, 8), Transformer),
    }  # fmt: skip
    shape, make = networks[name]
    network, x = make(), torch.randn(batch, *shape)

    def measure() -> float:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        start = time.perf_counter()
        for _ in range(steps):
            network.zero_grad()
            output = network(x)
            output.backward(torch.full_like(output, 1e-3))
        seconds = time.perf_counter() - start
        torch.set_num_threads(before)
        return seconds / steps

    return measure


def jax_stack(
    sizes: list[int], batch: int, runs: int, steps: int, clock: Callable[[], float] = time.perf_counter
) -> Callable[[], float] | None:
    """Seconds per step per run of JAX, all steps and runs in one program (``jit(vmap(scan))``); None without JAX."""
    if find_spec("jax") is None:
        return None
    import jax
    import jax.numpy as jnp

    keys = jax.random.split(jax.random.key(0), runs)
    x = jax.random.normal(keys[0], (SAMPLES, sizes[0]))
    y = jax.nn.one_hot(jax.random.randint(keys[1], (SAMPLES,), 0, sizes[-1]), sizes[-1])

    def initial(key):
        parts = zip(jax.random.split(key, len(sizes)), pairwise(sizes), strict=False)
        return [(jax.random.normal(k, pair) * (2 / pair[0]) ** 0.5, jnp.zeros(pair[1])) for k, pair in parts]

    def loss(weights, chosen):
        *hidden, (w, b) = weights
        a = x[chosen]
        for v, c in hidden:
            a = jax.nn.relu(a @ v + c)
        return -(y[chosen] * jax.nn.log_softmax(a @ w + b)).sum(1).mean()

    def step(state, chosen):
        weights, velocity = state
        gradient = jax.grad(loss)(weights, chosen)
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
        return (jax.tree.map(lambda w, v: w - RATE * v, weights, velocity), velocity), None

    advance = jax.jit(jax.vmap(lambda state, chosen: jax.lax.scan(step, state, chosen)[0]), donate_argnums=0)
    weights = jax.vmap(initial)(keys)
    held = [(weights, jax.tree.map(jnp.zeros_like, weights))]
    rng = np.random.default_rng(0)

    def measure() -> float:
        chosen = rng.integers(0, SAMPLES, (runs, steps, batch))
        jax.block_until_ready(held)
        start = clock()
        held[0] = advance(held[0], chosen)
        jax.block_until_ready(held)
        return (clock() - start) / steps / runs

    measure()  # compiles
    return measure
