import itertools
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
from weightinit.schemes import Critical, DeepNorm, Orthogonal, VarianceScaling  # noqa: E402


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
        self.pos_embed = nn.Parameter(torch.zeros(12, width))
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
    std_is(model.pos_embed, 0.01)
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
    assert all(
        torch.equal(drawn[name], deeper[name]) for name in drawn if name not in ("embedding.weight", "pos_embed")
    )
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
        ("hee", ValueError, "got 'hee'. Pass 'he'"),
        ("gpt2(scale=3)", ValueError, "gpt2 takes bias_std, std; got scale"),
        ("t_fixup", ValueError, "t_fixup needs no norms; this model has norms"),
        ("delta_orthogonal", ValueError, "needs convolutions"),
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


def test_pytorch_is_the_default_of_each_module():
    layers = {"attention": nn.MultiheadAttention(32, 4), "rnn": nn.LSTM(32, 48), "tokens": nn.Embedding(90, 32)}
    model = nn.ModuleDict({**layers, "bilinear": nn.Bilinear(12, 16, 20), "norm": nn.LayerNorm(32)})
    assert wt.initialize_(model, "pytorch", seed=0).kept == ()
    report = wt.audit(model, "pytorch")
    assert report.ok, str(report)
    std_is(model["tokens"].weight, 1.0)
    std_is(model["rnn"].weight_ih_l0, 1 / math.sqrt(3 * 48))


def test_rules_draw_what_the_audit_expects_of_them():
    model = Model()
    wt.initialize_(model, RULES, seed=0)
    assert wt.audit(model, RULES).ok, str(wt.audit(model, RULES))
    wt.initialize_(model, "he", seed=0)
    assert not wt.audit(model, RULES).ok


class Perceptron(nn.Module):
    """An MLP whose activation is called as a function."""

    def __init__(self, width=64, activation=torch.relu, depth=3):
        super().__init__()
        sizes = [20, *[width] * depth, 5]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.activation = activation

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


X = torch.randn(256, 20, generator=torch.Generator().manual_seed(0)) * 3


def test_lsuv_gives_each_layer_unit_variance_on_the_sample():
    model = Perceptron()
    model.norm = nn.BatchNorm1d(3)
    state = torch.get_rng_state()
    report = wt.initialize_(model, "lsuv", sample=X, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    x = X
    for number, layer in enumerate(model.layers):
        z = layer(x)
        assert z.var().item() == pytest.approx(1, abs=0.1)
        x = torch.relu(z)
        gram = layer.weight @ layer.weight.T if layer.weight.shape[0] <= layer.weight.shape[1] else None
        if gram is not None:
            assert torch.allclose(gram / gram[0, 0], torch.eye(len(gram)), atol=1e-5)
        assert not report[f"layers.{number}.weight"].law.known
    assert report.notes == ()
    assert "by its data" in str(report)
    attention = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    notes = wt.initialize_(attention, "lsuv", sample=torch.randn(8, 5, 16), seed=0).notes
    assert [note.split(":")[0] for note in notes] == [
        "self_attn",
        "Not scaled, since the sample doesn't call their modules by themselves",
    ]
    assert "self_attn.out_proj.weight" in notes[1]


def test_critical_takes_the_point_of_the_activation_that_the_model_calls():
    for activation, scale in ((torch.relu, 2.0), (torch.tanh, 1.0), (nn.ReLU(), 2.0)):
        model = Perceptron(activation=activation)
        sample = None if isinstance(activation, nn.Module) else X
        report = wt.initialize_(model, "critical", sample=sample, seed=0)
        assert report["layers.1.weight"].law.std == pytest.approx(math.sqrt(scale / 64))
        assert report["layers.1.bias"].law.std == 0
    biased = wt.initialize_(Perceptron(activation=torch.tanh), Critical(sigma_b2=0.05), sample=X, seed=0)
    assert biased["layers.1.weight"].law.std == pytest.approx(math.sqrt(1.760955 / 64), rel=1e-5)
    assert biased["layers.1.bias"].law.std == pytest.approx(math.sqrt(0.05))
    slope = nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(0.2), nn.Linear(4, 4))
    assert wt.initialize_(slope, "critical")["0.weight"].law.std == pytest.approx(math.sqrt(2 / (1.04 * 4)))


@pytest.mark.parametrize(
    ("model", "rules", "words"),
    [
        (nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh()), "critical", "got relu, tanh"),
        (Perceptron(), "critical", "got none. Pass sample="),
        (nn.Sequential(nn.Linear(4, 4), nn.Hardswish()), "critical", "calls hardswish, which the lab has no theory"),
        (Perceptron(), "lsuv", "got no sample"),
        (nn.ModuleDict({"rnn": nn.LSTM(4, 4), "out": nn.Linear(4, 4)}), "gpt2", "needs attention"),
        (Perceptron(), "zero_gamma", "needs branch norms; no norm ends a branch"),
        (Perceptron(), "spectral", "isn't offered for a model of one's own"),
        (Perceptron(), "mup", r"Pass mup\(base=\.\.\.\)"),
        (Perceptron(), "rezero", r"rule\('\*\.alpha', 'zeros'\)"),
    ],
)
def test_schemes_that_look_at_the_model_say_what_they_lack(model, rules, words):
    with pytest.raises(ValueError, match=words):
        wt.initialize_(model, rules)


@pytest.mark.parametrize("scheme", ["he", "orthogonal", "sparse", "lsuv"])
def test_a_law_of_fans_or_shapes_leaves_embeddings_and_positions(scheme):
    model = nn.ModuleDict({"tokens": nn.Embedding(7, 4), "head": nn.Linear(4, 4)})
    model.pos = nn.Parameter(torch.zeros(1, 5, 4))
    model.forward = lambda tokens: model["head"](model["tokens"](tokens) + model.pos)
    report = wt.initialize_(model, scheme, sample=torch.arange(5)[None], seed=0)
    assert sorted(report.kept) == ["pos", "tokens.weight"]


def test_laws_by_patterns_are_rules_in_their_order():
    model = Perceptron()
    report = wt.initialize_(model, {"layers.1.*": "zeros", "*": "he"}, seed=0)
    assert [rule for rule, _ in report.hits] == ["rule('layers.1.*', zeros)", "rule('*', he)"]
    assert report["layers.1.weight"].law.std == 0 < report["layers.0.weight"].law.std


def test_mup_follows_the_growth_from_the_base():
    """Yang et al. 2022, table 3: variances and rates of Adam and SGD by the place of a weight."""
    with torch.device("meta"):
        base = Perceptron(16)
    model = Perceptron(64)
    report = wt.initialize_(model, wt.mup(base, scale=2.0), seed=0)
    std = {name: report[f"layers.{name}.weight"].law.std for name in (0, 1, 3)}
    assert std == pytest.approx({0: math.sqrt(2 / 20), 1: math.sqrt(2 / 64), 3: math.sqrt(2 / 64 / 4)})
    adam = {name: pair[0] for name, pair in report.rates.items()}
    sgd = {name: pair[1] for name, pair in report.rates.items()}
    names = [f"layers.{n}.{kind}" for kind in ("weight", "bias") for n in (0, 1, 3)]
    assert [adam[name] for name in names] == [1, 1 / 4, 1 / 4, 1, 1, 1]
    assert [sgd[name] for name in names] == [4, 1, 1 / 4, 4, 4, 1]
    groups = report.param_groups(model.named_parameters(), lr=0.1, weight_decay=0.0)
    assert sorted((group["lr"], len(group["params"])) for group in groups) == [(0.025, 3), (0.1, 5)]
    assert isinstance(torch.optim.Adam(groups), torch.optim.Adam)
    same = wt.initialize_(Perceptron(16), wt.mup(Perceptron(16), scale=2.0), seed=0)
    assert set(same.rates.values()) == {(1.0, 1.0)}
    zero = Perceptron(32)
    wt.initialize_(zero, [wt.rule("layers.0.weight", "ones"), wt.mup(base, zero_output=True)], seed=0)
    assert (zero.layers[3].weight == 0).all()
    assert (zero.layers[0].weight == 1).all()
    with pytest.raises(ValueError, match=r"base must be the same model at another width; 2 tensors"):
        wt.initialize_(Perceptron(64, depth=4), wt.mup(base))
    with pytest.raises(ValueError, match=r"Pass mup\(base=...\)"):
        wt.initialize_(Perceptron(), "he").param_groups([], lr=1)


def test_steps_of_mup_change_the_features_alike_at_every_width():
    """Where the standard parametrization's change of the outputs grows with the width."""

    def change(width, parametrized):
        torch.manual_seed(0)
        model = Perceptron(width)
        report = wt.initialize_(model, wt.mup(Perceptron(32), scale=2.0) if parametrized else "he", seed=0)
        lr = 0.0003
        groups = report.param_groups(model.named_parameters(), lr) if parametrized else model.parameters()
        optimizer, before = torch.optim.Adam(groups, lr), model(X)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(X), X[:, :5]).backward()
            optimizer.step()
        return (model(X) - before).square().mean().sqrt().item()

    narrow, wide = (change(width, True) for width in (32, 1024))
    assert wide / narrow == pytest.approx(1, abs=0.6)
    assert change(1024, False) / change(32, False) > 4


def test_schemes_of_whole_networks_look_at_blocks():
    """Radford et al. 2019, sec. 2.3; Zhang et al. 2019; Huang et al. 2020, sec. 3.2."""
    model = Model()
    report = wt.initialize_(model, "gpt2", seed=0)
    stds = [report[name].law.std for name in ("embedding.weight", "h.1.c_fc.weight", "h.1.c_proj.weight")]
    assert stds == pytest.approx([0.02, 0.02, 0.02 / math.sqrt(6)])
    std_is(model.h[2].attn.out_proj.weight, 0.02 / math.sqrt(6))
    assert report.kept == ()
    assert wt.initialize_(Model(), "gpt2(std=0.01)", seed=0)["h.0.c_fc.weight"].law.std == 0.01
    bare = Model()
    for block in bare.h:
        block.norm = nn.Identity()
    report = wt.initialize_(bare, "t_fixup", seed=0)
    assert report["embedding.weight"].law.std == pytest.approx(64**-0.5 * 27**-0.25)
    assert report["h.0.c_proj.weight"].law.std == pytest.approx(0.67 * 3**-0.25 * math.sqrt(2 / (64 + 256)))
    q, _, v = (part.double().std().item() for part in bare.h[1].attn.in_proj_weight.chunk(3))
    assert q == pytest.approx(math.sqrt(1 / 64), rel=0.06)
    assert v == pytest.approx(0.67 * 3**-0.25 * math.sqrt(1 / 64), rel=0.06)
    assert "skips of all blocks by 1.565" in wt.initialize_(Model(), DeepNorm(), seed=0).notes[0]

    def stage():
        block = lambda: nn.Sequential(  # noqa: E731
            nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)
        )
        return nn.Sequential(*[block() for _ in range(2)])

    convolutional = nn.ModuleDict(
        {"stem": nn.Conv2d(3, 8, 3), "layer1": stage(), "layer2": stage(), "fc": nn.Linear(8, 3)}
    )
    fixup = wt.initialize_(convolutional, "fixup", seed=0)
    he = math.sqrt(2 / 72)
    names = ("layer1.1.0.weight", "layer1.1.3.weight", "fc.weight", "stem.weight")
    assert [fixup[name].law.std for name in names] == pytest.approx([he * 4**-0.5, 0, 0, math.sqrt(2 / 27)])
    gains = wt.initialize_(convolutional, "zero_gamma", seed=0)
    assert [gains[f"layer2.0.{n}.weight"].law.mean for n in (1, 4)] == [1, 0]
    assert (convolutional["layer2"][0][4].weight == 0).all()
