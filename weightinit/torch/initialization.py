"""Initialization of a PyTorch model in place, by a scheme or by rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from weightinit.arrays import Array
from weightinit.branches import ATTENTION
from weightinit.drawing import (
    ByBase,
    DefaultRule,
    InitializationReport,
    LawLike,
    ParametrizedRule,
    Plan,
    SequentialRule,
    TensorRule,
    plan,
    rule,
)
from weightinit.drawing.networks import NetworkRule, notes_on, resolved
from weightinit.model import Model, ModelTensor
from weightinit.schemes import LSUV, Critical, MuP, Orthogonal, Rule
from weightinit.schemes.adaptive import Drawn
from weightinit.schemes.rules import PyTorchLinear
from weightinit.torch.activations import activations_of
from weightinit.torch.lsuv import scale_to
from weightinit.torch.samples import sample_of
from weightinit.torch.translation import translate

Scheme: TypeAlias = TensorRule | ByBase | LSUV | Critical
Rules: TypeAlias = LawLike | Scheme | Sequence[Scheme] | Mapping[str, LawLike]
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
    norms 1. Or a list of :func:`rule`, or laws by patterns of names (``{"*.proj.weight": "zeros", "*": "he"}``), of
    which for each tensor the first that reaches it counts. A law that follows fans does not reach embeddings and
    positions, unless its rule names them. Schemes that look at the model stand alone or at the end of a list: those of
    residual networks and transformers go by the names of its blocks (``"gpt2"``, ``"fixup"``, ``"t_fixup"`` ...),
    ``"pytorch"`` is each module's own default, ``"lsuv"`` scales orthogonal weights to ``sample``, ``"critical"`` takes
    the activation of the model's modules, or that which ``sample`` calls, :func:`mup` a base model.

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
    fitted = [_resolved(each, model, record, sample) for each in _listed(rules)]
    chosen = plan(record, _bound(model, fitted), strict=strict)
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
    notes: tuple[str, ...] = ()
    for each in fitted:
        if isinstance(each, SequentialRule):
            reached = [name for name, rule in chosen.chosen.items() if isinstance(rule, SequentialRule)]
            notes += scale_to(model, sample_of(model, sample, None), chosen, reached, each.scheme)
        if isinstance(each, ParametrizedRule) and any(ATTENTION.search(tensor.layer) for tensor in record):
            notes += ("muP divides the logits of attention by a head's units, not by their root: see that yours does.",)
        if isinstance(each, NetworkRule) and isinstance(each.source, Rule):
            notes += notes_on(each.source, record)
    return InitializationReport(
        tuple(chosen.record(tensor) for tensor in record),
        tuple((str(each), count) for each, count in chosen.hits),
        notes,
        number,
        {name: rates for each in fitted if isinstance(each, ParametrizedRule) for name, rates in _rates(each, chosen)},
    )


def mup(base: nn.Module, *, scale: float = 1.0, distribution: Drawn = "normal", zero_output: bool = False) -> ByBase:
    """Return the maximal update parametrization of a model by ``base``, the same model at a small width.

    At the base it is the standard one: variance ``scale`` / fan_in. What grows from there decides: weights whose inputs
    and outputs grow are hidden, whose outputs grow are the input's, whose inputs grow are the output's, which start
    with their variance over the square of the growth, as a multiplier would make it. ``base`` may be on the meta
    device. ``zero_output``: the output's weights start at zero. The learning rates are in
    ``report.param_groups(model.named_parameters(), lr=...)``. Source: Yang et al. 2022 (Tensor Programs V), table 3.

    Raises TypeError for what is no model, ValueError for a scale that isn't positive.
    """
    return ByBase(MuP(scale=scale, distribution=distribution, zero_output=zero_output), translate(base))


def _listed(rules: Any) -> list[Any]:
    if isinstance(rules, Mapping):
        return [rule(pattern, law) for pattern, law in rules.items()]
    return list(rules) if isinstance(rules, list | tuple) else [rules]


def _resolved(given: Any, model: nn.Module, record: Model, sample: Any) -> TensorRule:
    """Return what was given as a rule fitted to the model."""
    match given:
        case "pytorch":
            return DefaultRule("*", PyTorchLinear(), "pytorch")
        case "lsuv":
            return _resolved(LSUV(), model, record, sample)
        case "critical":
            return _resolved(Critical(), model, record, sample)
        case LSUV():
            if sample is None:
                raise ValueError("lsuv scales weights to data; got no sample. Pass sample=..., a batch of inputs.")
            return SequentialRule("*", Orthogonal(), "lsuv", scheme=given)
        case Critical():
            return TensorRule("*", _critical(given, model, record, sample), "critical")
    return resolved(given, record)


def _critical(scheme: Critical, model: nn.Module, record: Model, sample: Any) -> Rule:
    found = activations_of(model, None if sample is None else sample_of(model, sample, None))
    if len(found) != 1:
        names = ", ".join(activation.name for activation in found) or "none"
        hint = "" if sample is not None else " Pass sample=... where they are called as functions."
        raise ValueError(f"critical needs one activation in all layers; got {names}.{hint} Else take he or rules.")
    biases = any(tensor.role == "bias" and tensor.fans is not None for tensor in record)
    return scheme.rule_at(scheme.point_of(found[0], biases))


def _rates(rule: ParametrizedRule, chosen: Plan) -> Iterator[tuple[str, tuple[float, float]]]:
    for tensor in chosen.model:
        spec = chosen.specs[tensor.name]
        rates = rule.rate(tensor, spec, "adam"), rule.rate(tensor, spec, "sgd")
        yield from ((name, rates) for name in (tensor.name, *tensor.also))


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
