"""Initialization of a PyTorch model in place, by a scheme or by rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from weightinit.arrays import Array
from weightinit.drawing import Initialization, InitializationReport, LawLike, TensorRule, plan, rule
from weightinit.model import ModelTensor
from weightinit.torch.translation import translate

Rules: TypeAlias = LawLike | TensorRule | Sequence[TensorRule]
Generator: TypeAlias = torch.Generator | np.random.Generator


def initialize_(
    model: nn.Module,
    rules: Rules,
    *,
    sample: Any = None,
    generator: Generator | None = None,
    seed: int | None = None,
    strict: bool = True,
) -> InitializationReport:
    """Draw a model's parameters in place, and return which law each got and by which rule.

    ``rules``: a scheme, by name with its options (``"he"``, ``"normal(std=0.02)"``) or as a rule of
    ``weightinit.schemes``, for all weights of layers; biases are then zero, or what the scheme makes them, gains of
    norms 1. Or a list of :func:`rule`, of which for each tensor the first that reaches it counts. A law that follows
    fans does not reach embeddings and positions, unless its rule names them.

    Each tensor draws from a stream of its name below ``seed``: the same bits on any device, in any order of modules,
    and whatever else the model holds. Numbers are drawn in float64 and rounded once to the tensor's type. Without a
    seed ``generator`` gives it, or PyTorch's global one, so that ``torch.manual_seed`` counts. A rule without hits is
    an error while ``strict``. What no rule reaches is left and listed in ``report.kept``.

    Raises ValueError for an unknown scheme, rules without hits, parameters on the meta device, and a parametrization
    that can't be set; TypeError for what is no model or no rule. Nothing is changed then.
    """
    record = translate(model)
    if generator is not None and seed is not None:
        raise ValueError("generator and seed determine each other; got both. Pass one of them.")
    chosen = plan(record, _bound(model, _rules(rules)), strict=strict)
    if meta := [tensor.name for tensor in record if tensor.read is None]:
        raise ValueError(
            f"model must hold memory; {len(meta)} parameters are on the meta device or not materialized "
            f"({meta[0]} ...). Call model.to_empty(device='cpu') first, or run a lazy model once."
        )
    number = _seed(generator) if seed is None else _whole(seed)
    with torch.no_grad():
        for tensor in record:
            if tensor.name in chosen.chosen and not _settled_by_other(tensor):
                _set(model, tensor, chosen.draw(tensor, number))
    tensors = tuple(
        Initialization(tensor.name, tensor.shape, str(chosen.chosen[tensor.name]), chosen.law(tensor))
        if tensor.name in chosen.chosen
        else Initialization(tensor.name, tensor.shape, "", None)
        for tensor in record
    )
    return InitializationReport(tensors, tuple((str(each), count) for each, count in chosen.hits), (), number)


def _rules(rules: Any) -> list[TensorRule]:
    if isinstance(rules, TensorRule):
        return [rules]
    if isinstance(rules, list | tuple):
        for each in rules:
            if not isinstance(each, TensorRule):
                raise TypeError(f"rules must hold rules; got {each!r}. Pass [rule('*.weight', 'he')].")
        return list(rules)
    return [rule("*", rules)]


def _bound(model: nn.Module, rules: Sequence[TensorRule]) -> list[TensorRule]:
    """Bind rules of module classes to the tensors of their modules, subclasses included."""

    modules: list[tuple[str, Any]] = list(model.named_modules(remove_duplicate=False))

    def names(kind: Any) -> frozenset[str]:
        found = []
        for path, module in modules:
            if isinstance(module, kind):
                inner = [name for name, _ in module.named_parameters(prefix=path, recurse=False)]
                if parametrize.is_parametrized(module):
                    for name in module.parametrizations:
                        within = f"{path}.{name}" if path else name
                        through = f"{path}.parametrizations.{name}" if path else f"parametrizations.{name}"
                        inner += [within, f"{through}.original", f"{through}.original1"]
                found += inner
        return frozenset(found)

    return [replace(each, bound=names(each.selector)) if isinstance(each.selector, type) else each for each in rules]


def _settled_by_other(tensor: ModelTensor) -> bool:
    """Whether setting the weight that a tensor parametrizes sets it as well: the lengths of weight_norm."""
    return tensor.parametrized == "_WeightNorm" and tensor.name.endswith("original0")


def _set(model: nn.Module, tensor: ModelTensor, values: Array) -> None:
    """Write float64 values to a parameter, rounded once; through its parametrization where it has one."""
    module = model.get_submodule(tensor.layer)
    if tensor.parametrized:
        attribute = _attribute(tensor)
        old = getattr(module, attribute)
        try:
            setattr(module, attribute, torch.from_numpy(values).to(old.dtype).to(old.device))
        except (NotImplementedError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"{tensor.name} is made by {tensor.parametrized}, which can't be set: {error}. Draw its originals "
                "before it is parametrized, or leave it out of the rules."
            ) from error
        return
    name = tensor.name.rpartition(".")[2]
    parameter = module._parameters[name]
    assert parameter is not None
    parameter.copy_(_shaped(values, parameter))
    lengths = module._parameters.get(name.removesuffix("_v") + "_g") if name.endswith("_v") else None
    if lengths is not None:  # the older weight_norm: its weight is then the one drawn
        lengths.copy_(torch.norm_except_dim(parameter, 2, _longest(lengths)))


def _shaped(values: Array, parameter: torch.Tensor) -> torch.Tensor:
    drawn = torch.from_numpy(np.ascontiguousarray(values))
    if parameter.is_complex():
        return torch.view_as_complex(drawn).to(parameter.dtype)
    return drawn.to(parameter.dtype)


def _longest(lengths: torch.Tensor) -> int:
    """The axis that weight_norm keeps lengths of; -1 where it has one for the whole."""
    return next((axis for axis, size in enumerate(lengths.shape) if size > 1), 0 if lengths.dim() else -1)


def _attribute(tensor: ModelTensor) -> str:
    """Name of the parametrized weight in its module."""
    path = tensor.name[len(tensor.layer) :].lstrip(".")
    return path.split(".")[1] if path.startswith("parametrizations.") else path


def _seed(generator: Generator | None) -> int:
    if isinstance(generator, np.random.Generator):
        return int(generator.integers(2**63))
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator must be a torch.Generator or a numpy.random.Generator; got {type(generator).__name__}. Pass "
            "seed=0 for a number."
        )
    device = "cpu" if generator is None else generator.device
    return int(torch.randint(2**63 - 1, (), generator=generator, device=device))


def _whole(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be a whole number from 0; got {seed!r}. Pass seed=0.")
    return seed
