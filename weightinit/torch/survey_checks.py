"""What the survey looks for in one model: the audit's findings, answers to the configuration, and the first loss."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import nn

from weightinit.auditing.model_report import ModelFinding
from weightinit.torch.auditing import audit
from weightinit.torch.samples import main_output
from weightinit.torch.survey_models import SmallModel, small_model

ENOUGH: Final = 256
"""Elements from which on a std is known well enough to compare two draws of it."""

SAMPLES: Final = 4
LENGTH: Final = 16

OF_DRAWS: Final = ("law", "scale", "copy", "coarse", "mean", "trained")
"""Kinds of findings that are about random numbers: they don't hold of tables such as sinusoids."""

SPECIAL: Final = 50
"""Tokens at the end of a vocabulary that may stand for images and the like."""


def survey_model(model_type: str) -> dict[str, Any]:
    """Return the record of one model type, as plain values; raise ValueError where no small model builds."""
    small = small_model(model_type)
    model = small.build()
    report = audit(model)
    record: dict[str, Any] = {
        "class": small.model_class.__name__,
        "factor": small.factor,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    for name, check in {"scale": deaf_to_scale, "meta": meta_way, "signal": first_signal}.items():
        try:
            record[name] = check(small, model)
        except Exception as error:
            record[name] = {"skipped": f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"}
    meant = _meant(small, model, record)
    record["findings"] = [
        {
            "verdict": "note" if meant(each) else each.verdict,
            "kind": each.kind,
            "group": each.group,
            "tensors": len(each.tensors),
            "sentence": each.sentence,
        }
        for each in report.findings
    ]
    return record


def _meant(small: SmallModel, model: nn.Module, record: dict[str, Any]) -> Callable[[ModelFinding], bool]:
    """Return whether the library means what was found.

    It does where it writes zeros into memory that held none; where values are no draw, equal for two seeds; and where
    a std that isn't the outermost configuration's doubles with the scales of the parts' configurations.
    """
    again = dict(small.build(seed=1).named_parameters())
    fixed = {name for name, p in model.named_parameters() if p.numel() > 1 and torch.equal(p, again[name])}
    written: bool = record["meta"].get("unwritten") == 0
    deaf = record["scale"].get("groups")

    def meant(found: ModelFinding) -> bool:
        names = [name.partition("[")[0] for name in found.tensors]
        if not names:
            return False
        if "times what it should be" in found.sentence:
            return True  # a law of its own, whose meaning the outermost configuration doesn't tell
        if found.kind == "zeros" and "norm passes" not in found.sentence:
            return bool(written)
        if found.kind in ("law", "scale") and any(scale in found.sentence for scale in small.scales):
            return deaf is not None and not set(_groups(names)) & set(deaf)
        if found.kind == "loud":
            above = record["signal"].get("above")
            return above is None or above < 1  # the measured loss decides: scores may be scaled
        if found.kind == "scale" and all(name.endswith(("dt_bias", "dt_proj.bias")) for name in names):
            return True  # of state spaces: log-uniform step sizes, before softplus
        return found.kind in OF_DRAWS and fixed.issuperset(names)

    return meant


def deaf_to_scale(small: SmallModel, model: nn.Module) -> dict[str, Any]:
    """Return the drawn weights whose std stays when every scale in the configuration is doubled."""
    if not small.scales:
        return {"skipped": "the configuration names no scale"}
    doubled = dict(small.build(scale=2.0, seed=1).named_parameters())  # what is equal then wasn't drawn
    large = {name: p for name, p in model.named_parameters() if p.dim() > 1 and p.numel() >= ENOUGH and _std(p) > 0}
    drawn = {name: p for name, p in large.items() if not torch.equal(p, doubled[name])}
    deaf = [
        name for name, p in drawn.items()
        if _std(doubled[name]) < 1.2 * _std(p) and _own_scale(model, name, small.scales)
    ]  # fmt: skip
    return {"names": list(small.scales), "drawn": len(drawn), "deaf": len(deaf), "groups": _groups(deaf)}


def _own_scale(model: nn.Module, name: str, scales: tuple[str, ...]) -> bool:
    """Whether the configuration of the innermost part that has one, of those around a parameter, names a scale."""
    parts = name.split(".")
    for length in range(len(parts) - 1, -1, -1):
        config = getattr(model.get_submodule(".".join(parts[:length])), "config", None)
        if config is not None:
            return any(getattr(config, scale, None) for scale in scales)
    return False


def meta_way(small: SmallModel, model: nn.Module) -> dict[str, Any]:
    """Return what is never written, and what has another law, in a model made on meta and initialized afterwards."""
    late = small.materialize()
    tensors = dict(late.named_parameters()) | dict(late.named_buffers())
    eager = dict(model.named_parameters()) | dict(model.named_buffers())
    unwritten, other = [], []
    for name, tensor in tensors.items():
        first = eager.get(name)
        if first is None or not tensor.is_floating_point() or not bool(torch.isfinite(first).all()):
            continue
        if bool(torch.isnan(tensor).any()):
            unwritten.append(name)
        elif tensor.numel() >= ENOUGH or not _std(first):
            a, b = _std(first), _std(tensor)
            if abs(a - b) > 0.5 * max(a, b) or (not a and not torch.equal(first, tensor)):
                other.append(name)
    return {"unwritten": len(unwritten), "unwritten_groups": _groups(unwritten),
            "other": len(other), "other_groups": _groups(other)}  # fmt: skip


def first_signal(small: SmallModel, model: nn.Module) -> dict[str, Any]:
    """Return how far the first loss lies above ln(classes), and the share of the output that depends on the input.

    Inputs are random tokens or pixels; targets are random classes. The share is the rms of what differs between
    samples over the rms of all; 1 where samples have nothing in common.
    """
    config: Any = model.config
    name = getattr(model, "main_input_name", "")
    random = torch.Generator().manual_seed(0)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    if name == "input_ids":
        tokens = torch.randint(3, text.vocab_size - SPECIAL, (SAMPLES, LENGTH), generator=random)
        inputs = {"input_ids": tokens}
        if config.is_encoder_decoder:
            inputs["decoder_input_ids"] = tokens
    elif name == "pixel_values":
        size = config.image_size
        height, width = size if isinstance(size, list | tuple) else (size, size)
        inputs = {"pixel_values": torch.randn(SAMPLES, config.num_channels, height, width, generator=random)}
    else:
        return {"skipped": f"no random inputs for {name or 'this model'}"}
    with torch.no_grad():
        output = model(**inputs)
    x = main_output(output)
    if x is None or not x.is_floating_point() or x.shape[0] != SAMPLES:
        return {"skipped": "no output by sample"}
    x = x.double()
    found: dict[str, Any] = {"finite": bool(torch.isfinite(x).all()), "rms": _finite(x.square().mean().sqrt())}
    if found["finite"] and found["rms"]:
        found["share"] = _finite((x - x.mean(0)).square().mean().sqrt() / x.square().mean().sqrt())
    logits = getattr(output, "logits", None)
    classes = text.vocab_size if name == "input_ids" else getattr(config, "num_labels", 0)
    if isinstance(logits, torch.Tensor) and logits.shape[-1] == classes > 1:
        targets = torch.randint(0, classes, logits.shape[:-1], generator=random)
        loss = nn.functional.cross_entropy(logits.double().reshape(-1, classes), targets.reshape(-1))
        found |= {"classes": classes, "above": _finite(loss - math.log(classes))}
    return found


def _std(x: torch.Tensor) -> float:
    return float(x.detach().double().std(correction=0)) if x.numel() else 0.0


def _finite(x: torch.Tensor) -> float | None:
    value = float(x)
    return value if math.isfinite(value) else None


def _groups(names: list[str]) -> list[str]:
    """Return the patterns of names, blocks' numbers as ``*``, without repetition."""
    return list(dict.fromkeys(re.sub(r"\.\d+(?=\.|$)", ".*", name) for name in names))
