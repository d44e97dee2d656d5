"""Optimizers: the hyperparameters of a run, and the rule by which a block of parameters is updated.

Hyperparameters that differ between runs are columns ``(runs, 1)``. Hyperparameters that decide *which* operations take
place belong to the signature. A run so does the same operations alone and in any stack.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from runner.optimizers.schedules import Schedule
from weightinit.arrays import Array, array_module


@dataclass(frozen=True, kw_only=True)
class Signature:
    """Operations of an update. Runs share a stack only where their signatures are equal.

    ``rule``: module and name of the optimizer's class; ``decays``: whether there is weight decay; ``clips``: whether
    the gradient's norm is limited.
    """

    rule: str
    decays: bool
    clips: bool


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """Hyperparameters of every optimizer.

    The step size is ``learning_rate`` times the factor of ``schedule``. ``weight_decay`` acts on weights of role
    ``weight``, not on biases. ``clip_norm``: a larger norm of the whole network's gradient is scaled down to this one
    (Pascanu et al. 2013); None never clips.

    A class sets ``slots``, its arrays of the size of the weights; ``numbers``, the hyperparameters that may differ
    between the runs of a stack; ``normalizes``, whether the size of its step does not depend on that of the gradient.
    Raises ValueError for a hyperparameter out of range.
    """

    learning_rate: float
    weight_decay: float = 0.0
    clip_norm: float | None = None
    schedule: str = "constant"
    warmup_steps: int = 0
    decay_every: int | None = None
    decay_factor: float = 0.1

    slots: ClassVar[int]
    numbers: ClassVar[tuple[str, ...]] = ("weight_decay",)
    normalizes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check("learning_rate", self.learning_rate, above=0.0)
        _check("weight_decay", self.weight_decay, least=0.0)
        if self.clip_norm is not None:
            _check("clip_norm", self.clip_norm, above=0.0)
        _ = self.rate  # an invalid schedule raises here

    @property
    def rate(self) -> Schedule:
        """The schedule of the learning rate."""
        return Schedule(self.schedule, self.warmup_steps, self.decay_every, self.decay_factor)

    @property
    def signature(self) -> Signature:
        """Operations that an update with these hyperparameters is made of."""
        kind = type(self)
        rule = f"{kind.__module__}.{kind.__qualname__}"
        return Signature(rule=rule, decays=self.weight_decay > 0, clips=self.clip_norm is not None)

    @classmethod
    def scaled(cls, columns: Mapping[str, Array], update: Array, gradient: Array) -> tuple[dict[str, Array], Array]:
        """Return the numbers of a weight with these scales, and the factor of its learning rate.

        ``update``, ``gradient``: how many times as large the weight's updates shall be, and its gradients are, as at
        the base sizes of the network. A step proportional to the gradient so takes the rate ``update / gradient``, a
        normalized one ``update``. Decay shrinks the weight by the share per step that it has without scales. All are
        float64 (runs, 1). Source: Yang et al. 2022, table 8 and appendix B.3.
        """
        decay = columns["weight_decay"] * (gradient / update)
        return {**columns, "weight_decay": decay}, update if cls.normalizes else update / gradient

    @classmethod
    def hyper(cls, columns: Mapping[str, Array], rate: Array, step: int) -> dict[str, Array]:
        """Return the arguments of ``update`` at ``step``, by name.

        ``columns``: the runs' ``numbers`` by name; ``rate``: their step sizes. All are float64 (runs, 1).
        """
        return {**columns, "rate": rate}

    @classmethod
    @abstractmethod
    def update(cls, block: Block, hyper: Mapping[str, Array], signature: Any) -> None:
        """Change ``block.weight`` by one step; may overwrite ``block.gradient`` and ``block.scratch``.

        ``hyper``: the hyperparameters of the block's runs, in its dtype. ``signature``: that of the stack, as the
        optimizer's ``signature`` returns it.
        """


@dataclass(eq=False)
class Block:
    """Views of the arrays (runs, parameters) of a stack: weights of one scale, of whole runs or of a part of one run.

    ``runs``: its rows; ``kernel``: its columns that decay; ``state``: the optimizer's arrays; ``scratch``: memory of
    the same shape.
    """

    runs: slice
    weight: Array
    gradient: Array
    kernel: slice
    state: tuple[Array, ...]
    scratch: Array


@dataclass(frozen=True, kw_only=True)
class SGDSignature(Signature):
    """Operations of an update by gradient descent: also whether it has momentum, and Nesterov's."""

    has_momentum: bool
    nesterov: bool


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """Stochastic gradient descent: ``v = momentum v + g``, ``w -= rate v``.

    With ``nesterov``, ``w -= rate (g + momentum v)``. Weight decay is an L2 penalty. Sources: Polyak 1964; Sutskever et
    al. 2013, eq. 3-4, in PyTorch's form.
    """

    momentum: float = 0.0
    nesterov: bool = False

    slots: ClassVar[int] = 1
    numbers: ClassVar[tuple[str, ...]] = ("weight_decay", "momentum")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("momentum", self.momentum, least=0.0, below=1.0)
        if self.nesterov and not self.momentum:
            raise ValueError("optimizer.nesterov=true needs a momentum above 0; got 0. Pass optimizer.momentum=0.9.")

    @property
    def signature(self) -> SGDSignature:
        return SGDSignature(**vars(super().signature), has_momentum=self.momentum > 0, nesterov=self.nesterov)

    @classmethod
    def update(cls, block: Block, hyper: Mapping[str, Array], signature: Any) -> None:
        xp = array_module(block.weight)
        change = block.gradient
        if signature.decays:
            _decay(block, hyper["weight_decay"], into=change)
        if signature.has_momentum:
            (velocity,) = block.state
            velocity *= hyper["momentum"]
            velocity += change
            if signature.nesterov:
                change += xp.multiply(velocity, hyper["momentum"], out=block.scratch)
            else:
                change = velocity
        # The gradient has been used. Memory of its own for the product would take a place in the cache.
        block.weight -= xp.multiply(change, hyper["rate"], out=block.gradient)


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, algorithm 1). Weight decay is an L2 penalty; ``AdamW`` decouples it."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    slots: ClassVar[int] = 2
    numbers: ClassVar[tuple[str, ...]] = ("weight_decay", "beta1", "beta2", "epsilon")
    normalizes: ClassVar[bool] = True
    decoupled: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("beta1", self.beta1, least=0.0, below=1.0)
        _check("beta2", self.beta2, least=0.0, below=1.0)
        _check("epsilon", self.epsilon, above=0.0)

    @classmethod
    def scaled(cls, columns: Mapping[str, Array], update: Array, gradient: Array) -> tuple[dict[str, Array], Array]:
        numbers, factor = super().scaled(columns, update, gradient)
        numbers["epsilon"] = columns["epsilon"] * gradient
        if cls.decoupled:
            numbers["weight_decay"] = columns["weight_decay"] / update
        return numbers, factor

    @classmethod
    def hyper(cls, columns: Mapping[str, Array], rate: Array, step: int) -> dict[str, Array]:
        # The state keeps the sums m / (1 - beta1) and v / (1 - beta2). Step size and epsilon take up the factors that
        # turn them into means, and both bias corrections. That saves four passes over the weights.
        beta1, beta2 = columns["beta1"], columns["beta2"]
        root = array_module(beta2).sqrt((1.0 - beta2 ** (step + 1)) / (1.0 - beta2))
        return {
            **columns,
            "weight_decay": columns["weight_decay"] * rate if cls.decoupled else columns["weight_decay"],
            "rate": rate * root * (1.0 - beta1) / (1.0 - beta1 ** (step + 1)),
            "epsilon": columns["epsilon"] * root,
        }

    @classmethod
    def update(cls, block: Block, hyper: Mapping[str, Array], signature: Any) -> None:
        xp = array_module(block.weight)
        gradient, (mean, square) = block.gradient, block.state
        if signature.decays:
            into, sign = (block.weight, -1) if cls.decoupled else (gradient, 1)
            _decay(block, hyper["weight_decay"], into=into, sign=sign)
        mean *= hyper["beta1"]
        mean += gradient
        square *= hyper["beta2"]
        gradient *= gradient
        square += gradient
        change = xp.sqrt(square, out=gradient)
        change += hyper["epsilon"]
        xp.divide(mean, change, out=change)
        change *= hyper["rate"]
        block.weight -= change


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay, ``w -= rate weight_decay w`` (Loshchilov & Hutter 2019, algorithm 2)."""

    decoupled: ClassVar[bool] = True


def _decay(block: Block, factor: Array, *, into: Array, sign: int = 1) -> None:
    xp, into = array_module(into), into[:, block.kernel]
    decay = xp.multiply(block.weight[:, block.kernel], factor, out=block.scratch[:, block.kernel])
    (xp.add if sign > 0 else xp.subtract)(into, decay, out=into)


def _check(
    name: str, value: float, *, least: float | None = None, above: float | None = None, below: float | None = None
) -> None:
    bounds = (("at least", least), ("above", above), ("below", below))
    wants = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    fits = number and (least is None or value >= least) and (above is None or value > above)
    if not (fits and (below is None or value < below)):
        raise ValueError(
            f"optimizer.{name} must be a finite number {wants}; got {value!r}. "
            f"Pass optimizer.{name}= with such a number."
        )
