import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import weightinit.torch as wt  # noqa: E402


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.hidden, self.last = nn.Linear(20, width), nn.Linear(width, width), nn.Linear(width, 5)

    def forward(self, x):
        return self.last(torch.relu(self.hidden(torch.relu(self.first(x)))))


class Shifted(Net):
    def __init__(self, width):
        super().__init__(width)
        self.pos = nn.Parameter(torch.zeros(1, 20))

    def forward(self, x):
        return super().forward(x + self.pos)


X = torch.randn(64, 20, generator=torch.Generator().manual_seed(0))
Y = torch.arange(64) % 5
WIDTHS = (64, 256, 1024)


def check(parametrized, **options):
    reports = {}

    def make(width):
        model = Net(width)
        rules = wt.mup(Net(64), scale=2.0) if parametrized else "he"
        reports[id(model)] = wt.initialize_(model, rules)
        return model

    def optimizer(model):
        if not parametrized:
            return torch.optim.Adam(model.parameters(), lr=1e-3)
        return torch.optim.Adam(reports[id(model)].param_groups(model.named_parameters(), lr=1e-3))

    return wt.coordinate_check(make, (X, Y), functional.cross_entropy, widths=WIDTHS, optimizer=optimizer, **options)


def test_mup_transfers_and_the_standard_parametrization_does_not():
    found = check(parametrized=True, seeds=5)
    assert found.verdict == "transfers", str(found)
    assert found.ok
    plain = check(parametrized=False, seeds=5)
    assert plain.verdict == "differs"
    assert plain.verdicts["hidden"] == "grows"
    assert plain.causes
    assert "hidden" in str(plain)


def test_a_check_leaves_the_generators_and_refuses_what_it_can_not_check():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    wt.coordinate_check(Net, X, widths=(8, 16, 32), steps=1, seeds=3)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(TypeError, match="function of the width; got Net"):
        wt.coordinate_check(Net(8), X)
    with pytest.raises(TypeError, match=r"must return a torch.nn.Module; got int"):
        wt.coordinate_check(lambda width: width, X)
    with pytest.raises(ValueError, match="at least 3 widths and 3 seeds"):
        wt.coordinate_check(Net, X, widths=(8, 16))
    with pytest.raises(ValueError, match="steps must be a whole number"):
        wt.coordinate_check(Net, X, steps=0)
    with pytest.raises(ValueError, match="must widen the model; its parameters have the same shapes at width 8 and 32"):
        wt.coordinate_check(lambda width: Net(8), X, widths=(8, 16, 32), steps=1, seeds=3)
    beside = wt.coordinate_check(Shifted, X, widths=(8, 16, 32), steps=1, seeds=3)
    assert list(beside.verdicts) == ["first", "hidden", "last"]
