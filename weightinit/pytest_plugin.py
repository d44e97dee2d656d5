"""Plugin of pytest: ``--weightinit-model=module:factory`` audits a model and holds it against its lock."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's options."""
    group = parser.getgroup("weightinit", "initialization of models")
    group.addoption(
        "--weightinit-model",
        action="append",
        default=[],
        metavar="MODULE:FACTORY",
        help="audit the model that this returns, and hold it against its lock; may be repeated",
    )
    group.addoption("--weightinit-lock", default=None, metavar="FILE", help="the lock; default: init.lock.json")
    group.addoption("--weightinit-update", action="store_true", help="write the lock of these models anew")
    parser.addini("weightinit_models", "models to audit, as --weightinit-model", type="linelist", default=[])


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to write one lock from several processes."""
    if config.getoption("weightinit_update") and config.getoption("numprocesses", None):
        raise pytest.UsageError("--weightinit-update writes one file, so it needs one process: add -n 0.")


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add two tests for each model: its audit, and its lock."""
    places = [*config.getini("weightinit_models"), *config.getoption("weightinit_model")]
    for place in dict.fromkeys(places):
        items += [kind.from_parent(session, name=f"{place}::{kind.what}", place=place) for kind in (Audit, Lock)]


class ModelItem(pytest.Item):
    """A test of one model, made by its factory."""

    what = ""

    def __init__(self, *, place: str, **options: Any) -> None:
        super().__init__(**options)
        self.place = place

    def model(self) -> Any:
        """Return the model anew; of PyTorch, by seed 0 of the global generators: one code, one verdict."""
        from weightinit.testing import PlaceError, factory_of

        try:
            make = factory_of(self.place, self.config.rootpath)
            with _seeded():
                return make()
        except PlaceError:
            raise
        except Exception as error:
            raise NotMade(_own_code(error)) from error

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the sentences alone where a model is at fault, the traceback where its own code failed."""
        if isinstance(excinfo.value, NotMade):
            return f"{self.place} can't be made: {excinfo.value}"
        if isinstance(excinfo.value, AssertionError | ValueError | TypeError | ImportError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return the words that name the test."""
        return self.path, None, f"{self.place} {self.what}"


class NotMade(Exception):
    """A model whose own code failed."""


def _own_code(error: Exception) -> str:
    """Return an error and its traceback without the frames of this package and of the import system."""
    trace = error.__traceback__
    foreign = (str(Path(__file__).parent), "importlib")
    while trace is not None and any(part in trace.tb_frame.f_code.co_filename for part in foreign):
        trace = trace.tb_next
    said = f"{type(error).__name__}: {error}"
    return said if trace is None else "\n".join([said, "", *map(str.rstrip, traceback.format_tb(trace))])


@contextmanager
def _seeded() -> Iterator[None]:
    """Seed the global generators where PyTorch is in use, and give back their states."""
    if "torch" not in sys.modules:
        yield
        return
    from weightinit.torch.random_states import random_states, seed_all

    with random_states():
        seed_all(0)
        yield


class Audit(ModelItem):
    """The audit of a model."""

    what = "initialized"

    def runtest(self) -> None:
        from weightinit.testing import assert_initialized

        assert_initialized(self.model())


class Lock(ModelItem):
    """The lock of a model; passed over where nobody has written one."""

    what = "locked"

    def runtest(self) -> None:
        from weightinit.auditing.lock import LOCK
        from weightinit.testing import assert_locked

        given = self.config.getoption("weightinit_lock")
        lock = Path(given) if given else self.config.rootpath / LOCK
        update = bool(self.config.getoption("weightinit_update"))
        if not (lock.exists() or given or update):
            pytest.skip(f"no {LOCK}; --weightinit-update writes it")
        assert_locked(self.model(), self.place, lock, update=update)
