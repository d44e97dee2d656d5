"""Plan of a tape's memory: which arrays a network's steps keep, and which gradients share memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from weightinit.arrays import aligned
from weightinit.nn.tape import Slot, Tape
from weightinit.nn.tree import Step


class Source(NamedTuple):
    """Register that a step reads: on the way back its gradient is written, or added where another step wrote it.

    ``wanted``: whether trained weights lie before it. The skip of a residual block waits for the branch, which writes
    first: it ``waits``, and ``sum`` is the register of the block's end, whose skip is added to what the step wrote.
    """

    register: int
    adds: bool
    wanted: bool
    waits: bool = False
    sum: int | None = None


class Order(NamedTuple):
    """Backward pass of one step: the register of its output, its sources, and weights that later steps use too.

    ``alone``: whether the step has one source and all that it writes is written by no other step.
    """

    target: int
    sources: tuple[Source, ...]
    wanted: bool
    shared: tuple[str, ...]
    alone: bool


@dataclass(frozen=True)
class Memory:
    """Plan of the memory of a stack, in elements.

    ``slots``: all that the layers ask for; ``own``: by register, the size of one sample's gradient; ``pool``: by
    register, which piece of shared memory holds its gradient, or None; ``pieces``: size of each piece for one sample;
    ``spare``: size of a gradient that waits to be added; ``keys``: by register, where the tape keeps its gradient;
    ``backward``: the steps in reverse.
    """

    slots: tuple[Slot, ...]
    shapes: tuple[tuple[int, ...], ...]
    pool: tuple[int | None, ...]
    pieces: tuple[int, ...]
    spare: int
    keys: tuple[tuple[str, str] | None, ...]
    backward: tuple[Order, ...]

    @classmethod
    def of(cls, steps: Sequence[Step]) -> Memory:
        """Return the plan of these steps."""
        outputs = [next(iter(step.layer.slots(step.entering)), None) for step in steps]
        own = [slot is not None and slot.gradient == "own" for slot in outputs]
        wanted = [False]
        for step in steps:
            before = wanted[step.source] or (step.skip is not None and wanted[step.skip])
            wanted.append(before or any(spec.trained for spec in step.weights))
        size = [0, *(prod(step.leaving) for step in steps)]
        pool: list[int | None] = [None] * len(size)
        pieces: list[int] = []
        live: set[int] = set()
        written: set[int] = set()
        seen: set[str] = set()
        spare, orders = 0, []
        waiting: dict[int, int] = {}
        for target in range(len(steps), 0, -1):
            step, sources = steps[target - 1], []
            live.add(target)
            read_before = {register for other in steps[: target - 1] for register in (other.source, other.skip)}
            for register in (step.source, *([] if step.skip is None else [step.skip])):
                adds = register in written
                first = not adds and register not in waiting and own[target - 1]
                if first and register == step.skip and register in read_before:
                    waiting[register] = target
                    sources.append(Source(register, False, wanted[register], waits=True))
                    continue
                if adds:
                    spare = max(spare, prod(step.entering))
                elif register and not own[register - 1]:
                    used = {pool[other] for other in live}
                    piece = next(number for number in range(len(pieces) + 1) if number not in used)
                    pieces[piece : piece + 1] = [max([size[register], *pieces[piece : piece + 1]])]
                    pool[register] = piece
                written.add(register)
                live.add(register)
                sources.append(Source(register, adds, wanted[register], sum=waiting.pop(register, None)))
            live.discard(target)
            names = tuple(spec.name for spec in step.weights)
            shared = tuple(name for name in names if name in seen)
            alone = step.skip is None and not shared and not sources[0].adds and sources[0].sum is None
            orders.append(Order(target, tuple(sources), wanted[target], shared, alone))
            seen |= set(names)
        slots = tuple(slot for step in steps for slot in step.layer.slots(step.entering))
        keys = tuple(
            (slot.path, f"d_{slot.quantity}") if slot is not None and slot.gradient == "own" else None
            for slot in outputs
        )
        shapes = tuple(step.leaving for step in steps)
        return cls(slots, shapes, tuple(pool[1:]), tuple(pieces), spare, keys, tuple(orders))

    def allocate(self, tape: Tape, dtype: np.dtype[Any], *, gradients: bool) -> None:
        """Give a tape its arrays."""
        xp, runs, batch = tape.xp, tape.runs, tape.batch
        scratch: dict[str, int] = {}
        for slot in self.slots:
            kind = dtype if slot.dtype is None else np.dtype(slot.dtype)
            if slot.scope == "scratch":
                scratch[slot.quantity] = max(scratch.get(slot.quantity, 0), prod(slot.shape))
            else:
                leading = (runs, batch) if slot.scope == "sample" else (runs,)
                tape.arrays[slot.path, slot.quantity] = aligned(xp, (*leading, *slot.shape), kind)
        for quantity, size in scratch.items():
            tape.scratch[quantity] = aligned(xp, (size,), dtype)
        if not gradients:
            return
        pieces = [aligned(xp, (runs * batch * size,), dtype) for size in self.pieces]
        for shape, piece, key in zip(self.shapes, self.pool, self.keys, strict=True):
            full = (runs, batch, *shape)
            gradient = aligned(xp, full, dtype) if piece is None else pieces[piece][: prod(full)].reshape(full)
            tape.gradients.append(gradient)
            if key is not None:
                tape.arrays[key] = gradient
        tape.spare = aligned(xp, (runs * batch * self.spare,), dtype)

    def elements(self, batch: int) -> int:
        """Return the elements of one run that a training step on ``batch`` samples touches, but for scratch memory."""
        total = 0
        for slot in self.slots:
            total += {"sample": batch * prod(slot.shape), "run": prod(slot.shape), "scratch": 0}[slot.scope]
        own = sum(prod(shape) for shape, piece in zip(self.shapes, self.pool, strict=True) if piece is None)
        return total + batch * (own + sum(self.pieces) + self.spare)
