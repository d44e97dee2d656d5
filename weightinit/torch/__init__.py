"""Models of PyTorch: audit of their parameters, draws and trace of their initialization, probe of their signal."""

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise ImportError(
        "weightinit.torch needs PyTorch, which is not installed: pip install 'weightinit[torch]'."
    ) from None

from weightinit.auditing.model_report import ModelFinding, ModelReport
from weightinit.drawing import rule
from weightinit.torch.auditing import audit
from weightinit.torch.coordinates import coordinate_check
from weightinit.torch.forecasting import LabModel, forecast, to_lab
from weightinit.torch.initialization import initialize_, mup
from weightinit.torch.probing import probe
from weightinit.torch.same_law import same_law
from weightinit.torch.tracing import trace
from weightinit.torch.translation import translate

Report = ModelReport

__all__ = [
    "LabModel",
    "ModelFinding",
    "Report",
    "audit",
    "coordinate_check",
    "forecast",
    "initialize_",
    "mup",
    "probe",
    "rule",
    "same_law",
    "to_lab",
    "trace",
    "translate",
]
