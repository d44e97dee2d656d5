"""The runner trains modules of PyTorch: as the lab trains its own networks, alone and in a stack, with its records."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import runner  # noqa: E402
from runner.config.composition import Composer  # noqa: E402
from runner.modes import advise, coordinate_check, forecast  # noqa: E402
from runner.torch.losses import LOSSES  # noqa: E402
from runner.training import numpy_engine, torch_engine  # noqa: E402
from runner.training.loop import train  # noqa: E402
from runner.training.samples import epoch_orders  # noqa: E402
from weightinit.nn import LOSSES as LAB_LOSSES  # noqa: E402

HERE = "architecture.module=tests.adapters.test_runner"
QUICK = ["architecture=torch", "training.probe.size=16", "tracking=none"]


class Net(nn.Module):
    """A stranger's network: its activation is a function, its layers a list."""

    def __init__(self, inputs, outputs, width=32, depth=2):
        super().__init__()
        sizes = [inputs, *[width] * depth]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.head = nn.Linear(width, outputs)

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.head(x)


def cnn(outputs, width=8):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * width, outputs),
    )  # fmt: skip


class Looking(Net):
    """A network whose way depends on values, so that torch.func can't stack it."""

    def forward(self, x):
        return super().forward(x if float(x.sum()) < 1e9 else -x)


class Attending(nn.Module):
    """A network for tokens, with blocks on a residual stream and dropout."""

    def __init__(self, outputs, vocabulary=20, width=16):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) for _ in range(2))
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(width, outputs)

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = x + self.dropout(block(x))
        return self.head(x)


class Ahead(Attending):
    """A network that looks at the tokens that it shall tell."""

    def __init__(self, outputs):
        super().__init__(outputs, vocabulary=100)

    def forward(self, tokens):
        return super().forward(tokens) + self.head(self.embed(tokens).mean(1, keepdim=True))


class Broken(nn.Module):
    def __init__(self):
        raise RuntimeError("no such file")


def wide(inputs):
    return nn.Linear(inputs, 12)


def nothing():
    return 3


def frozen(inputs, outputs):
    return nn.Linear(inputs, outputs).requires_grad_(False)


def trials(*overrides, each=((),)):
    return Composer().trials([[*QUICK, *overrides, *more] for more in each])


def losses(outcome):
    return np.array([value for _, _, value in outcome.rows.select("train_loss")])


@pytest.mark.parametrize(
    "optimizer",
    [
        ["optimizer=sgd", "optimizer.weight_decay=0.01"],
        ["optimizer=momentum", "optimizer.schedule=cosine", "optimizer.clip_norm=0.5"],
        ["optimizer=nesterov"],
        ["optimizer=adam"],
        ["optimizer=adamw", "optimizer.weight_decay=0.1"],
    ],
    ids=lambda given: given[0],
)
@pytest.mark.parametrize("data", ["digits", "diabetes"])
def test_a_module_trains_as_the_same_network_of_the_lab_does(optimizer, data, monkeypatch):
    """The same initial weights and batches give the losses of the lab's engine, step by step."""
    shared = ["training.steps=20", "training.probe.size=16", "tracking=none", f"data={data}", "training.dtype=float64"]
    (lab,) = Composer().trials([[*shared, *optimizer, "architecture.width=32", "architecture.depth=2"]])
    (own,) = trials(*shared, *optimizer, f"{HERE}:Net")
    engine, _, _ = numpy_engine.begin([lab], threads=1)
    weights = {name: values[0] for name, values in engine.weights().items()}
    begin = torch_engine.drawn

    def given(*args):
        made = begin(*args)
        with torch.no_grad():
            for name, layer in (("hidden/1", made.module.layers[0]), ("hidden/2", made.module.layers[1]),
                                ("output", made.module.head)):  # fmt: skip
                layer.weight.copy_(torch.from_numpy(weights[f"{name}/weight"].T.copy()))
                layer.bias.copy_(torch.from_numpy(weights[f"{name}/bias"][0]))
        return made

    monkeypatch.setattr(torch_engine, "drawn", given)
    (expected,), (found,) = train([lab]), train([own])
    assert len(losses(found)) == 20
    np.testing.assert_allclose(losses(found), losses(expected), rtol=1e-5)
    places = {"hidden/1": "layers/0", "hidden/2": "layers/1", "output": "output"}
    compared = 0
    for step, quantity, layer, value in zip(
        expected.rows.step, expected.rows.quantity, expected.rows.layer, expected.rows.value, strict=True
    ):
        rows = {(s, name): v for s, name, v in found.rows.select(quantity)}
        if (key := (step, places.get(layer, layer))) in rows and "_z" not in quantity and "condition" not in quantity:
            assert rows[key] == pytest.approx(value, rel=1e-5, abs=1e-9), (quantity, layer, step)
            compared += 1
    assert (
        compared > 250
    )  # activations, gradients, weights and updates of three layers, at the start, on the way, at the end
    for number in ("train_loss", "validation_loss", "test_loss"):
        assert found.summary[number] == pytest.approx(expected.summary[number], rel=1e-5)


def test_the_losses_are_the_labs():
    rng = np.random.default_rng(0)
    target = np.eye(4)[rng.integers(4, size=(2, 5, 3))] * (rng.random((2, 5, 3, 1)) < 0.7)
    output = rng.standard_normal(target.shape)
    for name, lab in LAB_LOSSES.items():
        found = LOSSES[name](torch.from_numpy(output), torch.from_numpy(target)).numpy()
        np.testing.assert_allclose(found, lab(output, target), rtol=1e-12)


@pytest.mark.parametrize(
    "module", ["Net", "cnn architecture.input=image", "Attending data=copying +architecture.options.vocabulary=40"]
)
def test_runs_of_a_stack_are_those_that_train_alone(module, monkeypatch):
    monkeypatch.setattr(nn.Dropout, "forward", lambda self, x: x)  # its noise is another in a stack
    made = trials(*f"{HERE}:{module}".split(), "training.steps=15", each=[["seed=0"], ["seed=1"], ["scheme=xavier"]])
    stacked = train(made)
    assert not any("one by one" in note for outcome in stacked for note in outcome.notes)
    for trial, outcome in zip(made, stacked, strict=True):
        (alone,) = train([trial])
        np.testing.assert_allclose(losses(outcome), losses(alone), rtol=1e-4)
        assert outcome.rows.quantity == alone.rows.quantity
        np.testing.assert_allclose(outcome.rows.value, alone.rows.value, rtol=2e-2, atol=1e-3)


def test_what_cannot_be_stacked_trains_run_by_run_and_says_so():
    made = trials(f"{HERE}:Looking", "training.steps=15", each=[["seed=0"], ["seed=1"]])
    found = train(made)
    assert all(any("one by one" in note for note in outcome.notes) for outcome in found)
    plain = train(trials(f"{HERE}:Net", "training.steps=15", each=[["seed=0"], ["seed=1"]]))
    for one, other in zip(found, plain, strict=True):
        np.testing.assert_allclose(losses(one), losses(other), rtol=1e-4)


def test_a_run_that_diverges_leaves_its_stack_and_a_run_that_fails_fails_alone():
    made = trials(
        f"{HERE}:Net", "training.steps=30", "data=diabetes",
        each=[["seed=0"], ["seed=0", "optimizer.learning_rate=1e4"], ["scheme=lsuv"]],
    )  # fmt: skip
    kept, left, _ = train(made)
    assert (kept.fate, left.fate) == ("finished", "diverged")
    assert left.diverged_at_step > 0
    np.testing.assert_allclose(losses(kept), losses(train(made[:1])[0]), rtol=1e-4)


def test_dropout_draws_the_same_noise_at_the_same_seed_and_leaves_the_generators_alone():
    (made,) = trials(f"{HERE}:Attending", "data=copying", "+architecture.options.vocabulary=40", "training.steps=5")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, other = train([made]), train([made])
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(losses(one[0]), losses(other[0]))


def test_a_sweep_learns_and_records_as_others_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shared = ["tracking=none", "training.probe.size=32", "training.steps=200", "scheme=he,xavier", "seed=0,1"]
    given = ["architecture=torch", f"{HERE}:Net", "+architecture.options.width=48", *shared]
    runs, curves = runner.run(given)
    labs, lab_curves = runner.run(["architecture.depth=2", "architecture.width=48", *shared])
    assert len(runs) == 4
    assert (runs["test_accuracy"] > 0.9).all()
    unknown = ("predicted_", "architecture.", "alarm_", "init_jacobian", "expected_deaths")  # without theory, reference
    lost = {name for name in set(labs) - set(runs) if not name.startswith(unknown) and "deviation" not in name}
    assert not lost
    assert list(curves.columns) == list(lab_curves.columns)
    assert (runs["audit"] == "follows").all()
    assert (runs["activation"] == "own").all()
    ratios = runs.groupby("scheme")["init_activation_ratio"].mean()
    assert ratios["xavier"] < 0.8 < ratios["he"]
    again, _ = runner.run([*given, "resume=true"])
    assert (again["start_time"] == runs["start_time"]).all()  # taken over, not trained again
    assert next(Path("outputs").rglob("report.html")).stat().st_size > 10_000


def test_a_small_cnn_learns_from_images():
    found = train(
        trials(
            f"{HERE}:cnn", "architecture.input=image", "training.steps=150", each=[["scheme=he"], ["scheme=as_built"]]
        )
    )
    for outcome in found:
        assert outcome.fate == "finished", outcome.error
        assert outcome.summary["test_accuracy"] > 0.9
    assert [outcome.labels["audit"] for outcome in found] == ["follows", "unknown"]


def test_a_module_is_drawn_by_the_scheme_and_keeps_what_the_scheme_leaves():
    save = ["training.steps=0", "training.save=initial", f"{HERE}:Net"]
    drawn, built = train(trials(*save, each=[["scheme=zeros"], ["scheme=as_built"]]))
    assert not drawn.arrays["initial/layers.0.weight"].any()
    assert built.arrays["initial/layers.0.weight"].std() == pytest.approx(1 / np.sqrt(3 * 64), rel=0.1)
    tokens = ["training.steps=0", f"{HERE}:Attending", "data=copying", "+architecture.options.vocabulary=40"]
    (kept,) = train(trials(*tokens))
    assert any("embed.weight" in note for note in kept.notes)


def test_configurations_of_transformers_train_on_tokens():
    pytest.importorskip("transformers")
    bert = "{hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 32}"
    shared = ["optimizer=adam", "optimizer.learning_rate=0.01", "training.steps=12", "scheme=gpt2"]
    for kind, options, data, block in (
        ("BertConfig", bert, "text", "bert/encoder/layer/1"),
        ("GPT2Config", "{n_embd: 16, n_layer: 2, n_head: 2}", "copying", "transformer/h/1"),
    ):
        given = [f"architecture.module=transformers:{kind}", f"architecture.options={options}", f"data={data}"]
        (trial,) = trials(*given, *shared)
        assert trial.network.shape.startswith(kind)
        (outcome,) = train([trial])
        assert outcome.fate == "finished", outcome.error
        assert data == "copying" or losses(outcome)[-1] < losses(outcome)[0] - 0.2
        assert {block.replace("1", "entering"), block, "output"} <= set(outcome.rows.layer)


REFUSED = {
    "architecture.module=no.module:Net": r"must name a class or function that can be imported.*No module named",
    "architecture.module=tests.adapters.test_runner.Net": "it has no colon",
    "architecture.module=tests.adapters.test_runner:HERE": "it is '.*', which can't be called",
    f"{HERE}:wide": r"must return \(3, 10\) for a batch of \(3, 64\).*got \(3, 12\)",
    f"{HERE}:nothing": "must name a torch.nn.Module.*got int",
    f"{HERE}:frozen": "must have trained parameters",
    f"{HERE}:Broken": r"it raised RuntimeError: no such file \(test_runner.py:\d+\)",
    f"{HERE}:Net +architecture.options.wdth=3": "wdth is no argument.*allowed: inputs, outputs, width, depth",
    f"{HERE}:Net architecture.input=image": r"must take a batch of \(3, 1, 8, 8\)",
    f"{HERE}:Net architecture.input=tokens": "needs data of tokens",
    f"{HERE}:Net architecture.input=sound": "must be one of auto, flat, image, tokens",
    f"{HERE}:cnn architecture.input=image data=iris": "needs images",
    f"{HERE}:Attending architecture.input=flat data=copying": "this data has tokens",
    f"{HERE}:Ahead data=text": "the output for a token changes with a later one",
    f"{HERE}:Net architecture.device=nowhere": "must be auto, cpu or a device that is here",
    f"{HERE}:Net scheme=autoinit": "is not offered for architecture=torch",
    f"{HERE}:Net scheme=mup": "is not offered for architecture=torch",
    f"{HERE}:Net scheme=fixup": "needs branches",
    f"{HERE}:Net activation=tanh": "has no say in architecture=torch",
    f"{HERE}:Net tracking=mlflow tracking.log_model=best": "tracking.log_model logs the lab's own networks",
}


@pytest.mark.parametrize("given", REFUSED)
def test_mistakes_are_told_before_any_work(given):
    with pytest.raises((ValueError, TypeError), match=REFUSED[given]) as told:
        trials(*given.split())
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("mode", [forecast.text, advise.plan, coordinate_check.check])
def test_modes_that_know_the_labs_own_networks_alone_refuse(mode):
    composer = Composer()
    name = mode.__module__.split(".")[2]
    command = composer.command([*QUICK, f"{HERE}:Net", f"mode={name}", "seed=0,1"], multirun=True)
    with pytest.raises(ValueError, match="the lab's own networks; got architecture=torch"):
        mode(composer, command)


def test_a_module_beside_other_architectures_is_refused_before_any_work():
    with pytest.raises(ValueError, match=r"must be alone in its sweep.*and architecture=mlp in another"):
        Composer().command(["architecture=mlp,torch", f"{HERE}:Net"], multirun=True)


def test_without_pytorch_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match=r"architecture=torch needs PyTorch, .* pip install 'weightinit\[torch\]'\.$"):
        trials(f"{HERE}:Net", "+architecture.options.width=13")  # of which no network is kept


def test_the_key_follows_the_modules_source(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    text = "from torch import nn\ndef net(inputs, outputs):\n    return nn.Linear(inputs, outputs)\n"
    keys = []
    for name, more in (("keyed_a", ""), ("keyed_b", "")):
        (tmp_path / f"{name}.py").write_text(text + more)
        keys.append(trials(f"architecture.module={name}:net")[0].key)
    (tmp_path / "keyed_a.py").write_text(text + "# another\n")
    keys.append(trials("architecture.module=keyed_a:net")[0].key)
    assert len(set(keys)) == 3
    assert trials(f"{HERE}:Net")[0].key == trials(f"{HERE}:Net", "architecture.options=null")[0].key


def test_every_epoch_has_the_order_of_the_labs_own_networks():
    (own,), (lab,) = trials(f"{HERE}:Net"), Composer().trials([["tracking=none"]])
    count = len(own.dataset.x_train)
    assert (next(epoch_orders(own.plan, count)) == next(epoch_orders(lab.plan, count))).all()


def test_nothing_of_pytorch_is_imported_by_the_labs_own_networks():
    assert "runner.training.torch_engine" in sys.modules  # by this test
    source = Path(runner.__file__).parent
    for path in source.rglob("*.py"):
        if "torch" not in path.parts and path.stem != "torch_engine":
            assert "import torch\n" not in path.read_text(), path
