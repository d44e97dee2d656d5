"""The probe of a model at initialization: signal, gradient, units, first loss; verdicts without any framework."""

from weightinit.probing.judging import Chain, ProbeFinding
from weightinit.probing.readings import Draw, FirstStep, Place, Reading, Slopes, alike, backward_norm, read, slopes
from weightinit.probing.report import PlaceReport, ProbeReport, report

__all__ = [
    "Chain",
    "Draw",
    "FirstStep",
    "Place",
    "PlaceReport",
    "ProbeFinding",
    "ProbeReport",
    "Reading",
    "Slopes",
    "alike",
    "backward_norm",
    "read",
    "report",
    "slopes",
]
