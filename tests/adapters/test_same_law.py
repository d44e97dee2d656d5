import copy
import math
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import weightinit.torch as wt  # noqa: E402
from weightinit import initializers  # noqa: E402


def build(change=None):
    """A small model, with ``change`` made to it at the end."""

    def made():
        model = nn.ModuleDict(
            {
                "embedding": nn.Embedding(40, 16, padding_idx=0),
                "layers": nn.ModuleList(nn.Linear(16, 16) for _ in range(3)),
                "norm": nn.LayerNorm(16),
                "head": nn.Linear(16, 8, bias=False),
            }
        )
        if change is not None:
            with torch.no_grad():
                change(model)
        return model

    return made


def seeded(model):
    model["head"].weight.copy_(torch.randn(8, 16, generator=torch.Generator().manual_seed(0)) * 0.1443)


def normal(model):
    nn.init.normal_(model["layers"][1].weight, std=0.25 / math.sqrt(3))


def orthogonal(model):
    nn.init.orthogonal_(model["layers"][1].weight, gain=1 / math.sqrt(3))


def clone(model):
    model["layers"][2].weight.copy_(model["layers"][1].weight)


def repeat(model):
    model["head"].weight[1] = model["head"].weight[0]


def add(model):
    model["more"] = nn.Linear(2, 2)


PLANTED = {
    "std": (lambda m: m["layers"][1].weight.mul_(1.3), "layers.1.weight: std .* times"),
    "every layer": (lambda m: [each.weight.mul_(2) for each in m["layers"]], r"layers.\*.weight \(3\): std"),
    "law": (normal, "layers.1.weight: largest element in stds"),
    "spectrum": (orthogonal, "layers.1.weight: largest singular value"),
    "zero bias": (lambda m: m["layers"][0].bias.zero_(), "is drawn in the first and is constant in the second"),
    "gain": (lambda m: m["norm"].weight.fill_(0.5), "norm.weight: is 1 everywhere in the first and 0.5 in the second"),
    "padding": (lambda m: nn.init.normal_(m["embedding"].weight), "embedding.weight: share of zeros 0.025"),
    "fixed": (seeded, "head.weight: is the same for every seed in the second alone"),
    "clone": (clone, "is a copy of layers.1.weight in the second alone"),
    "units": (repeat, "head.weight: units that repeat 0 in the first, 1 in the second"),
    "type": (lambda m: m["head"].half(), "is float32 in the first and float16 in the second"),
    "more": (add, "more.weight: is in the second alone"),
    "shape": (lambda m: m.update({"head": nn.Linear(16, 9, bias=False)}), r"the shape \(16, 8\) in the first"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_difference_is_found_and_named(name):
    change, words = PLANTED[name]
    report = wt.same_law(build(), build(change))
    assert not report.ok
    assert any(re.search(words, each.sentence) for each in report.differences), str(report)
    swapped = wt.same_law(build(change), build())
    assert not swapped.ok
    differ, of = map(int, re.search(r"Not the same laws: (\d+) of (\d+) tensors", str(report)).groups())
    assert differ <= of


def test_ways_that_draw_the_same_laws_agree():
    def materialized(seed):
        with torch.device("meta"):
            model = build()()
        model = model.to_empty(device="cpu")
        wt.initialize_(model, RULES, seed=seed + 100)
        return model

    def eager():
        model = build()()
        wt.initialize_(model, RULES)
        return model

    report = wt.same_law(materialized, eager)
    assert report.ok, str(report)
    assert str(report).startswith("The same laws: 10 tensors over 8 seeds")
    again = wt.same_law(build(), lambda: copy.deepcopy(build()()), seeds=range(5, 11))
    assert again.ok, str(again)


RULES = [wt.rule(nn.Embedding, "normal(std=0.02)"), wt.rule("*", "he")]


def test_a_port_to_another_framework_is_held_against_its_original():
    """Arrays of another library, by names of its own or by order."""

    def port(seed):
        rng = np.random.default_rng(seed)
        bound = 1 / math.sqrt(16)
        return {
            "dense/kernel": initializers.uniform(rng, (16, 32), low=-bound, high=bound),
            "dense/bias": initializers.uniform(rng, (32,), low=-bound, high=bound),
        }

    def glorot(seed):
        return {**port(seed), "dense/kernel": initializers.glorot_uniform(seed, (16, 32))}

    original = lambda: nn.Linear(16, 32)  # noqa: E731
    report = wt.same_law(original, port)
    assert report.ok, str(report)
    assert "share no names" in report.notes[0]
    names = {"weight": "dense/kernel", "bias": "dense/bias"}
    assert wt.same_law(original, port, names=names).notes == ()
    assert "weight: std" in str(wt.same_law(original, glorot, names=names))


def test_a_comparison_leaves_the_generators_as_they_were():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    wt.same_law(build(), build(), seeds=4)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: wt.same_law(build()(), build()), "Pass lambda: Net"),
        (lambda: wt.same_law(build(), lambda: 3), "must return a module, a model or arrays by name; got int"),
        (lambda: wt.same_law(build(), build(), seeds=3), "at least 4; got 3"),
        (lambda: wt.same_law(build(), build(), seeds=1.5), "a number or a sequence"),
        (lambda: wt.same_law(build(), build(), level=2), "between 0 and 1"),
        (lambda: wt.same_law(build(), lambda: nn.Linear(2, 2, device="meta")), "on the meta device"),
    ],
)
def test_what_can_not_be_compared_is_refused(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()
