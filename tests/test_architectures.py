"""Architectures: each trains, alone and stacked with the same bits; names, trunk, constants, losses by token."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runner.config.composition import Composer
from runner.optimizers import Updater
from runner.records import Outcome
from runner.report.figures.tables import by_block
from runner.tracking.models import predictor
from runner.training import loop
from runner.training.samples import probe_samples
from tests.networks import IMAGE, TOKENS, inputs, small
from tests.test_layers import alike_inputs, assert_theory_holds, laws_of, loss_and_gradients, trained_direction
from weightinit.nn import CrossEntropy, Moments, Network, trunk
from weightinit.nn.architectures import autoencoder, cnn, deep_linear, layers, mlp, residual_mlp, resnet, transformer
from weightinit.nn.layers import batch_moments
from weightinit.nn.layers.batch_moments import Spectrum
from weightinit.nn.moments import moments_of
from weightinit.schemes import LSUV, AutoInit, Orthogonal, VarianceScaling
from weightinit.schemes.initialized import merge

SMALL = small()


@pytest.mark.parametrize("name", SMALL)
def test_gradients_equal_finite_differences(name: str) -> None:
    net, rng = SMALL[name], np.random.default_rng(1)
    flat, x = 0.5 * rng.standard_normal((2, net.parameters)), inputs(net, 2, 5)
    weight = rng.standard_normal((2, 5, *net.out_shape))
    _, gradient, _ = loss_and_gradients(net, flat, x, weight)
    for _ in range(3):
        direction = trained_direction(net, rng, 2)
        sides = [loss_and_gradients(net, flat + s * direction, x, weight)[0] for s in (1e-6, -1e-6)]
        scale = np.linalg.norm(gradient, axis=1) * np.linalg.norm(direction, axis=1)
        error = np.abs((sides[0] - sides[1]) / 2e-6 - (gradient * direction).sum(1))
        np.testing.assert_array_less(error, 1e-6 * scale)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", SMALL)
def test_a_run_has_the_same_bits_in_stacks_of_1_7_and_64(name: str, threads: int) -> None:
    net, rng = small("float32")[name], np.random.default_rng(1)
    flat, x = (0.5 * rng.standard_normal((64, net.parameters))).astype(np.float32), inputs(net, 64, 9)
    weight = rng.standard_normal((64, 9, *net.out_shape)).astype(np.float32)
    parts = [slice(0, 64), slice(0, 7), slice(57, 64), slice(0, 1), slice(5, 6), slice(63, 64)]
    with ThreadPoolExecutor(threads) as pool:
        whole, *others = pool.map(
            lambda part: loss_and_gradients(net, flat[part], x[part], weight[part], first=part.start), parts
        )
    for part, found in zip(parts[1:], others, strict=True):
        for one, together in zip(found, whole, strict=True):
            assert one.tobytes() == together[part].tobytes(), part


@pytest.mark.parametrize("name", [name for name in SMALL if "tokens" not in name])
def test_the_jacobian_is_that_of_finite_differences(name: str) -> None:
    """With batch norm, for the statistics of a batch held fixed."""
    net, rng = SMALL[name], np.random.default_rng(1)
    params = net.views(0.5 * rng.standard_normal((2, net.parameters)))
    x = inputs(net, 1, 4).reshape(1, 4, -1)
    tape = net.tape(2, 4)
    net.forward(params, {}, x, tape, phase="probe")
    state = net.calibrated({}, tape)
    jacobian = net.jacobian(params, state, x[:, :2])
    for index in range(0, net.inputs, 7):
        moved = [x[:, :2] + sign * 1e-6 * np.eye(net.inputs)[index] for sign in (1, -1)]
        above, below = (net.forward(params, state, at, net.tape(2, 2), phase="evaluate").copy() for at in moved)
        np.testing.assert_allclose(jacobian[..., index], (above - below) / 2e-6, atol=1e-6)


TRAINED = {
    "residual_mlp": ["architecture.depth=3"],
    "cnn": ["architecture.norm=batch"],
    "resnet": ["architecture.depth=2"],
    "transformer": ["architecture.depth=1", "architecture.width=16", "architecture.dropout=0.1", "activation=gelu"],
    "layers": [],
    "deep_linear": ["architecture.depth=2", "architecture.width=16"],
    "autoencoder": ["data=digit_images"],
}


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer()


def train(composer: Composer, name: str, *overrides: str, seeds: Sequence[int] = (0,)) -> list[Outcome]:
    shared = [
        "tracking=none",
        f"architecture={name}",
        *TRAINED[name],
        "training.steps=6",
        "training.batch_size=32",
        "training.probe.size=16",
        "training.save=final",
        "optimizer.learning_rate=0.003",
        *overrides,
    ]
    return loop.train(composer.trials([[*shared, f"seed={seed}"] for seed in seeds]))


@pytest.mark.parametrize("name", TRAINED)
def test_every_architecture_trains_with_the_same_bits_alone_and_in_a_stack(composer: Composer, name: str) -> None:
    stack = train(composer, name, seeds=(0, 1, 2))
    (alone,) = train(composer, name, seeds=(1,))
    for outcome in stack:
        assert outcome.fate == "finished", outcome.error
        losses = [value for _, _, value in outcome.rows.select("train_loss")]
        assert np.isfinite(losses).all()
    assert_same(alone, stack[1])


def assert_same(one: Outcome, other: Outcome) -> None:
    """All that was measured and saved, to the last bit."""
    rows, together = one.rows, other.rows
    columns = zip(rows.step, rows.quantity, rows.layer, rows.value, strict=True)
    kept = {row[:3]: row[3] for row in columns}
    assert len(together) == len(rows)
    for row in zip(together.step, together.quantity, together.layer, together.value, strict=True):
        assert kept[row[:3]] == row[3], row
    for key, array in one.arrays.items():
        assert array.tobytes() == other.arrays[key].tobytes(), key


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", TRAINED)
def test_every_architecture_trains_with_the_same_bits_in_stacks_of_1_7_and_64(
    composer: Composer, name: str, threads: int
) -> None:
    stacks = [range(64), range(7), range(57, 64), range(5, 6), range(63, 64)]
    with ThreadPoolExecutor(threads) as pool:
        whole, *others = pool.map(lambda seeds: train(composer, name, seeds=seeds), stacks)
    for seeds, outcomes in zip(stacks[1:], others, strict=True):
        for seed, outcome in zip(seeds, outcomes, strict=True):
            assert_same(outcome, whole[seed])


def test_running_statistics_go_into_the_model(composer: Composer) -> None:
    (trial,) = composer.trials([["tracking=none", "architecture=cnn", "architecture.norm=batch", "training.steps=3",
                                 "training.save=final"]])  # fmt: skip
    (outcome,) = loop.train([trial])
    made = predictor(trial, outcome.arrays)
    assert made is not None
    assert not np.array_equal(made.state["norm/1/mean"], np.zeros((1, 1, 16)))
    x = trial.dataset.x_test[:20] * trial.dataset.preparation.std + trial.dataset.preparation.mean
    plain = replace(made, state={name: np.ones_like(values) for name, values in made.state.items()})
    assert not np.array_equal(made.predict(x), plain.predict(x))


def test_statistics_of_runs_that_stay_go_on_when_others_diverge(composer: Composer) -> None:
    runs = [["optimizer.learning_rate=0.01", "seed=0"], ["optimizer.learning_rate=1e30", "seed=1"]]
    shared = ["tracking=none", "architecture=cnn", "architecture.norm=batch", "training.steps=5", "training.save=final"]
    trials = composer.trials([[*shared, *run] for run in runs])
    stayed, left = loop.train(trials)
    (alone,) = loop.train(trials[:1])
    assert (stayed.fate, left.fate) == ("finished", "diverged")
    for key, array in alone.arrays.items():
        assert array.tobytes() == stayed.arrays[key].tobytes(), key


def test_a_transformer_learns_to_copy(composer: Composer) -> None:
    data = ["data=copying", "data.length=4", "data.symbols=4"]
    network = ["architecture=transformer", "architecture.depth=1", "architecture.width=32"]
    shared = ["tracking=none", *data, *network, "optimizer=adam", "optimizer.learning_rate=0.005"]
    (outcome,) = loop.train(composer.trials([[*shared, "training.steps=120", "training.probe.size=16"]]))
    assert outcome.summary["test_accuracy"] > 0.95


def test_frozen_weights_stay_and_count_for_nothing(composer: Composer) -> None:
    """Weights that are frozen change neither by decay nor by steps, and the norm that clips is that of the others."""
    tree = "[flatten, {layer_norm: {trained: false}}, {dense: 8}, {residual: [activation, dense]}]"
    options = ["architecture=layers", f"architecture.tree={tree}", "optimizer.weight_decay=0.1"]
    shared = ["tracking=none", *options, "training.steps=3", "training.probe.size=16", "training.save=both"]
    (trial,) = composer.trials([[*shared, "optimizer.clip_norm=0.1"]])
    (outcome,) = loop.train([trial])
    frozen = [spec.name for spec in trial.network.weights if not spec.trained]
    assert frozen == ["layer_norm/1/gain", "layer_norm/1/bias", "block/1/scale"]
    for spec in trial.network.weights:
        before, after = (outcome.arrays[f"{when}/{spec.name}"] for when in ("initial", "final"))
        assert np.array_equal(before, after) == (not spec.trained), spec.name
    net = trial.network
    flat, gradient = np.zeros((1, net.parameters)), np.ones((1, net.parameters))
    updater = Updater([trial.optimizer], 1, net.trained(flat), net.trained(gradient), net.kernel_parameters)
    updater.step(0)
    moved = net.trained(flat)
    assert np.count_nonzero(flat) == moved.size == net.parameters - 64 - 64 - 1
    rate = trial.optimizer.learning_rate * trial.optimizer.rate.factors(1)[0]
    assert np.linalg.norm(moved) == pytest.approx(0.1 * rate)


def test_constants_differ_within_a_stack() -> None:
    net = residual_mlp(5, 3, "relu", depth=2, width=6)
    he = VarianceScaling(scale=2.0)
    small = replace(he(net, [1]), constants={"block/1/branch_scale": np.array([0.25])})
    small.check(net, 1)
    parts = [((0,), he(net, [1])), ((1,), small)]
    stack = merge(parts, 2, {spec.name: spec.default for spec in net.constants})
    x = np.random.default_rng(0).standard_normal((1, 4, 5)).astype(np.float32)
    both = net.forward(stack.params, net.state(2, stack.constants), x, net.tape(2, 4))
    for run, part in enumerate((parts[0][1], small)):
        alone = net.forward(part.params, net.state(1, part.constants), x, net.tape(1, 4))
        assert alone.tobytes() == both[run : run + 1].tobytes()
    assert not np.array_equal(both[0], both[1])
    with pytest.raises(ValueError, match="constants must name constants of the network; got 'block/1/scale'"):
        replace(he(net, [1]), constants={"block/1/scale": np.ones(1)}).check(net, 1)


def test_lsuv_scales_each_weight_of_a_block_by_itself() -> None:
    net = residual_mlp(20, 3, "relu", depth=3, width=32)
    batch = np.random.default_rng(0).standard_normal((1, 64, 20)).astype(np.float32)
    drawn = LSUV()(net, [0], batch)
    tape = net.tape(1, 64)
    net.forward(drawn.params, {}, batch, tape, phase="probe")
    for name in ("input", "block/1/dense/1", "block/2/dense/2", "output"):
        assert np.var(tape[name, "preactivation"]) == pytest.approx(1, abs=0.1), name


@pytest.mark.parametrize("name", ["residual_mlp", "cnn", "resnet", "transformer of rows"])
def test_autoinit_gives_every_pre_activation_its_size(name: str) -> None:
    net = SMALL[name]
    laws = AutoInit().rule_for(net).laws(net)
    for step in net.walk():
        for spec in step.weights:
            if spec.role == "weight":
                assert laws[spec.name].std > 0


def test_orthogonal_embeddings_have_the_size_that_their_law_says() -> None:
    """One term makes each output, so that fan_in is 1; the matrix is orthogonal all the same."""
    drawn = Orthogonal()(SMALL["transformer of tokens"], range(3))
    for name in ("embedding/weight", "positions/weight"):
        assert np.std(drawn.params[name]) == pytest.approx(drawn.laws[name][0].std, rel=0.02)


def test_shapes_as_people_write_them() -> None:
    assert residual_mlp(64, 10, "relu", depth=8, width=64).shape == "64-[64]x8 residual-10"
    assert cnn(64, 10, "relu", form=IMAGE).shape == "8x8x1-3x16-10"
    assert transformer(64, 10, "relu", form=IMAGE).shape == "8x8x1-64-[64, 256-64]x4 residual-10"


def test_the_trunk_of_a_residual_network_is_its_blocks() -> None:
    assert trunk(["hidden/1", "hidden/2", "output"]) == ["hidden/1", "hidden/2"]
    names = ["input", "block/1/dense/1", "block/1", "block/2/norm/1", "block/2", "norm", "output"]
    assert trunk(names) == ["input", "block/1", "block/2"]
    net = SMALL["residual_mlp, normed"]
    assert [site.name for site in net.trunk] == ["input", "block/1", "block/2"]
    branch = {spec.name: spec.branch for spec in net.weights}
    assert branch["input/weight"] is None
    found = branch["block/2/dense/1/weight"]
    assert found is not None
    assert (found.index, found.count, found.place, found.length) == (2, 2, 1, 2)


def test_a_block_counts_as_one_layer_on_the_page() -> None:
    rows = [("a", 0, "gradient_std", "input", 1.0), ("a", 0, "gradient_std", "block/1/dense/1", 1.0),
            ("a", 0, "gradient_std", "block/1/dense/2", 4.0), ("a", 0, "activation_rms", "block/1/dense/2", 9.0),
            ("a", 0, "activation_rms", "block/1", 3.0), ("a", 0, "gradient_std", "output", 5.0)]  # fmt: skip
    curves = pd.DataFrame(rows, columns=["key", "step", "quantity", "layer", "value"])
    seen = by_block(curves).set_index(["quantity", "layer"])["value"]
    assert seen["gradient_std", "block/1"] == pytest.approx(2.0)
    assert seen["activation_rms", "block/1"] == 3.0
    assert list(by_block(curves)["layer"].unique()) == ["input", "block/1", "output"]
    plain = curves[~curves["layer"].str.startswith("block")]
    pd.testing.assert_frame_equal(by_block(plain), plain)


def test_cross_entropy_by_token_counts_tokens_with_a_target() -> None:
    rng = np.random.default_rng(0)
    output = rng.standard_normal((3, 4, 5, 6))
    target = np.eye(7)[rng.integers(0, 7, (3, 4, 5)), :6]  # class 6 is no target
    told = target.any(-1)
    gradient = np.empty_like(output)
    loss = CrossEntropy()(output, target, gradient)
    logs = output - np.log(np.exp(output).sum(-1, keepdims=True))
    expected = [-(logs[run] * target[run]).sum() / told[run].sum() for run in range(3)]
    np.testing.assert_allclose(loss, expected)
    assert (gradient[~told] == 0).all()
    step = 1e-6 * rng.standard_normal(output.shape)
    change = CrossEntropy()(output + step, target) - CrossEntropy()(output - step, target)
    np.testing.assert_allclose(change / 2, (gradient * step).sum((1, 2, 3)), rtol=1e-6)


WIDE: dict[str, Network] = {
    "deep_linear": deep_linear(128, 64, "relu", depth=3, width=192, dtype="float64"),
    "autoencoder": autoencoder(128, 128, "tanh", depth=3, width=256, code=96, dtype="float64"),
    "layers": layers(
        64,
        16,
        "gelu",
        tree=[
            {"convolution": {"filters": 96, "stride": 2, "padding": "circular"}},
            "activation",
            {"residual": {"branch": ["layer_norm", {"convolution": 96}], "scale": 0.5}},
            "global_pooling",
            {"dense": 128},
            "activation",
        ],
        form=IMAGE,
        dtype="float64",
    ),
    "cnn, batch norm": cnn(64, 16, "relu", width=64, depth=3, norm="batch", form=IMAGE, dtype="float64"),
    "mlp": mlp(128, 64, "gelu", depth=3, width=192, dtype="float64"),
    "residual_mlp": residual_mlp(128, 64, "relu", depth=4, width=128, branch_scale=0.5, dtype="float64"),
    "residual_mlp, layer norm": residual_mlp(128, 64, "tanh", depth=4, width=128, norm="layer", dtype="float64"),
    "cnn": cnn(64, 16, "relu", width=96, depth=3, form=IMAGE, dtype="float64"),
    "resnet": resnet(64, 16, "relu", depth=2, width=64, form=IMAGE, dtype="float64"),
    "resnet, no norm": resnet(64, 16, "tanh", depth=2, width=64, norm="none", form=IMAGE, dtype="float64"),
    "transformer": transformer(64, 16, "gelu", depth=2, width=128, heads=4, expansion=2, form=IMAGE, dtype="float64"),
    "transformer of tokens": transformer(
        6, 5, "gelu", depth=2, width=192, heads=4, expansion=2, norm="rms", causal=True, form=TOKENS, dtype="float64"
    ),
    "transformer of patches": transformer(
        64,
        16,
        "silu",
        depth=2,
        width=192,
        heads=48,
        expansion=2,
        gated=True,
        placement="post",
        attention_scale="width",
        patch=[4, 4],
        form=IMAGE,
        dtype="float64",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WIDE)
def test_wide_architectures_do_what_theory_expects(name: str) -> None:
    net = WIDE[name]
    assert_theory_holds(net, inputs(net, 1, 6) if net.takes_tokens else alike_inputs(net), 24)


def test_an_activation_that_sees_another_has_no_theory() -> None:
    """Without weights between them, what enters is not Gaussian: the mean square was off by 1.7 there."""
    net = SMALL["resnet, post-activation"]
    found = net.expect(net.moments_of(alike_inputs(net)[0].reshape(6, -1)), laws_of(net))
    reason = found[-1].moments.reason
    assert reason.startswith("block/1/exit: no weights lie between this activation and the one before")
    ends = [p.layer for p in found].index("block/1/exit")
    assert [p.moments.reason for p in found] == [""] * ends + [reason] * (len(found) - ends)
    assert found[0].gradient.reason == reason
    first = layers(10, 3, "relu", tree=["activation", "dense", "activation"])
    assert [bool(p.moments.reason) for p in first.expect(Moments(1.0), laws_of(first))] == [True] * 4
    assert np.isnan(first.expect_jacobian(first.expect(Moments(1.0), laws_of(first)), laws_of(first)).mean)


@pytest.mark.parametrize("followed", ["images", "a few", "all"])
def test_batch_norm_of_more_samples_than_images_are_followed(followed: str) -> None:
    """The first few images act as the batch, on average; features are all followed, also those of flat images."""
    dense = [{"dense": 128}, "batch_norm", "activation"]
    if followed == "images":
        net = cnn(64, 16, "relu", width=48, depth=3, norm="batch", form=IMAGE, dtype="float64")
    elif followed == "all":
        net = layers(64, 16, "relu", tree=["flatten", *dense * 4], form=IMAGE, dtype="float64")
    else:
        net = layers(64, 16, "relu", tree=[{"convolution": 8}, "global_pooling", *dense], form=IMAGE, dtype="float64")
    x = alike_inputs(net, 24, 1.4)
    if followed == "a few":
        reason = {p.layer: p.gradient.reason for p in net.expect(net.moments_of(x[0].reshape(24, -1)), laws_of(net))}
        assert "of all 24 samples, and that of 6 is followed" in reason["dense/1"]
        assert not reason["output"]
    else:
        assert_theory_holds(net, x, 24, each=False)


def test_batch_norm_of_images_whose_corners_hardly_vary_has_numbers(composer: Composer) -> None:
    """The mean that is taken away is estimated for all samples, and may be more than what is there."""
    (trial,) = composer.trials([["tracking=none", "architecture=resnet", "architecture.depth=2"]])
    net = trial.network
    x = probe_samples(trial.dataset, 256, "train", "float32").x[0]
    laws = VarianceScaling(scale=2.0)(net, [0]).laws_of(0)
    for p in net.expect(net.moments_of(x), laws):
        assert np.isfinite([p.moments.second_moment, p.gradient.second_moment]).all()
        assert np.min(p.moments.q) >= 0
        assert np.min(p.gradient.q) >= 0


def test_the_largest_eigenvalues_and_the_mean_of_the_others_do_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """To a hundredth: how much 1 / |y|² scatters depends on the largest. A fifth of the trace is in the others."""
    rng = np.random.default_rng(0)
    root, other = rng.standard_normal((2, 280, 280))
    covariance, arriving = (root / np.arange(1, 281)) @ root.T, other @ other.T
    found = Spectrum.of(covariance)
    monkeypatch.setattr(batch_moments, "WHOLE", 280)
    whole = Spectrum.of(covariance)
    assert (len(found.values), len(whole.values)) == (batch_moments.LARGEST, 280)
    assert whole.values[: -batch_moments.LARGEST].sum() > 0.2
    assert found.weights.sum() == pytest.approx(whole.weights.sum(), rel=1e-3)
    for one, both in zip(*((s.function(s.weights), s.projected(arriving)) for s in (found, whole)), strict=True):
        assert np.abs(one - both).max() < 0.01 * np.abs(both).max()


def test_batch_norm_leaves_a_mean_square_of_1_over_all_samples_of_images_with_borders() -> None:
    """Also where pairs are followed for a few of the samples only; how theory's gradient grows depends on it."""
    net = cnn(64, 3, "relu", width=16, depth=4, norm="batch", pools=0, form=IMAGE, dtype="float64")
    x = alike_inputs(net, 40, 1.4)[0]
    x[:, 2:6, 2:6] *= 3  # what lies in the middle varies most, as in images
    found = [p for p in net.expect(moments_of(x, net.in_shape), laws_of(net)) if p.layer.startswith("norm")]
    for prediction in found[::2]:  # norms; activations follow them
        assert prediction.moments.second_moment == pytest.approx(1.04, rel=2e-3)  # 1, and the bias's variance


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cnn(10, 2, "relu"), "needs images"),
        (lambda: resnet(64, 2, "relu", stages=9, form=IMAGE), "architecture.stages must be at most"),
        (lambda: transformer(10, 2, "relu"), "needs images or tokens"),
        (lambda: transformer(64, 2, "relu", heads=3, form=IMAGE), "architecture.heads must divide"),
        (lambda: transformer(64, 2, "relu", tied=True, form=IMAGE), "architecture.tied=true needs tokens"),
        (lambda: transformer(64, 2, "relu", patch=[3, 3], form=IMAGE), "architecture.patch does not fit"),
        (lambda: residual_mlp(4, 2, "relu", norm="batch"), "architecture.norm must be one of none, layer, rms"),
        (lambda: cnn(64, 2, "relu", pools=9, depth=9, form=IMAGE), "Take fewer layers that pool"),
        (lambda: layers(4, 2, "relu", tree=["dens"]), "each entry of architecture.tree must be one of"),
        (lambda: layers(4, 2, "relu", tree=[{"dense": {"unit": 3}}]), "dense takes no unit"),
        (lambda: layers(4, 2, "relu", tree=[{"residual": [{"dense": 3}]}]), "must have one shape"),
        (lambda: layers(4, 2, "relu", tree=["my.module.Mine"]), "must be the address of a layer"),
    ],
)
def test_mistakes_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_plain_residual_network_of_64_blocks_explodes_and_small_branches_keep_it_level() -> None:
    """As forecast: the stream's mean square grows by 2 a block, by e in all where branches are 1/sqrt(blocks)."""
    he, x = VarianceScaling(scale=2.0), np.random.default_rng(0).standard_normal((1, 16, 64))
    growth = {}
    for scale in (1.0, 64**-0.5):
        net = residual_mlp(64, 10, "relu", depth=64, width=64, branch_scale=scale, dtype="float64")
        laws = {name: law[0] for name, law in he(net, [0]).laws.items()}
        expected = {p.layer: p.moments.second_moment for p in net.expect(Moments(1.0, correlation=0.0), laws)}
        tape = net.tape(24, 16, phase="evaluate")
        net.forward(he(net, range(24)).params, {}, x, tape, phase="probe")
        first, last = (np.log(np.mean(tape[name, "activation"] ** 2, (1, 2))) for name in ("block/1", "block/64"))
        growth[scale] = (last - first) / 63, np.log(expected["block/64"] / expected["block/1"]) / 63
    for measured, theory in growth.values():
        error = measured.std(ddof=1) / np.sqrt(24)
        assert abs(measured.mean() - theory) < 4 * error + 0.06 * theory
    assert growth[1.0][1] == pytest.approx(np.log(2.0), rel=1e-3)
    assert 63 * growth[64**-0.5][1] == pytest.approx(63 * np.log1p(1 / 64), rel=1e-3)
