"""Models of Keras: initializers for their layers, and the audit of their weights."""

try:
    import keras as _keras  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"weightinit.keras needs Keras and its backend ({error}): pip install 'weightinit[keras]', and set "
        "KERAS_BACKEND to a backend that is installed."
    ) from None

from weightinit.auditing.model_report import ModelFinding, ModelReport
from weightinit.drawing import rule
from weightinit.keras.auditing import audit
from weightinit.keras.initializer import Initializer
from weightinit.keras.translation import translate

Report = ModelReport

__all__ = ["Initializer", "ModelFinding", "Report", "audit", "rule", "translate"]
