"""Fresh draws from a model's own laws: the values of each unit in another order."""

from __future__ import annotations

import torch
from torch import nn

_SAMPLE = 4096  # values that are looked at to tell written-down tensors from drawn ones


def redraw_(model: nn.Module, generator: torch.Generator) -> None:
    """Replace a model's trainable weights in place by a fresh draw of their own laws.

    Independent draws of one law are as likely in any order, so the elements of each unit (an index of the first axis)
    change places, and signs where as many are positive as negative. Padding rows, units of several sizes and packed
    tensors keep theirs. An orthogonal matrix has its rows and columns permuted and their signs flipped. What isn't
    drawn (constants, identities, kernels of few values) and what isn't trained stays.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.is_floating_point() and parameter.numel() > 1:
                _redraw(parameter.data, generator)


def _redraw(tensor: torch.Tensor, generator: torch.Generator) -> None:
    flat = tensor.reshape(-1)
    if torch.unique(flat[torch.linspace(0, flat.numel() - 1, min(flat.numel(), _SAMPLE)).long()]).numel() <= 3:
        return
    matrix = tensor.reshape(1, -1) if tensor.dim() == 1 else tensor.reshape(len(tensor), -1)
    if tensor.dim() > 1 and _orthogonal(matrix):
        for axis in (0, 1):
            size = matrix.shape[axis]
            signs = torch.randint(0, 2, (size,), generator=generator) * 2 - 1
            order = torch.randperm(size, generator=generator)
            matrix = matrix.index_select(axis, order.to(matrix.device))
            matrix = matrix * signs.to(matrix).reshape((-1, 1) if axis == 0 else (1, -1))
        tensor.copy_(matrix.reshape(tensor.shape))
        return
    keys = torch.rand(matrix.shape, generator=generator)
    matrix = matrix.gather(1, keys.argsort(1).to(matrix.device))
    positive, negative = int((matrix > 0).sum()), int((matrix < 0).sum())
    if abs(positive - negative) < 4 * (positive + negative) ** 0.5:
        matrix = matrix * (torch.randint(0, 2, matrix.shape, generator=generator) * 2 - 1).to(matrix)
    tensor.copy_(matrix.reshape(tensor.shape))


def _orthogonal(matrix: torch.Tensor) -> bool:
    """Whether the vectors of the shorter side are orthogonal and of one length."""
    short = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T).double()
    probe = torch.ones(len(short), dtype=short.dtype, device=short.device)
    probe[::2] = -1
    size = short.square().sum() / len(short)
    off = short @ (short.T @ probe) - size * probe
    return len(short) > 1 and bool(off.norm() < 1e-3 * size * probe.norm())
