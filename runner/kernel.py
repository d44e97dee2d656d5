"""The notebook that this process may be the kernel of: what it shows beside text."""

from __future__ import annotations

import sys
from typing import Any


def is_kernel() -> bool:
    """Whether a notebook shows what this process displays; a process that hasn't imported IPython is no kernel."""
    return hasattr(_shell(), "kernel")


def in_shell() -> bool:
    """Whether IPython runs this process, in a terminal or as a kernel."""
    return _shell() is not None


def show_figures() -> None:
    """Has a notebook show figures of matplotlib's as pictures, which it does by itself once pyplot is imported."""
    if is_kernel():
        import IPython.core.pylabtools

        tools: Any = IPython.core.pylabtools
        tools.select_figure_formats(_shell(), {"png"})


class Shown:
    """HTML in the output of a notebook's cell, which :meth:`update` replaces."""

    def __init__(self, html: str) -> None:
        import IPython.display

        self._library: Any = IPython.display
        self._handle = self._library.display(self._library.HTML(html), display_id=True)

    def update(self, html: str) -> None:
        """Replaces what is shown."""
        self._handle.update(self._library.HTML(html))


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()
