"""Reference networks: many draws of the same laws, that tell how far a correct network may lie from theory."""

from weightinit.reference.band import Band
from weightinit.reference.draws import Batches, Draws, draws_of
from weightinit.reference.judgement import ALARM, Judgement, judge
from weightinit.reference.observation import JACOBIAN, SAMPLES, Observation, Probe, observe
from weightinit.reference.stack import Reference, reference
from weightinit.reference.store import Store

__all__ = [
    "ALARM",
    "JACOBIAN",
    "SAMPLES",
    "Band",
    "Batches",
    "Draws",
    "Judgement",
    "Observation",
    "Probe",
    "Reference",
    "Store",
    "draws_of",
    "judge",
    "observe",
    "reference",
]
