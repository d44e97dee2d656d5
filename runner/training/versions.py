"""Versions of what decides a result's last bits: processor, Python, packages, BLAS."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy
from threadpoolctl import threadpool_info

import weightinit
from runner.config.key import RESULTS_VERSION


def versions() -> dict[str, str]:
    """Return the versions that this process computes with, by what they are of."""
    built: Any = np.show_config(mode="dicts")
    blas = {
        f"{library['internal_api']} {library['version']} for {library.get('architecture', 'any')}"
        for library in threadpool_info()
        if library["user_api"] == "blas"
    }
    return {
        "processor": " ".join([platform.machine(), *built["SIMD Extensions"].get("found", [])]),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "weightinit": f"{weightinit.__version__}, results version {RESULTS_VERSION}",
        "BLAS": " and ".join(sorted(blas)),
    }


def differences(theirs: Mapping[str, str]) -> str:
    """Return what differs from this process, as in ``numpy 2.0 (here 2.1)``; empty where nothing does."""
    return ", ".join(
        f"{name} {theirs.get(name, 'unknown')} (here {here})"
        for name, here in versions().items()
        if theirs.get(name) != here
    )
