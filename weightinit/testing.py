"""Tests of a model's initialization: ``assert_initialized``, ``assert_same_law``, and a lock against refactorings.

With pytest, ``pytest --weightinit-model=my.module:make`` does both for a model of one's own, without a test file.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weightinit.auditing.expectations import ModelLaws
from weightinit.auditing.lock import LOCK, LockedGroup, differences, lock_of, read_lock, write_lock
from weightinit.auditing.model_report import ModelReport


def audit_any(model: Any, expected: ModelLaws = None, *, level: float = 1e-3) -> ModelReport:
    """Return the audit of a model by the adapter of its framework. Raises TypeError for a model of none of them."""
    if hasattr(model, "named_parameters"):
        from weightinit.torch import audit

        return audit(model, expected, level=level)
    raise TypeError(f"model must be one of PyTorch's; got {type(model).__name__}. Pass a torch.nn.Module.")


def assert_initialized(model: Any, expected: ModelLaws = None, *, level: float = 1e-3) -> None:
    """Raise AssertionError, with a sentence for each fault, if an audit of the model finds any.

    ``expected`` and ``level`` as in ``weightinit.torch.audit``: a family, a law, rules, or None.
    """
    report = audit_any(model, expected, level=level)
    if not report.ok:
        raise AssertionError("\n".join([*(finding.sentence for finding in report.faults), report.sentence]))


def assert_same_law(build_a: Callable[..., Any], build_b: Callable[..., Any], seeds: int = 8) -> None:
    """Raise AssertionError, with a sentence for each difference, if two ways of building a model draw by other laws.

    The functions and ``seeds`` as in ``weightinit.torch.same_law``.
    """
    from weightinit.torch import same_law

    compared = same_law(build_a, build_b, seeds)
    if not compared.ok:
        raise AssertionError(str(compared))


def assert_locked(model: Any, name: str, lock: str | os.PathLike[str] = LOCK, *, update: bool = False) -> None:
    """Raise AssertionError, with a sentence for each group of tensors, if a model is not as it was locked.

    ``lock``: the file; ``name``: the model's name there. With ``update`` the model's lines are written anew.
    """
    path = Path(lock)
    report = audit_any(model)
    locks: dict[str, tuple[LockedGroup, ...]] = read_lock(path) if path.exists() else {}
    if update:
        write_lock(path, {**locks, name: lock_of(report)})
        return
    if name not in locks:
        raise AssertionError(f"{path} has no lock of {name}: write it with --weightinit-update, and commit it.")
    if found := differences(locks[name], report):
        found.append(f"{name} is not initialized as {path} has it. If that is meant, run with --weightinit-update.")
        raise AssertionError("\n".join(found))


def model_of(place: str, folder: Path | None = None) -> Any:
    """Return the model at ``module:factory``; a factory is called, a model is taken as it is.

    ``folder`` is where modules are looked for first. Raises ValueError for a place that can't be found.
    """
    module_name, colon, factory_name = place.partition(":")
    if not colon or not module_name or not factory_name:
        raise ValueError(f"a model is named module:factory, as in my.module:make; got {place!r}.")
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and not (module_name + ".").startswith(error.name + "."):
            raise
        raise ValueError(f"no module {module_name!r} for the model {place!r}; mend the name or the folder.") from None
    for part in factory_name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{module_name!r} has no {factory_name!r}; the model {place!r} names it.")
        found = getattr(found, part)
    make: Callable[[], Any] | None = found if callable(found) and not hasattr(found, "parameters") else None
    make = found if isinstance(found, type) else make
    return make() if make is not None else found
