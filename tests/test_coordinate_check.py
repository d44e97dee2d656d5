"""Coordinate check: on sizes that follow known powers, on correct networks and on networks with planted faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from runner.cli import main
from runner.config.composition import Composer
from runner.training.coordinates import coordinates, kinds
from weightinit.coordinate_check import CoordinateCheck, Kind, Measured, coordinate_check

SEEDS = range(6)
KINDS: Mapping[str, Kind] = {"input": "input", "hidden": "hidden", "output": "output"}
POWERS = {"input": (0.0, 0.0), "hidden": (0.0, 0.0), "output": (-0.5, 0.0)}
TRANSFORMER = [
    "architecture=transformer", "architecture.depth=1", "architecture.heads=2", "architecture.expansion=2",
    "data=custom", "data._target_=tests.parts_for_tests.echoes", "optimizer=adam", "optimizer.learning_rate=0.003",
    "training.batch_size=16", "training.probe.size=16", "training.steps=2", "tracking=none",
]  # fmt: skip
FAULTY = ["scheme=custom", "scheme._target_=tests.schemes_for_tests.FaultyMuP", "+scheme.base_width=16"]
FAULTS = {
    "output multiplier missing": ("output", "the output multiplier 1/width is missing"),
    "Adam's 1/width missing": (
        "block/1/attention/query",
        "the learning rate of hidden weights lacks its 1/width (Adam)",
    ),
    "embedding scaled": ("embedding", "the embedding or the input's weights are scaled down with width"),
    "1/sqrt(d) attention": ("block/1/attention/logits", "the logits of attention are divided by sqrt(d), not by d"),
    "tied output counted twice": ("output", "the output is scaled down twice: a tied output counts once"),
}


def made(powers: Mapping[str, Sequence[float]] = POWERS, *, noise: float = 0.02, seed: int = 0) -> list[Measured]:
    """Sizes that go with these powers at each step, with lognormal noise."""
    rng = np.random.default_rng(seed)
    return [
        Measured(width, own, layer, step, 0.3 * width**power * float(np.exp(noise * rng.standard_normal())))
        for layer, by_step in powers.items()
        for step, power in enumerate(by_step)
        for width in (64, 128, 256, 512)
        for own in SEEDS
    ]


def checked(
    *overrides: str, sizes: Sequence[int] = (16, 64, 256), key: str = "architecture.width", seeds: Sequence[int] = SEEDS
) -> CoordinateCheck:
    rows, layers = [], {}
    for size in sizes:
        trials = Composer().trials([[*overrides, f"{key}={size}", f"seed={seed}"] for seed in seeds])
        layers = kinds(trials[0].network)
        for seed, found in zip(seeds, coordinates(trials), strict=True):
            rows += [Measured(size, seed, name, step, x) for step, by in enumerate(found) for name, x in by.items()]
    return coordinate_check(rows, layers, along="depth" if key.endswith("depth") else "width")


def test_known_powers_are_found_with_their_intervals() -> None:
    check = coordinate_check(made(), KINDS)
    assert check.verdict == "transfers"
    assert check.causes == ()
    held = [
        found.low < power < found.high
        for seed in range(150)
        for layer, by_step in coordinate_check(made(seed=seed), KINDS).exponents.items()
        for power, found in zip(POWERS[layer], by_step, strict=True)
    ]
    assert 0.98 < np.mean(held) < 0.999  # of 900 intervals at 99%
    exact = coordinate_check(made(noise=0.0), KINDS).exponents["output"][0]
    assert exact.mean == pytest.approx(-0.5, abs=1e-12)


@pytest.mark.parametrize(
    ("layer", "powers", "verdict", "cause"),
    [
        ("output", (-0.5, 1.0), "grows", "output: the output multiplier"),
        ("hidden", (0.5, 0.0), "grows", "hidden: hidden weights start too large"),
        ("hidden", (0.0, -1.0), "shrinks", "hidden: the learning rate of hidden weights falls too fast"),
        ("input", (0.0, -0.5), "shrinks", "input: the embedding"),
    ],
)
def test_the_first_fault_in_forward_order_is_named(
    layer: str, powers: Sequence[float], verdict: str, cause: str
) -> None:
    check = coordinate_check(
        made({**POWERS, layer: powers, "output": powers if layer == "output" else (-0.5, 1.0)}), KINDS
    )
    assert check.verdict == "differs"
    assert check.verdicts[layer] == verdict
    assert len(check.causes) == 1
    assert check.causes[0].startswith(cause)


def test_gradient_descent_shows_a_missing_multiplier_in_every_layer() -> None:
    check = coordinate_check(made({"input": (0, 1), "hidden": (0, 1), "output": (0, 2)}), KINDS)
    assert check.causes == ("output: the output multiplier 1/width is missing",)


def test_wide_intervals_are_unclear_and_zeros_are_known_or_dead() -> None:
    assert coordinate_check(made(noise=1.0), KINDS).verdict == "unclear"
    silent = [row._replace(value=0.0) if row.layer == "output" and row.step == 0 else row for row in made()]
    still = [row._replace(value=0.0) if row.layer != "output" and row.step == 1 else row for row in silent]
    assert coordinate_check(still, KINDS).verdict == "transfers"  # while the output is zero nothing else moves
    assert coordinate_check(silent, KINDS).verdicts["output"] == "level"
    dead = [row._replace(value=0.0) if row.layer == "hidden" and row.step == 1 else row for row in made()]
    assert coordinate_check(dead, KINDS).causes == ("hidden: does not change",)
    infinite = [row._replace(value=np.inf) if row.layer == "hidden" and row.size == 512 else row for row in made()]
    assert coordinate_check(infinite, KINDS).causes == ("hidden: values are not finite at step 0",)


@pytest.mark.parametrize(
    ("rows", "layers", "said"),
    [
        ([row for row in made() if row.size < 256], KINDS, "needs at least 3 widths and 3 seeds; got 2 and 6"),
        ([row for row in made() if row.seed < 2], KINDS, "got 4 and 2"),
        (made(), {"input": "input", "hidden": "hidden"}, "got 'output' without"),
        (made()[1:], KINDS, "got 143 values"),
    ],
)
def test_incomplete_measurements_are_refused(rows: list[Measured], layers: Mapping[str, Kind], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        coordinate_check(rows, layers)


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found_and_named(fault: str) -> None:
    quoted = fault.replace("'", "\\'")
    tied = str(fault.startswith("tied")).lower()
    check = checked(*TRANSFORMER, *FAULTY, f"+scheme.fault='{quoted}'", f"architecture.tied={tied}")
    assert check.verdict == "differs"
    layer, cause = FAULTS[fault]
    assert check.causes == (f"{layer}: {cause}",)


@pytest.mark.parametrize(
    "more", [(), ("scheme.zero_output=true", "scheme.zero_query=true"), ("architecture.tied=true",)], ids=str
)
def test_a_correct_transformer_passes(more: Sequence[str]) -> None:
    """Also where readout and query start at zero: the known exceptions."""
    check = checked(*TRANSFORMER, "scheme=mup", "scheme.base_width=16", *more)
    assert check.verdict == "transfers", (check.causes, check.verdicts)
    if "scheme.zero_query=true" in more:
        assert check.exponents["output"][0].verdict == "zero"
        assert check.exponents["block/1/attention/query"][0].verdict == "zero"


@pytest.mark.slow
def test_over_depth_completep_passes_and_mup_does_not() -> None:
    residual = ["architecture=residual_mlp", "optimizer=adam", "training.steps=2", "training.batch_size=32"]
    residual += ["training.probe.size=32", "tracking=none", "architecture.width=64"]
    depths = {"sizes": (2, 4, 8, 16), "key": "architecture.depth"}
    assert checked(*residual, "scheme=completep", **depths).verdict == "transfers"  # type: ignore[arg-type]
    plain = checked(*residual, "scheme=mup", **depths)  # type: ignore[arg-type]
    assert plain.causes == ("block/last/entry: residual branches lack a factor that falls with depth",)


RESNET = ["architecture=resnet", "architecture.depth=2", "data=digits", "optimizer=nesterov", "training.steps=2"]


def sizes(network: Sequence[str], *schemes: str) -> list[list[dict[str, float]]]:
    small = ["training.batch_size=16", "training.probe.size=16", "tracking=none", "architecture.width=16"]
    return coordinates(Composer().trials([[*network, *small, *scheme.split()] for scheme in schemes]))


@pytest.mark.parametrize(
    "network", [TRANSFORMER, pytest.param(RESNET, marks=pytest.mark.slow)], ids=["transformer", "resnet"]
)
def test_a_run_shows_the_same_bits_alone_and_in_a_stack(network: Sequence[str]) -> None:
    """Runs whose multipliers and scales differ share a stack; at its base sizes a parametrization is he."""
    schemes = [
        *("scheme=mup", "scheme=he", "scheme=completep", "scheme=depth_mup", "scheme=spectral"),
        "scheme=mup scheme.base_width=16",
    ]
    together = sizes(network, *schemes)
    for scheme, found in zip(schemes, together, strict=True):
        assert found == sizes(network, scheme)[0], scheme
    assert together[-1] == together[1]
    assert together[0] != together[1]


def test_the_command_says_what_is_wrong_and_its_exit_status_does_where_it_is_strict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["experiment=coordinate_check", "architecture.width=32,128,512", "seed=range(0,6)", "training.steps=1"]
    for scheme, strict, status in (("mup", "true", 0), ("he", "false", 0), ("he", "true", 1)):
        monkeypatch.setattr("sys.argv", ["runner", *small, f"scheme={scheme}", f"strict={strict}"])
        assert main() == status
    said = capsys.readouterr().out
    assert "Passes: every layer's activations and their changes keep their size over width." in said
    assert "cause: hidden/last: the learning rate of hidden weights lacks its 1/width (Adam)" in said
    monkeypatch.setattr("sys.argv", ["runner", "mode=coordinate_check"])
    assert main() == 2
    assert "mode=coordinate_check needs several widths or depths" in capsys.readouterr().err


@pytest.mark.slow
def test_correct_networks_rarely_fail() -> None:
    """Of 40 checks with seeds of their own, none says that a correct network differs."""
    verdicts = [
        checked(*TRANSFORMER, "scheme=mup", "scheme.base_width=16", seeds=range(100 * n, 100 * n + 6)).verdict
        for n in range(40)
    ]
    assert "differs" not in verdicts
    assert verdicts.count("transfers") > 30
