import math
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import weightinit.torch as wt  # noqa: E402


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, 4 * width)
        self.proj = nn.Linear(4 * width, width)
        self.gain = nn.Parameter(torch.empty(width))


class Model(nn.Module):
    """Its gains are never written, and one of its rules has a pattern that no name has."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 8, padding_idx=0)
        self.h = nn.ModuleList(Block(8) for _ in range(3))
        self.position = nn.Parameter(torch.randn(5, 8) * 0.02)
        self.apply(self.draw)
        for name, parameter in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(parameter, std=0.02 / math.sqrt(6))

    def draw(self, module):
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            module.bias.data.zero_()
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)


def traced(build):
    with wt.trace() as seen:
        model = build()
    return model, seen.report(model)


def held(tensor):
    """A module with this tensor as its parameter."""
    module = nn.Module()
    module.weight = nn.Parameter(tensor)
    return module


def test_memory_that_was_never_written_and_a_rule_without_hits_are_found_with_their_place():
    _, report = traced(Model)
    assert report.never == tuple(f"h.{i}.gain" for i in range(3))
    never, no_hits = report.findings
    assert never.sentence.startswith("h.*.gain (3): never written")
    assert no_hits.kind == "no_hits"
    assert "test_trace.py:" in no_hits.sentence
    assert "name.endswith('c_proj.weight')" in no_hits.sentence
    assert "proj.weight" in no_hits.sentence.split("Names near it: ")[1]
    assert [unused.condition for unused in report.unused if not unused.names] == ["isinstance(module, nn.Conv2d)"]
    assert not report.ok
    assert "h.*.proj.weight (3)" in str(report)
    assert re.search(r"h\.\*\.gain \(3\) .* never$", str(report), re.MULTILINE)
    assert report.as_dict()["findings"][0]["tensors"][0] == "h.0.gain"


def test_of_two_writes_the_last_counts_and_their_order_and_law_are_told():
    model, report = traced(Model)
    assert {tensor.name for tensor in report.twice} == {
        name for name, _ in model.named_parameters() if "fc" in name or "proj" in name
    }
    first, last = report["h.1.fc.weight"].writes
    assert first.call.startswith("kaiming_uniform_(a=2.236")
    assert (first.law.family, first.law.support[1]) == ("uniform", pytest.approx(1 / math.sqrt(8)))
    assert (last.call, last.law.std) == ("normal_(mean=0, std=0.02)", 0.02)
    assert last.line.function == "draw"
    assert first.order < last.order
    drawn, padded = report["embedding.weight"].writes
    assert (drawn.effect, padded.effect, padded.share) == ("sets", "sets some", 0.1)
    assert report["position"].law.std == pytest.approx(0.02)


def test_a_trace_changes_neither_draws_nor_modules():
    torch.manual_seed(3)
    plain = [nn.Linear(5, 4), nn.MultiheadAttention(8, 2), nn.LSTM(3, 4)]
    state = torch.get_rng_state()
    torch.manual_seed(3)
    with wt.trace():
        seen = [nn.Linear(5, 4), nn.MultiheadAttention(8, 2), nn.LSTM(3, 4)]
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(plain, seen, strict=True):
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("draw", "family"),
    [
        (lambda w: nn.init.trunc_normal_(w, std=0.7, a=-1, b=1), "truncated_normal"),
        (nn.init.xavier_uniform_, "uniform"),
        (nn.init.kaiming_normal_, "normal"),
        (lambda w: w.data.normal_(0.5, 2).mul_(0.1).add_(3), "normal"),
        (lambda w: w.data.copy_(torch.rand(300, 200) * 2 - 1), "uniform"),
        (lambda w: w.data.fill_(2).neg_(), "constant"),
        (lambda w: setattr(w, "data", torch.randn_like(w).div(4) - 1), "normal"),
        (lambda w: torch.nn.Module.load_state_dict(held(w), {"weight": torch.ones(300, 200)}), "constant"),
        (lambda w: torch._foreach_mul_([nn.init.normal_(w)], 2.0), "unknown"),
    ],
)
def test_the_law_of_a_write_is_that_of_the_values(draw, family):
    torch.manual_seed(0)

    def build():
        module = nn.Linear(200, 300, bias=False)
        with torch.no_grad():
            draw(module.weight)
        return module

    model, report = traced(build)
    law, values = report["weight"].law, model.weight.detach().double().numpy()
    assert law.family == family
    if family != "unknown":
        assert values.mean() == pytest.approx(law.mean, abs=5 * law.std / math.sqrt(values.size) + 1e-6)
        assert values.std() == pytest.approx(law.std, rel=0.02, abs=1e-6)
        assert law.support[0] - 1e-6 <= values.min() <= values.max() <= law.support[1] + 1e-6


def some(tensor):
    with torch.no_grad():
        tensor[1:].fill_(0)
    return tensor


@pytest.mark.parametrize(
    ("build", "unwritten", "kind"),
    [
        (lambda: held(torch.empty(4, 3)), 12, "never"),
        (lambda: held(torch.Tensor(4, 3)), 12, "never"),
        (lambda: held(some(torch.empty(4, 3))), 3, "partly"),
        (lambda: held(torch.empty(4, 3, dtype=torch.bfloat16) * 0.02), 12, "never"),
        (lambda: held(torch.empty(4, 3).mul_(2)), 12, "never"),
        (lambda: held(torch.empty(4, 3).fill_(math.nan)), 12, "not_finite"),
        (lambda: held(torch.zeros(4, 3)), 0, None),
        (lambda: held(torch.tensor([[1.0, 2.0]])), 0, None),
        (lambda: nn.Linear(3, 4, device="meta").to_empty(device="cpu"), 12, "never"),
        (lambda: nn.Linear(3, 4, device="meta"), 0, None),
        (lambda: nn.utils.skip_init(nn.Linear, 3, 4), 12, "never"),
    ],
)
def test_elements_that_were_never_written_are_counted(build, unwritten, kind):
    _, report = traced(build)
    assert report["weight"].unwritten == unwritten
    assert next((finding.kind for finding in report.findings), None) == kind


def test_writes_before_the_trace_and_past_pytorch_are_told_apart_from_none():
    old = nn.Linear(3, 4)
    _, report = traced(lambda: old)
    assert report.ok
    assert "Nothing was written" in report.sentence
    new = held(torch.empty(2))
    with wt.trace() as seen:
        new = held(torch.empty(4, 3))
        new.weight.detach().numpy()[...] = 1.0
    report = seen.report(new)
    assert report.ok
    assert "past PyTorch" in str(report)


def test_views_of_one_memory_have_the_writes_of_their_part_alone():
    def build():
        flat = torch.empty(20)
        module = nn.Module()
        module.first, module.second = nn.Parameter(flat[:8]), nn.Parameter(flat[8:])
        nn.init.ones_(module.first)
        return module

    _, report = traced(build)
    assert (report["first"].times, report["second"].times) == (1, 0)
    assert report.never == ("second",)


def test_what_is_no_model_is_refused():
    with wt.trace() as seen:
        pass
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module; got list"):
        seen.report([np.zeros(3)])
