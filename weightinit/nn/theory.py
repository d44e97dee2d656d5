"""Theory of a network, step by step: moments on the way forward, gradients on the way back, singular values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from weightinit.laws import Law
from weightinit.meanfield import SingularValues
from weightinit.nn.layers import BatchNorm, Flatten
from weightinit.nn.layers.positions import by_position
from weightinit.nn.moments import Gradient, Moments, Prediction
from weightinit.nn.sites import MEASURED
from weightinit.nn.tape import Shape
from weightinit.nn.tree import Step


def followed_shape(steps: Sequence[Step]) -> Shape:
    """Return the shape by which a sample is followed: without positions where the first layer joins them.

    Pairs of all samples can then be followed.
    """
    first = [step for step in steps if 0 in (step.source, step.skip)]
    entering = first[0].entering
    return (prod(entering),) if all(isinstance(step.layer, Flatten) for step in first) else entering


def predictions(steps: Sequence[Step], entering: Moments, laws: Mapping[str, Law]) -> tuple[Prediction, ...]:
    """Return the theory of every step for inputs of ``entering`` moments, as ``Network.expect`` does."""
    registers = [entering]
    for step in steps:
        registers.append(step.expect(registers, laws))
    gradients = _gradients(steps, Gradient(), registers, laws)
    found = []
    for index, step in enumerate(steps, start=1):
        slots = [slot for slot in step.layer.slots(step.entering)[:1] if slot.quantity in MEASURED]
        path, quantity = (slots[0].path, slots[0].quantity) if slots else (step.path, "")
        found.append(Prediction(path, quantity, registers[step.source], registers[index], gradients[index]))
    return tuple(found)


def _gradients(
    steps: Sequence[Step], output: Gradient, registers: Sequence[Moments], laws: Mapping[str, Law]
) -> dict[int, Gradient]:
    """Return the expected gradient at each register but the input's, given that at the output.

    Positions of the output have independent gradients.
    """
    positions = steps[-1].leaving[:-1]
    if positions and not registers[-1].reason:
        output = by_position(output, registers[-1], positions)
    gradients = {len(steps): output}
    for index in range(len(steps), 1, -1):
        for register, part in steps[index - 1].expect_gradients(gradients[index], registers, laws):
            gradients[register] = gradients[register] + part if register in gradients else part
    return gradients


def singular_values(
    steps: Sequence[Step], found: Sequence[Prediction], laws: Mapping[str, Law], samples: int
) -> SingularValues:
    """Return the expected singular values of the Jacobian at so many ``samples``, NaN where there is no theory.

    Where layers are not dense, only the mean of their squares: the gradient of independent outputs at the input.
    """
    inputs, outputs = prod(steps[0].entering), prod(steps[-1].leaving)
    values = SingularValues()
    for step, prediction in zip(steps, found, strict=True):
        values = step.expect_jacobian(values, prediction.input, laws)
    if math.isnan(values.mean) and samples:
        size = np.mean(np.atleast_1d(_input_gradient(steps, found, laws).by_sample)[:samples])
        values = replace(values, mean=float(size) * inputs / outputs)
    return values.among(min(1.0, inputs / outputs))


def _input_gradient(steps: Sequence[Step], found: Sequence[Prediction], laws: Mapping[str, Law]) -> Gradient:
    """Return the expected gradient at the input; norms over the batch hold their statistics."""
    registers = [found[0].input, *(prediction.moments for prediction in found)]
    gradients = {index: prediction.gradient for index, prediction in enumerate(found, start=1)}
    if any(isinstance(step.layer, BatchNorm) for step in steps):
        gradients = _gradients(steps, Gradient(held=True), registers, laws)
    parts = [
        part
        for index, step in enumerate(steps, start=1)
        if 0 in (step.source, step.skip)
        for register, part in step.expect_gradients(gradients[index], registers, laws)
        if register == 0
    ]
    return sum(parts[1:], parts[0])
