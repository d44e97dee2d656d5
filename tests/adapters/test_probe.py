import math
import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import weightinit.torch as wt  # noqa: E402
from tests.adapters.own_models import ActorCritic  # noqa: E402
from weightinit.torch.redraw import redraw_  # noqa: E402

HE = math.sqrt(2)


def mlp(depth=3, width=64, activation=nn.ReLU, std=HE, seed=0, bias=0.0):
    """An MLP of 20 inputs and 10 outputs, weights N(0, std² / fan_in), an output of std 1/sqrt(fan_in)."""
    torch.manual_seed(seed)
    layers, inputs = [], 20
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), activation()]
        inputs = width
    model = nn.Sequential(*layers, nn.Linear(inputs, 10))
    for linear in model[::2]:
        scale = 1 if linear is model[-1] else std
        nn.init.normal_(linear.weight, std=scale / math.sqrt(linear.in_features))
        nn.init.constant_(linear.bias, bias)
    return model


class Block(nn.Module):
    def __init__(self, width, branch=None):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.branch = branch

    def forward(self, x):
        h = self.norm1(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        h = self.mlp(self.norm2(x))
        return x + (h if self.branch is None else self.branch(h))


class Transformer(nn.Module):
    def __init__(self, depth=4, width=32, std=0.02, branch=None):
        super().__init__()
        self.embedding, self.position = nn.Embedding(50, width), nn.Parameter(torch.randn(12, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, branch) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 50, bias=False)
        self.head.weight = self.embedding.weight
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=std)

    def forward(self, tokens):
        x = self.embedding(tokens) + self.position[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x):
        h = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        return functional.relu(x + self.norm2(self.conv2(h)))


def resnet(zero=False, gain=None):
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ModuleDict({"layer": nn.Sequential(*[Residual(16) for _ in range(4)])})["layer"],
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, Residual) and zero:
            nn.init.zeros_(module.norm2.weight)
        if isinstance(module, nn.BatchNorm2d) and gain is not None:
            nn.init.normal_(module.weight, std=gain)
    return model


def x(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


FLAT, TOKENS, IMAGES = x(64, 20), torch.arange(96).reshape(8, 12) * 7 % 50, x(16, 3, 12, 12)

SOUND = {
    "mlp": (lambda seed: mlp(seed=seed), FLAT),
    "pytorch": (lambda seed: nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 10)), FLAT),
    "resnet": (lambda seed: resnet(), IMAGES),
    "zero": (lambda seed: resnet(zero=True), IMAGES),
    "transformer": (lambda seed: Transformer(), TOKENS),
    "lstm": (lambda seed: nn.LSTM(20, 16, 2, batch_first=True), x(16, 9, 20)),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_model_has_no_finding(name):
    build, sample = SOUND[name]
    torch.manual_seed(1)
    report = wt.probe(build(0), sample, draws=3)
    assert report.ok, str(report)
    assert report.sentence.endswith("no fault at initialization.")


class Factors(nn.Module):
    """A product of two factors that both start at zero, as a low-rank branch done wrong."""

    def __init__(self):
        super().__init__()
        self.base, self.a, self.b = nn.Linear(20, 10), nn.Linear(20, 4, bias=False), nn.Linear(4, 10, bias=False)
        nn.init.zeros_(self.a.weight), nn.init.zeros_(self.b.weight)

    def forward(self, x):
        return self.base(x) + self.b(self.a(x))


def alike():
    model = Transformer(depth=6, std=0.02)
    for block in model.blocks:
        nn.init.zeros_(block.attention.in_proj_weight[:64].data)
        nn.init.normal_(block.attention.in_proj_weight[64:].data, std=1.0)
        nn.init.normal_(block.attention.out_proj.weight, std=1.0)
    return model


FAULTS = {
    "vanishes": (lambda: mlp(30, std=1), FLAT, "signal", "vanishes: its rms goes from"),
    "explodes": (lambda: mlp(30, std=3), FLAT, "signal", "explodes"),
    "gradient": (lambda: mlp(20, activation=nn.Tanh, std=3), FLAT, "gradient", "gradient explodes"),
    "first loss": (lambda: Transformer(std=1.0), TOKENS, "first_loss", "nats above that of a model that knows nothing"),
    "dead": (lambda: mlp(bias=-4.0), FLAT, "dead", "of the units of"),
    "saturated": (lambda: mlp(activation=nn.Tanh, std=12), FLAT, "saturated", "less than 1% of the gradient"),
    "norm": (lambda: resnet(gain=0.02), IMAGES, "norm", "Set the gains of norms to 1"),
    "alike": (alike, TOKENS, "alike", "tokens of a sample become alike"),
    "input": (lambda: mlp(3, std=1e-3, activation=nn.Tanh, bias=0.5), FLAT, "input", "hardly depends on the input"),
    "stuck": (Factors, FLAT, "stuck", "No gradient reaches a.weight, b.weight"),
    "nan": (lambda: mlp(bias=math.nan), FLAT, "not_finite", "0 (Linear) is the first module"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_by_its_kind_and_a_sentence_says_so(name):
    build, sample, kind, words = FAULTS[name]
    torch.manual_seed(0)
    report = wt.probe(build(), sample, draws=3)
    found = {finding.kind: finding.sentence for finding in report.findings}
    assert kind in found, str(report)
    assert words in found[kind]
    assert kind in report.sentence


def test_what_a_module_does_is_measured_as_autograd_and_theory_have_it():
    width, model = 512, mlp(4, 512)
    targets = torch.randint(0, 10, (64,), generator=torch.Generator().manual_seed(0))
    report = wt.probe(model, (FLAT, targets), functional.cross_entropy, draws=3)
    h, kept = FLAT, {}
    for name, module in model.named_children():
        h = kept[name] = module(h)
        h.retain_grad()
    loss = functional.cross_entropy(h, targets)
    loss.backward()
    one = wt.probe(model, FLAT, lambda y: functional.cross_entropy(y, targets), draws=1)
    assert one.loss == pytest.approx(loss.item(), rel=1e-6)
    assert one.ignorant == pytest.approx(math.log(10))
    for name, value in kept.items():
        assert one[name].rms == pytest.approx(value.square().mean().sqrt().item(), rel=1e-5)
        norm = value.grad.square().sum(1).mean().sqrt().item() * 64
        assert one[name].backward == pytest.approx(norm, rel=1e-5)
    assert report["6"].rms == pytest.approx(math.sqrt(2), abs=6 * math.sqrt(5 * 4 / width))  # E[z²] = 2 E[x²]
    assert report["7"].saturated == pytest.approx(0.5, abs=0.1)
    assert one["7"].dead == pytest.approx((kept["7"] == 0).all(0).double().mean().item())
    step = torch.optim.Adam(model.parameters(), 1e-3)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    step.step()
    for name in ("0.weight", "8.weight"):
        change = dict(model.named_parameters())[name].detach() - before[name]
        assert one.step.updates[name] == pytest.approx((change.norm() / before[name].norm()).item(), rel=1e-4)
    assert "0.bias" not in one.step.updates  # zero before: it has no ratio


def test_a_probe_leaves_nothing_in_the_model_and_in_the_random_generators():
    model = nn.Sequential(resnet(), nn.Dropout(0.5)).train()
    model[0][0].eval()
    for p in model.parameters():
        p.grad = torch.full_like(p, 2.0)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    random.seed(5), np.random.seed(5), torch.manual_seed(5)  # noqa: NPY002 - the global states are what is tested
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first = wt.probe(model, IMAGES)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert all((p.grad == 2).all() and p.requires_grad for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    torch.manual_seed(6)
    assert wt.probe(model, IMAGES).as_dict() == first.as_dict()
    assert wt.probe(model, IMAGES, seed=1).loss != first.loss


def test_a_fresh_draw_keeps_the_law_and_what_is_not_drawn():
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {
            "normal": nn.Linear(64, 32),
            "orthogonal": nn.Linear(16, 24),
            "identity": nn.Linear(8, 8),
            "embedding": nn.Embedding(20, 8, padding_idx=3),
            "norm": nn.LayerNorm(4),
            "frozen": nn.Linear(4, 4).requires_grad_(False),
        }
    )
    nn.init.orthogonal_(model["orthogonal"].weight, gain=3)
    nn.init.eye_(model["identity"].weight)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    redraw_(model, torch.Generator().manual_seed(0))
    after = {name: p.detach() for name, p in model.named_parameters()}
    for name in ("identity.weight", "norm.weight", "norm.bias", "frozen.weight"):
        assert torch.equal(after[name], before[name])
    for name in ("normal.weight", "normal.bias", "embedding.weight"):
        assert not torch.equal(after[name], before[name])
        assert torch.equal(after[name].abs().sort(-1).values, before[name].abs().sort(-1).values)
    assert (after["embedding.weight"][3] == 0).all()
    rotated = after["orthogonal.weight"]
    assert torch.allclose(rotated.T @ rotated, 9 * torch.eye(16), atol=1e-4)
    assert (rotated - before["orthogonal.weight"]).abs().mean() > 0.1


def test_fresh_draws_scatter_as_models_built_anew():
    build = lambda: mlp(6, 24, seed=int(torch.randint(0, 10**6, ())))  # noqa: E731
    anew = wt.probe(build, FLAT, draws=40)
    drawn = wt.probe(build(), FLAT, draws=40)
    assert anew.chains[0].spread == pytest.approx(drawn.chains[0].spread, rel=0.5)
    assert anew["8"].rms == pytest.approx(drawn["8"].rms, rel=0.4)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.unused = nn.Linear(20, 3), nn.Linear(2, 2)

    def forward(self, x, scale, *, shift=0.0):
        return {"logits": self.a(x) * scale + shift, "rest": x}


def test_samples_targets_and_losses_of_several_kinds():
    y = torch.arange(64) % 10
    assert wt.probe(mlp(), (FLAT, y), draws=1).judged_by == "cross entropy of 10 classes"
    assert wt.probe(mlp(), FLAT, targets=y, draws=1).loss == wt.probe(mlp(), (FLAT, y), draws=1).loss
    assert wt.probe(mlp(), (FLAT, x(64, 10, seed=1)), draws=1).judged_by == "squared error"
    pair = wt.probe(Pair(), (FLAT, 2.0), draws=1)
    assert pair.unused == ("unused.weight", "unused.bias")
    assert wt.probe(Pair(), {"x": FLAT, "scale": 2.0, "shift": 0.0}, draws=1).loss == pair.loss
    assert pair.ignorant == pytest.approx(math.log(3))
    one = wt.probe(nn.Linear(20, 1), FLAT, draws=1)
    assert one.ignorant == pytest.approx(1.0, abs=0.6)
    binary = wt.probe(nn.Linear(20, 1), (FLAT, (y % 2).float()[:, None]), nn.BCEWithLogitsLoss(), draws=1)
    assert binary.ignorant == pytest.approx(math.log(2))
    lazy = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))
    assert wt.probe(lazy, FLAT).ok
    assert isinstance(lazy[0].weight, nn.UninitializedParameter)
    frozen = wt.probe(mlp().requires_grad_(False), FLAT, draws=2)
    assert math.isnan(frozen["0"].backward)
    assert frozen.step is None


def test_a_step_that_is_too_large_is_told():
    report = wt.probe(mlp(), FLAT, optimizer=lambda p: torch.optim.SGD(p, lr=100.0), draws=1)
    (finding,) = report.findings
    assert finding.kind == "step"
    assert "SGD(lr=100)" in finding.sentence


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: wt.probe([1], FLAT), TypeError, "must be a torch.nn.Module or a function"),
        (lambda: wt.probe(lambda: 3, FLAT), TypeError, "must build a torch.nn.Module; got int"),
        (lambda: wt.probe(mlp(), x(64, 7)), ValueError, r"Sequential got \(64, 7\) and raised RuntimeError"),
        (lambda: wt.probe(mlp(), 3.0), TypeError, "got float"),
        (lambda: wt.probe(mlp(), FLAT, draws=0), ValueError, "draws must be a whole number from 1; got 0"),
        (lambda: wt.probe(mlp(), FLAT, lambda y: y), ValueError, r"scalar tensor; got \(64, 10\)"),
        (lambda: wt.probe(mlp(), FLAT, lambda y: y.nothing()), ValueError, "raised AttributeError"),
        (lambda: wt.probe(mlp().to("meta"), FLAT), ValueError, "Materialize it first"),
        (lambda: wt.probe(mlp(), FLAT, optimizer=lambda: 1), ValueError, "returns a torch optimizer"),
        (lambda: wt.probe(mlp(), FLAT)["9x"], KeyError, "name must be one of 0, 1"),
    ],
)
def test_what_a_probe_does_not_take_is_refused_in_a_sentence(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_parts_side_by_side_are_chains_of_their_own() -> None:
    torch.manual_seed(0)
    report = wt.probe(
        ActorCritic(), torch.randn(64, 64), lambda o: o[0].log_softmax(-1)[:, 0].mean() + o[1].square().mean()
    )
    assert report.ok, report.findings
    assert [chain.name for chain in report.chains] == ["layers to actor.4", "layers to critic.4"]
    assert report.chains[0].places == ("actor.0", "actor.2")


def test_a_prior_in_the_outputs_bias_is_no_lost_signal() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 5))
    nn.init.normal_(model[4].weight, std=0.01)
    nn.init.constant_(model[4].bias, -4.6)
    assert wt.probe(model, torch.randn(64, 16)).ok
    nn.init.constant_(model[0].bias, 100.0)
    assert "input" in [finding.kind for finding in wt.probe(model, torch.randn(64, 16)).findings]
