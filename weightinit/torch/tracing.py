"""The trace of an initialization: every write to a model's parameters, as PyTorch carries it out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from weightinit.laws import UNKNOWN, Law
from weightinit.torch.call_sites import CallSites, Line
from weightinit.torch.operators import (
    LEAVES_UNWRITTEN,
    Effect,
    arguments_of,
    effect_of,
    law_after,
    law_of_call,
    name_of,
    written,
)
from weightinit.torch.tracing_report import TensorTrace, TraceReport, Write

_KEPT = 4096  # memories that are gone are forgotten when so many more have been met


def trace() -> Trace:
    """Return a context that sees every write to a model's parameters, with its law, its line and its order.

    ``with trace() as seen: model = Net()``, then ``print(seen.report(model))``. Memory that is taken inside the context
    is filled with NaN before it is used, so that what is never written shows. Random numbers, modules and
    ``torch.nn.init`` are as ever. Writes past PyTorch (through ``numpy()`` or a pointer) are noted without a line.
    """
    return Trace()


@dataclass(frozen=True)
class _Event:
    """One operator that wrote to a memory: where in it (first element, end, elements), and what it left there."""

    order: int
    act: int
    call: str
    law: Law
    line: Line
    effect: Effect
    start: int
    end: int
    elements: int


@dataclass
class _Memory:
    """Memory of tensors that share it, with the ``law`` of what it holds.

    ``new``: taken inside the trace without values, and poisoned; ``unwritten``: no write has set all of it since.
    """

    reference: StorageWeakRef
    new: bool = False
    unwritten: bool = False
    law: Law = UNKNOWN
    events: list[_Event] = field(default_factory=list)


class Trace(TorchDispatchMode):
    """A context that sees every write to memory by PyTorch's operators; :meth:`report` reads it for one model."""

    def __init__(self) -> None:
        super().__init__()
        self._memories: dict[int, _Memory] = {}
        self._sites = CallSites()
        self._order = 0
        self._profile: Any = None

    def __enter__(self) -> Trace:
        self._profile = sys.getprofile()
        super().__enter__()
        sys.setprofile(self._sites.notice)
        return self

    def __exit__(self, *error: Any) -> None:
        sys.setprofile(self._profile)
        super().__exit__(*error)

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        targets = written(operator, args, kwargs)
        arguments = arguments_of(operator, args, kwargs)
        law = law_after(operator, arguments, self._law_of)  # of the sources, before they are written over
        hollow = any(self._unwritten(value) for key, value in arguments.items() if key != "self" or not targets)
        result = operator(*args, **kwargs)
        name = name_of(operator)
        if name in LEAVES_UNWRITTEN:
            self._poison(result)
        elif targets:
            for tensor in targets:
                self._note(tensor, name, arguments, law, "changes" if hollow else effect_of(operator))
        elif not any(argument.alias_info for argument in operator._schema.returns):
            for tensor in result if isinstance(result, list | tuple) else [result]:
                if isinstance(tensor, torch.Tensor):
                    self._note(tensor, name, arguments, law, "changes" if hollow else "sets")
        return result

    def report(self, model: torch.nn.Module) -> TraceReport:
        """Return what was written to each parameter and buffer of ``model`` and what was not; raise TypeError else."""
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"model must be a torch.nn.Module; got {type(model).__name__}. Pass the model traced.")
        tensors = dict(model.named_parameters()) | {
            name: buffer for name, buffer in model.named_buffers() if buffer.is_floating_point()
        }
        read = [self._read(name, tensor) for name, tensor in tensors.items()]
        return TraceReport(tuple(read), self._sites.unused())

    def _memory(self, tensor: torch.Tensor) -> _Memory | None:
        try:
            storage = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):  # a tensor without memory of its own, such as a lazy one
            return None
        key = storage._cdata
        if key not in self._memories:
            if len(self._memories) % _KEPT == _KEPT - 1:
                self._memories = {k: m for k, m in self._memories.items() if not m.reference.expired()}
            self._memories[key] = _Memory(StorageWeakRef(storage))
        return self._memories[key]

    def _law_of(self, value: Any) -> Law:
        memory = self._memory(value) if isinstance(value, torch.Tensor) else None
        return UNKNOWN if memory is None else memory.law

    def _unwritten(self, value: Any) -> bool:
        memory = self._memory(value) if isinstance(value, torch.Tensor) else None
        return memory is not None and memory.unwritten

    def _poison(self, tensor: torch.Tensor) -> None:
        memory = self._memory(tensor)
        if memory is not None and (tensor.is_floating_point() or tensor.is_complex()):
            memory.new = memory.unwritten = True
            if tensor.device.type != "meta":
                tensor.fill_(torch.nan)

    def _note(
        self,
        tensor: torch.Tensor,
        name: str,
        arguments: Mapping[str, Any],
        law: Law,
        effect: Effect,
    ) -> None:
        memory = self._memory(tensor)
        if memory is None:
            return
        self._order += 1
        line, under_way = self._sites.line(), self._sites.under_way
        start, end = _extent(tensor)
        if under_way is None:
            act, call = -self._order, _text(name, arguments)
        else:
            act, call = under_way.number, str(under_way)
            law = law_of_call(under_way.name, under_way.arguments) if not law.known else law
            if under_way.name == "trunc_normal_":
                law = law_of_call(under_way.name, under_way.arguments)
        whole = tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()
        if effect == "changes" or (whole and effect == "sets"):
            memory.law = law
        memory.unwritten &= not (whole and effect == "sets")
        memory.new |= effect == "changes" and not memory.events  # made of memory without values
        memory.events.append(_Event(self._order, act, call, law, line, effect, start, end, tensor.numel()))

    def _read(self, name: str, tensor: torch.Tensor) -> TensorTrace:
        memory = self._memory(tensor)
        start, end = _extent(tensor)
        events = [e for e in (memory.events if memory else []) if e.start < end and e.end > start]
        acts: dict[int, list[_Event]] = {}
        for event in events:
            acts.setdefault(event.act, []).append(event)
        writes = []
        for found in acts.values():
            share = min(1.0, max(event.elements for event in found) / max(tensor.numel(), 1))
            effects: list[Effect] = [event.effect for event in found if event.effect != "changes"]
            effect: Effect = next(iter(effects), "changes")
            if effect == "sets" and share < 1:
                effect = "sets some"
            writes.append(Write(found[-1].order, found[-1].call, found[-1].law, found[-1].line, effect, share))
        unwritten = 0
        if memory is not None and memory.new:
            if tensor.device.type == "meta":
                unwritten = 0 if any(write.effect == "sets" for write in writes) else tensor.numel()
            else:
                unwritten = int(torch.isnan(tensor.detach()).sum())
        parameter = isinstance(tensor, torch.nn.Parameter)
        new = memory is not None and memory.new
        return TensorTrace(name, tuple(tensor.shape), parameter, new, tuple(writes), unwritten)


def _extent(tensor: torch.Tensor) -> tuple[int, int]:
    """Return the first byte of a tensor in its memory and the one behind its last."""
    size = tensor.element_size()
    start = tensor.storage_offset() * size
    if not tensor.numel():
        return start, start
    last = sum((length - 1) * step for length, step in zip(tensor.shape, tensor.stride(), strict=True))
    return start, start + (last + 1) * size


def _text(name: str, arguments: Mapping[str, Any]) -> str:
    """Return an operator as a call with its numbers: ``normal_(mean=0, std=0.02)``."""
    shown = [
        f"{key}={value:.4g}"
        for key, value in arguments.items()
        if isinstance(value, float)
        or (isinstance(value, int) and not isinstance(value, bool) and key in ("other", "value"))
    ]
    return f"{name}({', '.join(shown)})"
