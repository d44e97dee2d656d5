import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import weightinit.torch as wt  # noqa: E402
from tests.adapters.test_probe import FLAT, IMAGES, TOKENS, Factors, Transformer, mlp, resnet, x  # noqa: E402
from weightinit import nn as networks  # noqa: E402
from weightinit.schemes import VarianceScaling  # noqa: E402


class Convolutional(nn.Module):
    """Layers as modules and as functions, with a scale that flattens before the output."""

    def __init__(self, norm=None):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, groups=2, bias=False)
        self.norm, self.pool = norm or nn.GroupNorm(2, 8), nn.AvgPool2d(2)
        self.fc, self.out = nn.Linear(12 * 25, 16), nn.Linear(16, 5)

    def forward(self, x):
        x = functional.gelu(self.norm(self.conv1(x)))
        x = torch.tanh(self.conv2(x))
        x = self.pool(x).flatten(1)
        return self.out(functional.dropout(self.fc(x).relu(), 0.0))


def untied():
    model = Transformer(depth=2)
    model.head.weight = nn.Parameter(torch.randn(50, 32) * 0.1)
    return model


MODELS = {
    "mlp": (mlp, FLAT),
    "resnet": (resnet, IMAGES),
    "transformer": (Transformer, TOKENS),
    "untied": (untied, TOKENS),
    "convolutional": (Convolutional, IMAGES),
    "batch": (lambda: Convolutional(nn.BatchNorm2d(8)), IMAGES),
    "factors": (Factors, FLAT),
    "rms": (lambda: nn.Sequential(nn.Linear(20, 8), nn.RMSNorm(8, eps=1e-5), nn.SiLU(), nn.Linear(8, 2)), FLAT),
}


@pytest.mark.parametrize("name", MODELS)
def test_weights_go_both_ways_and_outputs_and_gradients_are_equal(name):
    """The lab draws; PyTorch loads its state_dict; both compute the same, forward and backward, to 1e-10 in float64."""
    build, sample = MODELS[name]
    torch.manual_seed(0)
    model = build().double()
    sample = sample.double() if sample.is_floating_point() else sample
    lab = wt.to_lab(model, sample)
    assert lab.followed.unknown == ""
    net = lab.network
    drawn = VarianceScaling(scale=2.0)(net, [3, 4]).params
    params = {
        key: drawn[key][1:] + 0.1 * np.random.default_rng(0).standard_normal(drawn[key][1:].shape) for key in drawn
    }
    for spec in net.weights:
        if not spec.trained or spec.role == "scale":
            params[spec.name] = np.ones_like(params[spec.name])
    model.load_state_dict(lab.state_dict(params))
    again = wt.to_lab(model, sample).params
    assert all(np.array_equal(again[key], params[key]) for key in lab.followed.tensors)

    output = model(sample)
    weight = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (output * weight).sum().backward()
    tape, state = net.tape(1, len(sample)), net.state(1)
    found = net.forward(params, state, lab.inputs(sample), tape, phase="train").copy()
    assert np.abs(found[0] - output.detach().numpy()).max() < 1e-10
    tape.d_output[...] = weight.numpy()[None]
    gradients = net.backward(params, tape.d_output, tape)
    for key, (path, tensor) in lab.followed.tensors.items():
        attribute = tensor.parameter.partition("[")[0]
        grad = model.get_parameter(f"{path}.{attribute}" if path else attribute).grad
        expected = tensor.read(grad).numpy().reshape(gradients[key].shape[1:])
        scale = max(np.abs(expected).max(), 1e-4)
        assert np.abs(gradients[key][0] - expected).max() < 1e-10 * scale * 100, key


def test_a_run_of_the_lab_is_exported_to_a_model_of_the_same_layers():
    """The lab's own network has names of its own; its weights go by their order."""
    network = networks.mlp(20, 5, "tanh", depth=2, width=12, dtype="float64")
    drawn = VarianceScaling(scale=1.0, bias_std=0.3)(network, seeds=[0, 1])
    layers = [nn.Linear(20, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 5)]
    model = nn.Sequential(*layers).double()
    state = wt.to_lab(model, FLAT.double()).state_dict(drawn.params, run=1)
    model.load_state_dict(state)
    output = network.forward(drawn.params, {}, FLAT.double().numpy()[None], network.tape(2, 64))
    assert np.abs(output[1] - model(FLAT.double()).detach().numpy()).max() < 1e-12


@pytest.mark.parametrize("name", ["mlp", "untied", "batch"])
def test_theory_is_that_of_the_measurement(name):
    build, sample = MODELS[name]
    torch.manual_seed(0)
    model = build()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    report = wt.forecast(model, sample)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert report.gaps == (), str(report)
    assert all(math.isfinite(row.theory) and math.isfinite(row.theory_gradient) for row in report.rows)
    assert "the measurement agrees" in report.sentence
    assert report.as_dict()["rows"][0]["kind"] == report.rows[0].kind


def test_theory_foresees_what_vanishes_and_explodes():
    assert wt.forecast(mlp(30, std=1), FLAT, draws=2).stability.label == "vanishes"
    assert wt.forecast(mlp(30, std=3), FLAT, draws=2).stability.label == "explodes"
    assert wt.forecast(mlp(8), FLAT, draws=2).stability.label == "stable"
    wide = wt.forecast(mlp(5, 512), FLAT)
    assert wide["6"].theory == pytest.approx(math.sqrt(2), rel=0.03)
    assert wide["0"].theory_gradient == pytest.approx(wide["0"].gradient, rel=0.15)


def test_weights_that_are_not_independent_lie_off_theory():
    """Each unit takes the mean of what enters it, with a sign: theory expects the signs to cancel."""
    model = mlp(4, 64)
    signs = torch.where(torch.arange(64) % 2 == 0, 1.0, -1.0)
    with torch.no_grad():
        model[4].weight[:] = signs[:, None] * math.sqrt(2 / 64)
    report = wt.forecast(model, FLAT, draws=1)
    assert report.gaps[0].name == "4"
    assert report["4"].gap > math.log(2)
    assert "lie off it, most in" in report.sentence
    nn.init.constant_(model[4].weight, 0.05)
    refused = wt.forecast(model, FLAT, draws=1)
    assert "mean" in refused["4"].reason
    assert math.isnan(refused["6"].theory)


def test_what_is_unknown_is_named_and_theory_ends_before_it():
    model = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 8), nn.Hardswish(), nn.Linear(8, 2))
    report = wt.forecast(model, FLAT)
    assert [row.name for row in report.rows] == ["0", "1", "2"]
    assert report.unknown.startswith("3: the model calls hardswish")
    assert "where it ends: 3: the model calls hardswish" in str(report)
    first = nn.Sequential(nn.Hardswish(), nn.Linear(20, 4))
    assert wt.forecast(first, FLAT).rows == ()
    with pytest.raises(ValueError, match="no layer for the model's first part, 0"):
        _ = wt.to_lab(first, FLAT).network


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x):
        batch, tokens, units = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, 2, units // 2).permute(2, 0, 3, 1, 4)
        return self.out((q @ k.transpose(2, 3) @ v).transpose(1, 2).reshape(batch, tokens, units))


def test_a_shape_that_is_computed_on_the_way_is_not_what_is_unknown():
    model = nn.Sequential(nn.LayerNorm(8), Attention())
    assert wt.forecast(model, x(4, 5, 8)).unknown == "1: view"


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: wt.forecast(Branching(), FLAT), "can't be followed"),
        (lambda: wt.forecast(mlp(), [1]), "one tensor, a batch of inputs; got list"),
        (lambda: wt.forecast([], FLAT), "must be a torch.nn.Module"),
        (lambda: wt.forecast(mlp(), x(4, 3)), "must take the sample"),
        (lambda: wt.to_lab(mlp(), FLAT).state_dict({"0/weight": 1}), r"must hold 0/weight .* got nothing"),
        (lambda: wt.to_lab(mlp(), FLAT).state_dict({}), r"must hold 0/weight of shape \(runs, \*\(20, 64\)\)"),
    ],
)
def test_what_can_not_be_forecast_is_refused(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()
