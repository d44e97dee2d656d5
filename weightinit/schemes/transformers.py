"""Schemes of transformers. A block of a transformer is two residual branches: attention, and dense layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np

from weightinit.arrays import Array
from weightinit.laws import Law
from weightinit.nn.layers import Attention, Sum
from weightinit.nn.network import Network
from weightinit.nn.weights import WeightSpec
from weightinit.schemes.base import ByWeight, Rule, check_finite
from weightinit.schemes.rules import Normal, VarianceScaling

LECUN: Final = VarianceScaling(scale=1.0)
LOGITS: Final = ("query", "key")
"""Parts of attention whose size does not reach the stream."""
FACTOR: Final = Law("unknown", reason="query and key, and value and out, are factors of one matrix")


def width(spec: WeightSpec) -> int:
    """Return d, the units of the stream: of a dense layer within a block the smaller of its sizes."""
    if spec.position == "hidden":
        return min(spec.fans)
    return spec.fans.fan_out if spec.position == "input" else spec.fans.fan_in


def branches(spec: WeightSpec) -> int:
    """Return the residual branches of a weight's network, 2 blocks in a transformer; 1 for a weight on the trunk."""
    return 1 if spec.branch is None else spec.branch.count


@dataclass(frozen=True)
class GPT2(ByWeight):
    """N(0, ``std``²); the last weight of each residual branch divided by sqrt(2 blocks).

    Source: Radford et al. 2019, section 2.3.
    """

    std: float = 0.02

    name: ClassVar[str] = "gpt2"
    needs: ClassVar[tuple[str, ...]] = ("attention",)

    def rule(self, spec: WeightSpec) -> Rule:
        return Normal(std=self.std * branches(spec) ** -0.5 if spec.ends_branch else self.std)


@dataclass(frozen=True)
class Megatron(ByWeight):
    """N(0, 1 / (3 d)); the last weight of each residual branch divided by sqrt(2 blocks).

    Sources: Shoeybi et al. 2019, section 4.2, for the division; Smith et al. 2022 (MT-NLG) for the std by width.
    """

    name: ClassVar[str] = "megatron"
    needs: ClassVar[tuple[str, ...]] = ("attention",)

    def rule(self, spec: WeightSpec) -> Rule:
        std = math.sqrt(1.0 / (3.0 * width(spec)))
        return Normal(std=std * branches(spec) ** -0.5 if spec.ends_branch else std)


@dataclass(frozen=True)
class SmallInit(ByWeight):
    """N(0, 2 / (5 d)) for every weight (Nguyen & Salazar 2019, section 3.1)."""

    name: ClassVar[str] = "small_init"
    needs: ClassVar[tuple[str, ...]] = ("attention",)

    def rule(self, spec: WeightSpec) -> Rule:
        return Normal(std=math.sqrt(2.0 / (5.0 * width(spec))))


@dataclass(frozen=True)
class Wang(SmallInit):
    """``SmallInit``, and std 2 / (blocks sqrt(d)) for the last weight of each residual branch.

    Source: Wang & Komatsuzaki 2021 (GPT-J), as GPT-NeoX has it (Black et al. 2022, section 3.4).
    """

    name: ClassVar[str] = "wang"

    def rule(self, spec: WeightSpec) -> Rule:
        if not spec.ends_branch:
            return super().rule(spec)
        return Normal(std=4.0 / (branches(spec) * math.sqrt(width(spec))))


@dataclass(frozen=True)
class DeepNorm(ByWeight):
    """Skips times (2N)^(1/4); Glorot's weights, those of value, out and dense layers times (8N)^(-1/4).

    N blocks of an encoder, or of a decoder alone. Weights on the trunk have variance 1 / fan_in. Source: Wang et al.
    2022 (DeepNet), figure 2.
    """

    name: ClassVar[str] = "deepnorm"
    needs: ClassVar[tuple[str, ...]] = ("attention", "post_norms")

    def rule(self, spec: WeightSpec) -> Rule:
        if spec.branch is None:
            return LECUN
        beta = 1.0 if spec.part in LOGITS else (4.0 * branches(spec)) ** -0.25
        return VarianceScaling(gain=beta, mode="fan_avg")

    def constants(self, network: Network) -> Mapping[str, float]:
        names = [step.path for step in network.steps if isinstance(step.layer, Sum)]
        return {f"{name}/skip_scale": len(names) ** 0.25 for name in names}


@dataclass(frozen=True)
class TFixup(ByWeight):
    """Glorot's weights, those of value, out and dense layers of a block times .67 N^(-1/4); embeddings
    N(0, 1/d) times (9N)^(-1/4).

    It does without warm-up and without norms. Learned positions count as embeddings. Source: Huang et al. 2020,
    section 3.2.
    """

    name: ClassVar[str] = "t_fixup"
    needs: ClassVar[tuple[str, ...]] = ("attention", "no_norms")

    blocks: float = 0.0  # of the network, which a weight on the trunk does not show

    def rule_for(self, network: Network, second_moment: float = 1.0) -> Rule:
        super().rule_for(network, second_moment)
        return replace(self, blocks=sum(isinstance(step.layer, Sum) for step in network.steps) / 2)

    def rule(self, spec: WeightSpec) -> Rule:
        if spec.part in ("embedding", "positions"):
            return Normal(std=width(spec) ** -0.5 * (9.0 * self.blocks) ** -0.25)
        if spec.branch is None or spec.part in LOGITS:
            return VarianceScaling(scale=1.0, mode="fan_avg")
        return VarianceScaling(gain=0.67 * (branches(spec) / 2) ** -0.25, mode="fan_avg")


@dataclass(frozen=True)
class Mimetic(ByWeight):
    """Attention whose products of weights resemble those of trained image models; other weights of variance 1/fan_in.

    ``query @ key'`` of each head is the best approximation, of the head's rank, to ``query_noise`` Z +
    ``query_identity`` I; ``value @ out`` is ``value_noise`` Z - ``value_identity`` I; Z has N(0, 1/d). The factors are
    those of a singular value decomposition, so that the law of an element is unknown. Source: Trockman & Kolter 2023,
    algorithm 1.
    """

    query_noise: float = 0.7
    query_identity: float = 0.7
    value_noise: float = 0.4
    value_identity: float = 0.4
    heads: Mapping[str, int] | None = None  # by the name of the attention, fitted to the network

    name: ClassVar[str] = "mimetic"
    needs: ClassVar[tuple[str, ...]] = ("attention",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite(query_noise=self.query_noise, query_identity=self.query_identity)
        check_finite(value_noise=self.value_noise, value_identity=self.value_identity)

    def rule_for(self, network: Network, second_moment: float = 1.0) -> Rule:
        super().rule_for(network, second_moment)
        layers = [step.layer for step in network.steps if isinstance(step.layer, Attention)]
        return replace(self, heads={layer.name: layer.heads for layer in layers})

    def rule(self, spec: WeightSpec) -> Rule:
        return LECUN

    def stream(self, spec: WeightSpec) -> str:
        """Query and key are drawn together, and so are value and out."""
        within = {"query": "query_key", "key": "query_key", "value": "value_out", "out": "value_out"}.get(spec.part)
        return spec.name if within is None or spec.role != "weight" else f"{_attention(spec)}/{within}"

    def draw(self, spec: WeightSpec, rng: np.random.Generator) -> Array:
        d = spec.fans.fan_in
        if spec.part in LOGITS:
            heads = (self.heads or {}).get(_attention(spec), 1)
            rank = d // heads
            parts = []
            for _ in range(heads):
                left, right = _factors(self.query_noise, self.query_identity, d, rng)
                parts.append(left[:, :rank] if spec.part == "query" else right[:rank].T)
            return np.concatenate(parts, axis=1)
        if spec.part in ("value", "out"):
            left, right = _factors(self.value_noise, -self.value_identity, d, rng)
            return left if spec.part == "value" else right
        return super().draw(spec, rng)

    def law(self, spec: WeightSpec) -> Law:
        return FACTOR if spec.part in (*LOGITS, "value", "out") else super().law(spec)


def _attention(spec: WeightSpec) -> str:
    """Return the name of the attention that a weight belongs to."""
    return spec.layer.rpartition("/")[0]


def _factors(noise: float, identity: float, d: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return two matrices (d, d) whose product is ``noise`` Z + ``identity`` I, by falling singular values."""
    left, sizes, right = np.linalg.svd(noise * rng.standard_normal((d, d)) / math.sqrt(d) + identity * np.eye(d))
    root = np.sqrt(sizes)
    return left * root, root[:, np.newaxis] * right
