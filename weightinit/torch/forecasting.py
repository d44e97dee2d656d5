"""The forecast of a PyTorch model: theory of its layers beside what a probe measures, and its weights in the lab."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from weightinit.arrays import Array
from weightinit.auditing.matrices import orthogonality
from weightinit.laws import Law
from weightinit.nn import Network
from weightinit.probing import Reading, backward_norm, read
from weightinit.probing.theory import ModelForecast, TheoryRow, stability_of
from weightinit.torch.following import Followed, follow
from weightinit.torch.random_states import random_states, seed_all
from weightinit.torch.redraw import redraw_
from weightinit.torch.samples import LossLike, Sample, objective
from weightinit.torch.translation import to_numpy


def forecast(
    model: nn.Module, sample: torch.Tensor, loss: LossLike | None = None, *, draws: int = 5, seed: int = 0
) -> ModelForecast:
    """Return what mean-field theory says of a model at initialization, beside what is measured over ``draws`` draws.

    The way of the data is followed by ``torch.fx`` and made a network of the lab: dense layers and convolutions, norms,
    pooling, attention, embeddings, residual sums, activations that the lab knows. Its weights have the law of the
    model's own: their mean squares, each tensor as independent draws or orthogonal. What is unknown is named, and
    theory ends before it. ``sample`` is one tensor, a batch of 16 inputs or more; ``loss`` as of ``probe``.

    The model is left as it was. Raises ValueError for a model whose way can't be followed and a sample that it doesn't
    take, TypeError for what is no model or no tensor.
    """
    lab = to_lab(model, sample)
    with random_states():
        measured = [_measure(lab.followed, sample, loss, draw, seed) for draw in range(draws)]
    rows = _rows(lab, sample, measured)
    return ModelForecast(rows, lab.followed.unknown, stability_of(rows), draws)


@dataclass(frozen=True, eq=False)
class LabModel:
    """A PyTorch model, or its beginning, in the lab: its ``network``, its weights ``params`` (1, *shape) by name."""

    followed: Followed
    params: Mapping[str, Array]

    @property
    def network(self) -> Network:
        """The network of the lab; raise ValueError for a model that starts with what the lab has no layer for."""
        if self.followed.network is None:
            raise ValueError(f"the lab has no layer for the model's first part, {self.followed.unknown}.")
        return self.followed.network

    def inputs(self, sample: torch.Tensor) -> Array:
        """Return a sample as the network takes it, (1, samples, *shape): channels last."""
        x = to_numpy(sample).astype(np.float64)
        return np.ascontiguousarray(np.moveaxis(x, 1, -1) if self.followed.channels_first else x)[None]

    def state_dict(self, params: Mapping[str, Array], run: int = 0) -> dict[str, torch.Tensor]:
        """Return weights of the lab, ``(runs, *shape)`` by name, as the model's ``state_dict``, of one run.

        Weights of a network that the lab made itself, such as those of a run, have other names: they go by their order
        where all shapes are equal. What the network doesn't hold (buffers, unknown parts) has the model's values.
        Raises ValueError for weights of another network.
        """
        names = [spec.name for spec in self.network.weights]
        if names[0] not in params and [np.shape(p)[1:] for p in params.values()] == [
            self.params[n].shape[1:] for n in names
        ]:
            params = dict(zip(names, params.values(), strict=True))
        owner: Any = self.followed.graph
        clones: dict[tuple[int, ...], torch.Tensor] = {}  # tied tensors are one
        state = {
            name: clones.setdefault((value.data_ptr(), *value.shape), value.detach().clone())
            for name, value in owner.state_dict().items()
        }
        for name in self.followed.tensors:
            wanted = self.params[name].shape[1:]
            got = np.shape(params[name])[1:] if name in params else None
            if got != wanted:
                raise ValueError(f"params must hold {name} of shape (runs, *{wanted}); got {got or 'nothing'}.")
        for name, (path, tensor) in self.followed.tensors.items():
            attribute, _, within = tensor.parameter.partition("[")
            target = state[f"{path}.{attribute}" if path else attribute]
            values = tensor.write(torch.from_numpy(np.ascontiguousarray(params[name][run]))).to(target.dtype)
            if within:
                start, stop = map(int, within.rstrip("]").split(":"))
                (target.flatten(0, -2) if target.dim() > 1 else target)[start:stop] = values
            else:
                target.copy_(values.reshape(target.shape))
        return state


def to_lab(model: nn.Module, sample: torch.Tensor) -> LabModel:
    """Return a PyTorch model as a network of the lab with its weights.

    Raises as :func:`forecast` does.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got {type(model).__name__}. Pass the model itself.")
    if not isinstance(sample, torch.Tensor) or not sample.dim():
        raise TypeError(f"sample must be one tensor, a batch of inputs; got {type(sample).__name__}.")
    with random_states(), torch.no_grad():
        copied = copy.deepcopy(model)
        Sample((sample,)).run(copy.deepcopy(model))  # says what is wrong with the sample
        followed = follow(copied, sample)
    return LabModel(followed, {} if followed.network is None else followed.weights())


def _rows(lab: LabModel, sample: torch.Tensor, measured: list[dict[str, Reading]]) -> tuple[TheoryRow, ...]:
    if lab.followed.network is None:
        return ()
    network = lab.network
    x = lab.inputs(sample)[0]
    moments = network.moments_of(x.reshape(len(x), -1))
    predictions = network.expect(moments, _laws(lab))
    places = lab.followed.places
    found = []
    for step, prediction in zip(network.steps, predictions, strict=True):
        readings = [each[places[step.path]] for each in measured if places.get(step.path) in each]
        with np.errstate(all="ignore"):
            logs = np.log([reading.rms for reading in readings])
            back = float(np.exp(np.mean(np.log([reading.backward for reading in readings]))))
            gradient = math.sqrt(prediction.gradient.second_moment * math.prod(step.leaving))
            rms, spread = float(np.exp(logs.mean())), float(logs.std(ddof=1)) if len(logs) > 1 else 0.0
        theory = math.sqrt(prediction.moments.second_moment)
        reason = prediction.moments.reason
        kind = type(step.layer).__name__
        found.append(TheoryRow(step.path.replace("/", "."), kind, theory, rms, spread, gradient, back, reason))
    if lab.followed.unknown:  # the gradient comes through parts that theory doesn't know
        return tuple(_scaled(row, math.nan) for row in found)
    scale = next(
        (row.gradient / row.theory_gradient for row in reversed(found) if row.theory_gradient > 0 and row.gradient > 0),
        math.nan,
    )
    return tuple(_scaled(row, scale) for row in found)


def _scaled(row: TheoryRow, scale: float) -> TheoryRow:
    return TheoryRow(**{**row.__dict__, "theory_gradient": row.theory_gradient * scale})


def _laws(lab: LabModel) -> dict[str, Law]:
    """Return the laws of a model's weights, as far as its values show them: their mean squares."""
    laws = {}
    for spec in lab.network.weights:
        x = lab.params[spec.name][0]
        low, high = float(x.min()), float(x.max())
        if low == high:
            laws[spec.name] = Law("constant", low, 0.0, (low, low))
            continue
        mean, std = float(x.mean()), float(x.std())
        if abs(mean) < 5 * std / math.sqrt(x.size):
            mean, std = 0.0, float(np.sqrt(np.mean(x**2)))
        matrix = x.reshape(-1, x.shape[-1])
        orthogonal = spec.role == "weight" and min(matrix.shape) > 2 and orthogonality(matrix)[1] < 1e-3
        laws[spec.name] = Law("orthogonal" if orthogonal else "normal", mean, std)
    return laws


def _measure(
    followed: Followed, sample: torch.Tensor, loss: LossLike | None, draw: int, seed: int
) -> dict[str, Reading]:
    graph: Any = copy.deepcopy(followed.graph)
    if draw:
        redraw_(graph, torch.Generator().manual_seed(seed + draw))
    seed_all(seed)
    reader = _Reader(graph, set(followed.places.values()), followed.channels_first)
    with torch.enable_grad():
        output = reader.run(sample)
        value = objective(output, Sample((sample,)), loss, seed).loss(output)
        if value.requires_grad:
            value.backward()
    return reader.readings


class _Reader(fx.Interpreter):
    """Runs a graph and reads what leaves its nodes, forward and backward."""

    def __init__(self, graph: Any, places: set[str], channels_first: bool) -> None:
        super().__init__(graph)
        self.readings: dict[str, Reading] = {}
        self._places, self._channels_first = places, channels_first

    def run_node(self, n: Any) -> Any:
        result = super().run_node(n)
        tensor = result[0] if isinstance(result, tuple) else result
        if n.name in self._places and isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
            self.readings[n.name] = read(to_numpy(tensor), channels_first=self._channels_first, positions=False)
            if tensor.requires_grad:
                tensor.register_hook(partial(self._back, n.name))
        return result

    def _back(self, name: str, gradient: torch.Tensor) -> None:
        self.readings[name].backward = backward_norm(to_numpy(gradient))
