"""Data sets: every source and every YAML of conf/data, the splits, the preparation, and what bad input is told."""

from __future__ import annotations

import gzip
import hashlib
import inspect
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate

import runner.data
from runner.data.dataset import Dataset, Samples, prepare
from runner.data.tables import choose_task

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "conf/data").glob("*.yaml") if path.stem != "custom")
FACTORIES = [name for name in runner.data.__all__ if name not in ("Dataset", "Samples", "source")]
PARTS = ("train", "validation", "test")
RAW = {"standardize": False, "scale_samples": False}


def blobs(n: int = 120, features: int = 5, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return rng.normal(size=(n, features)) * 3 + y[:, None], y


def blob_frame(**columns: Any) -> pd.DataFrame:
    x, y = blobs()
    frame = pd.DataFrame(x, columns=list("abcde")).assign(kind=np.array(["ant", "bee", "cat"])[y])
    return frame.assign(**columns)


def samples(n: int = 400, task: str = "classification", seed: int = 0) -> Samples:
    """Samples whose first feature is their row number."""
    x, y = blobs(n, seed=seed)
    x[:, 0] = np.arange(n)
    return Samples("rows", task, x, y if task == "classification" else x[:, 1:3] * [2, 30] + 7, "made")  # type: ignore[arg-type]


def rows(dataset: Dataset) -> dict[str, np.ndarray]:
    """Row numbers of each part of ``prepare(samples(), **RAW)``."""
    return {part: getattr(dataset, f"x_{part}")[:, 0].astype(int) for part in PARTS}


def openml_cache(home: Path, name: str, number: int, frame: pd.DataFrame, target: str, *, sparse: bool = False) -> None:
    """Write ``frame`` as OpenML answers for version 1 of a set, in the layout of scikit-learn's cache."""

    def write(path: str, text: str) -> None:
        file = home / "openml/openml.org" / (path + ".gz")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(text.encode()))

    nominal = {c: sorted(frame[c].dropna().unique()) for c in frame if not pd.api.types.is_numeric_dtype(frame[c])}
    head = [f"@ATTRIBUTE {c} {'{' + ','.join(nominal[c]) + '}' if c in nominal else 'REAL'}" for c in frame]
    if sparse:
        lines = ["{" + ",".join(f"{i} {v}" for i, v in enumerate(row) if v != 0) + "}" for row in frame.to_numpy()]
    else:
        lines = frame.to_csv(header=False, index=False, na_rep="?").splitlines()
    arff = "\n".join([f"@RELATION {name}", *head, "@DATA", *lines, ""])
    features = [
        {
            "index": str(i),
            "name": c,
            "data_type": "nominal" if c in nominal else "numeric",
            "is_target": "true" if c == target else "false",
            "is_ignore": "false",
            "is_row_identifier": "false",
            "number_of_missing_values": str(frame[c].isna().sum()),
        }
        for i, c in enumerate(frame)
    ]
    about = {"id": str(number), "name": name, "version": "1", "description": name, "status": "active"}
    about |= {"format": "Sparse_ARFF" if sparse else "ARFF", "default_target_attribute": target}
    about |= {"url": f"https://api.openml.org/data/v1/download/{number}/{name}.arff"}
    about |= {"md5_checksum": hashlib.md5(arff.encode()).hexdigest()}
    found = {"did": number, "name": name, "version": 1, "status": "active", "format": "ARFF"}
    listing = f"api/v1/json/data/list/data_name/{name.lower()}/limit/2/data_version/1"
    write(listing, json.dumps({"data": {"dataset": [found]}}))
    write(f"api/v1/json/data/{number}", json.dumps({"data_set_description": about}))
    write(f"api/v1/json/data/features/{number}", json.dumps({"data_features": {"feature": features}}))
    quality = [{"name": "NumberOfInstances", "value": str(float(len(frame)))}]
    write(f"api/v1/json/data/qualities/{number}", json.dumps({"data_qualities": {"quality": quality}}))
    write(f"data/v1/download/{number}/{name}.arff", arff)


@pytest.fixture
def iris_home(tmp_path: Path) -> str:
    """A copy of openml.org's answers for iris (from scikit-learn's tests); a failed load deletes from its cache."""
    shutil.copytree(ROOT / "tests/samples/openml", tmp_path / "openml")
    return str(tmp_path)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr("sklearn.datasets._openml.urlopen", unreachable)


def overrides_for(name: str, folder: Path) -> list[str]:
    """What a YAML needs to be told, with files made for it."""
    x, y = blobs()
    if name in ("csv", "parquet"):
        path = folder / f"flowers.{name}"
        getattr(blob_frame(), f"to_{name}")(path, index=False)
        return [f"data.path={path}", "data.target=kind"]
    if name == "npz":
        np.savez(folder / "flowers.npz", x=x, y=y)
        return [f"data.path={folder}/flowers.npz"]
    if name == "openml":
        shutil.copytree(ROOT / "tests/samples/openml", folder / "openml")
        return ["data.name=iris", f"data.data_home={folder}"]
    if name in ("mnist", "fashion_mnist"):
        pixels = pd.DataFrame(np.random.default_rng(0).integers(0, 256, (150, 784)) * (np.arange(784) % 5 == 0))
        pixels.columns = [f"pixel{i + 1}" for i in range(784)]
        frame = pixels.assign(**{"class": (np.arange(150) % 10).astype(str)})
        openml_cache(
            folder, *{"mnist": ("mnist_784", 554), "fashion_mnist": ("Fashion-MNIST", 40996)}[name], frame, "class"
        )
        return [f"data.data_home={folder}"]
    return []


def compose_data(*overrides: str) -> Any:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose(overrides=list(overrides)).data


# --- every source, every YAML


@pytest.mark.parametrize("name", NAMES)
def test_every_yaml_composes_and_loads(name: str, tmp_path: Path, offline: None) -> None:
    config = compose_data(f"+data={name}", "data.test=0.2", *overrides_for(name, tmp_path))
    target = getattr(runner.data, config._target_.removeprefix("runner.data."))
    assert set(config) - {"_target_"} <= set(inspect.signature(target).parameters)
    assert (ROOT / f"conf/data/{name}.yaml").read_text().startswith("# ")
    data = instantiate(config)

    assert isinstance(data, Dataset)
    n = sum(len(getattr(data, f"x_{part}")) for part in PARTS)
    assert (len(data.x_validation), len(data.x_test)) == (round(0.1 * n), round(0.2 * n))
    for part in PARTS:
        x, y = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
        assert x.dtype == np.float64
        assert x.shape == (len(y), data.inputs)
        assert np.isfinite(x).all()
        if config.get("scale_samples"):
            np.testing.assert_allclose(np.mean(x**2, axis=1), 1, rtol=1e-12)
        if data.task == "classification":
            assert y.dtype == np.int64
            assert set(y.ravel()) - {-1} == set(range(data.outputs))
        else:
            assert y.dtype == np.float64
            assert y.shape == (len(x), data.outputs)
    assert len(data.feature_names) == data.inputs
    assert len(data.classes) == (data.outputs if data.task == "classification" else 0)
    assert len(data.target_mean) == len(data.target_std) == (data.outputs if data.task == "regression" else 0)
    assert data.image_shape is None or np.prod(data.image_shape) == data.inputs
    assert len(data.digest) == 64
    assert data.source
    assert "\n" not in data.source


def test_an_unknown_key_is_refused_by_the_configuration() -> None:
    with pytest.raises(ConfigCompositionException, match="tset"):
        compose_data("+data=iris", "data.tset=0.2")


@pytest.mark.parametrize("factory", FACTORIES)
def test_every_factory_takes_the_common_parameters(factory: str) -> None:
    parameters = inspect.signature(getattr(runner.data, factory)).parameters
    common = {"validation": 0.1, "test": 0.15, "split_seed": 0, "standardize": True, "scale_samples": True}
    if factory in (
        "copying",
        "modular_addition",
        "sorting",
        "text",
    ):  # tokens are numbers of nothing that could be scaled
        common = {name: common[name] for name in ("validation", "test", "split_seed")}
    assert {name: parameters[name].default for name in common} == common
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters.values())
    assert (ROOT / f"conf/data/{factory}.yaml").read_text().count(f"_target_: runner.data.{factory}\n") == 1


def test_importing_the_data_sources_is_light() -> None:
    code = "import sys, runner.data; print({'sklearn', 'pandas', 'mlxtend', 'hydra', 'mlflow'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_digits_give_21_batches_of_64_an_epoch() -> None:
    data = runner.data.digits()
    assert (len(data.x_train), len(data.x_validation), len(data.x_test)) == (1347, 180, 270)
    assert len(data.x_train) // 64 == 21
    assert (data.inputs, data.outputs, data.image_shape) == (64, 10, (8, 8))
    assert data.classes == tuple("0123456789")


def test_classes_keep_the_names_and_order_of_their_source() -> None:
    assert runner.data.iris().classes == ("setosa", "versicolor", "virginica")
    # in scikit-learn 0 is malignant, of which there are 212
    data = runner.data.breast_cancer()
    labels = np.concatenate([getattr(data, f"y_{part}") for part in PARTS])
    assert np.count_nonzero(labels == data.classes.index("malignant")) == 212


def test_diabetes_is_reported_in_its_own_units() -> None:
    data = runner.data.diabetes()
    progress = np.concatenate([getattr(data, f"y_{part}") for part in PARTS]) * data.target_std + data.target_mean
    assert (progress.min().round(9), progress.max().round(9)) == (25, 346)
    ages = runner.data.diabetes(**RAW)
    assert 19 <= ages.x_train[:, ages.feature_names.index("age")].min() < 30


# --- splits


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_parts_hold_each_sample_once_with_its_own_target(task: str) -> None:
    made = samples(task=task)
    data = prepare(made, **RAW)
    found = rows(data)
    assert sorted(np.concatenate(list(found.values()))) == list(range(400))
    for part, numbers in found.items():
        np.testing.assert_array_equal(getattr(data, f"x_{part}"), made.x[numbers])
        np.testing.assert_array_equal(getattr(data, f"y_{part}"), made.y[numbers])
        assert not (np.diff(numbers) > 0).all()


def test_splits_are_fixed_and_their_seed_moves_them() -> None:
    state = str(np.random.get_state())  # noqa: NPY002 - the global generator is what must stay untouched
    first, again, other = (rows(prepare(samples(), split_seed=seed, **RAW)) for seed in (0, 0, 1))
    for part in PARTS:
        np.testing.assert_array_equal(first[part], again[part])
        assert set(first[part]) != set(other[part])
    assert str(np.random.get_state()) == state  # noqa: NPY002


def test_the_test_part_does_not_depend_on_the_validation_fraction() -> None:
    small, large = (rows(prepare(samples(), validation=v, **RAW)) for v in (0.1, 0.3))
    np.testing.assert_array_equal(small["test"], large["test"])


def test_splits_are_random() -> None:
    # a row falls into the test part with probability .15: z-test over 200 seeds of each of 400 rows' counts
    hits = np.zeros(400)
    for seed in range(200):
        hits[rows(prepare(samples(), split_seed=seed, **RAW))["test"]] += 1
    z = (hits - 200 * 0.15) / np.sqrt(200 * 0.15 * 0.85)
    assert np.abs(z).max() < 5
    assert 0.7 < z.std() < 1.3


@pytest.mark.parametrize("sizes", [(200, 200, 200), (700, 200, 97, 3), (3, 3, 3, 50, 941)])
def test_splits_are_stratified(sizes: tuple[int, ...]) -> None:
    y = np.repeat(np.arange(len(sizes)), sizes)
    data = prepare(Samples("made", "classification", np.random.default_rng(0).normal(size=(len(y), 4)), y, "made"))
    for part, fraction in (("train", 0.75), ("validation", 0.1), ("test", 0.15)):
        counts = np.bincount(getattr(data, f"y_{part}"), minlength=len(sizes))
        assert (counts >= 1).all()
        # rounding: half a sample each way, and at most one for each small class that is lifted to one sample
        assert (np.abs(counts - fraction * np.array(sizes)) < len(sizes)).all()
    prefix = np.bincount(data.y_train[:100], minlength=len(sizes))
    assert (np.abs(prefix - 100 * np.array(sizes) / len(y)) < len(sizes)).all()


def test_what_does_not_divide_evenly_falls_to_any_class() -> None:
    made = Samples("made", "classification", np.random.default_rng(0).normal(size=(100, 3)), np.arange(100) % 4, "made")
    counts = [np.bincount(prepare(made, split_seed=seed).y_test) for seed in range(40)]
    assert all(sorted(count) == [3, 4, 4, 4] for count in counts)
    assert {int(count.argmin()) for count in counts} == {0, 1, 2, 3}


# --- preparation


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_training_part_is_standardized_by_itself_alone(task: str) -> None:
    made = samples(task=task)
    data = prepare(made, scale_samples=False)
    np.testing.assert_allclose(data.x_train.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(data.x_train.std(axis=0), 1, rtol=1e-12)
    assert np.abs(data.x_test.mean(axis=0)).max() > 1e-3
    if task == "regression":
        np.testing.assert_allclose(data.y_train.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(data.y_train.std(axis=0), 1, rtol=1e-12)
        where = rows(prepare(made, **RAW))
        for part in PARTS:
            restored = getattr(data, f"y_{part}") * data.target_std + data.target_mean
            np.testing.assert_allclose(restored, made.y[where[part]], rtol=1e-12)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("scale_samples", [False, True])
def test_nothing_leaks_from_validation_and_test(task: str, scale_samples: bool) -> None:
    made = samples(task=task)
    found = rows(prepare(made, **RAW))
    before = prepare(made, scale_samples=scale_samples)
    x, y = made.x.copy(), made.y.copy()
    for part in ("validation", "test"):
        x[found[part]] *= 1000
        if task == "regression":
            y[found[part]] *= 1000
    after = prepare(Samples("rows", made.task, x, y, "made"), scale_samples=scale_samples)
    np.testing.assert_array_equal(before.x_train, after.x_train)
    np.testing.assert_array_equal(before.y_train, after.y_train)
    np.testing.assert_array_equal(before.target_std, after.target_std)
    x[found["test"]] = 0
    again = prepare(Samples("rows", made.task, x, y, "made"), scale_samples=scale_samples)
    np.testing.assert_array_equal(after.x_validation, again.x_validation)


def test_features_constant_in_training_become_zero() -> None:
    made = samples()
    test = rows(prepare(made, **RAW))["test"]
    made.x[:, 1] = 0.1  # its mean isn't exactly .1, so its computed deviation isn't exactly 0
    made.x[:, 2] = 1e9
    made.x[test, 2] = 5
    data = prepare(made, scale_samples=False)
    for part in PARTS:
        np.testing.assert_array_equal(getattr(data, f"x_{part}")[:, 1:3], 0)


def test_samples_are_scaled_to_mean_square_one_and_zeros_stay() -> None:
    made = samples()
    made.x[7] = 0
    data = prepare(made, standardize=False)
    squares = np.concatenate([np.mean(getattr(data, f"x_{part}") ** 2, axis=1) for part in PARTS])
    assert np.count_nonzero(squares == 0) == 1
    np.testing.assert_allclose(squares[squares > 0], 1, rtol=1e-12)


def test_standardize_off_leaves_regression_targets_alone() -> None:
    data = prepare(samples(task="regression"), standardize=False)
    np.testing.assert_array_equal(data.target_mean, 0)
    np.testing.assert_array_equal(data.target_std, 1)


def test_preparing_leaves_the_samples_as_they_were() -> None:
    made = samples(task="regression")
    x, y = made.x.copy(), made.y.copy()
    prepare(made)
    np.testing.assert_array_equal(made.x, x)
    np.testing.assert_array_equal(made.y, y)


def test_digest_is_of_the_content(tmp_path: Path) -> None:
    frame = blob_frame()
    (tmp_path / "elsewhere").mkdir()
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "elsewhere/b.csv", index=False)
    frame.to_parquet(tmp_path / "c.parquet")
    base = runner.data.csv(path=str(tmp_path / "a.csv"), target="kind")
    same = [
        runner.data.csv(path=str(tmp_path / "elsewhere/b.csv"), target="kind", split_seed=3, standardize=False),
        runner.data.parquet(path=str(tmp_path / "c.parquet"), target="kind"),
    ]
    assert {data.digest for data in same} == {base.digest}

    changed = []
    for column, value in (("a", 0.123), ("kind", "bee"), ("kind", "dog")):
        other = frame.copy()
        other.loc[0, column] = value
        changed.append(other)
    changed += [
        frame.replace("cat", "dog"),
        frame.iloc[::-1],
        frame.iloc[:-1],
        frame[["b", "a", "c", "d", "e", "kind"]],
    ]
    digests = {base.digest}
    for other in changed:
        if (other["kind"] == "dog").sum() == 1:
            continue  # a class of one can't be split
        other.to_csv(tmp_path / "a.csv", index=False)
        digests.add(runner.data.csv(path=str(tmp_path / "a.csv"), target="kind").digest)
    assert len(digests) == 1 + len(changed) - 1


# --- made on the spot


def test_linear_teacher_has_the_modes_it_was_given() -> None:
    modes = [5.0, 2.0, 1.0]
    data = runner.data.linear_teacher(features=8, outputs=6, modes=modes, seed=4, **RAW)
    teacher, *_ = np.linalg.lstsq(data.x_train, data.y_train, rcond=None)
    np.testing.assert_allclose(np.linalg.svd(teacher, compute_uv=False), [*modes, 0, 0, 0], atol=1e-10)
    np.testing.assert_allclose(data.x_test @ teacher, data.y_test, atol=1e-10)
    noisy = runner.data.linear_teacher(samples=40_000, features=8, outputs=6, modes=modes, noise=0.5, **RAW)
    teacher, *_ = np.linalg.lstsq(noisy.x_train, noisy.y_train, rcond=None)
    residual = noisy.y_train - noisy.x_train @ teacher  # 180,000 numbers: the std of their std is .5 / sqrt(360,000)
    assert residual.std() == pytest.approx(0.5, abs=5 * 0.5 / 600)


def test_two_spirals_wind_around_each_other() -> None:
    data = runner.data.two_spirals(turns=1.5, noise=0.0, **RAW)
    radius = np.hypot(*data.x_train.T)
    angle = np.arctan2(data.x_train[:, 1], data.x_train[:, 0]) - 2 * np.pi * 1.5 * radius - np.pi * data.y_train
    np.testing.assert_allclose(np.cos(angle), 1, atol=1e-9)
    assert radius.max() <= 1


def test_gaussian_noise_is_normal_with_balanced_labels() -> None:
    data = runner.data.gaussian_noise(samples=2048, features=64, classes=8, **RAW)
    x = np.concatenate([getattr(data, f"x_{part}") for part in PARTS]).ravel()
    assert abs(x.mean()) * np.sqrt(x.size) < 5
    assert abs(x.var() - 1) * np.sqrt(x.size / 2) < 5
    labels = np.concatenate([getattr(data, f"y_{part}") for part in PARTS])
    assert set(np.bincount(labels)) == {256}


@pytest.mark.parametrize("factory", ["two_spirals", "gaussian_noise", "linear_teacher"])
def test_made_data_is_a_function_of_its_seed(factory: str) -> None:
    make = getattr(runner.data, factory)
    assert make(seed=3).digest == make(seed=3).digest != make(seed=4).digest


# --- own files


def test_csv_takes_booleans_several_targets_and_drops_columns(tmp_path: Path) -> None:
    frame = blob_frame(flag=np.arange(120) % 2 == 0, number=np.arange(120), ratio=np.linspace(0, 1, 120))
    frame.to_csv(tmp_path / "t.csv", index=False, sep=";")
    load = {"path": str(tmp_path / "t.csv"), "separator": ";"}
    data = runner.data.csv(target=["number", "ratio"], drop=["kind"], **load)
    assert (data.name, data.task, data.outputs) == ("t", "regression", 2)
    assert data.feature_names == ("a", "b", "c", "d", "e", "flag")
    assert runner.data.csv(target="flag", drop=["kind"], **load).classes == ("False", "True")


def test_npz_takes_its_image_shape_from_images(tmp_path: Path) -> None:
    path = str(tmp_path / "pictures.npz")
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 5, 3)).astype(np.uint8)
    np.savez(path, x=images, y=np.array(["no", "yes"])[np.arange(60) % 2])
    data = runner.data.npz(path=path, **RAW)
    assert (data.inputs, data.image_shape, data.classes) == (60, (4, 5, 3), ("no", "yes"))
    assert set(map(tuple, data.x_test.astype(int))) <= set(map(tuple, images.reshape(60, -1).astype(int)))
    np.savez(path, x=images.reshape(60, -1), y=np.arange(60)[:, None] % 2)
    assert runner.data.npz(path=path, image_shape=[20, 3]).image_shape == (20, 3)


@pytest.mark.parametrize(
    ("y", "task", "expected"),
    [
        (np.array(["a", "b"]), "auto", "classification"),
        (np.array([True, False]), "auto", "classification"),
        (np.arange(20), "auto", "classification"),
        (np.arange(21), "auto", "regression"),
        (np.arange(21), "classification", "classification"),
        (np.array([0.0, 1.0]), "auto", "regression"),
        (np.array([0.0, 1.0]), "classification", "classification"),
        (np.array([0, 1]), "regression", "regression"),
        (np.zeros((4, 2), int), "auto", "regression"),
    ],
)
def test_the_task_follows_from_the_target(y: np.ndarray, task: str, expected: str) -> None:
    assert choose_task(y, task) == expected


def test_classes_that_are_whole_floats_are_called_by_whole_numbers(tmp_path: Path) -> None:
    blob_frame(kind=blobs()[1] + 1.0).to_parquet(tmp_path / "t.parquet")
    data = runner.data.parquet(path=str(tmp_path / "t.parquet"), target="kind", task="classification")
    assert data.classes == ("1", "2", "3")


# --- OpenML


def test_openml_by_name_and_by_number_are_the_same(iris_home: str, offline: None) -> None:
    by_name = runner.data.openml(name="iris", data_home=iris_home)
    by_number = runner.data.openml(data_id=61, data_home=iris_home)
    assert by_name.digest == by_number.digest
    assert by_name.classes == ("Iris-setosa", "Iris-versicolor", "Iris-virginica")
    assert by_name.feature_names == ("sepallength", "sepalwidth", "petallength", "petalwidth")
    other = runner.data.openml(name="iris", target="petalwidth", drop=["class"], data_home=iris_home)
    assert (other.task, other.inputs) == ("regression", 3)


def test_openml_categories_become_columns_and_sparse_sets_load(tmp_path: Path, offline: None) -> None:
    frame = blob_frame(colour=np.array(["red", "blue"])[np.arange(120) // 2 % 2])
    openml_cache(tmp_path, "mixed", 1, frame, "kind")
    data = runner.data.openml(name="mixed", data_home=str(tmp_path), **RAW)
    assert data.feature_names == ("a", "b", "c", "d", "e", "colour_blue", "colour_red")
    np.testing.assert_array_equal(data.x_train[:, 5] + data.x_train[:, 6], 1)
    openml_cache(tmp_path, "thin", 2, frame[["a", "b", "kind"]], "kind", sparse=True)
    thin = runner.data.openml(name="thin", data_home=str(tmp_path), **RAW)
    np.testing.assert_allclose(sorted(thin.x_train[:, 0]), sorted(data.x_train[:, 0]), rtol=1e-12)
    assert thin.classes == data.classes


def test_openml_offline_says_what_to_do(tmp_path: Path, offline: None) -> None:
    with pytest.raises(ConnectionError) as caught:
        runner.data.openml(name="mnist_784", data_home=str(tmp_path))
    for words in ("mnist_784 version 1", str(tmp_path), "where there is a network", "data=mnist_5k"):
        assert words in str(caught.value)


def test_openml_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise HTTPError("", 412, "", None, None)  # type: ignore[arg-type]

    monkeypatch.setattr("sklearn.datasets._openml.urlopen", refuse)
    with pytest.raises(ValueError, match="no_such with version 7 not found"):
        runner.data.openml(name="no_such", version=7, data_home=str(tmp_path))
    for both in ({}, {"name": "iris", "data_id": 61}):
        with pytest.raises(ValueError, match=r"data\.name or data\.data_id"):
            runner.data.openml(**both)


# --- bad input: what is wrong, what is allowed, what was got, how to mend it


def dirty(**cells: Any) -> pd.DataFrame:
    """The table with the first cells of some columns replaced."""
    frame = blob_frame()
    for column, value in cells.items():
        frame[column] = frame[column].astype(object)
        frame.loc[0, column] = value
    return frame


BAD_TABLES: dict[str, tuple[pd.DataFrame | str, dict[str, Any], list[str]]] = {
    "target missing": (blob_frame(), {"target": "kinds"}, ["a, b, c, d, e, kind", "got 'kinds'", "data.target=kind"]),
    "no near target": (blob_frame(), {"target": "zzz"}, ["got 'zzz'", "Pass one of them"]),
    "no header": ("1.5,2,3\n4,5.5,6\n", {}, ["first line", "names the columns"]),
    "drop missing": (blob_frame(), {"drop": ["f"]}, ["data.drop", "got 'f'"]),
    "wrong separator": ("a;b;kind\n1;2;x\n", {}, ["single column", "data.separator=';'"]),
    "row numbers": (",a,kind\n0,1,x\n1,2,y\n", {}, ["without a name", "index=False", "data.drop=['Unnamed: 0']"]),
    "NaN": (dirty(b=np.nan, d=np.nan), {}, ["'b' (1), 'd' (1)", "Pass data.missing=impute to"]),
    "infinite": (dirty(b=np.inf), {}, ["missing cells in 'b' (1)", "Pass data.missing=impute to"]),
    "categories": (
        blob_frame(colour=["red", "blue"] * 60, shape="round"),
        {},
        ["a single value in 'shape'", "'colour' (2 values)", "Pass 'data.drop=[shape]' data.categories=onehot to"],
    ),
    "stray text": (dirty(c="?"), {}, ["text among numbers in 'c' (1 such as '?')", "Pass data.missing=impute to"]),
    "target NaN": (dirty(kind=np.nan), {}, ["'kind' (1)", "a target that misses values", "Pass data.missing=drop to"]),
    "one class": (blob_frame(kind="ant"), {}, ["two different values", "only ant"]),
    "one value": (blob_frame(kind=3.5), {}, ["two different values", "only 3.5"]),
    "small class": (dirty(kind="dog"), {}, ["'dog' with 1 of all 120", "none in the", "fewer than 3 samples"]),
    "large parts": (
        blob_frame(kind=np.array(["ant", "bee", "cat"])[np.minimum(np.arange(120) // 3, 2)]),
        {"test": 0.6, "validation": 0.3},
        ["have none in the 12 of the training part", "with 3 of all 120", "a smaller data.validation or data.test"],
    ),
    "small part": (
        blob_frame(),
        {"test": 0.01},
        ["classes have none in the 1 of the test part", "data.test of 0.03 or more"],
    ),
    "empty part": (blob_frame(kind=np.arange(120.0)), {"test": 0.001}, ["test part of 120 samples is empty", "0.001"]),
    "no samples": ("a,kind\n", {}, ["must hold samples", "got 0 samples"]),
    "no features": (blob_frame()[["kind"]], {}, ["0 features"]),
    "one feature": (blob_frame()[["a", "kind"]], {}, ["single feature", "data.scale_samples=false"]),
    "unknown task": (blob_frame(), {"task": "cluster"}, ["auto, classification, regression", "'cluster'"]),
    "text regression": (blob_frame(), {"task": "regression"}, ["hold numbers", "'ant'", "data.task=classification"]),
    "two classes columns": (
        blob_frame(),
        {"target": ["a", "b"], "drop": ["kind"], "task": "classification"},
        ["one target", "got 2"],
    ),
    "image shape": (blob_frame(), {"image_shape": [2, 3]}, ["multiply up to the 5", "2x3 = 6"]),
    "image axes": (blob_frame(), {"image_shape": [5]}, ["[height, width]", "got [5]"]),
    "image zero": (blob_frame(), {"image_shape": [0, 5]}, ["[height, width]", "got [0, 5]"]),
    "empty file": ("", {}, ["CSV format", "can't be read", "No columns"]),
    "ragged": ("a,kind\n1,x\n1,2,3,4\n", {}, ["CSV format", "can't be read", "line 3"]),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables_are_told_what_to_mend(case: str, tmp_path: Path) -> None:
    content, options, needles = BAD_TABLES[case]
    path = tmp_path / "own.csv"
    path.write_text(content if isinstance(content, str) else content.to_csv(index=False))
    with pytest.raises(ValueError, match=re.escape(needles[0])) as caught:
        runner.data.csv(**{"path": str(path), "target": "kind"} | options)
    for needle in needles:
        assert needle in str(caught.value)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    blob_frame().to_csv(tmp_path / "flowers.csv", index=False)
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(FileNotFoundError, match=r"none at .*flower\.csv\. Pass data\.path=.*flowers\.csv"):
        runner.data.csv(path=str(tmp_path / "flower.csv"), target="kind")
    with pytest.raises(FileNotFoundError, match="CSV format"):
        runner.data.csv(path=str(tmp_path), target="kind")
    with pytest.raises(ValueError, match=r"Parquet format; .*text\.parquet can't be read as one"):
        runner.data.parquet(path=str(tmp_path / "text.parquet"), target="kind")
    with pytest.raises(ValueError, match=r"NPZ format; .* wasn't written by np\.savez"):
        runner.data.npz(path=str(tmp_path / "text.parquet"))


def test_numbers_stored_as_text_or_as_spans_of_time_are_numbers(tmp_path: Path) -> None:
    frame = blob_frame()
    frame["span"] = pd.to_timedelta(np.arange(120) % 7, "s")
    plain = frame.assign(span=frame["span"].dt.total_seconds())
    for name, stored in {"plain": plain, "stored": frame.assign(a=frame["a"].astype(str))}.items():
        stored.to_parquet(tmp_path / f"{name}.parquet")
    expected, found = (
        runner.data.parquet(path=str(tmp_path / f"{name}.parquet"), target="kind") for name in ("plain", "stored")
    )
    np.testing.assert_array_equal(found.x_train, expected.x_train)


X, Y = blobs()
BAD_ARRAYS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no y": ({"x": X}, ["x and y", "got x", "np.savez(path, x=x, y=y)"]),
    "flat x": ({"x": X[:, 0], "y": Y}, ["(samples, features)", "(120,)"]),
    "empty x": ({"x": X[:0], "y": Y[:0]}, ["(samples, features)", "(0, 5)"]),
    "text x": ({"x": X.astype(str), "y": Y}, ["must hold numbers", "<U"]),
    "lengths": ({"x": X, "y": Y[:-1]}, ["each of the 120", "(119,)"]),
    "cubic y": ({"x": X, "y": np.zeros((120, 2, 2))}, ["(120, outputs)", "(120, 2, 2)"]),
    "complex y": ({"x": X, "y": Y * 1j}, ["label or number", "complex128"]),
    "NaN in x": ({"x": np.where(X > 4, np.nan, X), "y": Y}, ["NaN or infinite", "keep = np.isfinite(x"]),
    "NaN in y": ({"x": X, "y": np.where(Y > 1, np.inf, Y)}, ["y in", "got 40", "keep = np.isfinite(y"]),
    "objects": (
        {"x": X, "y": np.array(["a", None] * 60, object)},
        ["Object arrays", "allow_pickle=False", "y.astype(str)"],
    ),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_are_told_what_to_mend(case: str, tmp_path: Path) -> None:
    arrays, needles = BAD_ARRAYS[case]
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(ValueError, match=re.escape(needles[0])) as caught:
        runner.data.npz(path=str(tmp_path / "own.npz"))
    for needle in needles:
        assert needle in str(caught.value)


def test_the_remedy_for_arrays_mends(tmp_path: Path) -> None:
    path, x, y = tmp_path / "own.npz", X.reshape(120, 5, 1).copy(), Y.astype(float)
    x[3, 0], y[5] = np.nan, np.inf
    for _ in range(2):  # x first, then y
        np.savez(path, x=x, y=y)
        with pytest.raises(ValueError, match="samples: ") as caught:
            runner.data.npz(path=str(path))
        space = {"np": np, "x": x, "y": y, "path": path}
        exec(str(caught.value).partition("samples: ")[2].removesuffix("."), space)
        with np.load(path) as arrays:
            x, y = arrays["x"], arrays["y"]
    assert runner.data.npz(path=str(path)).task == "regression"
    assert len(x) == 118


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: runner.data.iris(test=0), ValueError, r"data\.test must be a fraction .* got 0\."),
        (lambda: runner.data.iris(validation=-0.1), ValueError, r"data\.validation .* got -0\.1"),
        (lambda: runner.data.iris(test=1.0), ValueError, r"data\.test .* got 1\.0"),
        (lambda: runner.data.iris(test=float("nan")), ValueError, r"data\.test .* got nan"),
        (lambda: runner.data.iris(test=0.5, validation=0.5), ValueError, r"less than 1.* got 0\.5 \+ 0\.5"),
        (lambda: runner.data.iris(test="many"), TypeError, r"data\.test .* got 'many'"),
        (lambda: runner.data.iris(split_seed=-1), ValueError, r"data\.split_seed must be at least 0; got -1"),
        (lambda: runner.data.iris(split_seed=1.5), TypeError, r"data\.split_seed .* got 1\.5"),
        (lambda: runner.data.iris(standardize="maybe"), TypeError, r"data\.standardize must be true or false"),
        (lambda: runner.data.iris(scale_samples=1), TypeError, r"data\.scale_samples must be true or false; got 1"),
        (lambda: runner.data.iris(colour=1), TypeError, "colour"),
        (lambda: runner.data.gaussian_noise(samples=0), ValueError, r"data\.samples must be at least 1; got 0"),
        (lambda: runner.data.gaussian_noise(classes=True), TypeError, r"data\.classes .* got True"),
        (lambda: runner.data.gaussian_noise(classes=1), ValueError, "two different values"),
        (lambda: runner.data.two_spirals(seed=-1), ValueError, r"data\.seed must be at least 0"),
        (lambda: runner.data.two_spirals(noise=-1), ValueError, r"data\.noise .* got -1"),
        (lambda: runner.data.linear_teacher(noise=float("nan")), ValueError, r"data\.noise .* got nan"),
        (lambda: runner.data.linear_teacher(outputs=3), ValueError, r"data\.modes must be 1 to 3"),
        (lambda: runner.data.linear_teacher(modes=[1, -1]), ValueError, r"got \[1, -1\]"),
        (lambda: runner.data.linear_teacher(modes=[]), ValueError, r"got \[\]"),
    ],
)
def test_parameters_out_of_range(call: Callable[[], Dataset], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
