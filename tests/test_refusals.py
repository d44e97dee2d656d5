"""Refusals: values that nobody means to type, files that nobody means to write; nothing is trained, nothing left."""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from runner.cli import main
from runner.config import listing
from runner.config.composition import Composer
from runner.records import SUMMARY
from runner.text import ECHOED
from runner.tracking import read
from tests.commands import FOR_OPTUNA, directories, typed
from tests.test_cli import MISTAKES, everything_below

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

SECONDS = 20  # none takes longer
CSV = "data=csv data.target=kind data.path="
OPTUNA = "hydra/sweeper=optuna -m optimizer.learning_rate=interval(0.001,0.1)"
OURS = "--config-dir ours experiment="
NINES = "9" * 5000

# What was typed, and what the answer must say.
REFUSALS: list[tuple[str, str]] = [
    # numbers beyond what a table, the memory or a day can hold
    ("seed=18446744073709551616", r"^seed must be a whole number below 2\*\*63 in size; got 18446744073709551616\."),
    ("seed=9223372036854775808", r"^seed must be a whole number below 2\*\*63"),
    ("seed=0,18446744073709551616 -m", r"^seed=18446744073709551616: seed must be a whole number below 2\*\*63"),
    (f"seed={NINES[:4000]}", r"^seed must be a whole number below 2\*\*63 .*; got 9{200}\.\.\."),
    (f"seed={NINES}", r"4300 digits"),
    ("training.seed=18446744073709551616", r"^training\.seed must be a whole number below"),
    ("training.steps=100000000000000000000", r"^training\.steps must be a whole number below"),
    ("training.steps=1000000000000", r"^a run must fit the memory, .* 1,000,000,000,000 steps, needs .* GiB"),
    ("training.epochs=1e300", r"^training\.epochs must give fewer than 2\*\*63 steps; got 1e\+300"),
    ("training.epochs=1e308", r"^training\.epochs must give fewer"),
    ("training.epochs=1e12", r"^a run must fit the memory"),
    ("training.epochs=-1", r"^training\.epochs must be a finite number of at least 0"),
    ("training.batch_size=100000000000000000000", r"^training\.batch_size must be a whole number below"),
    ("training.evaluation_batch_size=100000000000000000000", r"must be a whole number below"),
    ("training.evaluation_batch_size=0", r"^training\.evaluation_batch_size must be at least 1"),
    ("training.evaluate_every=100000000000000000000", r"must be a whole number below"),
    ("training.evaluate_every=0", r"^training\.evaluate_every must be at least 1"),
    ("training.measure_every=-1", r"^training\.measure_every must be at least 1"),
    ("training.probe.size=1000000000000 training.probe.source=gaussian", r"^a run must fit the memory"),
    ("architecture.width=100000000", r"^a run must fit the memory, .* of 64-6x100000000-10 .* needs .* GiB"),
    ("architecture.width=8,9,10,100000000 -m", r"^architecture\.width=100000000: a run must fit the memory"),
    ("architecture.widths=[128,100000000000]", r"^a run must fit the memory"),
    ("architecture.widths=[1e300]", r"^every width in architecture\.widths must be a whole number"),
    ("architecture.width=100000000000000000000", r"^architecture\.width must be a whole number below"),
    ("architecture.width=null", r"^architecture\.width must be a whole number; got None"),
    ("architecture.depth=10000000", r"^architecture\.depth must be at most 100,000; got 10,000,000\."),
    ("architecture.depth=true", r"^architecture\.depth must be a whole number; got True"),
    ("mode=forecast architecture.depth=10000000", r"^architecture\.depth must be at most 100,000"),
    ("activation=leaky_relu activation.slope=1e300", r"^activation\.slope must be at most 1e\+30 in size; got 1e\+300"),
    ("activation=leaky_relu activation.slope=-1e300", r"^activation\.slope must be at most 1e\+30 in size"),
    ("activation=leaky_relu activation.slope=[1]", r"^activation\.slope must be a finite number; got \[1\]"),
    ("activation=elu activation.alpha=1e300", r"^activation\.alpha must be at most"),
    ("activation=sine activation.frequency=0", r"^activation\.frequency must be a finite number above 0"),
    ("mode=forecast activation=leaky_relu activation.slope=1e300", r"^activation\.slope must be at most"),
    ("scheme.scale=1e300", r"^scheme must draw weights of size 1e\+30 at most; got .* for hidden/1/weight\."),
    ("scheme=normal scheme.std=1e300", r"^scheme must draw weights of size 1e\+30 at most"),
    ("scheme=constant scheme.value=1e300", r"^scheme must draw weights of size 1e\+30 at most"),
    ("scheme.bias_std=1e300", r"^scheme must draw weights of size .* for hidden/1/bias"),
    (
        "scheme=fixup",
        r"^fixup needs residual branches; this network has none\. Use architecture=residual_mlp or resnet\.$",
    ),
    ("scheme=tat activation=tanh", r"^tat needs relu or leaky_relu; this network has another activation\."),
    ("scheme=dks activation=linear", r"^scheme: dks finds no transformation of linear"),
    ("mode=forecast scheme=gpt2", r"^gpt2 needs attention; this network has none\. Use architecture=transformer\."),
    ("scheme=gpt2 scheme.std=-1 architecture=transformer", r"^scheme\.std must be positive"),
    ("scheme=layerscale scheme.epsilon=abc", r"^scheme\.epsilon must be a finite number; got 'abc'\."),
    ("scheme=mirrored scheme.gain=0", r"^scheme\.gain must be positive"),
    ("scheme=tat scheme.eta=1", r"^scheme\.eta must be a correlation between 0 and 1; got 1\."),
    ("scheme=rules", r"^scheme\.rules needs a value\."),
    ("scheme=rules scheme.rules=[he]", r"^scheme\.rules must map roles or patterns to schemes"),
    ("scheme=rules scheme.rules={*:heh}", r"^scheme\.rules\.\* must be one of admin, .* got 'heh'\."),
    ("scheme=rules scheme.rules={*:3}", r"^scheme\.rules\.\* must be a scheme, as in he"),
    ("scheme=rules scheme.rules={*:{scheme:normal,sdt:1}}", r"^scheme\.rules\.\*\.sdt is not a key here"),
    (
        "scheme=rules scheme.rules={querry:he,*:he}",
        r"^scheme: rules: 'querry' has no weight; it names none of",
    ),
    ("scheme=rules scheme.rules={*:lsuv}", r"^scheme\.rules takes schemes that draw each weight from a law; '\*' has"),
    ("scheme=sparse scheme.nonzero=-1", r"^scheme\.nonzero must be at least 1"),
    ("optimizer.warmup_steps=100000000000000000000", r"^optimizer\.warmup_steps must be a whole number below"),
    ("optimizer.learning_rate=[1]", r"^optimizer\.learning_rate takes one value, or keys with values; got a list"),
    (
        "optimizer=adam optimizer.learning_rate=[1]",
        r"^optimizer\.learning_rate must be a finite number above 0; got \[1\]",
    ),
    ("optimizer=adam optimizer.beta1=1", r"^optimizer\.beta1 must be a finite number at least 0 and below 1"),
    ("data.split_seed=18446744073709551616", r"^data\.split_seed must be a whole number below"),
    ("data=two_spirals data.samples=10000000000000", r"MemoryError"),
    ("data=two_spirals data.samples=100000000000000000000000", r"^data\.samples must be a whole number below 2"),
    ("data=gaussian_noise data.features=1000000000000", r"MemoryError"),
    ("data=two_spirals data.noise=1e300", r"^data: features and targets must be finite numbers whose squares"),
    ("data=two_spirals data.turns=inf", r"^data\.turns must be a finite number; got inf\."),
    ("data=two_spirals data.turns=abc", r"^data: "),
    ("optimizer.lr=0.1", r"Did you mean optimizer\.learning_rate\?$"),
    ("training.bs=8", r"Did you mean training\.batch_size\?$"),
    # sweeps of nothing, and of too much
    ("seed=range(0,0) -m", r"^seed=range\(0,0\) lists no value\."),
    ("seed=range(5,0) -m", r"^seed=range\(5,0\) lists no value\."),
    ("seed=range(0,1e9) -m", r"^a sweep has at most 100,000 runs; got 1,000,000,000\. Pass fewer values\.$"),
    ("seed=range(0,1000000000) -m", r"^a sweep has at most 100,000 runs; got 1,000,000,000\."),
    ("seed=range(0,inf) -m", r"^a sweep has at most 100,000 runs; got inf\."),
    ("seed=range(0,5,0) -m", r"^seed=range\(0,5,0\) needs a step other than 0"),
    ("seed=range(0,400) training.seed=range(0,400) -m", r"^a sweep has at most 100,000 runs; got 160,000\."),
    ("scheme=glob(nosuch*) -m", r"lists no value"),
    ("seed=choice() -m", r"empty choice"),
    ("seed=choice(0,one) -m", r"^seed=one: seed must be a whole number"),
    (f"{OPTUNA} hydra.sweeper.n_trials=-1", r"^hydra\.sweeper\.n_trials must be at least 1; got -1\."),
    (f"{OPTUNA} hydra.sweeper.n_trials=0", r"^hydra\.sweeper\.n_trials must be at least 1; got 0\."),
    (f"{OPTUNA} hydra.sweeper.n_jobs=-1", r"^hydra\.sweeper\.n_jobs must be at least 1"),
    ("hydra.sweeper.max_batch_size=0 -m", r"^hydra\.sweeper\.max_batch_size must be at least 1; got 0\."),
    # modes
    ("mode.name=compare", r"^mode\.name is no key to set; got 'compare'\. Pass mode=NAME"),
    ("mode.name=forecast", r"^mode\.name is no key to set"),
    ("mode.name=schemes -m", r"^mode\.name is no key to set"),
    ("mode=train,forecast -m", r"^mode takes one value, not several\."),
    ("mode=advise architecture.depth=0", r"^mode=advise advises on hidden layers; this network has none\."),
    ("mode=advise optimizer.learning_rate=abc", r"optimizer\.learning_rate must be a finite number"),
    ("mode=advise hydra/sweeper=optuna", r"^mode=advise makes its own sweep"),
    ("mode=forecast mode.figures=good.csv", r"File exists"),
    ("mode=compare", r"^sweep must be latest, .* there is none\."),
    ("mode=compare sweep=[]", r"^sweep needs a value\."),
    ("mode=compare format=html", r"^format must be one of"),
    ("mode=compare figures=gif", r"^figures must be of"),
    # code that is no part
    ("scheme._target_=builtins.print", r"^scheme\._target_ must be .* with scheme=he"),
    ("scheme=custom scheme._target_=builtins.print", r"got 'builtins\.print', and builtins is Python's own\."),
    ("scheme=custom scheme._target_=builtins.exit", r"builtins is Python's own"),
    ("scheme=custom scheme._target_=os.system", r"os is Python's own"),
    ("scheme=custom scheme._target_=leaves.Mine", r"got 'leaves\.Mine'"),
    ("scheme=custom scheme._target_=broken.Mine", r"got 'broken\.Mine' \(invalid syntax"),
    ("scheme=custom scheme._target_=parts.exits", r"^scheme: parts\.exits ended the program"),
    ("scheme=custom scheme._target_=parts.raises", r"^scheme: parts\.raises raised KeyError: 'x'"),
    ("scheme=custom scheme._target_=parts.nothing", r"^scheme\._target_ must return a scheme"),
    ("scheme=custom scheme._target_=parts.recurses", r"RecursionError"),
    ("scheme=custom scheme._target_=....", r"must be the address of a class or function"),
    ("architecture=custom architecture._target_=parts.nothing", r"^architecture"),
    ("data=custom data._target_=parts.nothing", r"^data\._target_ must return a runner\.data\.Dataset"),
    ("+hydra.callbacks.x._target_=nosuch.Mine", r"^hydra\.callbacks\.x must have the address of a class"),
    ("+hydra.callbacks.x=3", r"^hydra\.callbacks\.x must have the address of a class"),
    ("hydra.launcher.executor=builtins.print -m", r"^hydra\.launcher\.executor must be the address of a class"),
    # data
    (f"{CSV}good.csv data.drop=[kind]", r"^data\.drop must not name the target; got 'kind' in both\."),
    (f"{CSV}good.csv data.drop=[x,y]", r"must hold samples, features and a target"),
    (f"{CSV}good.csv data.drop=3", r"^data\.drop must name columns; got 3\."),
    (f"{CSV}good.csv data.target=null", r"^data\.target must name columns; got None\."),
    (f"{CSV}good.csv data.separator=", r"^data\.separator must be a character"),
    (f"{CSV}good.csv data.image_shape=abc", r"^data\.image_shape must be"),
    (f"{CSV}wide.csv", r"a table has at most 100,000 columns; got 1,000,000 in wide\.csv\. Is it transposed\?"),
    (f"{CSV}huge.csv", r"features and targets must be finite numbers whose squares are finite too"),
    (f"{CSV}pipe.csv", r"^data\.path must name a file in CSV format; there is none at"),
    (f"{CSV}binary.csv", r"binary\.csv can't be read as one"),
    (f"{CSV}nothing.csv", r"nothing\.csv can't be read as one: No columns"),
    (f"{CSV}quote.csv", r"quote\.csv can't be read as one: .*EOF inside string"),
    (f"{CSV}latin.csv", r"latin\.csv can't be read as one: it is no text in utf-8\. Pass data\.encoding=cp1252\."),
    (f"{CSV}twice.csv", r"categories in 'kind\.1' \(2 values\)\. Pass data\.categories=onehot to learn"),
    (f"{CSV}good.csv data.missing=guess", r"^data\.missing must be one of refuse, impute, drop; got 'guess'"),
    (f"{CSV}good.csv data.group=kind", r"^data\.group must not name the target"),
    (f"{CSV}good.csv data.encoding=klingon", r"data\.encoding must be one that Python knows; got 'klingon'"),
    (f"{CSV}good.csv data.decimal=\"','\"", r"^data\.decimal must be a mark other than data\.separator"),
    (f"{CSV}/", r"there is none at /\."),
    (f"{CSV}/dev/zero", r"there is none at /dev/zero"),
    (f"{CSV}null", r"^data\.path must be text"),
    (f"{CSV}3", r"^data\.path must be text"),
    ("data=npz data.path=pipe.npz", r"there is none at"),
    ("data=npz data.path=bomb.npz", r"bomb\.npz can't be read as one: .* unpacks to"),
    ("data=npz data.path=claims.npz", r"claims\.npz can't be read as one"),
    ("data=npz data.path=objects.npz", r"Object arrays cannot be loaded"),
    ("data=npz data.path=good.csv", r"it wasn't written by np\.savez"),
    ("data=npz data.path=nothing.npz", r"it wasn't written by np\.savez"),
    ("data=parquet data.target=x data.path=nothing.parquet", r"can't be read as one"),
    # files of the configuration
    (f"{OURS}bomb", r"bomb\.yaml: a file has at most 100,000 values; its aliases make it [\d,]{10,} values"),
    (f"{OURS}cycle", r"its aliases make it without end"),
    (f"{OURS}merged", r"its aliases make it without end"),
    (f"{OURS}deep", r"nested too deep"),
    (f"{OURS}itself", r"nested too deep, or names itself"),
    (f"{OURS}binary", r"binary\.yaml must be text in UTF-8"),
    (f"{OURS}tagged", r"could not determine a constructor"),
    (f"{OURS}missing", r"^experiment must be one of .*; got 'nosuch'"),
    ("--config-dir ours scheme=number", r"^scheme\._target_ needs the address"),
    ("--config-dir ours scheme=nothing", r"^scheme\._target_ needs the address"),
    ("--config-dir good.csv", r"^--config-dir must be a folder"),
    # places
    ("hydra.sweep.dir=good.csv scheme=he,xavier -m", r"good\.csv can't be made \(a file of that name is there\)"),
    ("hydra.run.dir=good.csv", r"good\.csv can't be made \(a file of that name is there\)"),
    ("hydra.run.dir=", r"^hydra\.run\.dir must not be empty"),
    ("outputs=", r"^outputs must not be empty"),
    ("outputs=null", r"^outputs must be text"),
    ("outputs=/dev/null", r"^outputs must be a folder that can be written"),
    ("outputs=/proc/nosuch", r"^outputs must be a folder that can be written"),
    ("tracking.tags.fate=good", r"^tracking\.tags must have names of your own; fate is the lab's"),
    ("tracking.register=NAME", r"^tracking\.register=NAME needs a logged model .* Pass tracking\.log_model=best\."),
    ("report.score=f1", r"^report\.score must be one of auto, accuracy, .* macro_f1, auc, loss; got 'f1'"),
    ("tracking.experiment=", r"^tracking\.experiment must not be empty"),
    ("tracking.uri=", r"^tracking\.uri must be an MLflow server"),
    ("tracking.uri=ftp://host", r"^tracking\.uri must be an MLflow server .*; got 'ftp://host'"),
    ("tracking.uri=file:///tmp", r"^tracking\.uri must be an MLflow server"),
    ("tracking.uri=http://", r"^tracking\.uri must be an MLflow server that answers"),
    ("tracking.uri=http://127.0.0.1:9", r"^tracking\.uri must be an MLflow server that answers; .*refused"),
    ("tracking.uri=http://127.0.0.1:99999", r"^tracking\.uri"),
    ("tracking.uri=sqlite:///good.csv", r"^tracking\.uri must name an SQLite database or a new file"),
    ("tracking.uri=sqlite:////proc/x.db", r"can be written"),
    (
        "tracking.uri=mysql://u:geheim@localhost/x",
        r"^MLflow must be able to record to tracking\.uri; got mysql://\*\*\*@",
    ),
    # the report
    ("report.columns=[nosuch]", r"^report\.columns must name summary numbers: train_accuracy, .*; got 'nosuch'\."),
    ("report.columns=[train_acuracy] seed=0,1 -m", r"Pass report\.columns=\[train_accuracy\]\.$"),
    ("report.columns=[3]", r"^report\.columns must name summary numbers"),
    ("report.columns=null", r"^report\.columns must be a list"),
    # overrides as such
    (f"scheme={'x' * 100_000}", r"^\[Errno 36\] File name too long: .*x\.\.\.$"),
    (f"seed={'[' * 5000}{']' * 5000}", r"nested too deep"),
    (" ".join(f"+k{number}=1" for number in range(300)), r"^k0 is not a key here"),
    ("seed=${oc.env:NOSUCH}", r"^seed has no value: .*NOSUCH"),
    ("outputs=${outputs}", r"^outputs has no value: Recursive"),
    ("seed=${nosuch:3}", r"Unsupported interpolation type nosuch"),
    ("seed={a:1}", r"^seed must be a whole number; got \{a:1\}"),
    ("'scheme=h\x1b[31me'", r"^'scheme=h.* can't be read as an override"),
    ("'scheme=h\ne'", r"can't be read as an override"),
    ("''", r"^'' can't be read as an override"),
    ("a=b=c", r"^'a=b=c' can't be read as an override"),
    ("++=3", r"force-add"),
    ("hydra.job=3", r"^hydra\.job"),
    ("hydra.mode=BOTH", r"^hydra\.mode"),
    ("hydra.run.dir=null", r"^hydra\.run\.dir"),
    ("hydra.sweeper.params=3 -m", r"^hydra\.sweeper\.params"),
    ("hydra/job_logging=nosuch", r"^hydra/job_logging must be one of"),
]

CODE = {
    "leaves": "raise SystemExit(0)\n",
    "broken": "def (:\n",
    "parts": "import sys\ndef exits(): sys.exit(0)\ndef raises(): raise KeyError('x')\ndef nothing(): return None\n"
    "def recurses(): return recurses()\n",
}
# Each level repeats the one below it nine times.
LEVELS = "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{', '.join([f'*{chr(97 + level)}'] * 9)}]\n" for level in range(9)
)
CONFIGURATION = {
    "experiment/bomb": f"a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n{LEVELS}",
    "experiment/cycle": "report: &a {title: *a}\n",
    "experiment/merged": "report: &a\n  <<: *a\n",
    "experiment/deep": f"report: {{title: {'[' * 3000}{']' * 3000}}}\n",
    "experiment/itself": "defaults: [itself]\n",
    "experiment/missing": "defaults: [nosuch]\n",
    "experiment/tagged": "report: {title: !!python/object/apply:os.system ['echo hi']}\n",
}


def bomb(path: Path, size: int) -> None:
    """Writes an NPZ file of two arrays of so many zeros, which it packs to a thousandth."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in ("x", "y"):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": (size, 1)}
                np.lib.format.write_array_header_1_0(file, header)
                for _ in range(size // 10**7):
                    file.write(bytes(10**7))


def claim(path: Path, shape: tuple[int, ...]) -> None:
    """Writes an NPZ file whose arrays claim a shape, and hold nothing."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x", "y"):
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
            archive.writestr(f"{name}.npy", header.getvalue())


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of files that nobody means to write, to type commands in."""
    folder = tmp_path_factory.mktemp("desk")
    good = pd.DataFrame(np.random.default_rng(0).normal(size=(80, 2)), columns=["x", "y"]).assign(kind=list("ab") * 40)
    good.to_csv(folder / "good.csv", index=False)
    good.assign(x=good.x * 1e200).to_csv(folder / "huge.csv", index=False)
    pd.concat([good, good], axis=1).to_csv(folder / "twice.csv", index=False)
    (folder / "wide.csv").write_text(",".join(f"x{i}" for i in range(1_000_000)) + "\n")
    (folder / "binary.csv").write_bytes(bytes(range(256)) * 40)
    (folder / "quote.csv").write_text('x,y,kind\n"1,2,a\n')
    (folder / "latin.csv").write_bytes("x,y,kind\n1,2,é\n3,4,b\n".encode("latin1"))
    np.savez(folder / "objects.npz", x=np.array([object()], object), y=np.zeros(1))
    bomb(folder / "bomb.npz", 15 * 10**7)
    claim(folder / "claims.npz", (10**15, 2))
    for ending in ("csv", "npz"):
        os.mkfifo(folder / f"pipe.{ending}")
        (folder / f"nothing.{ending}").touch()
    (folder / "nothing.parquet").touch()
    for name, text in CODE.items():
        (folder / f"{name}.py").write_text(text)
    for group in ("experiment", "scheme"):
        (folder / "ours" / group).mkdir(parents=True)
    for name, text in CONFIGURATION.items():
        (folder / "ours" / f"{name}.yaml").write_text(f"# @package _global_\n{text}")
    (folder / "ours" / "experiment" / "binary.yaml").write_bytes(bytes(range(256)))
    (folder / "ours" / "scheme" / "number.yaml").write_text("_target_: 3\n")
    (folder / "ours" / "scheme" / "nothing.yaml").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [str(folder), *sys.path])
        yield folder


@pytest.fixture(scope="module")
def composer() -> Composer:
    """A composer that has read the lab's own files, and reads each choice of them once for all commands."""
    return Composer()


@pytest.fixture
def answered(
    desk: Path, composer: Composer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """Runs a command line in this process; what it says, once it is seen to have done nothing."""
    monkeypatch.setattr("runner.cli.Composer", lambda folder: composer if folder is None else Composer(folder))

    def answer(line: str) -> str:
        before, start = everything_below(desk), time.monotonic()
        monkeypatch.setattr(sys, "argv", ["runner", *shlex.split(line)])
        assert main() == 2
        assert time.monotonic() - start < SECONDS
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(r"runner: [^\x00-\x1f\x7f]*\n", err), err[:3000]
        assert "geheim" not in err
        assert everything_below(desk) == before
        return err.removeprefix("runner: ").rstrip("\n")

    return answer


@FOR_OPTUNA
@pytest.mark.parametrize(("line", "answer"), REFUSALS, ids=[line[:60] for line, _ in REFUSALS])
def test_it_is_refused_in_one_sentence_before_training(answered: Callable[[str], str], line: str, answer: str) -> None:
    assert re.search(answer, answered(line))


def test_two_hundred_kinds_of_bad_input_are_tried() -> None:
    assert len({line for line, _ in REFUSALS} | {line for line, _ in MISTAKES}) >= 200


def test_values_are_echoed_to_their_first_characters(answered: Callable[[str], str]) -> None:
    for line in (f"scheme={'x' * 5000}", f"tracking.uri={'x' * 5000}", f"outputs=/dev/null/{'x' * 5000}"):
        assert max(map(len, re.findall(r"x+", answered(line)))) <= ECHOED


def test_without_its_driver_postgresql_names_the_extra(
    answered: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("psycopg", "psycopg2"):
        monkeypatch.setitem(sys.modules, module, None)
    assert "pip install '.[postgres]'" in answered("tracking.uri=postgresql://u:geheim@localhost/x")


def test_a_large_sweep_is_counted_and_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST", 6)
    composer = Composer()
    assert len(composer.command(["seed=0,1", "scheme=he,xavier,zeros"], multirun=True).runs) == 6
    assert len(composer.command(["seed=range(0,9)", "seed=range(0,2.5,.5)"], multirun=True).runs) == 5
    with pytest.raises(ValueError, match="at most 6 runs; got 8"):
        composer.command(["seed=range(0,2)", "scheme=he,xavier", "activation=relu,tanh"], multirun=True)


def test_every_summary_number_may_be_a_column_of_the_report(tmp_path: Path) -> None:
    words = (
        "training.steps=30",
        "training.threshold=3",
        "architecture.width=8",
        "tracking=none",
        f"outputs={tmp_path}",
    )
    assert typed("data=digits,linear_teacher", *words, "-m") == 0
    (directory,) = directories(tmp_path)
    runs, _ = read(directory)
    numbers = set(runs.columns[runs.columns.get_loc("error") + 1 :])
    rare = {"expected_deaths"}  # of layers that are zero or infinite
    assert {name for name in numbers if not name.startswith("steps_to_loss_")} | rare == set(SUMMARY)
