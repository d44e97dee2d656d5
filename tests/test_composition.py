"""Composition once per choice of groups: equal to Hydra's own in everything, for every kind of override."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.base import Container, Node

from runner.config.composition import CONFIG_NAME, Composer, own
from runner.config.loader import Loader
from weightinit.schemes import VarianceScaling

# Kinds of override beside each other; a `{folder}` stands for a folder with choices of a user's own.
GROUPS = [
    "scheme=xavier",
    "scheme=mine",  # from --config-dir
    "activation=tanh",
    "data=iris",
    "data=fashion_mnist",  # includes a choice, which includes another
    "optimizer=adam",
    "tracking=none",
    "experiment=why",
    "experiment=symmetry",  # overrides a group
    "experiment=ours",  # from --config-dir; sets keys that a value may set again
    "~experiment",
    "scheme=[he,orthogonal]",
    "hydra/launcher=basic",
    "hydra/sweeper=basic",
    "hydra/job_logging=disabled",
    "hydra/help=default",
    "+activation@scheme.inner=tanh",
]
VALUES = [
    "seed=3",
    "++seed=4",
    "training.epochs=3",  # a number where a float is
    "training.batch_size=null",
    "training.batch_size=16",
    "training.seed=5",
    "training={steps:5,probe:{size:3}}",
    "architecture.widths=[9,7]",
    "architecture.widths=[]",
    "architecture={depth:3,width:10}",
    "architecture.width=${architecture.depth}",
    "optimizer.learning_rate=1e-3",
    "optimizer.learning_rate=${oc.env:RATE,0.1}",
    "optimizer.learning_rate=float(1)",
    "optimizer.clip_norm=inf",
    "training.threshold=.5",
    "report.columns=[a,'b c',1]",
    "report.title=",
    "report.question='What, if (anything)?'",
    'outputs="in \\"quotes\\""',
    "outputs=two words",
    "outputs=a\\,b",
    "outputs=${now:%Y}",
    "tracking.figures=no",
    "tracking.uri='http://localhost:5000'",
    "tracking.experiment=${oc.select:report.title,none}",
    "scheme.scale=${seed}",
    "+scheme.extra={a:[1,{b:null}],c:${seed}}",
    "+data.drop=[x,y]",
    "++architecture.new=true",
    "+more.keys.deep=1",
    "+list=[${seed},2]",
    "~architecture.bias",
    "~architecture.bias=true",
    "~optimizer.schedule",
    "scheme={bias_std:0.5}",  # a group's name with a dictionary is a value
    "optimizer.momentum=sort([3,1,2])",
    "optimizer.decay_every=int(3.7)",
    "hydra.run.dir=elsewhere",
    "hydra.sweep.subdir=${hydra.job.override_dirname}",
    "hydra.job.name=other",
    "hydra.job.num=7",
    "hydra.job.env_copy=[HOME]",
    "+hydra.job.env_set={A:b}",
    "hydra.job.config.override_dirname.exclude_keys=[seed]",
    "hydra.job.config.override_dirname.kv_sep=:",
    "hydra.verbose=true",
    "hydra.output_subdir=null",
    "hydra.launcher={}",
    "hydra.runtime.cwd=here",  # written over by Hydra
    "+hydra.runtime.choices.more=1",
    "hydra.searchpath=[file://{folder}/further]",  # read before anything else
]
WRONG = [
    "experiment=open",  # leaves a choice open: wrong for a run, right for a sweep
    "scheme=nix",
    "scheme=null",
    "scheme=3",
    "scheme=",
    "++scheme=he",
    "+scheme=he",
    "~scheme=xavier",
    "schem=he",
    "scheme@other=he",
    "scheme.sclae=1",
    "seed=1.5",
    "seed=null",
    "seed@there=1",
    "+seed=1",
    "~seed=1",
    "~nothing",
    "training.steps=abc",
    "training.nothing=1",
    "training=3",
    "tracking.figures=maybe",
    "architecture={a:1}",
    "report.columns=3",
    "hydra.nothing=1",
    "hydra.mode=5",
    "hydra.job.env_copy=[NO_SUCH_VARIABLE]",
    "hydra/launcher=nix",
    "experiment=wrong",
    "seed=1,2",
    "seed=range(0,2)",
    "seed",
    "seed=(",
    "=3",
]
TOGETHER = [
    ["scheme=he", "scheme=xavier"],  # the last one counts
    ["scheme=xavier", "scheme=he"],
    ["seed=2", "seed=1"],
    ["experiment=ours", "seed=1"],  # a value on the command line comes after all files
    ["seed=1", "experiment=ours"],
    ["seed=1", "hydra.job.config.override_dirname.exclude_keys=[seed]", "scheme=he"],
    ["architecture={depth:3}", "architecture.depth=4"],
    ["+more={a:1}", "++more.b=2", "~more.a"],
]
SWEEPS = [
    ["scheme=xavier,he", "seed=range(0,3)"],
    ["scheme=mine,he", "scheme.scale=1,2.5,1e-3"],
    ["activation=glob(*elu*,exclude=gelu*)", "training.batch_size=choice(16,32)"],
    ["architecture.widths=[8],[8,8]", "report.title='a,b','c d',null", "training.epochs=range(0.5,2,0.5)"],
    ["experiment=why,ours", "++seed=1,2", "data=iris"],
    ["optimizer=sgd,adam", "++optimizer.weight_decay=0.1", "~architecture.bias", "scheme.scale=${seed},2"],
    ["seed=tag(few,sort(3,1,2))", "hydra.sweep.dir=there", "hydra/launcher=basic"],
    ["tracking.uri=null,'http://h:1'", "report.columns=[a],[]", "architecture={depth:2},{depth:3,width:4}"],
    ["experiment=convergence", "seed=7"],
    ["experiment=why", "activation=tanh"],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Choices of a user's own."""
    folder = tmp_path_factory.mktemp("config")
    files = {
        "scheme/mine.yaml": "defaults: [he, _self_]\nscale: 3.0\n",
        "experiment/ours.yaml": "# @package _global_\ndefaults: [{override /scheme: orthogonal}]\n"
        "seed: 9\nscheme: {gain: 2.0}\n"
        "hydra: {mode: MULTIRUN, job: {env_set: {Z: z}}, sweeper: {params: {seed: '1,2'}}}\n",
        "experiment/open.yaml": "# @package _global_\ndefaults: [{override /scheme: '???'}]\n",
        "experiment/wrong.yaml": "# @package _global_\ntraining: {nothing: 1}\n",
        "further/scheme/far.yaml": "_target_: weightinit.schemes.Random\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def composer(folder: Path) -> Composer:
    return Composer(str(folder))


@pytest.fixture(scope="module")
def hydras(composer: Composer) -> ConfigLoaderImpl:
    """Hydra's own loader, which looks in the same places."""
    return ConfigLoaderImpl(composer.loader.get_search_path())


def described(node: Any) -> Any:
    """All that a configuration is: values as written, types, flags but those of tags, which the lab leaves open."""
    if not isinstance(node, Node):
        return node
    about = node._metadata
    flags = {name: value for name, value in (about.flags or {}).items() if value is not None and node._key() != "tags"}
    types = (type(node), about.ref_type, about.object_type, about.optional, flags, node._key())
    if not isinstance(node, Container) or node._is_none() or node._is_missing() or node._is_interpolation():
        return *types, node._value()
    content = node._content
    if isinstance(node, DictConfig):
        return *types, [(key, described(value)) for key, value in content.items()]
    assert isinstance(node, ListConfig)
    return *types, [described(value) for value in content]


def composed(loader: ConfigLoaderImpl, overrides: Sequence[str], mode: RunMode = RunMode.RUN) -> Any:
    """A configuration, or the error in its place, each as plain data."""
    try:
        return described(loader.load_configuration(CONFIG_NAME, list(overrides), mode))
    except Exception as error:
        chain: list[tuple[type, str]] = []
        cause: BaseException | None = error
        while cause is not None:
            chain.append((type(cause), str(cause)))
            cause = cause.__cause__
        return chain


def filled(overrides: Sequence[str], folder: Path) -> list[str]:
    return [text.replace("{folder}", str(folder)) for text in overrides]


def test_each_override_alone_gives_what_hydra_gives(composer: Composer, hydras: ConfigLoaderImpl, folder: Path) -> None:
    for override in [*GROUPS, *WRONG]:
        overrides = filled([override], folder)
        expected = composed(hydras, overrides)
        assert composed(composer.loader, overrides) == expected, override
        assert isinstance(expected, list) == (override in WRONG), override


@pytest.mark.slow
def test_each_value_alone_gives_what_hydra_gives(composer: Composer, hydras: ConfigLoaderImpl, folder: Path) -> None:
    for override in VALUES:
        overrides = filled([override], folder)
        assert composed(composer.loader, overrides) == composed(hydras, overrides), override


def test_a_sweep_without_its_listed_values_gives_what_hydra_gives(
    composer: Composer, hydras: ConfigLoaderImpl, folder: Path
) -> None:
    listed = ["scheme=a,b", "seed=range(0,3)", "optimizer.learning_rate=interval(0,1)", "hydra.verbose=1,2"]
    for override in [*GROUPS[:3], *WRONG[:3], *listed]:
        overrides = filled([override], folder)
        for mode in (RunMode.MULTIRUN, RunMode.RUN):
            assert composed(composer.loader, overrides, mode) == composed(hydras, overrides, mode), override


def test_overrides_in_any_company_and_order_give_what_hydra_gives(
    composer: Composer, hydras: ConfigLoaderImpl, folder: Path
) -> None:
    rng = np.random.default_rng(0)
    lists = list(TOGETHER)
    for values in np.array_split(rng.permutation(VALUES), 16):  # each of them once
        groups = rng.choice(GROUPS, rng.integers(0, 4), replace=False)
        wrong = rng.choice(WRONG, int(rng.integers(0, 5) == 0))
        lists.append(rng.permutation([*groups, *values, *wrong]).tolist())
    for overrides in lists:
        overrides = filled(overrides, folder)
        assert composed(composer.loader, overrides) == composed(hydras, overrides), overrides


def test_what_a_jobs_code_sees_is_the_whole_configuration_without_hydra(composer: Composer, folder: Path) -> None:
    for given in [[], *([override] for override in [*GROUPS, *VALUES]), *TOGETHER]:
        overrides = filled(given, folder)
        whole = composer.loader.load_configuration(CONFIG_NAME, overrides, RunMode.RUN)
        choices = OmegaConf.to_container(whole.hydra.runtime.choices)
        with open_dict(whole):
            del whole["hydra"]
        task, found = composer.loader.load_task(CONFIG_NAME, overrides, RunMode.RUN)
        assert described(task) == described(whole), overrides
        assert found == choices, overrides
    for override in filled(WRONG, folder):
        with pytest.raises(Exception) as expected:  # noqa: PT011 - of many types, compared below
            composer.loader.load_configuration(CONFIG_NAME, [override], RunMode.RUN)
        with pytest.raises(type(expected.value), match=re.escape(str(expected.value))):
            composer.loader.load_task(CONFIG_NAME, [override], RunMode.RUN)


def test_what_a_job_does_to_its_configuration_stays_with_it(composer: Composer, hydras: ConfigLoaderImpl) -> None:
    overrides = ["scheme=xavier", "architecture.widths=[3]", "+scheme.more={a:[1]}"]
    config = composer.loader.load_configuration(CONFIG_NAME, overrides, RunMode.RUN)
    OmegaConf.set_struct(config, False)
    config.scheme.scale, config.scheme.more.a[0], config.hydra.runtime.choices["scheme"] = 5, 5, "spoilt"
    config.architecture.widths.append(5)
    config.hydra.overrides.task.append("spoilt=1")
    assert composed(composer.loader, overrides) == composed(hydras, overrides)


@pytest.mark.parametrize("overrides", SWEEPS, ids=" ".join)
def test_the_jobs_of_a_sweep_are_those_of_hydras_launchers(
    composer: Composer, hydras: ConfigLoaderImpl, overrides: list[str]
) -> None:
    command = composer.command(overrides, multirun=True)
    master = hydras.load_configuration(CONFIG_NAME, [*overrides, "hydra.mode=MULTIRUN"], RunMode.MULTIRUN)
    assert composed(composer.loader, overrides, RunMode.MULTIRUN) == composed(hydras, overrides, RunMode.MULTIRUN)
    assert master.hydra.sweep.dir  # a timestamp, which the jobs share
    jobs = [composer.loader.load_sweep_config(master, list(run)) for run in command.runs]
    assert len(jobs) == len(command.runs) > 1
    for run, job in zip(command.runs, jobs, strict=True):
        expected = hydras.load_sweep_config(master, list(run))
        assert described(job) == described(expected)
        assert job.hydra.sweep.dir == expected.hydra.sweep.dir == master.hydra.sweep.dir
        assert list(job.hydra.overrides.task) == list(own(run))


def test_a_loader_like_another_looks_where_that_looks(hydras: ConfigLoaderImpl) -> None:
    assert composed(Loader.like(hydras), ["scheme=mine"]) == composed(hydras, ["scheme=mine"])


def test_a_sweep_is_every_combination_of_command_line_and_experiment(composer: Composer) -> None:
    command = composer.command(["scheme=xavier,he", "seed=range(0,2)", "data=iris"], multirun=True)
    assert command.runs == tuple(
        (f"scheme={scheme}", f"seed={seed}", "data=iris") for scheme in ("xavier", "he") for seed in (0, 1)
    )
    # An experiment's own sweep, of which the command line replaces one part, and which needs no -m.
    command = composer.command(["experiment=why", "scheme=he"], multirun=False)
    assert command.multirun
    assert len(command.runs) == 2 * 1 * 4
    single = composer.command(["experiment=why", "hydra.mode=RUN"], multirun=False)
    assert (single.multirun, single.runs) == (False, (("experiment=why", "hydra.mode=RUN"),))


def test_a_shuffled_sweep_has_the_same_runs(composer: Composer) -> None:
    command = composer.command(["seed=shuffle(range(0,9))"], multirun=True)
    assert sorted(command.runs) == [(f"seed={seed}",) for seed in range(9)]


def test_a_choice_of_the_users_own_becomes_a_trial(composer: Composer) -> None:
    (trial,) = composer.trials([["scheme=mine"]])
    assert trial.choices["scheme"] == "mine"
    assert trial.scheme == VarianceScaling(scale=3.0)


def test_another_seed_gives_what_composing_it_gives(composer: Composer, folder: Path) -> None:
    derived = [
        *(["scheme=mine"], ["experiment=ours"], ["training.seed=5"], ["scheme.scale=${seed}"], ["report.columns=[a]"]),
        *(["training.steps=${training.seed}"], ["scheme.scale=${oc.env:RATE,0.1}"], ["outputs=${now:%Y}"]),
    ]
    alone = [
        *(["training.epochs=${seed}"], ["outputs=to_${seed}"], ["+more=${.seed}"], ["+more=${training}"]),
        *(["+list=[${seed},2]"], ["+more=${oc.select:seed}"]),
        *(["seed=3"], ["++seed=3"]),
    ]
    later = Composer(str(folder))
    for more in [*derived, *alone]:
        later._values([*more, "seed=2"])
        assert repr(later._values([*more, "seed=11"])) == repr(composer._composed([*more, "seed=11"])[1:]), more
    assert [others for others, family in later._families.items() if family] == [tuple(more) for more in derived]


def test_no_composition_of_files_for_another_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    original = Loader._compose_config_from_defaults_list

    def counting(*args: Any, **kwargs: Any) -> DictConfig:
        nonlocal count
        count += 1
        return original(*args, **kwargs)

    monkeypatch.setattr(Loader, "_compose_config_from_defaults_list", counting)
    (tmp_path / "note.txt").touch()  # a folder that no other test has
    for compositions in (3 + 6, 0):  # the sweep's own, one a scheme, and each choice's file by itself, for its target
        fresh, count = Composer(str(tmp_path)), 0
        fresh.trials(fresh.command(["scheme=xavier,he", "seed=range(0,30)"], multirun=True).runs)
        assert count == compositions


def test_the_next_command_sees_what_has_changed_in_the_files(tmp_path: Path) -> None:
    file = tmp_path / "scheme/mine.yaml"
    for scale in (2.0, 3.0):
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"defaults: [he, _self_]\nscale: {scale}\n")
        assert Composer(str(tmp_path)).trials([["scheme=mine"]])[0].scheme == VarianceScaling(scale=scale)
    file.rename(file.with_name("other.yaml"))
    with pytest.raises(ValueError, match="mine"):
        Composer(str(tmp_path)).trials([["scheme=mine"]])


def test_other_sweepers_know_their_runs_themselves(tmp_path: Path) -> None:
    (tmp_path / "hydra/sweeper").mkdir(parents=True)
    (tmp_path / "hydra/sweeper/searching.yaml").write_text(
        "_target_: elsewhere.Searching\nparams: {seed: 'range(0,9)'}\n"
    )
    composer = Composer(str(tmp_path))
    search = ["hydra/sweeper=searching", "optimizer.learning_rate=interval(0.001,0.1)", "data=iris"]
    command = composer.command(search, multirun=True)
    assert (command.multirun, command.runs) == (True, ())
    assert command.config.data._target_ == "runner.data.iris"
    # What doesn't vary is looked at nevertheless; what varies isn't.
    with pytest.raises(ValueError, match=r"scheme\.mode must be one of"):
        composer.command([*search, "scheme.mode=fanin"], multirun=True)
    with pytest.raises(ValueError, match=r"data\.path and data\.target need values"):
        composer.command([*search, "data=csv"], multirun=True)
    composer.command([*search, "scheme=custom,he", "data=csv", "data.path=choice(a,b)"], multirun=True)


def test_a_folder_that_would_hide_behind_the_labs_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scheme").mkdir()
    (tmp_path / "scheme/he.yaml").write_text("_target_: mine\n")
    with pytest.raises(ValueError, match=r"scheme/he\.yaml has the name of the lab's own scheme/he\.yaml"):
        Composer(str(tmp_path))


def test_a_relative_folder_is_found_from_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    composer = Composer(folder.name)
    monkeypatch.chdir(os.sep)
    assert composer.trials([["scheme=mine"]])[0].scheme == VarianceScaling(scale=3.0)
