"""Checkpoints of PyTorch, read without running what they hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from weightinit.arrays import Array
from weightinit.torch.translation import to_numpy

INSIDE: Final = ("state_dict", "model_state_dict", "model", "module")
"""Keys under which a checkpoint holds the state of its model."""
FOREIGN: Final = re.compile(r"(?:GLOBAL|class|type) ([\w.]+\.\w+)")
"""The name of what a checkpoint holds beside plain values, in PyTorch's own error."""


def read_checkpoint(path: str | Path) -> dict[str, Array]:
    """Return the tensors of a checkpoint by name; with ``weights_only``, so that nothing in the file is run.

    Where no known key holds the model's state, the one mapping that holds tensors does. Raises ValueError for a file
    that holds more than plain values, for a broken one, and for one with no state or several; OSError for one that
    can't be read.
    """
    with Path(path).open("rb") as file:
        if not file.read(1):
            raise ValueError(f"{path} is empty. Save it again.")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # bytes that are no checkpoint raise what they please
        raise ValueError(f"{path} {_problem(error)}") from None
    state = _state(loaded)
    if state is None:
        held = f"a mapping of {', '.join(map(str, loaded)) or 'nothing'}" if isinstance(loaded, Mapping) else "none"
        raise ValueError(
            f"{path} must hold one state, a mapping of names to tensors; it holds {held[:300]}. Save that of one "
            "model: torch.save(model.state_dict(), ...)."
        )
    return {name: to_numpy(value) for name, value in state.items() if isinstance(value, torch.Tensor)}


def _problem(error: Exception) -> str:
    foreign = FOREIGN.search(str(error))
    if foreign is None:
        return f"is no checkpoint of PyTorch, or a broken one ({type(error).__name__}). Save it again."
    return (
        f"can't be read with weights_only, which runs no code of the file: it holds {foreign[1]}. Save the state "
        "alone: torch.save(model.state_dict(), ...)."
    )


def _state(loaded: Any) -> Mapping[str, Any] | None:
    """Return the mapping of names to tensors in what was loaded; None where there is none, or more than one."""
    if not isinstance(loaded, Mapping):
        return None
    inner = {key: value for key, value in loaded.items() if isinstance(value, Mapping)}
    if key := next((key for key in INSIDE if key in inner), ""):
        return _state(inner[key])
    if any(isinstance(key, str) and isinstance(value, torch.Tensor) and value.ndim for key, value in loaded.items()):
        return loaded
    states = [state for state in map(_state, inner.values()) if state is not None]
    return states[0] if len(states) == 1 else None
