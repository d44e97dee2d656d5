"""The command line: every mistake gives one clear sentence and status 2, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from runner.cli import main

ROOT = Path(__file__).resolve().parent.parent
CSV = "data=csv data.target=kind data.path="

# What was typed, and what the answer must say: what was wrong, what is allowed, what was got, how to mend it.
MISTAKES: list[tuple[str, str]] = [
    # choices
    ("scheme=hee", r"^scheme must be one of .*constant, .*he, .*zeros, custom; got 'hee'\. Pass scheme=he\.$"),
    ("activation=rellu", r"^activation must be one of elu, .*; got 'rellu'\. Pass activation=relu\.$"),
    ("activation=relu/x", r"^activation must be one of .*; got 'relu/x'\. Pass activation=relu\.$"),
    ("data=cifar", r"^data must be one of .*digits.*; got 'cifar'\."),
    ("mode=dream", r"^mode must be one of .*schemes, train; got 'dream'\."),
    ("mode.name=dream", r"^mode\.name is no key to set; got 'dream'\. Pass mode=NAME, as in mode=train\.$"),
    ("mode=advise activation=relu,tanh", r"^mode=advise advises on one network; got activation=relu,tanh\."),
    ("mode=advise experiment=why", r"^mode=advise advises on one network; got activation=relu,tanh\."),
    ("mode=advise scheme=he", r"^mode=advise compares several schemes; got scheme=he alone\. Pass several, as in"),
    ("mode=advise seed=3", r"^mode=advise compares several seeds; got seed=3 alone\. Pass several, as in"),
    ("mode=advise scheme.scale=2", r"^mode=advise chooses the scheme and its numbers; got scheme\.scale=2\."),
    ("mode=advise +scheme.shrink=2", r"^mode=advise chooses the scheme and its numbers; got \+scheme\.shrink=2\."),
    ("mode=advise data=csv", r"^data\.path and data\.target need values\."),
    (f"mode=advise {CSV}one.csv", r"at least two different values; got only a\."),
    ("experiment=whi", r"^experiment must be one of .*; got 'whi'\. Pass experiment=why\.$"),
    ("scheme=3", r"^scheme must be one of .*; got '3'\."),
    ("scheme=null", r"^scheme must be one of .*; got 'null'\."),
    ("scheme=[he,xavier]", r"^scheme takes one choice; got a list\. Pass scheme=NAME, or scheme=ONE,OTHER -m"),
    ("+scheme=he", r"^\+scheme=he would be a second scheme\. Pass scheme=he to replace the first\.$"),
    ("~scheme", r"^scheme needs a value\. Pass scheme=VALUE\.$"),
    (
        "hydra/launcher=slurm",
        r"^hydra/launcher must be one of basic, stacked, stacked_dask, stacked_submitit; got 'slurm'\.",
    ),
    # keys
    ("schem=he", r"^schem is not a key here; allowed: .*scheme, .*; got schem\. Did you mean scheme\?$"),
    ("scheme.sclae=1", r"^scheme\.sclae is not a key here; allowed: scheme\.scale, .* Did you mean scheme\.scale\?$"),
    ("+scheme.sclae=1", r"^scheme\.sclae is not a key here; allowed: .* Did you mean scheme\.scale\?$"),
    ("training.step=1", r"^training\.step is not a key here; allowed: .* Did you mean training\.steps\?$"),
    ("+training.step=1", r"^training\.step is not a key here; allowed: .* Did you mean training\.steps\?$"),
    ("+depth=3", r"^depth is not a key here; allowed: seed, .*; got depth\.$"),
    ("architecture={heads:3}", r"^architecture\.heads is not a key here; allowed: architecture\.depth, "),
    ("optimizer=adam optimizer.momentum=0.9", r"^optimizer\.momentum is not a key here; allowed: .*optimizer\.beta1"),
    ("~training.steps", r"training\.steps"),
    ("~seed", r"^training\.seed has no value: Interpolation key 'seed' not found\."),
    ("~nothing", r"'nothing' does not exist"),
    # types and values of shared keys
    ("seed=one", r"^seed must be a whole number; got one\. Pass seed=0\.$"),
    ("seed=1.5", r"^seed must be a whole number; got 1\.5\. Pass seed=0\.$"),
    ("seed=null", r"^seed must be a whole number; got null\. Pass seed=0\.$"),
    ("seed=-1", r"^seed must be zero or positive; got -1\. Pass seed=0\.$"),
    ("training.steps=many", r"^training\.steps must be a whole number; got many\. Pass training\.steps=420\.$"),
    ("training.steps=-1", r"^training\.steps must be at least 0; got -1\."),
    ("training.epochs=nan", r"^training\.epochs must be a finite number of at least 0; got nan\."),
    ("training.batch_size=0", r"^training\.batch_size must be at least 1; got 0\."),
    (
        "training.batch_size=9999",
        r"^training\.batch_size must be at most the \d+ training samples of digits; got 9999\. ",
    ),
    ("training.probe.size=0", r"^training\.probe\.size must be at least 2; got 0\."),
    ("training.probe.source=test", r"^training\.probe\.source must be one of train, validation, gaussian; got 'test'"),
    ("training.probe=256", r"^training\.probe must be keys of its own; got 256\.$"),
    ("training.threshold=-1", r"^training\.threshold must be a finite loss above 0; got -1\.0\."),
    ("training.dtype=float16", r"^training\.dtype must be one of float32, float64; got 'float16'\."),
    ("training.save=all", r"^training\.save must be one of none, initial, final, both; got 'all'\."),
    ("training.loss=hinge", r"^training\.loss must be one of auto, .*; got 'hinge'\. Pass training\.loss=auto\.$"),
    (
        "training.loss=cross_entropy data=diabetes",
        r"^training\.loss=cross_entropy needs classes, and diabetes has numbers",
    ),
    ("tracking.backend=wandb", r"^tracking\.backend must be one of mlflow, none; got 'wandb'\."),
    (
        "tracking.log_model=last",
        r"^tracking\.log_model must be one of none, best, all; got 'last'\. Pass tracking\.log_model=none",
    ),
    (
        "tracking=none tracking.log_model=all",
        r"^tracking\.log_model=all needs MLflow .*; got tracking=none\. Pass tracking=mlflow, or",
    ),
    ("tracking.figures=maybe", r"^tracking\.figures must be true or false; got maybe\."),
    ("seed=${sed}", r"^seed has no value: Interpolation key 'sed' not found\."),
    # the network
    ("architecture.width=0", r"^architecture\.width must be at least 1; got 0\."),
    ("architecture.depth=-2", r"^architecture\.depth must be at least 0; got -2\."),
    ("architecture.width=wide", r"^architecture\.width must be a whole number; got 'wide'"),
    ("architecture.widths=[]", r"^architecture\.widths must name at least one hidden layer; got \[\]\."),
    ("architecture.widths=[9,0]", r"^every width in architecture\.widths must be at least 1; got 0\."),
    (
        "architecture.widths=3",
        r"^architecture\.widths must be a list of whole numbers; got 3\. Pass architecture\.widths=",
    ),
    ("architecture.widths=abc", r"^architecture\.widths must be a list of whole numbers; got 'abc'\."),
    ("architecture.bias=perhaps", r"^architecture\.bias must be true or false; got 'perhaps'\."),
    ("activation=leaky_relu activation.slope=abc", r"^activation\.slope must be a finite number; got 'abc'"),
    # the scheme
    (
        "scheme.mode=fanin",
        r"^scheme\.mode must be one of fan_in, fan_out, .*; got 'fanin'\. Pass scheme\.mode=fan_in\.$",
    ),
    ("scheme.scale=2 scheme.gain=3", r"only one may be given; got scheme\.scale=2 and scheme\.gain=3\."),
    ("scheme.scale=-1", r"^scheme\.scale must be positive; got -1\."),
    ("scheme=custom", r"^scheme\._target_ needs a value\."),
    ("scheme=custom scheme._target_=nowhere.Mine", r"^scheme\._target_ must be the address .*; got 'nowhere\.Mine'"),
    ("scheme=custom scheme._target_=weightinit.schemes", r"got 'weightinit\.schemes' \(it is a module\)"),
    ("scheme._target_=3", r"^scheme\._target_ needs the address of a class or function\."),
    (
        "scheme=custom scheme._target_=weightinit.schemes.Random scheme.std=3",
        r"^scheme\.std isn't in the file of this scheme, but its target takes it\. Add it with a plus: \+scheme\.std=",
    ),
    # the optimizer
    ("optimizer.learning_rate=nan", r"^optimizer\.learning_rate must be a finite number above 0; got nan\."),
    ("optimizer.learning_rate=-0.1", r"^optimizer\.learning_rate must be a finite number above 0; got -0\.1\."),
    ("optimizer.schedule=linear", r"^optimizer\.schedule must be one of constant, cosine, step; got 'linear'\."),
    ("optimizer.warmup_steps=1.5", r"^optimizer\.warmup_steps must be a whole number of at least 0; got 1\.5\. Pass 0"),
    ("optimizer.warmup_steps=-1", r"^optimizer\.warmup_steps must be a whole number of at least 0; got -1\."),
    ("optimizer.warmup_steps=few", r"^optimizer\.warmup_steps must be a whole number of at least 0; got 'few'\."),
    ("optimizer.decay_every=0.5", r"^optimizer\.decay_every must be a whole number of at least 1; got 0\.5\."),
    ("optimizer.decay_every=0", r"^optimizer\.decay_every must be a whole number of at least 1; got 0\."),
    ("optimizer.schedule=step", r"^optimizer\.schedule=step needs optimizer\.decay_every, "),
    ("optimizer.decay_factor=half", r"^optimizer\.decay_factor must be in \(0, 1\]; got 'half'\."),
    # data
    ("data.validation=2", r"^data\.validation must be a fraction"),
    ("data=csv", r"^data\.path and data\.target need values\. Pass data\.path=VALUE data\.target=VALUE\.$"),
    (f"{CSV}nix.csv", r"^data\.path must name a file in CSV format; there is none at .*nix\.csv\."),
    (f"{CSV}good.csv data.target=sort", r"^data\.target must name columns of good\.csv: x, y, kind; got 'sort'\."),
    (f"{CSV}text.csv", r"text\.csv has .* 'y' .* Pass .* to learn from it\."),
    (f"{CSV}nan.csv", r"nan\.csv has missing cells in 'x' \(1\)\. Pass data\.missing=impute to learn from it\."),
    (f"{CSV}one.csv", r"at least two different values; got only a\."),
    (f"{CSV}empty.csv", r"empty\.csv must hold samples"),
    (f"{CSV}numbers.csv training.loss=cross_entropy", r"^training\.loss=cross_entropy needs classes"),
    (
        f"{CSV}good.csv data.task=regression",
        r"^the targets of a regression must hold numbers; got values such as '[ab]'",
    ),
    (
        f"{CSV}good.csv training.batch_size=200",
        r"^training\.batch_size must be at most the \d+ training samples of good",
    ),
    # outputs and folders
    ("outputs=good.csv", r"^outputs must be a folder that can be written; .* Pass outputs=\.\.\. with another\.$"),
    ("outputs=good.csv/below scheme=he,xavier -m", r"^outputs must be a folder that can be written; "),
    ("-cn other", r"^--config-name can't be changed: .*; got 'other'\. .* --config-dir my_conf experiment=NAME\.$"),
    ("--config-path ours seed=1", r"^--config-path can't be changed: .*; got 'ours'\. .* experiment=NAME\.$"),
    ("--cfg job --config-name other", r"^--config-name can't be changed: .*; got 'other'\."),
    ("--config-dir nix", r"^--config-dir must be a folder; got 'nix', which is none\."),
    ("--config-dir mine", r"^--config-dir: .*/mine/scheme/he\.yaml has the name of the lab's own scheme/he\.yaml"),
    (
        "--config-dir ours experiment=wrong",
        r"^In 'experiment/wrong': training\.stops is not a key here; .*training\.steps",
    ),
    ("--config-dir ours experiment=text", r"^In 'experiment/text': training\.steps: Value 'many' .* Integer\."),
    ("--config-dir ours experiment=broken", r"broken\.yaml"),
    # overrides as such
    ("scheme", r"^'scheme' can't be read as an override\. Write key=value, as in scheme=he,"),
    ("seed=range(0,5", r"^'seed=range\(0,5' can't be read as an override\."),
    ("=3", r"^'=3' can't be read as an override\."),
    ("scheme=xavier,he", r"^scheme=xavier,he asks for several runs, and this is a single one\. Add -m to sweep\.$"),
    ("architecture.widths=8,8", r"Add -m to sweep\. A list is written architecture\.widths=\[8,8\]\.$"),
    ("seed=range(0,5)", r"^seed=range\(0,5\) asks for several runs, .* Add -m to sweep\.$"),
    ("--cfg job scheme=hee", r"^scheme must be one of"),
    # a sweep of which one run is wrong
    ("scheme=he,hee -m", r"^scheme=hee: scheme must be one of .*; got 'hee'\."),
    (
        "seed=0,1 training.batch_size=64,9999 -m",
        r"^seed=0 training\.batch_size=9999: training\.batch_size must be at most",
    ),
    ("seed=interval(0,1) -m", r"interval\(\) is for sweepers that optimize\.$"),
    (
        "experiment=why optimizer.learning_rate=0",
        r"^.*: optimizer\.learning_rate must be a finite number above 0; got 0\.",
    ),
]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with some tables in it, right and wrong, to type commands in."""
    rng = np.random.default_rng(0)
    good = pd.DataFrame(rng.normal(size=(80, 2)), columns=["x", "y"]).assign(kind=list("ab") * 40)
    tables = {
        "good": good,
        "text": good.assign(y=["red", "blue"] * 40),
        "nan": good.assign(x=good.x.where(good.index != 7)),
        "one": good.assign(kind="a"),
        "empty": good[:0],
        "numbers": good.assign(kind=good.x + good.y),
    }
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    files = {
        "mine/scheme/he.yaml": "_target_: weightinit.schemes.Random\n",
        "ours/experiment/wrong.yaml": "# @package _global_\ntraining: {stops: 3}\n",
        "ours/experiment/text.yaml": "# @package _global_\ntraining: {steps: many}\n",
        "ours/experiment/broken.yaml": "# @package _global_\ntraining: {steps: 3\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.fixture
def typed(desk: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Runs a command line in this process; its exit status."""

    def run(line: str) -> int:
        monkeypatch.setattr(sys, "argv", ["runner", *line.split()])
        return main()

    return run


def everything_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.parametrize(("line", "answer"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_answered_by_one_sentence_and_nothing_is_done(
    typed: Callable[[str], int], desk: Path, capsys: pytest.CaptureFixture[str], line: str, answer: str
) -> None:
    before = everything_below(desk)
    assert typed(line) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("runner: ")
    assert err.count("\n") == 1, err
    assert re.search(answer, err.removeprefix("runner: ").rstrip("\n")), err
    assert everything_below(desk) == before


@pytest.mark.parametrize(
    ("line", "answer"), [("scheme=hee", r"got 'hee'"), ("training.batch_size=9999 scheme=xavier,he -m", r"got 9999")]
)
def test_a_mistake_at_a_real_command_line(desk: Path, line: str, answer: str) -> None:
    before = everything_below(desk)
    done = subprocess.run(
        [sys.executable, "-m", "runner", *line.split()],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"runner: .*{answer}.*\n", done.stderr), done.stderr
    assert everything_below(desk) == before


def test_help_and_the_page_of_schemes_do_nothing_else(
    typed: Callable[[str], int], desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything_below(desk)
    for line, expected in (
        ("--help", "python -m runner"),
        ("mode=schemes", "kaiming_normal_"),
        ("--help scheme=hee", "he"),
        ("mode=schemes scheme=he,xavier", "xavier"),
    ):
        assert typed(line) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert expected in out
    assert "lecun" not in out
    assert everything_below(desk) == before
