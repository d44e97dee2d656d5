"""Packages that the runner needs beside those of the library: what the extra ``runner`` installs."""

from __future__ import annotations

from importlib.util import find_spec

MODULES = (
    "filelock",
    "hydra",
    "jinja2",
    "matplotlib",
    "mlflow",
    "mlxtend",
    "omegaconf",
    "pandas",
    "plotly",
    "pyarrow",
    "rich",
    "sklearn",
    "threadpoolctl",
)
"""Names to import, one for each package."""


def check() -> None:
    """Raise ImportError where one of them is not installed; import none."""
    # A folder of the same name here has a spec too, but no origin.
    missing = [name for name in MODULES if getattr(find_spec(name), "origin", None) is None]
    if missing:
        raise ImportError(
            f"the runner needs packages that are not installed ({', '.join(missing)}): "
            "pip install 'weightinit[runner]'."
        )


def check_extra(choice: str, extra: str, module: str) -> None:
    """Raise ValueError where the module that a choice needs is not installed; import none."""
    if find_spec(module) is None:
        raise ValueError(f"{choice} needs a package that is not installed: pip install 'weightinit[{extra}]'.")
