"""Weight initialization of neural networks: what to draw, what theory expects of it, what it does."""

from typing import TYPE_CHECKING, Any

from weightinit import activations, initializers
from weightinit.fans import Fans, compute_fans
from weightinit.gains import gain
from weightinit.parameters import initialize_parameters

if TYPE_CHECKING:
    from weightinit.auditing import audit

__version__ = "0.1.0"

__all__ = ["Fans", "activations", "audit", "compute_fans", "gain", "initialize_parameters", "initializers"]


def __getattr__(name: str) -> Any:
    if name == "audit":  # when it is asked for: it imports networks and schemes, which drawing weights doesn't need
        from weightinit.auditing import audit

        return audit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
