"""The lab's runner: YAML in; networks initialized, measured, trained, recorded and compared.

``python -m runner`` from the shell; from Python :func:`run`, :func:`advise`, :func:`compare`, :func:`forecast` and
:func:`schemes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.api import Results, advise, compare, forecast, run, schemes

__all__ = ["Results", "advise", "compare", "forecast", "run", "schemes"]


def __getattr__(name: str) -> Any:
    """Return a public name, imported when somebody asks for it: the command line begins without tables and MLflow."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from runner import requirements

    requirements.check()
    from runner import api

    return getattr(api, name)
