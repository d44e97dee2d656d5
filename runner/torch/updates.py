"""Updates of a stack on its device, by the rules of the lab's optimizers, which tensors obey as arrays do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from runner.optimizers import Block, Optimizer
from runner.torch.stack import Stack
from weightinit.arrays import Array


class Updates:
    """Optimizer of a stack: its state, and the hyperparameters of its runs as columns."""

    def __init__(self, optimizers: Sequence[Optimizer], steps: int, stack: Stack) -> None:
        self.optimizers, self.steps, self.stack = tuple(optimizers), steps, stack
        self.kind, self.signature = type(optimizers[0]), optimizers[0].signature
        self.state = tuple(torch.zeros_like(stack.flat) for _ in range(self.kind.slots))
        self._arrange()

    def step(self, step: int) -> None:
        """Change the weights by the gradients, which are overwritten."""
        stack = self.stack
        if self.signature.clips:
            norm = stack.gradient.double().norm(dim=1, keepdim=True)
            limit = self._tensor(self._column("clip_norm"), torch.float64)
            stack.gradient *= torch.where(norm > limit, limit / norm, 1.0).to(stack.flat.dtype)
        hyper = self.kind.hyper(self.columns, self.rates[step], step)
        block = Block(
            slice(0, len(stack)),
            weight=stack.flat,
            gradient=stack.gradient,
            kernel=slice(0, stack.kernels),
            state=self.state,
            scratch=torch.empty_like(stack.flat),
        )
        tensors = {name: self._tensor(column, stack.flat.dtype) for name, column in hyper.items()}
        self.kind.update(block, tensors, self.signature)

    def keep(self, runs: Sequence[int]) -> None:
        """Keep these runs alone, as the stack does."""
        places = torch.as_tensor(runs, device=self.stack.device)
        self.optimizers = tuple(self.optimizers[run] for run in runs)
        self.state = tuple(state[places] for state in self.state)
        self._arrange()

    def _arrange(self) -> None:
        rates = [run.learning_rate * run.rate.factors(self.steps) for run in self.optimizers]
        self.rates = np.asarray(rates, np.float64).T[:, :, None]
        self.columns = {name: self._column(name) for name in self.kind.numbers}

    def _column(self, name: str) -> Array:
        return np.array([getattr(optimizer, name) for optimizer in self.optimizers], np.float64)[:, None]

    def _tensor(self, column: Array, dtype: torch.dtype) -> torch.Tensor:
        return torch.as_tensor(column, device=self.stack.device).to(dtype)
