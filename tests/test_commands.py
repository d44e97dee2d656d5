"""``weightinit gain`` and ``weightinit forecast``: what they print is what the library computes; mistakes are named."""

from __future__ import annotations

import math
import re
from typing import get_args

import pytest

import weightinit
from weightinit import activations, meanfield
from weightinit.__main__ import main
from weightinit.gains import Kind


def printed(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(line.split()) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", activations.NAMES)
def test_every_gain_of_an_activation(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [line.split(maxsplit=2)[:2] for line in printed(f"gain {name}", capsys).splitlines()]
    assert [kind for kind, _ in rows] == list(get_args(Kind))
    for kind, value in rows:
        if value != "none":
            assert float(value) == pytest.approx(weightinit.gain(name, kind=kind), abs=1e-6)
            assert float(printed(f"gain {name} --kind {kind}", capsys)) == pytest.approx(float(value), abs=1e-6)
        else:
            assert kind == "torch"


def test_parameters_and_second_moment(capsys: pytest.CaptureFixture[str]) -> None:
    expected = weightinit.gain(activations.get("elu", alpha=0.5), q=2.0, kind="backward")
    assert float(printed("gain elu alpha=0.5 --q 2 --kind backward", capsys)) == pytest.approx(expected, rel=1e-9)


def test_a_forecast_agrees_with_the_maps(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("forecast relu --scheme normal(std=0.1) --depth 11 --width 50", capsys)
    sigma_w2 = 50 * 0.1**2
    assert text.startswith("normal(std=0.1) · relu · 50-11x50-50\n")
    forward, backward = (float(number) for number in re.findall(r"mean square of \w+ by ([\d.]+)", text))
    assert forward == pytest.approx(meanfield.second_moment(1.0, "relu") * sigma_w2)
    chi = meanfield.chi(1.0, "relu", sigma_w2)
    assert backward == pytest.approx(chi)
    last, first = (float(number) for number in re.findall(r"layer: (\S+) of", text))
    assert (last, first) == pytest.approx((0.25**11, chi**10), rel=0.01)
    scales = meanfield.depth_scales("relu", sigma_w2, 0.0)
    assert f"phase      {scales.phase}: chi {chi:.5g}" in text
    assert f"about {math.floor(scales.trainable_depth)} layers" in text


def test_without_a_command_it_prints_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("usage: weightinit")


def test_a_forecast_without_end_and_one_without_theory(capsys: pytest.CaptureFixture[str]) -> None:
    assert "any depth can be trained" in printed("forecast tanh --scheme critical --depth 3", capsys)
    assert "no theory: the weights have a mean" in printed("forecast relu --scheme uniform(low=0,high=1)", capsys)
    assert printed("forecast relu --depth 1", capsys).splitlines()[1].startswith("forward    the mean square of")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("gain rellu", r"activation must be one of .*; got 'rellu'\. Did you mean 'relu'\?"),
        ("gain relu slope=1", r"relu takes no parameters; got 'slope'\."),
        ("gain leaky_relu 1", r"a parameter is written NAME=VALUE, as in slope=0\.2; got '1'\."),
        ("gain leaky_relu slope=x", r"a parameter is written .*; slope must be a number; got 'x'\."),
        ("gain relu --q -1", r"q, the second moment of a pre-activation, must be positive and finite; got -1\.0\."),
        ("gain gelu --kind torch", r"kind='torch' exists for .*; got 'gelu'\."),
        ("forecast relu --scheme hee", r"--scheme takes critical, autoinit or a law: .*; got 'hee'\."),
        ("forecast softplus --scheme critical", r".*softplus.*"),
        ("forecast relu --depth 0", r"--depth must be at least 1; got 0\."),
        ("forecast relu --width 0", r"--width must be at least 1; got 0\."),
    ],
)
def test_a_mistake_is_named(line: str, problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert re.match(f"error: {problem}", error), error
    assert error.count("\n") == 1
