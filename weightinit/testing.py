"""Tests of a model's initialization: ``assert_initialized``, ``assert_same_law``, and a lock against refactorings.

With pytest, ``pytest --weightinit-model=my.module:make`` does both for a model of one's own, without a test file.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from weightinit.auditing.expectations import ModelLaws
from weightinit.auditing.lock import LOCK, LockedGroup, differences, lock_of, read_lock, write_lock
from weightinit.auditing.model_report import ModelReport


def audit_any(model: Any, expected: ModelLaws = None, *, level: float = 1e-3) -> ModelReport:
    """Return the audit of a model by the adapter of its framework. Raises TypeError for a model of none of them."""
    packages = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    if hasattr(model, "named_parameters"):
        from weightinit import torch

        return torch.audit(model, expected, level=level)
    if "keras" in packages:
        from weightinit import keras

        return keras.audit(model, expected, level=level)
    if packages & {"flax", "equinox"} or isinstance(model, Mapping):
        from weightinit import jax

        return jax.audit(model, expected, level=level)
    raise TypeError(
        "model must be a module of PyTorch, a model of Keras, a module of Flax NNX or Equinox, or a mapping of names "
        f"to arrays; got {type(model).__name__}. Pass the model itself."
    )


def assert_initialized(model: Any, expected: ModelLaws = None, *, level: float = 1e-3) -> None:
    """Raise AssertionError, with a sentence for each fault, if an audit of the model finds any.

    ``model``: one of PyTorch, Keras, Flax or Equinox. ``expected`` and ``level`` as in ``weightinit.torch.audit``: a
    family, a law, rules, or None.
    """
    __tracebackhide__ = True
    report = audit_any(model, expected, level=level)
    if not report.ok:
        raise AssertionError("\n".join([*(finding.sentence for finding in report.faults), report.sentence]))


def assert_same_law(build_a: Callable[..., Any], build_b: Callable[..., Any], seeds: int = 8) -> None:
    """Raise AssertionError, with a sentence for each difference, if two ways of building a model draw by other laws.

    The functions and ``seeds`` as in ``weightinit.torch.same_law``.
    """
    __tracebackhide__ = True
    from weightinit.torch import same_law

    compared = same_law(build_a, build_b, seeds)
    if not compared.ok:
        raise AssertionError(str(compared))


def assert_locked(model: Any, name: str, lock: str | os.PathLike[str] = LOCK, *, update: bool = False) -> None:
    """Raise AssertionError, with a sentence for each group of tensors, if a model is not as it was locked.

    ``lock``: the file; ``name``: the model's name there. With ``update`` the model's lines are written anew; of a file
    that can't be read, all lines. Raises ValueError without ``update`` for such a file.
    """
    __tracebackhide__ = True
    path = Path(lock)
    report = audit_any(model)
    locks: dict[str, tuple[LockedGroup, ...]] = {}
    try:
        locks = read_lock(path) if path.exists() else {}
    except ValueError:
        if not update:
            raise
    if update:
        write_lock(path, {**locks, name: lock_of(report)})
        return
    if name not in locks:
        raise AssertionError(f"{path} has no lock of {name}: write it with --weightinit-update, and commit it.")
    if found := differences(locks[name], report):
        found.append(f"{name} is not initialized as {path} has it. If that is meant, run with --weightinit-update.")
        raise AssertionError("\n".join(found))


class PlaceError(ValueError):
    """A place ``module:factory`` that names nothing."""


def factory_of(place: str, folder: Path | None = None) -> Callable[[], Any]:
    """Return the function at ``module:factory`` that makes a model; for a model there, one that returns it.

    ``folder`` is where modules are looked for first. Raises PlaceError for a place that can't be found, and what the
    module raises when it is imported.
    """
    module_name, colon, factory_name = place.partition(":")
    if not colon or not module_name or not factory_name:
        raise PlaceError(f"a model is named module:factory, as in my.module:make; got {place!r}.")
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and not (module_name + ".").startswith(error.name + "."):
            raise
        raise PlaceError(f"no module {module_name!r} for the model {place!r}; mend the name or the folder.") from None
    for part in factory_name.split("."):
        if not hasattr(found, part):
            raise PlaceError(f"{module_name!r} has no {factory_name!r}; the model {place!r} names it.")
        found = getattr(found, part)
    makes = isinstance(found, type) or (callable(found) and not hasattr(found, "parameters"))
    return found if makes else lambda: found
