"""Trained networks that take raw features: as a class of the library's, and as MLflow models of a sweep."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_iris

from runner.config.composition import Composer
from runner.tracking import files, models, read
from runner.training.loop import train
from tests.commands import directories, typed
from weightinit.predictor import Preparation, load

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

SMALL = ["architecture.depth=2", "architecture.width=8", "training.steps=40", "training.probe.size=16"]
TABLES: dict[str, Any] = {"iris": load_iris, "diabetes": partial(load_diabetes, scaled=False)}


def raw_test_part(name: str, trial: Any) -> tuple[np.ndarray, np.ndarray]:
    """Raw features and targets of the test part, found by their preparation: independent of how parts are drawn."""
    bunch = TABLES[name]()
    prepared = trial.dataset.preparation(bunch.data)
    rows = [int(np.flatnonzero((prepared == sample).all(axis=1))[0]) for sample in trial.dataset.x_test]
    return bunch.data[rows], bunch.target[rows]


def score(name: str, predicted: np.ndarray, target: np.ndarray) -> float:
    if name == "iris":
        return float((predicted.argmax(axis=1) == target).mean())
    return 1 - float(((predicted[:, 0] - target) ** 2).sum() / ((target - target.mean()) ** 2).sum())


def test_preparation_is_the_plain_formula() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(5, 3, (40, 4))
    x[:, 2] = 7
    mean, std = x.mean(axis=0), x.std(axis=0)
    std[2] = 0
    prepared = Preparation(mean, std, True)(x)
    expected = np.delete((x - mean) / np.where(std > 0, std, 1), 2, axis=1)
    expected *= 2 / np.sqrt((expected**2).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(np.delete(prepared, 2, axis=1), expected)
    assert not prepared[:, 2].any()
    np.testing.assert_array_equal(Preparation(np.zeros(4), np.ones(4), False)(x), x)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("iris", []), ("iris", ["data.scale_samples=false"]), ("iris", ["data.standardize=false"]),
        ("iris", ["training.loss=mse", "activation=leaky_relu"]), ("diabetes", []),
        ("diabetes", ["data.standardize=false", "training.dtype=float64"]),
    ],
)  # fmt: skip
def test_predictions_for_raw_features_score_what_the_run_did(name: str, options: list[str], tmp_path: Path) -> None:
    overrides = [f"data={name}", *SMALL, "training.save=final", "tracking=none", *options]
    (trial,) = Composer().trials([overrides])
    (outcome,) = train([trial])
    made = models.predictor(trial, outcome.arrays)
    assert made is not None
    made.save(tmp_path / "it")
    x, y = raw_test_part(name, trial)
    np.testing.assert_array_equal(x[0], TABLES[name]().data[(TABLES[name]().data == x[0]).all(axis=1)][0])
    predicted = load(tmp_path / "it").predict(x)
    metric = "test_accuracy" if name == "iris" else "test_r2"
    assert score(name, predicted, y) == pytest.approx(outcome.summary[metric], abs=1e-6)
    assert predicted.shape == (len(x), trial.network.outputs)
    assert predicted.dtype == np.float64
    if name == "iris" and "training.loss=mse" not in options:
        np.testing.assert_allclose(predicted.sum(axis=1), 1)
    if name == "diabetes":
        assert abs(predicted.mean() - y.mean()) < y.std()  # in the target's own units
    np.testing.assert_allclose(made.predict(x[:1]), predicted[:1], rtol=1e-5)


def test_examples_are_raw_samples_of_the_training_part() -> None:
    (trial,) = Composer().trials([["data=iris"]])
    data = trial.dataset
    np.testing.assert_array_equal(data.preparation(data.examples), data.x_train[: len(data.examples)])
    assert all((load_iris().data == sample).all(axis=1).any() for sample in data.examples)


@pytest.mark.parametrize(("asked", "kept"), [("none", "final"), ("initial", "both"), ("final", "final")])
def test_a_model_needs_final_weights_and_changes_no_key(asked: str, kept: str) -> None:
    own = ["data=iris", f"training.save={asked}"]
    plain, modelled = Composer().trials([own, [*own, "tracking.log_model=best"]])
    assert (plain.plan.save, modelled.plan.save) == (asked, kept)
    assert plain.key == modelled.key
    assert (plain.signature == modelled.signature) == (asked == kept)


def test_the_best_run_is_that_of_validation_data() -> None:
    columns = {"key": list("abcd"), "fate": ["finished"] * 3 + ["diverged"], "validation_loss": [0.3, 0.2, 0.1, 0.0]}
    runs = pd.DataFrame(columns | {"validation_accuracy": [0.9, 0.9, 0.8, 1.0], "test_accuracy": [0.5, 0.4, 0.9, 1.0]})
    assert models.best(runs) == "b"
    assert models.best(runs.drop(columns="validation_accuracy")) == "c"
    assert models.best(runs.assign(fate="failed")) is None
    assert models.best(pd.DataFrame({"fate": ["failed"]})) is None


def recorded(*arguments: str) -> Path:
    """Runs a command line; the only directory that sweeps have been written to."""
    assert typed(*arguments) == 0
    (directory,) = directories(Path("outputs"))
    return directory


def runs_of(client: Any) -> dict[str, Any]:
    return {
        run.info.run_name: run
        for run in client.search_runs([client.get_experiment_by_name("weightinit").experiment_id])
    }


ELSEWHERE = """
import sys
import mlflow, numpy
assert "weightinit" not in sys.modules and "runner" not in sys.modules
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
numpy.save(sys.argv[3], model.predict(numpy.load(sys.argv[4])))
print(sys.modules["weightinit"].__file__, "runner" in sys.modules)
"""


def test_a_sweep_logs_its_best_model_which_loads_in_a_line_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["data=iris", *SMALL, "seed=0,1,2", "tracking.figures=false", "-m"]
    directory = recorded(*line)
    recorded(*line[:-1], "resume=true", "tracking.log_model=best", "-m")  # weights come by training again
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/outputs/mlflow.db"
    client = MlflowClient(uri)
    runs = runs_of(client)
    table = read(directory)[0].set_index("name")
    (named,) = [name for name, run in runs.items() if "model" in run.data.tags]
    assert named == table.sort_values(["validation_accuracy", "validation_loss"], ascending=[False, True]).index[0]
    own = runs[named]
    address = f"runs:/{own.info.run_id}/model"
    for note in (own, runs["data=iris " + " ".join([*SMALL, "seed=0,1,2"])]):
        assert f"mlflow.pyfunc.load_model('{address}').predict(x)" in note.data.tags["mlflow.note.content"]
    recorded(*line[:-1], "resume=true", "tracking.log_model=best", "-m")
    assert "nothing is left to do" in capsys.readouterr().err
    models_there = client.search_logged_models([own.info.experiment_id])
    assert [model.model_id for model in models_there] == [own.data.tags["model"]]
    assert models_there[0].source_run_id == own.info.run_id

    (trial,) = Composer().trials([["data=iris", *SMALL, f"seed={table.loc[named, 'seed']}"]])
    x, y = raw_test_part("iris", trial)
    np.save("x.npy", x)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, uri, address, "y.npy", "x.npy"],
        capture_output=True, text=True, check=False, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    place, runner = done.stdout.split()
    assert place.endswith("code/weightinit/__init__.py")  # its own, not the lab's
    assert runner == "False"
    assert score("iris", np.load("y.npy"), y) == pytest.approx(table.loc[named, "test_accuracy"])

    import mlflow
    from mlflow.models import Model

    assert mlflow.active_run() is None
    info = Model.load(client.get_logged_model(own.data.tags["model"]).artifact_location.removeprefix("file://"))
    assert info.signature.inputs.inputs[0].shape == (-1, 4)
    assert info.signature.outputs.inputs[0].shape == (-1, 3)
    assert info.metadata["classes"] == ["setosa", "versicolor", "virginica"]
    assert info.saved_input_example_info is not None


def test_all_runs_get_a_model_but_the_diverged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rates = "optimizer.learning_rate=0.01,0.03,1e30"
    directory = recorded("data=iris", *SMALL, rates, "tracking.figures=false", "tracking.log_model=all", "-m")
    from mlflow import MlflowClient

    fates = read(directory)[0].set_index("name")["fate"]
    assert sorted(fates) == ["diverged", "finished", "finished"]
    runs = runs_of(MlflowClient(f"sqlite:///{tmp_path}/outputs/mlflow.db"))
    assert {name for name, run in runs.items() if "model" in run.data.tags} == set(fates.index[fates == "finished"])
    assert all(files.arrays(directory, key) for key in read(directory)[0]["key"])
