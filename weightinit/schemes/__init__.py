"""Schemes: a network and seeds -> the initial weights of a stack of runs, with the laws that they follow."""

from weightinit.schemes.adaptive import AutoInit, Critical
from weightinit.schemes.admin import Admin
from weightinit.schemes.as_built import AsBuilt
from weightinit.schemes.base import ByWeight, Rule, Ruled, Scheme
from weightinit.schemes.composed import Rules
from weightinit.schemes.initialized import Initialized, merge
from weightinit.schemes.isometries import DeltaOrthogonal, Mirrored, ZerO
from weightinit.schemes.lsuv import LSUV
from weightinit.schemes.needs import NEEDS, require, suits
from weightinit.schemes.parametrizations import CompleteP, DepthMuP, MuP, Spectral
from weightinit.schemes.residual import Fixup, LayerScale, ReZero, SkipInit, ZeroGamma
from weightinit.schemes.roles import ROLES
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
from weightinit.schemes.tailored import DKS, TAT, Tailoring
from weightinit.schemes.transformers import GPT2, DeepNorm, Megatron, Mimetic, SmallInit, TFixup, Wang
from weightinit.schemes.within_layer import WithinLayer

__all__ = [
    "DKS",
    "GPT2",
    "LSUV",
    "NEEDS",
    "ROLES",
    "TAT",
    "Admin",
    "AsBuilt",
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
    "Rules",
    "Scheme",
    "Siren",
    "SkipInit",
    "SklearnMLP",
    "SmallInit",
    "Sparse",
    "Spectral",
    "TFixup",
    "Tailoring",
    "TruncatedNormal",
    "Uniform",
    "VarianceScaling",
    "Wang",
    "WithinLayer",
    "ZerO",
    "ZeroGamma",
    "merge",
    "require",
    "suits",
]
