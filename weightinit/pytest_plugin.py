"""Plugin of pytest: ``--weightinit-model=module:factory`` audits a model and holds it against its lock."""

from __future__ import annotations

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
        """Return the model anew."""
        from weightinit.testing import model_of

        return model_of(self.place, self.config.rootpath)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the sentences alone where a test fails: where it was called from tells nothing."""
        if isinstance(excinfo.value, AssertionError | ValueError | TypeError | ImportError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return the words that name the test."""
        return self.path, None, f"{self.place} {self.what}"


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
