"""Models of JAX (Flax, Equinox, any pytree): initializers, initialization by rules, and the audit of their arrays."""

try:
    import jax as _jax  # noqa: F401
except ImportError:
    raise ImportError("weightinit.jax needs JAX, which is not installed: pip install 'weightinit[jax]'.") from None

from weightinit.auditing.model_report import ModelFinding, ModelReport
from weightinit.drawing import rule
from weightinit.jax.auditing import audit
from weightinit.jax.initialization import initialize
from weightinit.jax.initializer import initializer
from weightinit.jax.translation import translate

Report = ModelReport

__all__ = ["ModelFinding", "Report", "audit", "initialize", "initializer", "rule", "translate"]
