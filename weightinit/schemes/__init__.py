"""Schemes: a network and seeds -> the initial weights of a stack of runs, with the laws that they follow."""

from weightinit.schemes.adaptive import AutoInit, Critical
from weightinit.schemes.base import ByWeight, Rule, Ruled, Scheme
from weightinit.schemes.initialized import Initialized, merge
from weightinit.schemes.isometries import DeltaOrthogonal, Mirrored, ZerO
from weightinit.schemes.lsuv import LSUV
from weightinit.schemes.needs import NEEDS, require, suits
from weightinit.schemes.parametrizations import CompleteP, DepthMuP, MuP, Spectral
from weightinit.schemes.residual import Fixup, LayerScale, ReZero, SkipInit, ZeroGamma
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
from weightinit.schemes.transformers import GPT2, DeepNorm, Megatron, Mimetic, SmallInit, TFixup, Wang

__all__ = [
    "GPT2",
    "LSUV",
    "NEEDS",
    "AutoInit",
    "ByWeight",
    "CompleteP",
    "Constant",
    "Critical",
    "DeepNorm",
    "DeltaOrthogonal",
    "DepthMuP",
    "Fixup",
    "FlaxDense",
    "Identity",
    "Initialized",
    "KerasDense",
    "LayerScale",
    "Megatron",
    "Mimetic",
    "Mirrored",
    "MuP",
    "Normal",
    "Orthogonal",
    "PyTorchLinear",
    "Random",
    "ReZero",
    "Rule",
    "Ruled",
    "Scheme",
    "Siren",
    "SkipInit",
    "SklearnMLP",
    "SmallInit",
    "Sparse",
    "Spectral",
    "TFixup",
    "TruncatedNormal",
    "Uniform",
    "VarianceScaling",
    "Wang",
    "ZerO",
    "ZeroGamma",
    "merge",
    "require",
    "suits",
]
