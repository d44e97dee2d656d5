"""Checkpoints of PyTorch, read without running what they hold."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from weightinit.arrays import Array
from weightinit.torch.errors import first_line
from weightinit.torch.translation import to_numpy

INSIDE: Final = ("state_dict", "model_state_dict", "model", "module")
"""Keys under which a checkpoint holds the state of its model."""


def read_checkpoint(path: str | Path) -> dict[str, Array]:
    """Return the tensors of a checkpoint by name; with ``weights_only``, so that nothing in the file is run.

    Raises ValueError for a file that holds more than tensors or none at all, OSError for one that can't be read.
    """
    try:
        with Path(path).open("rb"):
            pass
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} can't be read with weights_only, which runs no code of the file: {first_line(error)[:200]}. Save "
            "the state alone: torch.save(model.state_dict(), ...)."
        ) from None
    while isinstance(loaded, Mapping) and (key := next((k for k in INSIDE if isinstance(loaded.get(k), Mapping)), "")):
        loaded = loaded[key]
    tensors = _tensors(loaded)
    if not tensors:
        raise ValueError(f"{path} holds no tensors by name; a checkpoint's state is a mapping of names to tensors.")
    return tensors


def _tensors(state: Any) -> dict[str, Array]:
    if not isinstance(state, Mapping):
        return {}
    return {str(name): to_numpy(value) for name, value in state.items() if isinstance(value, torch.Tensor)}
