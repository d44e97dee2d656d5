"""Models of PyTorch: their parameters as named tensors that audits and initializers read."""

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise ImportError(
        "weightinit.torch needs PyTorch, which is not installed: pip install 'weightinit[torch]'."
    ) from None

from weightinit.drawing import rule
from weightinit.torch.initialization import initialize_
from weightinit.torch.probing import probe
from weightinit.torch.tracing import trace
from weightinit.torch.translation import translate

__all__ = ["initialize_", "probe", "rule", "trace", "translate"]
