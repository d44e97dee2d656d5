"""Schemes: a network and seeds -> the initial weights of a stack of runs, with the laws that they follow."""

from weightinit.schemes.adaptive import AutoInit, Critical
from weightinit.schemes.base import Rule, Ruled, Scheme
from weightinit.schemes.initialized import Initialized, merge
from weightinit.schemes.lsuv import LSUV
from weightinit.schemes.parametrizations import CompleteP, DepthMuP, MuP, Spectral
from weightinit.schemes.rules import (
    Constant,
    FlaxDense,
    Identity,
    KerasDense,
    Normal,
    Orthogonal,
    PyTorchLinear,
    Random,
    Siren,
    SklearnMLP,
    Sparse,
    TruncatedNormal,
    Uniform,
    VarianceScaling,
)

__all__ = [
    "LSUV",
    "AutoInit",
    "CompleteP",
    "Constant",
    "Critical",
    "DepthMuP",
    "FlaxDense",
    "Identity",
    "Initialized",
    "KerasDense",
    "MuP",
    "Normal",
    "Orthogonal",
    "PyTorchLinear",
    "Random",
    "Rule",
    "Ruled",
    "Scheme",
    "Siren",
    "SklearnMLP",
    "Sparse",
    "Spectral",
    "TruncatedNormal",
    "Uniform",
    "VarianceScaling",
    "merge",
]
