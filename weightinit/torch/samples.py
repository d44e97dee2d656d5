"""Samples that a model takes, what it returns for them, and the loss of that."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn import functional
from torch.utils._pytree import tree_map

from weightinit.torch.errors import first_line

LossLike: TypeAlias = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Sample:
    """Arguments of a model's forward pass, and the targets of its loss where they came with them."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    targets: Any = None

    def run(self, model: nn.Module) -> Any:
        """Return the model's output; raise ValueError, naming the cause, where it doesn't take such a sample."""
        try:
            return model(*self.args, **self.kwargs)
        except (TypeError, RuntimeError, ValueError, IndexError, KeyError, AttributeError) as error:
            shapes = ", ".join(
                [_shape(value) for value in self.args]
                + [f"{key}={_shape(value)}" for key, value in self.kwargs.items()]
            )
            raise ValueError(
                f"the model must take the sample; {type(model).__name__} got {shapes} and raised "
                f"{type(error).__name__}: {first_line(error)}. Pass sample as a tensor, a tuple of arguments, or a "
                "dict of keyword arguments."
            ) from error

    @property
    def count(self) -> int:
        """Number of samples: the first size of the first tensor."""
        tensors = [x for x in (*self.args, *self.kwargs.values()) if isinstance(x, torch.Tensor) and x.dim()]
        return len(tensors[0]) if tensors else 1


def sample_of(model: nn.Module, sample: Any, targets: Any) -> Sample:
    """Return a sample as arguments: a tensor, a tuple of arguments, a mapping of keyword arguments, or ``(x, y)``.

    A pair is input and targets where the model takes one argument. Raises TypeError for anything else.
    """
    if isinstance(sample, torch.Tensor):
        return Sample((sample,), targets=targets)
    if isinstance(sample, Mapping) or hasattr(sample, "keys"):
        return Sample(kwargs={key: sample[key] for key in sample.keys()}, targets=targets)  # noqa: SIM118 - no dict
    if isinstance(sample, tuple | list) and sample:
        if len(sample) == 2 and targets is None and _arguments(model) == 1:
            return sample_of(model, sample[0], sample[1])
        return Sample(tuple(sample), targets=targets)
    raise TypeError(
        f"sample must be a tensor, a tuple of arguments, or a dict of keyword arguments; got {type(sample).__name__}."
    )


def _arguments(model: nn.Module) -> int:
    """Number of positional arguments that a model's forward must have."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        found = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return 0
    needed = [p for p in found if p.kind in kinds and p.default is inspect.Parameter.empty]
    return 2 if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in found) else len(needed)


def main_output(output: Any) -> torch.Tensor | None:
    """Return the tensor that a module's output is about: itself, its logits, or its first tensor."""
    if isinstance(output, torch.Tensor):
        return output
    logits = getattr(output, "logits", None) if not isinstance(output, Mapping) else output.get("logits")
    if isinstance(logits, torch.Tensor):
        return logits
    values = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return next((found for value in values if (found := main_output(value)) is not None), None)


@dataclass(frozen=True)
class Objective:
    """Loss of a model's output: ``words`` for it, ``nats`` whether it is a cross entropy.

    ``loss`` takes the output and returns a scalar tensor; ``expected`` the same over all that the targets might be,
    where they were drawn.
    """

    words: str
    nats: bool
    loss: Callable[[Any], torch.Tensor]
    expected: Callable[[Any], torch.Tensor]

    def ignorant(self, output: Any) -> float:
        """Return the loss of a model whose output is zero; NaN where that can't be told."""
        blank = tree_map(
            lambda x: torch.zeros_like(x) if isinstance(x, torch.Tensor) and x.is_floating_point() else x, output
        )
        try:
            return float(self.expected(blank).detach())
        except Exception:
            return float("nan")


def objective(output: Any, sample: Sample, loss: LossLike | None, seed: int) -> Objective:
    """Return the loss that a model is judged by.

    ``loss(output, targets)`` where there are targets, else ``loss(output)``; without a loss the one in the output
    itself, as models of transformers return it for labels; else the cross entropy of the last axis as classes, drawn at
    random; for one output, or an output of the input's shape, the squared error of values from N(0, 1).

    Raises ValueError for a loss that is no scalar and for an output without numbers.
    """
    if loss is not None:
        arguments = () if sample.targets is None else (sample.targets,)
        name = getattr(loss, "__name__", type(loss).__name__)

        def given(output: Any) -> torch.Tensor:
            try:
                value = loss(output, *arguments)
            except (TypeError, RuntimeError, ValueError, AttributeError, IndexError) as error:
                call = "loss(output, targets)" if arguments else "loss(output)"
                raise ValueError(f"{call} raised {type(error).__name__}: {first_line(error)}.") from error
            if not isinstance(value, torch.Tensor) or value.numel() != 1:
                raise ValueError(f"loss must return a scalar tensor; got {_shape(value)}. Take its mean.")
            return value.reshape(())

        return Objective(name, "cross" in name.lower() and "binary" not in name.lower(), given, given)
    own = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if isinstance(own, torch.Tensor) and own.numel() == 1:
        return Objective("the model's own loss", True, _own_loss, _own_expected)
    y = main_output(output)
    if y is None or not y.is_floating_point() or not y.numel():
        raise ValueError(f"the model must return a tensor of numbers; got {type(output).__name__}. Pass loss=...")
    if sample.targets is not None and isinstance(sample.targets, torch.Tensor):
        if not sample.targets.is_floating_point() and y.dim() == sample.targets.dim() + 1:
            return _classes(y, sample.targets, f"cross entropy of {_class_axis(y, sample.targets)[1]} classes")
        if sample.targets.is_floating_point() and sample.targets.shape == y.shape:
            return _squares(sample.targets, "squared error")
    generator = torch.Generator().manual_seed(seed)
    first = next((x for x in (*sample.args, *sample.kwargs.values()) if isinstance(x, torch.Tensor)), None)
    same = first is not None and first.is_floating_point() and first.shape == y.shape
    if y.shape[-1] < 2 or y.dim() < 2 or y.dim() > 3 or same:
        targets = torch.randn(y.shape, generator=generator).to(y)
        return _squares(targets, "squared error of values drawn from N(0, 1), as no loss was given")
    drawn = torch.randint(0, y.shape[-1], y.shape[:-1], generator=generator).to(y.device)
    words = f"cross entropy of {y.shape[-1]} classes drawn at random, as no loss was given"

    def expected(output: Any) -> torch.Tensor:
        z = _numbers(output)
        return (z.logsumexp(-1) - z.mean(-1)).mean()

    return Objective(words, True, lambda output: functional.cross_entropy(_rows(output), drawn.reshape(-1)), expected)


def _classes(y: torch.Tensor, targets: torch.Tensor, words: str) -> Objective:
    axis, _ = _class_axis(y, targets)

    def loss(output: Any) -> torch.Tensor:
        return functional.cross_entropy(_numbers(output).movedim(axis, 1), targets.long())

    return Objective(words, True, loss, loss)


def _class_axis(y: torch.Tensor, targets: torch.Tensor) -> tuple[int, int]:
    """Return the axis of an output that holds classes, and their number: the last, or axis 1 as PyTorch has it."""
    axis = -1 if y.shape[:-1] == targets.shape else 1
    return axis, y.shape[axis]


def _squares(targets: torch.Tensor, words: str) -> Objective:
    def loss(output: Any) -> torch.Tensor:
        return functional.mse_loss(_numbers(output), targets.to(_numbers(output)))

    return Objective(words, False, loss, loss)


def _own_loss(output: Any) -> torch.Tensor:
    loss: torch.Tensor = output["loss"] if isinstance(output, Mapping) else output.loss
    return loss.reshape(())


def _own_expected(output: Any) -> torch.Tensor:
    """The loss at hand; of an output that was blanked, with a loss of zero, ln classes."""
    loss = _own_loss(output)
    y = main_output({key: value for key, value in output.items() if key != "loss"})
    if float(loss.detach()) == 0 and y is not None:
        return torch.tensor(float(y.shape[-1])).log()
    return loss


def _numbers(output: Any) -> torch.Tensor:
    y = main_output(output)
    assert y is not None  # checked when the objective was made
    return y.float()


def _rows(output: Any) -> torch.Tensor:
    y = _numbers(output)
    return y.reshape(-1, y.shape[-1])


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, torch.Tensor) else type(value).__name__
