"""A ``torch.nn.Module`` as the framework-free record of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, Literal

import torch
from torch import nn
from torch.nn.parameter import UninitializedTensorMixin
from torch.nn.utils import parametrize

from weightinit.arrays import Array
from weightinit.auditing.named_models import parts_by_name
from weightinit.laws import UNKNOWN
from weightinit.model import Buffer, Configuration, Model, ModelTensor, blocks_of
from weightinit.torch.modules import uses
from weightinit.uses import Use, in_parts

AS_ORIGINAL: Final = {"_WeightNorm": "original1", "_SpectralNorm": "original"}
"""Parametrizations of PyTorch's whose named part is the weight as it was drawn; of others the result is read."""

RUNNING: Final[Mapping[str, Literal["mean", "variance"]]] = {"running_mean": "mean", "running_var": "variance"}
"""Buffers of batch and instance norms."""

SPECIAL: Final = {"weight_v": "weight", "weight_orig": "weight"}
"""Parameters that the older ``weight_norm`` and ``spectral_norm`` made of a weight, and pruning."""


def translate(model: nn.Module) -> Model:
    """Return the record of a model; it changes nothing and copies no values.

    Raises TypeError for what is no module, ValueError for one without parameters.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got {type(model).__name__}. Pass the model itself.")
    tensors: dict[Any, ModelTensor] = {}
    for tensor, memory in _tensors(model):
        if memory in tensors:
            tensors[memory] = _tied(tensors[memory], tensor)
        else:
            tensors[memory] = tensor
    if not tensors:
        raise ValueError(f"model must have parameters; got {type(model).__name__} without any.")
    blocks = blocks_of([tensor.name for tensor in tensors.values()])
    config = _plain(getattr(model, "config", None))
    classes = {path: type(module).__name__ for path, module in model.named_modules(remove_duplicate=False)}
    return Model(
        type(model).__name__,
        tuple(
            replace(tensor, block=blocks.get(tensor.name), holder=classes.get(tensor.place[0], ""))
            for tensor in tensors.values()
        ),
        config,
        str(config.get("model_type") or ""),
        tuple(_buffers(model)),
        tuple(_parts(model)) or parts_by_name(config, [tensor.layer for tensor in tensors.values()]),
    )


def _parts(model: nn.Module) -> Iterator[Configuration]:
    """Configurations of modules that aren't that of the module around them."""
    around: dict[str, Any] = {"": getattr(model, "config", None)}
    for path, module in model.named_modules():
        outer = around[path.rpartition(".")[0]]
        own = around[path] = vars(module).get("config") or outer
        if own is not outer and (values := _plain(own)):
            yield Configuration(path, f"{path}.config", values)


def _buffers(model: nn.Module) -> Iterator[Buffer]:
    """Buffers of floating-point numbers that have memory; of batch norms, whether a batch was counted."""
    for path, module in model.named_modules():
        counted = getattr(module, "num_batches_tracked", None)
        fresh = isinstance(counted, torch.Tensor) and not counted.is_meta and int(counted) == 0
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_floating_point() and not buffer.is_meta:
                yield Buffer(_join(path, name), RUNNING.get(name, ""), fresh, _copied(buffer))


def _copied(buffer: torch.Tensor) -> Callable[[], Array]:
    return lambda: to_numpy(buffer)


def _tied(first: ModelTensor, other: ModelTensor) -> ModelTensor:
    """One memory under two names; where one of them is an embedding, it is that."""
    also, used_as = (*first.also, other.name), (*first.used_as, other.role)
    if other.role == "embedding" and first.role != "embedding" and other.shape == first.shape:
        used_as = (*first.used_as, first.role)
        first = replace(other, name=first.name, layer=first.layer, trained=first.trained)
    return replace(first, also=also, used_as=used_as)


def _tensors(model: nn.Module) -> Iterator[tuple[ModelTensor, Any]]:
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, parametrize.ParametrizationList):
            continue
        own = {name: p for name, p in module._parameters.items() if p is not None}
        as_held = {SPECIAL.get(name, name): p for name, p in own.items()}
        kind, originals = type(module).__name__, {}
        if parametrize.is_parametrized(module):
            kind = type(module).__bases__[0].__name__
            originals = {name: _original(module, name) for name in module.parametrizations}
            as_held |= {name: tensor for name, (_, tensor, _) in originals.items()}
        lazy = {name for name, p in as_held.items() if isinstance(p, UninitializedTensorMixin)}
        known = uses(module, {name: p for name, p in as_held.items() if name not in lazy}, path) if not lazy else {}
        for name, parameter in own.items():
            use = known.get(SPECIAL.get(name, name), Use("parameter"))
            yield _tensor(_join(path, name), path, kind, parameter, use, _reader(parameter)), _memory(parameter)
        for name, (held, tensor, by) in originals.items():
            read = _reader(tensor) if held else _effective(module, name)
            full = _join(path, f"parametrizations.{name}.{held}" if held else name)
            use = known[name] if held else replace(known[name], default=UNKNOWN)
            yield replace(_tensor(full, path, kind, tensor, use, read), parametrized=by), _memory(tensor)
            for inner, parameter in module.parametrizations[name].named_parameters():
                if inner != held:
                    use = Use("parameter", out_axes=tuple(range(parameter.ndim)))
                    full = _join(path, f"parametrizations.{name}.{inner}")
                    made = _tensor(full, path, kind, parameter, use, _reader(parameter))
                    yield replace(made, parametrized=by), _memory(parameter)


def _original(module: nn.Module, name: str) -> tuple[str, torch.Tensor, str]:
    """The part of a parametrized tensor that was drawn, its tensor, the parametrization; of most the whole result."""
    steps = module.parametrizations[name]
    by = ", ".join(type(step).__name__ for step in steps)
    if (held := AS_ORIGINAL.get(by)) is not None and hasattr(steps, held):
        return held, getattr(steps, held), by
    return "", _quietly(module, name), by


def _quietly(module: nn.Module, name: str) -> torch.Tensor:
    """The result of a parametrization, in evaluation: in training some change their state when they are read."""
    steps = module.parametrizations[name]
    before = [(part, part.training) for part in steps.modules()]
    try:
        steps.eval()
        with torch.no_grad():
            result: torch.Tensor = steps()
    finally:
        for part, training in before:
            part.training = training
    return result


def _effective(module: nn.Module, name: str) -> Callable[[], Array]:
    return lambda: to_numpy(_quietly(module, name))


def _tensor(
    name: str, layer: str, kind: str, parameter: torch.Tensor, use: Use, read: Callable[[], Array] | None
) -> ModelTensor:
    shape = () if isinstance(parameter, UninitializedTensorMixin) else tuple(parameter.shape)
    if parameter.is_complex():
        shape, use = (*shape, 2), in_parts(use)
    return use.tensor(
        name,
        shape,
        dtype=str(parameter.dtype).removeprefix("torch."),
        kind=kind,
        layer=layer,
        read=read,
        trained=parameter.requires_grad,
    )


def _reader(parameter: torch.Tensor) -> Callable[[], Array] | None:
    if parameter.is_meta or isinstance(parameter, UninitializedTensorMixin):
        return None
    return lambda: to_numpy(parameter)


def to_numpy(tensor: torch.Tensor) -> Array:
    """Return a tensor's values in NumPy: without a copy where NumPy knows the type, else as float32.

    Complex numbers have their real and imaginary parts on a last axis.
    """
    values = tensor.detach()
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    if values.is_floating_point() and values.dtype not in (torch.float16, torch.float32, torch.float64):
        values = values.float()
    array: Array = values.cpu().numpy()
    return array


def _memory(parameter: torch.Tensor) -> Any:
    """Key that is equal for two names of one memory, also where the parameter objects differ."""
    if parameter.is_meta or isinstance(parameter, UninitializedTensorMixin) or not parameter.numel():
        return id(parameter)
    try:
        return parameter.data_ptr(), tuple(parameter.shape), parameter.stride()
    except RuntimeError:  # a tensor without storage of its own
        return id(parameter)


def _plain(config: Any) -> Mapping[str, Any]:
    """A model's configuration as plain values; empty where it has none."""
    if isinstance(config, Mapping):
        return dict(config)
    to_dict = getattr(config, "to_dict", None)
    return dict(to_dict()) if callable(to_dict) else {}


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
