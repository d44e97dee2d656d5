"""Audit of models: planted faults are found and named, right models pass, nothing changes."""

from __future__ import annotations

import copy
import json
import math
import re
import time
from pathlib import Path

import pytest
import torch
import transformers
from torch import nn

import weightinit.torch as wt
from tests.adapters.models import CONTROLS, PLANTED, ResNet, Transformer, mlp

transformers.logging.set_verbosity_error()


def report_on_planted(name: str, seed: int) -> wt.Report:
    make, plant, *_ = PLANTED[name]
    torch.manual_seed(seed)
    model = make()
    plant(model)
    return wt.audit(model)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found_named_and_the_only_one(name: str) -> None:
    *_, tensor, kind, words = PLANTED[name]
    report = report_on_planted(name, 0)
    assert not report.ok
    (finding,) = report.faults
    assert (finding.kind, tensor in finding.tensors) == (kind, True), finding
    assert re.search(words, finding.sentence), finding.sentence


@pytest.mark.parametrize("name", CONTROLS)
def test_a_right_model_passes(name: str) -> None:
    torch.manual_seed(1)
    report = wt.audit(CONTROLS[name]())
    assert report.ok, [finding.sentence for finding in report.findings]


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_planted_faults_are_found_over_20_seeds(name: str) -> None:
    *_, tensor, kind, _ = PLANTED[name]
    for seed in range(20):
        found = report_on_planted(name, seed).faults
        assert [finding.kind for finding in found] == [kind], (seed, found)
        assert tensor in found[0].tensors


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTROLS)
def test_right_models_raise_less_than_two_alarms_in_100_seeds(name: str) -> None:
    """At level .001 an alarm among 100 seeds has a chance of .1, two have .005."""
    alarms = []
    for seed in range(100):
        torch.manual_seed(seed)
        if not (report := wt.audit(CONTROLS[name]())).ok:
            alarms.append((seed, report.findings))
    assert len(alarms) < 2, alarms


def test_an_audit_changes_nothing() -> None:
    model = Transformer()
    before, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    wt.audit(model)
    assert torch.equal(generator, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def gpt2(**options: object) -> transformers.GPT2LMHeadModel:
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_layer=3, n_embd=64, n_head=4, vocab_size=300, **options)
    )


def test_residual_scaling_that_was_not_applied_is_said_in_one_line() -> None:
    model = gpt2()
    for block in model.transformer.h:
        nn.init.normal_(block.mlp.c_proj.weight, std=0.02)
    (finding,) = wt.audit(model, "gpt2").faults
    assert finding.tensors == tuple(f"transformer.h.{i}.mlp.c_proj.weight" for i in range(3))
    assert re.fullmatch(
        r"transformer\.h\.\*\.mlp\.c_proj\.weight \(3\): std \.0\d+, expected \.00816 = \.02/sqrt\(2\*3\): "
        r"residual scaling not applied",
        finding.sentence,
    )


def test_a_scale_that_a_configuration_names_is_asked_for() -> None:
    model = transformers.OpenAIGPTLMHeadModel(
        transformers.OpenAIGPTConfig(n_layer=2, n_embd=64, n_head=4, vocab_size=300, initializer_range=0.1)
    )
    report = wt.audit(model)
    assert {"it ignores initializer_range"} == {finding.sentence.rpartition(": ")[2] for finding in report.faults}
    assert report["transformer.tokens_embed.weight"].verdict == "follows"


def test_a_loud_head_is_found_where_an_embedding_of_unit_std_is_tied() -> None:
    model = nn.ModuleDict({"wte": nn.Embedding(500, 64), "head": nn.Linear(64, 500, bias=False)})
    assert wt.audit(model).ok
    model["head"].weight = model["wte"].weight
    (finding,) = wt.audit(model).faults
    assert (finding.kind, finding.tensors) == ("loud", ("wte.weight",))


def test_what_somebody_says_is_held_against_the_model() -> None:
    torch.manual_seed(0)
    model = mlp(nn.init.kaiming_normal_)
    assert wt.audit(model, "he").ok
    assert wt.audit(model, {"*.weight": "he", "*.bias": "zeros"}).ok
    assert wt.audit(model, [(nn.Linear, "he")]).ok
    assert not wt.audit(model, [("*.bias", "normal(std=0.1)"), (nn.Linear, "he")]).ok
    (finding,) = wt.audit(model, {"*.weight": "he", "*.c_proj.weight": "he"}).faults
    assert (finding.kind, finding.group) == ("no_hits", "*.c_proj.weight")
    report = wt.audit(nn.Linear(64, 64), "he_uniform")
    assert "looks like pytorch" in report.faults[0].sentence
    assert not wt.audit(model, "pytorch").ok
    rules = [wt.rule(nn.Linear, "normal(std=0.02)")]
    wt.initialize_(model, rules, seed=1)
    assert wt.audit(model, rules).ok


def test_fans_of_packed_and_grouped_kernels_are_the_cause_that_is_named() -> None:
    torch.manual_seed(0)
    attention = wt.audit(nn.MultiheadAttention(64, 4), "glorot_uniform")
    assert "drawn as one packed matrix (q, k, v)" in attention.faults[0].sentence
    assert wt.audit(nn.MultiheadAttention(64, 4)).findings[0].verdict == "note"
    convolution = nn.Conv2d(128, 128, 3, groups=128, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
    for expected in (None, "he(mode='fan_out')"):
        (finding,) = wt.audit(convolution, expected).faults
        assert "its fan-out was counted over all 128 groups: 1152 for 9" in finding.sentence
    nn.init.normal_(convolution.weight, std=math.sqrt(2 / 9))
    assert wt.audit(convolution).ok


def test_meta_frozen_tied_and_parametrized_tensors_are_said() -> None:
    with torch.device("meta"):
        meta = wt.audit(nn.Linear(3, 4))
    assert (meta.verdict, meta.ok) == ("unjudged", False)
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), nn.Linear(8, 8))
    model[1].requires_grad_(False)
    text = str(wt.audit(model))
    assert "frozen" in text
    assert "under _WeightNorm" in text
    assert "tied to lm_head.weight" in str(wt.audit(gpt2()))


def test_trained_weights_are_refused() -> None:
    torch.manual_seed(0)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = torch.randn(256, 20), torch.randint(0, 4, (256,))
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert wt.audit(model).verdict in ("trained", "differs")


def test_a_report_is_a_table_records_html_and_markdown() -> None:
    report = report_on_planted("std x 1.2", 0)
    lines = str(report).splitlines()
    assert lines[0] == "Transformer"
    assert lines[1].split() == ["tensors", "count", "shape", "mean", "std", "expected", "verdict"]
    plain = json.loads(json.dumps(report.as_dict()))
    assert plain["ok"] is False
    assert plain["findings"][0]["tensors"] == ["blocks.2.fc.weight"]
    frame = report.to_frame()
    assert len(frame) == len(report.tensors)
    assert frame.set_index("tensor").loc["blocks.2.fc.weight", "verdict"] == "differs"
    assert "<table>" in report._repr_html_()
    assert "| `blocks.*.ln1.weight` | 4 |" in report.to_markdown()


@pytest.mark.parametrize(
    ("expected", "level", "error", "words"),
    [
        ("gtp2", 1e-3, ValueError, "expected must be a family"),
        ("t5", 1e-3, ValueError, "needs the model's configuration with d_model"),
        (3, 1e-3, TypeError, "expected must be a family"),
        ([3], 1e-3, TypeError, "a rule must be a pair"),
        (None, 2.0, ValueError, "level must lie between 0 and 1"),
    ],
)
def test_what_is_not_understood_is_refused_in_a_sentence(
    expected: object, level: float, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        wt.audit(nn.Linear(3, 4), expected, level=level)


def test_a_large_tensor_is_thinned_but_its_rows_are_all_looked_at() -> None:
    torch.manual_seed(0)
    model = nn.Embedding(20_000, 64)
    assert wt.audit(model).ok
    model.weight.data[17] = model.weight.data[12_345]
    assert "1 of 20000 inputs equal an earlier one" in wt.audit(model).faults[0].sentence
    model = nn.Embedding(20_000, 64)
    model.weight.data[77, 3] = math.nan
    assert "1 of 1280000 values are NaN" in wt.audit(model).faults[0].sentence


def test_batch_norms_that_end_branches_may_start_at_zero() -> None:
    model = ResNet()
    for block in (*model.layer1, *model.layer2, *model.layer3):
        nn.init.zeros_(block.bn2.weight)
    assert wt.audit(model).ok


def _peak() -> int:
    """Largest memory of this process since it was last reset, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process's peak memory")
def test_gpt2_small_is_audited_in_ten_seconds_and_less_than_its_own_memory() -> None:
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before, start = _peak(), time.perf_counter()
    report = wt.audit(model)
    seconds, taken = time.perf_counter() - start, _peak() - before
    assert report.ok
    assert seconds < 10
    assert taken < size, f"{taken / 2**20:.0f} MiB beside the model's {size / 2**20:.0f}"


class OnePlusNorm(nn.LayerNorm):
    """Layer norm that multiplies by 1 + weight."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.layer_norm(x, self.normalized_shape, self.weight + 1, self.bias, self.eps)


class ConditionalNorm(nn.Module):
    """Gains and shifts of a norm for each of four conditions."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Embedding(4, units), nn.Embedding(4, units)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)


def test_norms_of_ones_own_class_may_multiply_by_one_plus_their_gain() -> None:
    own = nn.ModuleDict({"norm1": OnePlusNorm(32), "norm2": OnePlusNorm(32), "out": nn.Linear(32, 32)})
    torchs = nn.ModuleDict({"norm1": nn.LayerNorm(32), "norm2": nn.LayerNorm(32), "out": nn.Linear(32, 32)})
    for model in (own, torchs):
        nn.init.zeros_(model["norm1"].weight)
        nn.init.zeros_(model["norm2"].weight)
    assert wt.audit(own).ok
    assert [fault.kind for fault in wt.audit(torchs).faults] == ["zeros", "zeros"]


def test_a_table_may_hold_the_gains_of_a_norm() -> None:
    assert wt.audit(nn.ModuleDict({"norm": ConditionalNorm(32), "out": nn.Linear(32, 32)})).ok
    (fault, *_) = wt.audit(nn.ModuleDict({"part": ConditionalNorm(32), "out": nn.Linear(32, 32)})).faults
    assert "Equal units stay equal" in fault.sentence
