"""Parametrizations: at their base sizes the standard one, elsewhere the rates, multipliers and laws of their papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from runner.config.composition import Composer
from runner.optimizers import SGD, Adam
from runner.records import Outcome
from runner.training.loop import train
from weightinit import audit
from weightinit.arrays import Array
from weightinit.nn import Moments, Network
from weightinit.nn.architectures import Form, autoencoder, cnn, mlp, residual_mlp, resnet, transformer
from weightinit.schemes import CompleteP, DepthMuP, MuP, Rule, Spectral, suits

IMAGE, TOKENS = Form((8, 8, 1)), Form((6,), vocabulary=10, per_token=True)


def attention(width: int, depth: int = 1, **options: Any) -> Network:
    return transformer(6, 10, "relu", width=width, depth=depth, heads=2, form=TOKENS, **options)


NETWORKS: dict[str, Network] = {
    "mlp": mlp(20, 5, "relu", width=64, depth=3),
    "cnn": cnn(64, 5, "tanh", width=32, head="global", norm="batch", form=IMAGE),
    "residual": residual_mlp(20, 5, "relu", width=32, depth=4, norm="layer", trained_scale=True),
    "resnet": resnet(64, 5, "relu", width=8, depth=4, form=IMAGE),
    "transformer": attention(32, 2),
    "tied transformer": attention(32, tied=True),
    "autoencoder": autoencoder(20, 20, "tanh", width=32, code=4),
}
SCHEMES: dict[str, Rule] = {
    "mup": MuP(base_width=16),
    "depth_mup": DepthMuP(base_width=16),
    "completep": CompleteP(base_width=16),
    "spectral": Spectral(base_width=16),
}


def refused(scheme: str, network: str) -> bool:
    return network == ("autoencoder" if scheme != "spectral" else "tied transformer") or (
        scheme in ("depth_mup", "completep") and network in ("mlp", "cnn")
    )


FITTING = [(scheme, network) for scheme in SCHEMES for network in NETWORKS if not refused(scheme, network)]


def trained(*overrides: str, each: Sequence[Sequence[str]] = ((),)) -> list[Outcome]:
    small = ["training.steps=6", "training.probe.size=16", "training.measure_every=6", "tracking=none", "data=digits"]
    return train(Composer().trials([[*small, "training.save=final", *overrides, *more] for more in each]))


def weights(outcome: Outcome) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in outcome.arrays.items() if name.startswith("final/")}


def test_at_its_base_sizes_a_parametrization_is_the_standard_one() -> None:
    """To the last bit, also of what training makes of it; and beside runs of other sizes of the base."""
    settings = ["architecture.width=24", "architecture.depth=2", "optimizer=adamw", "optimizer.weight_decay=0.1"]
    schemes = [
        [f"scheme={name}", f"scheme.base_width={base}"] for name, base in (("mup", 24), ("mup", 6), ("spectral", 6))
    ]
    he, at_base, *wider = trained(*settings, each=[["scheme=he"], *schemes])
    assert {name: weights(at_base)[name] for name in weights(he)} == weights(he)
    assert weights(wider[0])["final/output/weight"] != weights(he)["final/output/weight"]
    for outcome, scheme in zip((at_base, *wider), schemes, strict=True):
        (alone,) = trained(*settings, *scheme)
        assert {name: weights(outcome)[name] for name in weights(alone)} == weights(alone)


SEQUENCES = ["data=custom", "data._target_=tests.parts_for_tests.echoes", "architecture=transformer"]
TRAINED = {
    "mlp": ["architecture=mlp", "architecture.width=24"],
    "cnn": ["architecture=cnn", "architecture.width=8", "architecture.norm=batch"],
    "residual_mlp": ["architecture=residual_mlp", "architecture.width=24", "architecture.norm=layer"],
    "trained factors": ["architecture=residual_mlp", "architecture.width=24", "architecture.trained_scale=unit"],
    "resnet": ["architecture=resnet", "architecture.width=8"],
    "transformer": ["architecture=transformer", "architecture.width=16", "architecture.heads=2"],
    "post-norm transformer": [
        *SEQUENCES,
        "architecture.width=16",
        "architecture.heads=2",
        "architecture.placement=post",
    ],
    "tied transformer": [*SEQUENCES, "architecture.width=16", "architecture.heads=2", "architecture.tied=true"],
    "autoencoder": ["architecture=autoencoder", "architecture.width=24", "data=linear_teacher"],
}


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["momentum", "adamw"])
@pytest.mark.parametrize("of", TRAINED)
def test_runs_train_to_the_same_bits_alone_and_in_a_stack(of: str, optimizer: str) -> None:
    """Beside he, each parametrization that fits, at two base widths and seeds, with rates, epsilons and decays of
    its own."""
    settings = [*TRAINED[of], "architecture.depth=2", f"optimizer={optimizer}", "optimizer.weight_decay=0.1"]
    if of == "autoencoder":
        settings = [text for text in settings if not text.startswith("architecture.depth")]
    (network,) = {trial.network for trial in Composer().trials([settings])}
    fitting = [name for name, scheme in SCHEMES.items() if suits(scheme, network)]
    runs = [["scheme=he", "seed=1"]]
    runs += [[f"scheme={name}", f"scheme.base_width={base}", f"seed={base}"] for name in fitting for base in (4, 12)]
    assert len(fitting) == {"mlp": 2, "cnn": 2, "tied transformer": 3, "autoencoder": 1}.get(of, 4)
    for outcome, run in zip(trained(*settings, each=runs), runs, strict=True):
        (alone,) = trained(*settings, *run)
        expected = weights(alone)  # in a stack constants at their defaults stand beside them
        assert {name: weights(outcome)[name] for name in expected} == expected, run
        assert sum(name.endswith("/weight") for name in expected) >= 3


def rates(optimizer: type[SGD] | type[Adam], scheme: Rule, network: Network) -> dict[str, dict[str, float]]:
    """Factors of rate, epsilon and coupled decay by weight."""
    initialized = scheme(network, [0])
    columns = {name: np.ones((1, 1)) for name in optimizer.numbers}
    found = {}
    for spec in network.weights:
        sizes = [
            np.asarray(by[spec.name])[:, None] for by in (initialized.learning_rate_scale, initialized.gradient_scale)
        ]
        numbers, rate = optimizer.scaled(columns, *sizes)
        found[spec.name] = {"rate": rate.item(), **{name: column.item() for name, column in numbers.items()}}
    return found


def test_mup_has_the_rates_of_table_8() -> None:
    """Yang et al. 2022: hidden 1, input, output and biases m with SGD; hidden 1/m, else 1 with Adam."""
    network, m = mlp(20, 5, "relu", width=64, depth=2), 4.0
    by_sgd, by_adam = (rates(optimizer, MuP(base_width=16), network) for optimizer in (SGD, Adam))
    sgd, adam = ({name: numbers["rate"] for name, numbers in by.items()} for by in (by_sgd, by_adam))
    assert sgd == {"hidden/1/weight": m, "hidden/1/bias": m, "hidden/2/weight": 1.0, "hidden/2/bias": m,
                   "output/weight": m, "output/bias": 1.0}  # fmt: skip
    assert adam == dict.fromkeys(sgd, 1.0) | {"hidden/2/weight": 1 / m}
    assert {name: numbers["epsilon"] for name, numbers in by_adam.items()} == dict.fromkeys(sgd, 1 / m) | {
        "output/bias": 1.0
    }
    initialized = MuP(base_width=16)(network, [0])
    assert initialized.constants["output/multiplier"] == [1 / m]
    variances = {name: laws[0].std ** 2 for name, laws in initialized.laws.items() if name.endswith("/weight")}
    assert variances == pytest.approx({"hidden/1/weight": 2 / 20, "hidden/2/weight": 2 / 64, "output/weight": 2 / 16})


@pytest.mark.parametrize(
    ("scheme", "alpha"), [(DepthMuP(base_width=16, base_depth=2), 0.5), (CompleteP(base_width=16), 1.0)]
)
def test_depth_enters_as_in_the_tables_of_its_papers(scheme: Rule, alpha: float) -> None:
    """Yang et al. 2023, table 1; Dey et al. 2025, table 1: branches n^-alpha, Adam's rate n^(alpha - 1), its epsilon
    n^-alpha / m; SGD's rate n^(2 alpha - 1)."""
    network, m, n = attention(64, 8), 4.0, 4.0
    sgd, adam = rates(SGD, scheme, network), rates(Adam, scheme, network)
    for name in ("block/3/attention/query/weight", "block/8/mlp/dense/1/weight"):
        assert adam[name]["rate"] == pytest.approx(n ** (alpha - 1) / m)
        assert adam[name]["epsilon"] == pytest.approx(n**-alpha / m)
        assert sgd[name]["rate"] == pytest.approx(n ** (2 * alpha - 1))
    assert adam["embedding/weight"]["rate"] == adam["output/weight"]["rate"] == 1.0
    assert adam["block/8/mlp/dense/1/bias"]["rate"] == pytest.approx(n ** (alpha - 1))
    constants = scheme(network, [0]).constants
    assert constants["block/1/attention/branch_scale"] == pytest.approx(n**-alpha)
    assert constants["block/1/attention/logit_scale"] == pytest.approx(8**0.5 / 32)  # 1/d, 1/sqrt(d) at the base
    assert constants["output/multiplier"] == [1 / m]


def test_spectral_norms_are_those_of_the_condition() -> None:
    """|W| stays within a constant of sqrt(fan_out / fan_in) for any shape: below 2.1 times the root of the scale, the
    norm of a square Gaussian matrix."""
    for widths in ([30, 300], [300, 30], [200, 200]):
        network = mlp(60, 7, "linear", widths=widths)
        params = Spectral(scale=1.0)(network, [0]).params
        for spec in network.weights:
            if spec.role == "weight":
                norm = np.linalg.norm(params[spec.name][0], 2) / (spec.fans.fan_out / spec.fans.fan_in) ** 0.5
                assert 0.9 < norm < 2.1, (widths, spec.name, norm)


def test_spectral_has_the_numbers_of_parametrization_1() -> None:
    """Yang, Simon & Bernstein 2023: std 1/sqrt(fan_in) min(1, sqrt(fan_out / fan_in)), SGD's rate fan_out / fan_in."""
    network, scheme = mlp(64, 16, "linear", widths=[400, 100]), Spectral(scale=1.0, base_width=100)
    sgd, adam = rates(SGD, scheme, network), rates(Adam, scheme, network)
    stds = {name: laws[0].std for name, laws in scheme(network, [0]).laws.items()}
    for name, std, by_sgd, by_adam in (
        ("hidden/1/weight", 0.125, 6.25, 1.5625),
        ("hidden/2/weight", 0.025, 0.25, 0.25),
        ("output/weight", 0.04, 0.16, 1.0),
    ):
        assert stds[name] == pytest.approx(std)
        assert sgd[name]["rate"] == pytest.approx(by_sgd)
        assert adam[name]["rate"] == pytest.approx(by_adam)


@pytest.mark.parametrize(("scheme", "network"), FITTING)
def test_weights_follow_their_laws_and_signals_the_theory(scheme: str, network: str) -> None:
    net = NETWORKS[network]
    rule = SCHEMES[scheme]
    initialized = rule(net, range(24))
    initialized.check(net, 24)
    laws = {spec.name: initialized.laws[spec.name][0] for spec in net.weights}
    assert (
        audit({name: array[0] for name, array in initialized.params.items()}, laws, specs=net.weights).verdict
        == "follows"
    )
    wrong = {name: replace(law, std=law.std * 1.2) for name, law in laws.items() if law.family == "normal"}
    found = audit({name: array[0] for name, array in initialized.params.items()}, {**laws, **wrong}, specs=net.weights)
    assert found.verdict == "differs"
    assert rule.rule_for(net).laws(net) == initialized.laws_of(0)
    if network in ("mlp", "residual", "autoencoder"):
        x = np.random.default_rng(1).standard_normal((1, 32, net.inputs)).astype(np.float32)
        x /= np.sqrt(np.mean(x**2, axis=2, keepdims=True))
        tape = net.tape(24, 32)
        state = net.state(24, initialized.constants)
        output = net.forward(net.views(net.flatten(initialized.params)), state, x, tape)
        expected = net.expect(Moments(1.0, correlation=0.0), initialized.laws_of(0))[-1].moments.second_moment
        assert np.mean(output**2) == pytest.approx(expected, rel=0.25)


def test_the_gradient_of_a_multiplied_network_is_exact() -> None:
    """Against differences, in float64: multiplier and factor of the logits take part in the way back."""
    network = attention(8, tied=True, dtype="float64")
    initialized = MuP(base_width=2)(network, [0])
    params = {name: array.copy() for name, array in initialized.params.items()}
    state, tape = network.state(1, initialized.constants), network.tape(1, 3)
    x = np.random.default_rng(2).integers(0, 10, (1, 3, 6)).astype(np.float64)
    d = np.random.default_rng(3).standard_normal((1, 3, *network.out_shape))

    def value() -> float:
        return float(np.sum(network.forward(params, state, x, tape) * d))

    value()
    gradients = {name: array.copy() for name, array in network.backward(params, d, tape).items()}
    for name in ("embedding/weight", "block/1/attention/query/weight", "block/1/mlp/dense/2/weight"):
        array: Array = params[name]
        place, step = (0, 1, 2), 1e-6
        array[place] += step
        above = value()
        array[place] -= 2 * step
        difference = (above - value()) / (2 * step)
        array[place] += step
        assert gradients[name][place] == pytest.approx(difference, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("scheme", "network", "said"),
    [
        ("mup", "autoencoder", "mup needs one width; this network has sizes of its own"),
        ("depth_mup", "mlp", "depth_mup needs residual branches; this network has none"),
        ("completep", "cnn", "completep needs residual branches"),
        ("spectral", "tied transformer", "spectral needs outputs with weights of their own"),
    ],
)
def test_a_network_that_does_not_suit_is_refused(scheme: str, network: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SCHEMES[scheme].rule_for(NETWORKS[network])


def test_wrong_numbers_are_refused() -> None:
    for scheme, options, said in (
        (MuP, {"base_width": 0}, "base_width must be a whole number of at least 1; got 0"),
        (CompleteP, {"base_depth": 1.5}, "base_depth must be a whole number"),
        (Spectral, {"scale": -1.0}, "scale must be a finite number above 0, or null"),
        (MuP, {"distribution": "gauss"}, "distribution must be one of"),
    ):
        with pytest.raises(ValueError, match=said):
            scheme(**options)


def test_zero_starts() -> None:
    network = attention(16)
    laws = MuP(zero_output=True, zero_query=True).laws(network)
    assert laws["output/weight"].std == laws["block/1/attention/query/weight"].std == 0.0
    assert laws["block/1/attention/key/weight"].std > 0
