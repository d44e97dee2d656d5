"""How often a probe finds a fault in a sound model: the rates that docs/your-model.md states."""

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import weightinit.torch as wt  # noqa: E402
from tests.adapters.models import CONTROLS  # noqa: E402
from tests.adapters.test_probe import Transformer, mlp, resnet  # noqa: E402


def anew():
    return int(torch.randint(0, 10**6, ()))


def convolutional():
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(32, 10),
    )


def plain_convolutional():
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )


def encoder():
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 6)


SOUND = {
    "mlp of PyTorch": (lambda: nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 10)), (64, 20)),
    "mlp of 6 layers": (lambda: mlp(6, seed=anew()), (64, 20)),
    "mlp of 8 units": (lambda: mlp(3, 8, seed=anew()), (64, 20)),
    "tanh": (lambda: mlp(5, 64, nn.Tanh, 1.0, seed=anew()), (64, 20)),
    "convolutional": (convolutional, (16, 3, 12, 12)),
    "resnet": (resnet, (16, 3, 12, 12)),
    "transformer": (lambda: Transformer(6), None),
    "convolutional without norms": (plain_convolutional, (16, 3, 12, 12)),
    "gpt2": (CONTROLS["gpt2"], None),
    "bert": (CONTROLS["bert"], None),
    "encoder, norms behind": (encoder, (8, 12, 32)),
    "lstm": (lambda: nn.LSTM(20, 16, 2, batch_first=True), (16, 9, 20)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
def test_findings_in_sound_models_are_rarer_than_one_in_a_hundred(name):
    """At a rate of 1% more than 4 in 100 would come about once in 300 tries."""
    build, shape = SOUND[name]
    found = []
    for seed in range(100):
        torch.manual_seed(seed)
        model = build()
        sample = torch.randint(0, 50, (8, 12)) if shape is None else torch.randn(shape)
        found += [(seed, finding.kind) for finding in wt.probe(model, sample).findings]
    print(name, len(found))
    assert len(found) <= 4, found
