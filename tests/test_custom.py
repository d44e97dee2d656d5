"""Parts of a user's own: they train, are recorded under their names, take part in the key, and refuse what is wrong."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from runner.config import factories
from runner.config.composition import Composer
from runner.config.factories import Part
from runner.config.trial import VARIANTS, called
from runner.tracking import read
from tests import parts_for_tests
from tests.commands import directories, mlflow_runs, typed

ROOT = Path(__file__).resolve().parent.parent
HERE = "tests.parts_for_tests"
SMALL = ("training.steps=4", "training.probe.size=16")
QUIET = (*SMALL, "tracking=none")
# Of each group: the words that choose a part, and the name under which it is recorded.
PARTS = {
    "activation": (
        f"activation=custom activation._target_={HERE}.squareplus activation.derivative={HERE}.dsquareplus",
        "squareplus",
    ),
    "optimizer": (f"optimizer=custom optimizer._target_={HERE}.SignSGD", "SignSGD"),
    "architecture": (f"architecture=custom architecture._target_={HERE}.pyramid +architecture.top=8", "pyramid"),
    "data": (f"data=custom data._target_={HERE}.blobs +data.distance=2", "blobs"),
    "scheme": ("scheme=custom scheme._target_=tests.schemes_for_tests.Watching", "Watching"),
}
OWN_NORMAL = """
from dataclasses import dataclass

from weightinit.schemes import Normal


@dataclass(frozen=True)
class Mine(Normal):
    pass
"""
SQUAREPLUS = f"activation=custom activation._target_={HERE}.squareplus"


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer()


def words(text: str, *, data: str = "data=iris") -> list[str]:
    return [*([] if "data=" in text else [data]), *text.split()]


@pytest.mark.parametrize("group", VARIANTS)
def test_a_part_of_ones_own_trains_and_is_recorded_under_its_name(group: str, tmp_path: Path) -> None:
    text, name = PARTS[group]
    assert typed(*words(text), *QUIET, f"outputs={tmp_path}") == 0
    (directory,) = directories(tmp_path, "runs")
    runs, _ = read(directory)
    assert list(runs[group]) == [name]
    assert list(runs["fate"]) == ["finished"]


def test_all_parts_may_be_ones_own_at_once(composer: Composer) -> None:
    (trial,) = composer.trials([[word for text, _ in PARTS.values() for word in text.split()]])
    assert {group: called(trial, group) for group in VARIANTS} == {group: name for group, (_, name) in PARTS.items()}
    assert trial.network.shape == "2-8-4-2-2"


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")
def test_a_sweep_compares_ones_own_activation_with_the_labs(tmp_path: Path) -> None:
    sweep = ("activation=relu,custom", f"activation._target_={HERE}.squareplus", "+activation.b=2,3", "seed=0,1")
    assert typed("data=iris", *SMALL, "architecture.widths=[6]", *sweep, f"outputs={tmp_path}", "-m") == 0
    (directory,) = directories(tmp_path)
    runs, _ = read(directory)
    counts = runs.groupby("activation").size().to_dict()
    assert counts == {"relu": 2, "squareplus": 4}  # relu has no b, and runs once a seed
    assert sorted(runs["name"])[:3] == ["he relu s0", "he relu s1", "he squareplus s0 b=2"]
    notes = [run.data.tags["mlflow.note.content"] for run in mlflow_runs(tmp_path) if "trial_key" in run.data.tags]
    assert sum("the derivative of squareplus is found numerically" in note for note in notes) == 4


def test_the_same_sweep_in_batches_runs_the_same(tmp_path: Path) -> None:
    sweep = ("activation=relu,custom", f"activation._target_={HERE}.squareplus", "seed=0,1")
    assert typed(
        "data=iris", *QUIET, *sweep, f"outputs={tmp_path}", "hydra.sweeper.max_batch_size=3", "-m"
    ) == 0  # fmt: skip
    (directory,) = directories(tmp_path)
    assert read(directory)[0].groupby("activation").size().to_dict() == {"relu": 2, "squareplus": 2}


def test_all_activations_by_glob_are_the_labs_unless_a_target_is_given(composer: Composer) -> None:
    without = composer.command(["activation=glob(*)"], multirun=True).runs
    given = composer.command(["activation=glob(*)", f"activation._target_={HERE}.steep"], multirun=True).runs
    assert ("activation=custom",) not in without
    assert len(given) == len(without) + 1
    assert ("activation=custom", f"activation._target_={HERE}.steep") in given


@pytest.mark.parametrize("line", [text for text, _ in PARTS.values()])
@pytest.mark.parametrize("mode", ["forecast", "schemes"])
def test_modes_that_train_nothing_take_parts_of_ones_own(
    mode: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(f"mode={mode}", *words(line), f"outputs={tmp_path}") == 0
    out, err = capsys.readouterr()
    assert out
    assert not err


def test_a_forecast_calls_parts_of_ones_own_by_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("mode=forecast", *words(PARTS["activation"][0])) == 0
    assert "squareplus" in capsys.readouterr().out


def test_advice_is_given_on_ones_own_activation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ("data=iris", "architecture.depth=2", "architecture.width=8", "seed=0,1", "scheme=he,xavier")
    assert typed("mode=advise", *small, *PARTS["activation"][0].split(), *QUIET, f"outputs={tmp_path}") == 0
    assert "squareplus" in capsys.readouterr().out
    (directory,) = directories(tmp_path)
    assert set(read(directory)[0]["activation"]) == {"squareplus"}


# The derivative of an activation


def test_a_given_derivative_gets_the_arguments_it_names_and_agrees_with_the_numerical_one(composer: Composer) -> None:
    numerical, given = composer.trials(
        [["data=iris", *SQUAREPLUS.split(), "+activation.b=2", *more]
         for more in ([], [f"activation.derivative={HERE}.dsquareplus"])]
    )  # fmt: skip
    z = np.linspace(-5, 5, 41)
    (phi,), (psi,) = numerical.network.activations, given.network.activations
    assert np.array_equal(phi.phi(z), parts_for_tests.squareplus(z, 2))
    assert np.array_equal(psi.dphi(z), parts_for_tests.dsquareplus(z, 2))
    np.testing.assert_allclose(phi.dphi(z), psi.dphi(z), rtol=1e-10)
    assert "numerically" in numerical.notes[0]
    assert given.notes == ()
    assert numerical.key != given.key


def test_a_factory_of_an_activation_gets_its_arguments(composer: Composer) -> None:
    line = ["data=iris", "activation=custom", f"activation._target_={HERE}.steep", "+activation.slope=3"]
    (trial,) = composer.trials([line])
    (phi,) = trial.network.activations
    assert phi.name == "steep"
    assert phi.phi(np.array([1.0]))[0] == 3 * np.tanh(1.0)
    assert trial.notes == ()


def test_a_numpy_function_is_an_activation(composer: Composer) -> None:
    (trial,) = composer.trials([["data=iris", "activation=custom", "activation._target_=numpy.arctan"]])
    assert called(trial, "activation") == "arctan"


# The key


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The examples as a user's module."""
    path = tmp_path / "parts_of_this_test.py"
    path.write_text((ROOT / "tests/parts_for_tests.py").read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, path.stem, raising=False)
    return path


@pytest.mark.parametrize("group", [group for group in VARIANTS if group != "scheme"])
def test_the_source_of_a_part_counts_in_the_key(composer: Composer, mine: Path, group: str) -> None:
    line = words(PARTS[group][0].replace(HERE, mine.stem))

    def key() -> str:
        return composer.trials([line])[0].key

    first = key()
    assert key() == first
    mine.write_text(mine.read_text() + "\n# another thought\n")
    assert key() != first


def test_the_source_of_a_derivative_counts_in_the_key(composer: Composer, mine: Path) -> None:
    line = ["data=iris", *SQUAREPLUS.split(), f"activation.derivative={mine.stem}.dsquareplus"]
    first = composer.trials([line])[0].key
    mine.write_text(mine.read_text() + "\n# another thought\n")
    assert composer.trials([line])[0].key != first


def test_the_source_of_a_scheme_within_rules_counts_in_the_key(
    composer: Composer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scheme_of_this_test.py"
    path.write_text(OWN_NORMAL)
    monkeypatch.syspath_prepend(str(tmp_path))
    line = ["data=iris", "scheme=rules", "scheme.rules={hidden:{_target_:scheme_of_this_test.Mine},weight:he}"]
    first = composer.trials([line])[0].key
    assert composer.trials([line])[0].key == first
    path.write_text(path.read_text() + "\n# another thought\n")
    assert composer.trials([line])[0].key != first


def test_optimizers_of_one_name_from_two_modules_share_no_stack(composer: Composer, mine: Path) -> None:
    signatures = {
        composer.trials([["data=iris", "optimizer=custom", f"optimizer._target_={module}.SignSGD"]])[0].signature
        for module in (HERE, mine.stem)
    }
    assert len(signatures) == 2


def test_equal_parts_are_one_object(composer: Composer) -> None:
    line = [word for text, _ in PARTS.values() for word in text.split()]
    runs = composer.trials([[*line, f"seed={seed}"] for seed in range(3)])
    for part in ("network", "dataset", "scheme", "optimizer"):
        assert len({id(getattr(run, part)) for run in runs}) == 1, part


# Mistakes

MISTAKES = [
    ("{0}._target_=nowhere.Mine {0}=custom", r"^{0}\._target_ must be the address .*; got 'nowhere\.Mine'"),
    ("{0}=custom", r"^{0}\._target_ needs a value"),
    ("{0}._target_=HERE.text", r"Pass {0}=custom {0}\._target_=tests\.parts_for_tests\.text\.$"),
    ("{0}=custom {0}._target_=HERE.text +{0}.nothing=1", r"^{0}\.\w+ is not a key here"),
]


@pytest.mark.parametrize("group", VARIANTS)
@pytest.mark.parametrize(("line", "answer"), MISTAKES)
def test_a_mistake_in_any_group_is_answered(
    group: str, line: str, answer: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert typed(*line.format(group).replace("HERE", HERE).split(), f"outputs={tmp_path}/out") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(answer.format(group), err.removeprefix("runner: ").rstrip("\n")), err
    assert not (tmp_path / "out").exists()


WRONG = [
    ("activation=custom activation._target_=HERE.text", r"must return a weightinit\.activations\.Activation; got str"),
    ("data=custom data._target_=HERE.text", r"must return a runner\.data\.Dataset; got str"),
    ("scheme=custom scheme._target_=HERE.text", r"must return a scheme: a callable .*; got str"),
    ("architecture=custom architecture._target_=HERE.sized", r"must return a weightinit\.nn\.Network; got tuple"),
    ("optimizer=custom optimizer._target_=HERE.anything", r"must return a runner\.optimizers\.Optimizer; got dict"),
    ("activation=custom activation._target_=HERE.averaged", r"must return an array of the shape.* shape \(4,\)"),
    ("activation=custom activation._target_=HERE.softmax", r"_target_ must work element by element"),
    ("activation=custom activation._target_=HERE.scalar_only", r"_target_ must be a function of arrays.*numpy\.where"),
    ("activation=custom activation._target_=math.tanh", r"_target_ must be a function of arrays.*numpy\.tanh"),
    (SQUAREPLUS + " activation.derivative=HERE.averaged", r"derivative must return an array of the shape"),
    (SQUAREPLUS + " activation.derivative=nowhere.d", r"^activation\.derivative must be the address .* 'nowhere\.d'"),
    (
        "activation=custom activation._target_=HERE.steep activation.derivative=HERE.dsquareplus",
        r"^activation\.derivative is for a function of arrays",
    ),
    (SQUAREPLUS + " activation.b=2", r"Add it with a plus: \+activation\.b=VALUE"),
    (SQUAREPLUS + " +activation.c=2", r"^activation\.c is not a key here; allowed: activation\.b"),
    ("data=custom data._target_=HERE.refusing", r"^data: distance must be positive"),
    ("optimizer=custom optimizer._target_=HERE.SignSGD optimizer.learning_rate=-1", r"^optimizer\.learning_rate must"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "answer"), WRONG)
def test_a_part_that_keeps_no_contract_is_refused(composer: Composer, line: str, answer: str) -> None:
    with pytest.raises((ValueError, TypeError), match=answer):
        composer.trials([words(line.replace("HERE", HERE))])


def test_an_experiment_can_not_train_one_part_under_the_name_of_another(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    wrong = f"# @package _global_\nactivation: {{_target_: {HERE}.steep}}\n"
    (tmp_path / "experiment/wrong.yaml").write_text(wrong)
    (tmp_path / "experiment/right.yaml").write_text(wrong + "defaults: [{override /activation: custom}]\n")
    composer = Composer(str(tmp_path))
    with pytest.raises(ValueError, match=rf"got '{HERE}\.steep'\. Pass activation=custom activation\._target_="):
        composer.trials([["experiment=wrong"]])
    (trial,) = composer.trials([["experiment=right"]])
    assert called(trial, "activation") == "steep"


def test_a_choice_in_a_folder_of_ones_own_has_its_target_by_its_defaults(tmp_path: Path) -> None:
    (tmp_path / "activation").mkdir()
    (tmp_path / "activation/mine.yaml").write_text(f"# Mine.\n_target_: {HERE}.squareplus\nb: 2.0\n")
    (tmp_path / "activation/wide.yaml").write_text("# Wider.\ndefaults: [mine, _self_]\nb: 9.0\n")
    composer = Composer(str(tmp_path))
    mine, wide = composer.trials([["activation=mine"], ["activation=wide"]])
    assert (called(mine, "activation"), called(wide, "activation")) == ("mine", "wide")
    assert mine.notes == wide.notes
    with pytest.raises(ValueError, match=r"with activation=wide, whose name is recorded"):
        composer.trials([["activation=wide", f"activation._target_={HERE}.steep"]])


def test_a_part_knows_its_keys() -> None:
    part = Part.of("activation", {"_target_": f"{HERE}.squareplus", "derivative": None, "b": 2.0})
    assert part.keys == ["b", "derivative"]
    assert factories.taken("activation", {"_target_": f"{HERE}.steep"}) == ["slope"]
