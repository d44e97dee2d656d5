"""Drawing a model's tensors by rules: matching, places on residual branches, draws by name."""

from weightinit.drawing.parametrized import ByBase, ParametrizedRule
from weightinit.drawing.plan import Plan, plan
from weightinit.drawing.report import Initialization, InitializationReport
from weightinit.drawing.rules import BY_FANS, DefaultRule, LawLike, SequentialRule, TensorRule, rule

__all__ = [
    "BY_FANS",
    "ByBase",
    "DefaultRule",
    "Initialization",
    "InitializationReport",
    "LawLike",
    "ParametrizedRule",
    "Plan",
    "SequentialRule",
    "TensorRule",
    "plan",
    "rule",
]
