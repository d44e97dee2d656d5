"""Models of strangers: faults of many kinds are found with their cause, right models pass audit and probe."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import weightinit.torch as wt
from tests.adapters import own_models, unusual_models
from tests.adapters.own_models import Diffusion, OnePlusRMSNorm, Tokens, Upwards

FAULTS = {**own_models.FAULTS, **unusual_models.FAULTS}
RIGHT = {**own_models.RIGHT, **unusual_models.RIGHT}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_with_its_cause(name: str) -> None:
    make, tensor, words = FAULTS[name]
    torch.manual_seed(0)
    found = [f for f in wt.audit(make()).faults if words in f.sentence]
    assert any(tensor in finding.tensors for finding in found), wt.audit(make()).findings


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_model_passes(name: str) -> None:
    torch.manual_seed(0)
    report = wt.audit(RIGHT[name]())
    assert report.ok, report.findings


@pytest.mark.slow
def test_over_20_seeds_faults_are_found_and_right_models_pass() -> None:
    for seed in range(1, 21):
        for name, (make, tensor, words) in FAULTS.items():
            torch.manual_seed(seed)
            found = wt.audit(make()).faults
            assert any(tensor in f.tensors and words in f.sentence for f in found), (name, seed)
        for name, right in RIGHT.items():
            torch.manual_seed(seed)
            assert wt.audit(right()).ok, (name, seed)


def test_fans_that_pytorch_counts_for_a_transposed_kernel_are_said() -> None:
    model = Upwards()
    nn.init.kaiming_normal_(model.up.weight)
    report = wt.audit(model)
    assert report.ok
    assert "with the fans that PyTorch's nn.init counts for a transposed kernel" in report.findings[0].sentence


def test_a_list_that_repeats_one_module_is_said() -> None:
    model = Tokens()
    model.layers = nn.ModuleList([model.layers[0]] * 4)
    report = wt.audit(model)
    assert report.ok
    assert "a list that repeats one module shares its weights" in report.findings[0].sentence


def test_a_norm_of_one_plus_gain_at_gain_one_is_found_by_the_probe() -> None:
    tokens = torch.randint(0, 128, (16, 8))
    (finding,) = wt.probe(Tokens(lambda width: OnePlusRMSNorm(width, 1.0)), tokens, draws=2).findings
    assert finding.kind == "norm"
    assert "of 1 + gain to 0" in finding.sentence
    assert not wt.probe(Tokens(OnePlusRMSNorm), tokens, draws=2).findings


def test_zero_starts_behind_one_another_are_not_stuck() -> None:
    assert not wt.probe(Diffusion(), torch.randn(16, 64), draws=2).findings


class Factors(nn.Module):
    """Factors by channel or head, which are no experts, and a recurrence's rates, equal in all heads on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(16, 16)
        self.layer_scale = nn.Parameter(torch.full((16, 1, 1), 1e-5))
        self.logit_scale = nn.Parameter(torch.full((4, 1, 1), 2.3))
        self.A_log = nn.Parameter(torch.arange(1.0, 9.0).log().expand(4, 16, 8).clone())


def test_factors_by_channel_are_no_equal_experts() -> None:
    report = wt.audit(Factors())
    assert not [fault for fault in report.faults if fault.kind == "units"], report.faults
