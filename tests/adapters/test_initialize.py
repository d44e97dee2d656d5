import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import weightinit.torch as wt  # noqa: E402
from weightinit.arrays import stream  # noqa: E402
from weightinit.branches import branches_of  # noqa: E402
from weightinit.laws import Law  # noqa: E402
from weightinit.nn import Branch  # noqa: E402
from weightinit.schemes import Orthogonal, VarianceScaling  # noqa: E402


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, 4, batch_first=True)
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)


class Model(nn.Module):
    def __init__(self, width=64, depth=3):
        super().__init__()
        self.embedding = nn.Embedding(100, width, padding_idx=2)
        self.position = nn.Parameter(torch.zeros(12, width))
        self.h = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Linear(width, 100, bias=False)
        self.head.weight = self.embedding.weight


RULES = [
    wt.rule("*.c_proj.weight", "normal(std=0.02)", depth_scale=True),
    wt.rule(nn.Embedding, "normal(std=0.02)"),
    wt.rule("position", Law("normal", 0.0, 0.01)),
    wt.rule("*", "he"),
]


def values(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def std_is(tensor, std):
    n = tensor.numel()
    assert tensor.double().square().mean().sqrt().item() == pytest.approx(std, rel=5 / math.sqrt(2 * n))


def test_each_tensor_has_the_law_of_the_first_rule_that_reaches_it():
    model = Model()
    report = wt.initialize_(model, RULES, seed=0)
    assert report.kept == ()
    assert [count for _, count in report.hits] == [3, 1, 1, 27]
    std_is(model.h[1].c_proj.weight, 0.02 / math.sqrt(6))
    std_is(model.h[1].c_fc.weight, math.sqrt(2 / 64))
    std_is(model.h[1].attn.in_proj_weight, math.sqrt(2 / 64))
    std_is(model.embedding.weight[3:], 0.02)
    std_is(model.position, 0.01)
    assert (model.embedding.weight[2] == 0).all()
    assert (model.h[0].norm.weight == 1).all()
    assert (model.h[0].c_fc.bias == 0).all()
    assert report["h.1.c_proj.weight"].law.std == pytest.approx(0.02 / math.sqrt(6))
    assert "h.*.c_proj.weight (3)" in str(report)
    assert "27 tensors by rule('*', he)" in str(report)
    assert report.as_dict()["seed"] == 0


def test_a_draw_is_a_function_of_seed_and_name():
    """As the lab draws: the stream of the name, transposed, times the std."""
    model, other = Model(), Model(depth=4)
    for each in (model, other):
        wt.initialize_(each, "he", seed=7)
    drawn, deeper = values(model), values(other)
    assert all(torch.equal(drawn[name], deeper[name]) for name in drawn if name not in ("embedding.weight", "position"))
    expected = stream(7, "h.0.c_fc.weight").standard_normal((64, 256)).T * math.sqrt(2 / 64)
    assert np.array_equal(drawn["h.0.c_fc.weight"].numpy(), expected.astype(np.float32))
    assert not torch.equal(drawn["h.0.c_fc.weight"], drawn["h.1.c_fc.weight"])
    q, k, _ = drawn["h.0.attn.in_proj_weight"].chunk(3)
    assert not torch.equal(q, k)
    kept = stream(7, "h.0.attn.in_proj_weight[k]").standard_normal((64, 64)).T * math.sqrt(2 / 64)
    assert np.array_equal(k.numpy(), kept.astype(np.float32))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_type_changes_the_rounding_alone(dtype):
    model, exact = Model().to(dtype), Model().double()
    for each in (model, exact):
        wt.initialize_(each, RULES, seed=3)
    for name, value in values(exact).items():
        assert torch.equal(values(model)[name], value.to(dtype))


def test_memory_of_the_meta_device_gets_the_same_bits_once_materialized():
    with torch.device("meta"):
        empty = Model()
    with pytest.raises(ValueError, match=r"on the meta device .*to_empty\(device='cpu'\) first"):
        wt.initialize_(empty, RULES, seed=1)
    plain = Model()
    empty = empty.to_empty(device="cpu")
    empty.head.weight = empty.embedding.weight
    for each in (plain, empty):
        assert not wt.initialize_(each, RULES, seed=1).kept
    assert all(torch.equal(a, b) for a, b in zip(values(plain).values(), values(empty).values(), strict=True))


def test_seeds_and_generators_of_several_kinds():
    def first(**how):
        model = nn.Linear(8, 8)
        wt.initialize_(model, "he", **how)
        return model.weight.detach().clone()

    torch.manual_seed(0)
    one, two = first(), first()
    torch.manual_seed(0)
    assert torch.equal(first(), one)
    assert not torch.equal(one, two)
    by = [first(generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(by[0], by[1])
    assert not torch.equal(by[0], by[2])
    assert torch.equal(*(first(generator=np.random.default_rng(1)) for _ in range(2)))
    model, state = nn.Linear(8, 8), torch.get_rng_state()
    wt.initialize_(model, "he", seed=3)
    assert torch.equal(torch.get_rng_state(), state)


def test_kernels_groups_and_axes():
    model = nn.ModuleDict(
        {
            "conv": nn.Conv2d(8, 64, 3, groups=2),
            "up": nn.ConvTranspose2d(64, 16, 3, stride=2),
            "rnn": nn.LSTM(32, 48),
            "prelu": nn.PReLU(),
            "free": nn.Linear(4, 4),
        }
    )
    model["free"].extra = nn.Parameter(torch.full((7,), 3.0))
    report = wt.initialize_(model, VarianceScaling(scale=2.0), seed=0)
    std_is(model["conv"].weight, math.sqrt(2 / (4 * 9)))
    std_is(model["up"].weight, math.sqrt(2 / (64 * 9)))
    std_is(model["rnn"].weight_ih_l0, math.sqrt(2 / 32))
    std_is(model["rnn"].weight_hh_l0, math.sqrt(2 / 48))
    assert model["prelu"].weight.item() == 0.25
    assert report.kept == ("free.extra",)
    assert "left as they were: free.extra" in str(report)
    wt.initialize_(model, [wt.rule("*_hh_*", Orthogonal()), wt.rule("*", "pytorch")], seed=0)
    for gate in model["rnn"].weight_hh_l0.detach().double().chunk(4):
        assert torch.allclose(gate @ gate.T, torch.eye(48, dtype=torch.float64), atol=1e-6)
    assert model["conv"].bias.abs().max() > 0
    model["free"].extra.data.fill_(9)
    wt.initialize_(model, [wt.rule("free.extra", "zeros")], seed=0)
    assert (model["free"].extra == 0).all()


def test_a_parametrized_weight_is_what_was_drawn():
    plain = nn.Linear(6, 5)
    wt.initialize_(plain, "he", seed=0)
    new = nn.utils.parametrizations.weight_norm(nn.Linear(6, 5))
    wt.initialize_(new, "he", seed=0)
    std_is(new.weight, plain.weight.square().mean().sqrt().item())
    assert torch.allclose(new.parametrizations.weight.original0.flatten(), new.weight.norm(dim=1), atol=1e-6)
    with pytest.warns(FutureWarning):
        old = nn.utils.weight_norm(nn.Linear(6, 5))
    wt.initialize_(old, "he", seed=0)
    old(torch.zeros(1, 6))
    assert torch.allclose(old.weight, old.weight_v, atol=1e-6)


def test_a_class_means_its_subclasses_and_a_text_its_role_kind_or_name():
    class Mine(nn.Linear):
        pass

    for selector in (nn.Linear, "Mine", "0.weight", "dense", "?.weight"):
        report = wt.initialize_(nn.Sequential(Mine(3, 4)), [wt.rule(selector, "ones")], seed=0)
        assert report["0.weight"].law.mean == 1, selector


def test_branches_of_blocks_are_told_by_their_names():
    model = Model(depth=2)
    ends = [n for n, b in branches_of(wt.translate(model)).items() if b.place == b.length]
    assert ends == [f"h.{i}.{name}.weight" for i in (0, 1) for name in ("attn.out_proj", "c_proj")]
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 3)
    found = branches_of(wt.translate(encoder))
    assert found["layers.2.linear2.weight"] == Branch(6, 6, 2, 2)
    assert found["layers.0.self_attn.in_proj_weight"] == Branch(1, 6, 1, 2)


@pytest.mark.parametrize(
    ("rules", "error", "words"),
    [
        ([wt.rule("*.cproj.weight", "he")], ValueError, r"matches none of the 32 tensors. Near it: h\.\*\.c_proj"),
        ([wt.rule(nn.Conv2d, "he")], ValueError, "rule.Conv2d, he. matches none"),
        ([wt.rule("*", "he"), wt.rule("*.c_fc.*", "he")], ValueError, "all of them have a rule before it"),
        ([wt.rule("embedding.weight", "he", depth_scale=True)], ValueError, "none of its 1 tensors lies in a list"),
        ([], ValueError, "at least one rule"),
        ("hee", ValueError, "Pass law='he'"),
        (["he"], TypeError, "rules must hold rules; got 'he'"),
        (3, TypeError, "law must be a name, a Law"),
    ],
)
def test_what_can_not_be_done_is_refused_and_nothing_is_changed(rules, error, words):
    model = Model()
    before = values(model)
    with pytest.raises(error, match=words):
        wt.initialize_(model, rules, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in values(model).items())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: wt.rule(3, "he"), "selector must be a class of modules"),
        (lambda: wt.rule("*", None), "law must be a name"),
        (lambda: wt.rule("*", Law("unknown")), "must be known to draw"),
        (lambda: wt.initialize_(nn.Linear(2, 2), "he", seed=-1), "whole number from 0; got -1"),
        (lambda: wt.initialize_(nn.Linear(2, 2), "he", seed=1, generator=torch.Generator()), "got both"),
        (lambda: wt.initialize_(nn.Linear(2, 2), "he", generator=3), "generator must be"),
        (lambda: wt.initialize_([], "he"), "must be a torch.nn.Module"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused_in_a_sentence(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()


@pytest.mark.parametrize("scheme", ["he", "glorot_uniform", "orthogonal", "pytorch", "normal(std=0.05)"])
def test_the_audit_passes_what_was_drawn(scheme):
    model = nn.ModuleDict({"a": nn.Linear(40, 60), "b": nn.Conv2d(8, 24, 3, groups=2), "c": nn.LayerNorm(60)})
    wt.initialize_(model, scheme, seed=0)
    report = wt.audit(model, scheme)
    assert report.ok, str(report)


def test_rules_draw_what_the_audit_expects_of_them():
    model = Model()
    wt.initialize_(model, RULES, seed=0)
    assert wt.audit(model, RULES).ok, str(wt.audit(model, RULES))
    wt.initialize_(model, "he", seed=0)
    assert not wt.audit(model, RULES).ok
