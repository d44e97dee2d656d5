"""The audit of initial weights: named arrays against the law they should follow."""

from weightinit.auditing.files import read_arrays
from weightinit.auditing.overall import audit, audit_stack
from weightinit.auditing.report import Finding, Report, TensorReport

__all__ = ["Finding", "Report", "TensorReport", "audit", "audit_stack", "read_arrays"]
