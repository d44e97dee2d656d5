"""Recording: local files that survive anything, and an MLflow store, database or server, beside them."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy
import yaml

from runner.config.secrets import without_password
from runner.records import Outcome, Rows, Session, Tracking
from runner.tracking import Recorder, archives, files, metric_name, mlflow_tables, origin, read
from runner.tracking.address import locate, silence, viewer
from runner.tracking.entries import entry_of
from runner.tracking.facts import _source
from runner.tracking.frames import frames
from runner.tracking.metrics import BUDGET, select, thin
from runner.tracking.notes import LONGEST_TAG, session_note
from runner.tracking.store import Store
from tests.postgresql import INITDB, PG_CTL, postgresql

ROOT = Path(__file__).parents[1]
START, END = 1_700_000_000.25, 1_700_000_042.5

# MLflow's own queries, with SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

BY_LAYER = ("weight_std", "weight_rms", "activation_rms", "preactivation_rms", "gradient_std")


def trial(name: str = "he", seed: int = 0, **training: Any) -> Any:
    """What recording reads of a trial."""
    config = {
        "seed": seed,
        "outputs": "outputs",
        "scheme": {"_target_": "weightinit.schemes.he", "scale": 2.0},
        "architecture": {"_target_": "weightinit.nn.mlp", "widths": [128, 128], "bias": True},
        "training": {"steps": 420, "epochs": None} | training,
        "tracking": {"backend": "mlflow", "uri": None, "experiment": "weightinit", "figures": True},
    }
    rng = np.random.default_rng(0)
    dataset = SimpleNamespace(
        name="digits", task="classification", digest="0123456789abcdef" * 4, source="scikit-learn, 1797 samples",
        classes=tuple("0123456789"), x_train=rng.normal(size=(30, 64)), y_train=np.arange(30) % 10,
        x_validation=np.zeros((5, 64)), x_test=np.zeros((7, 64)),
    )  # fmt: skip
    return SimpleNamespace(
        config=config, key=f"{name}-{seed}".encode().hex().ljust(64, "0"), name=f"{name} s{seed}",
        choices={"scheme": name, "data": "digits"}, overrides=(f"scheme={name}", f"seed={seed}", "data.note=a b"),
        network=SimpleNamespace(shape="64-2x128-10"), dataset=dataset,
    )  # fmt: skip


def every(steps: int, times: int) -> range:
    return range(0, steps + 1, max(steps // times, 1))


def rows(depth: int = 2, steps: int = 420) -> Rows:
    """What a run measures: the state at both ends, statistics by layer at 11 steps, losses."""
    layers = [f"hidden/{i}" for i in range(1, depth + 1)] + ["output"]
    found: list[tuple[int, str, str, float]] = []
    for index, layer in enumerate(layers, start=1):
        found += [(0, f"predicted_{name}", layer, 100.0 + index) for name in ("preactivation_rms", "activation_rms")]
        for quantity in BY_LAYER:
            if (layer, quantity) != ("output", "activation_rms"):
                found += [(0, f"init_{quantity}", layer, index + 0.5), (steps, f"final_{quantity}", layer, 0.25)]
                found += [(step, quantity, layer, index + step / 1000) for step in every(steps, 10)]
    for step in every(steps, 20):
        found += [(step, "validation_loss", "", 2.0 - step / 1000), (step, "validation_accuracy", "", step / 1000)]
    return Rows.of(found + [(step, "train_loss", "", 2.3 - step / 1000) for step in range(steps + 1)])


def outcome(of: Any, **fields: Any) -> Outcome:
    """A finished run of the trial ``of``, or what ``fields`` make of it."""
    summary = {"test_accuracy": 0.96, "validation_accuracy": 0.95, "steps_to_loss_0.5": 27.0, "init_ratio": np.inf}
    return replace(Outcome(of.key, "finished", rows(), summary, START, END), **fields)


def session(directory: Path, *, multirun: bool = True, name: str = "scheme=xavier,he") -> Session:
    return Session(name, directory, ("scheme=xavier,he", "seed=range(0,2)"), multirun, "f00d" * 16, 2)


def tracking(outputs: Path, **fields: Any) -> Tracking:
    return replace(Tracking("mlflow", None, "weightinit", figures=True, outputs=outputs), **fields)


def put(recorder: Recorder, of: Any, result: Outcome) -> None:
    """Records a run as a sweep does that has nothing else to do."""
    recorder.record([(of, result)])
    while recorder.send():
        pass


# What goes to MLflow


@pytest.mark.parametrize(
    ("quantity", "layer", "name"),
    [
        ("train_loss", "", "train_loss"),
        ("weight_std", "hidden/2", "weight_std/hidden_002"),
        ("activation_rms", "block/3/attention/out", "activation_rms/block_003_attention_out"),
        ("gradient_std", "hidden/1024", "gradient_std/hidden_1024"),
        ("steps_to_loss_0.5", "", "steps_to_loss_0.5"),
        ("σ²", "conv2d/1", "__/conv2d_001"),
    ],
)
def test_metric_names_sort_layers_and_hold_what_mlflow_accepts(quantity: str, layer: str, name: str) -> None:
    assert metric_name(quantity, layer) == name


@pytest.mark.parametrize("steps", [1, 10, 420, 20_000])
@pytest.mark.parametrize("depth", [0, 1, 6, 10, 30, 100, 400])
def test_a_run_of_any_size_keeps_within_the_budget(depth: int, steps: int) -> None:
    kept = select(outcome(trial(), rows=rows(depth, steps))).points
    assert len(kept) <= BUDGET + 10
    if depth >= 6 and steps >= 420:
        assert len(kept) > BUDGET * 0.8
    names = {point.key for point in kept}
    assert {"train_loss", "validation_loss", "init_by_layer/activation_rms", "weight_std/output"} <= names
    assert depth == 0 or {"gradient_std/hidden_001", "activation_rms/hidden_001"} <= names
    losses = [point.step for point in kept if point.key == "train_loss"]
    assert losses[0] == 0
    assert losses[-1] == steps
    assert np.ptp(np.diff(losses)) <= 1
    weights = [point.step for point in kept if point.key == "weight_std/output"]
    assert (weights[0], weights[-1]) == (0, every(steps, 10)[-1])
    assert steps < 420 or len(weights) >= 5


@pytest.mark.parametrize(("runs", "rows_each"), [(1, 300), (1_000, 300), (3_000, 100), (10_000, 60), (10**6, 60)])
def test_a_run_of_a_large_sweep_has_fewer_rows_and_keeps_summary_and_ends(
    runs: int, rows_each: int, tmp_path: Path
) -> None:
    large = replace(session(tmp_path), total=runs)
    found = outcome(trial(), rows=rows(10, 420), summary={f"number_{i}": float(i) for i in range(20)})
    metrics = entry_of(trial(), found, large, {}).metrics
    assert 0.8 * rows_each < len(metrics) <= rows_each
    assert {f"number_{i}" for i in range(20)} <= {key for key, *_ in metrics}
    for name in ("train_loss", "weight_std/hidden_001", "weight_std/output"):
        steps = [step for key, _, _, step in metrics if key == name]
        assert (min(steps), max(steps)) == (0, 420)
    assert ("metric rows here" in session_note(large)) == (rows_each < 300)
    assert runs > 5_000 or runs * len(metrics) <= 300_000


@pytest.mark.parametrize("depth", [6, 10, 30, 400])
def test_the_note_of_a_run_names_the_layers_that_mlflow_shows_if_it_leaves_some_out(depth: int) -> None:
    selection = select(outcome(trial(), rows=rows(depth, 420)))
    layers = [*(f"hidden/{number}" for number in range(1, depth + 1)), "output"]
    shown = {point.key.partition("/")[2] for point in selection.points if point.key.startswith("weight_std/")}
    assert {name for name in layers if metric_name("", name)[1:] in shown} == (
        set(re.findall(r"hidden/\d+|output", selection.left_out)) or set(layers)
    )
    at_start = [point.step for point in selection.points if point.key == "init_by_layer/activation_rms"]
    if len(at_start) < depth + 1:
        assert f"the initial state shows {len(at_start)} of {depth + 1} layers" in selection.left_out
    assert (selection.left_out != "") == (depth > 10)


def test_what_theory_expects_goes_beside_what_was_measured_with_the_scatter_of_its_width() -> None:
    found = [
        (0, quantity, layer, value)
        for layer, factor in (("hidden/1", 1.0), ("hidden/2", 2.0), ("output", 4.0))
        for quantity, value in (
            ("init_activation_rms", 1.14 * factor), ("predicted_activation_rms", factor), ("predicted_scatter", 0.14),
            ("init_gradient_std", 0.3 / factor), ("predicted_gradient_std", 0.2 / factor),
            ("predicted_gradient_scatter", 0.2),
        )
    ]  # fmt: skip
    kept = select(outcome(trial(), rows=Rows.of([*found, (0, "init_activation_rms", "unknown", 1.0)]))).points
    layers = {point.key.removeprefix("init_by_layer/"): [] for point in kept if "init_by_layer" in point.key}
    for point in kept:
        if "init_by_layer" in point.key:
            layers[point.key.removeprefix("init_by_layer/")].append(pytest.approx(point.value))
    assert layers["predicted"] == [1.0, 2.0, 4.0]
    assert layers["activation_ratio"] == [1.14] * 3
    assert layers["activation_scatter"] == [0.14] * 3
    assert layers["predicted_gradient"] == [0.2, 0.1, 0.05]
    assert layers["gradient_ratio"] == [1.5] * 3
    assert layers["gradient_scatter"] == [0.2] * 3
    assert len(layers["activation_rms"]) == 4  # where theory is silent there is no ratio


def test_what_is_said_of_a_run_comes_back_from_its_files(tmp_path: Path) -> None:
    labels = {"audit": "follows", "measured_fate": "stable", "predicted_fate": "decays"}
    runs = [(trial(seed=0), outcome(trial(seed=0), labels=labels)), (trial(seed=1), outcome(trial(seed=1)))]
    table, points_table = frames(runs)
    files.write(tmp_path, [one for _, one in runs], table, points_table)
    back = files.outcomes(tmp_path)
    assert [back[one.key].labels for _, one in runs] == [labels, {}]
    assert back[runs[0][1].key].summary["test_accuracy"] == 0.96
    assert entry_of(*runs[0], session(tmp_path), {}).tags.items() >= labels.items()


def test_thinning_keeps_the_ends_and_never_repeats() -> None:
    for size in range(1, 60):
        for most in range(2, 60):
            kept = thin(range(size), most)
            assert (kept[0], kept[-1], len(kept)) == (0, size - 1, min(size, most))
            assert len(set(kept)) == len(kept)


def test_the_state_at_initialization_is_a_curve_over_layers() -> None:
    kept = select(outcome(trial())).points
    curves = {
        name: [(point.step, point.value) for point in kept if point.key == f"init_by_layer/{name}"]
        for name in ("activation_rms", "predicted", "gradient_std")
    }
    # the output has no activation but its pre-activation
    assert curves["activation_rms"] == curves["gradient_std"] == [(1, 1.5), (2, 2.5), (3, 3.5)]
    assert curves["predicted"] == [(1, 101.0), (2, 102.0), (3, 103.0)]


def test_the_summary_is_the_last_word_and_nothing_infinite_is_sent() -> None:
    bad = Rows.of([*zip(range(3), ["train_loss"] * 3, [""] * 3, [1.0, np.inf, np.nan], strict=True)])
    kept = select(outcome(trial(), rows=bad, fate="diverged", diverged_at_step=1, summary={"test_loss": np.nan})).points
    assert [(point.key, point.value) for point in kept] == [("train_loss", 1.0), ("diverged_at_step", 1.0)]
    accuracy = [point for point in select(outcome(trial())).points if point.key == "validation_accuracy"]
    assert [point.step for point in accuracy].count(420) == 1
    assert accuracy[-1][1:] == (0.95, 420, END)
    assert accuracy[0].time == START
    halfway = next(point for point in accuracy if point.step == 210)
    assert halfway.time == pytest.approx((START + END) / 2)


# Local files


def kept(directory: Path, *runs: tuple[Any, Outcome]) -> None:
    """Records locally as a process does that is then killed: no merge."""
    recorder = Recorder(session(directory), tracking(directory.parent, backend="none"))
    recorder.check()
    for of, result in runs:
        put(recorder, of, result)


def same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    def plain(table: pd.DataFrame) -> list[dict[str, Any]]:
        return [{k: None if pd.isna(v) else v for k, v in row.items()} for row in table.to_dict("records")]

    assert list(left) == list(right)
    assert plain(left) == plain(right)


def test_what_is_read_back_is_what_was_recorded(tmp_path: Path) -> None:
    he, xavier, bad = trial("he"), trial("xavier", seed=1, epochs=2.5), trial("broken")
    recorded = [
        (he, outcome(he)),
        (xavier, outcome(xavier, fate="diverged", diverged_at_step=7)),
        (bad, outcome(bad, fate="failed", error="ValueError: no", rows=Rows.of([]), summary={})),
    ]
    kept(tmp_path / "run", *recorded)
    expected = frames(recorded)
    for _ in range(2):
        for found, wanted in zip(read(tmp_path / "run"), expected, strict=True):
            same(found, wanted)
        types = read(str(tmp_path / "run"))[1].dtypes.astype(str).tolist()
        assert types == ["category", "int64", "category", "category", "float64"]
        files.merge(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock", "curves.parquet", "runs.parquet"]


def test_an_end_at_any_moment_of_merging_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [(trial(seed=seed), outcome(trial(seed=seed))) for seed in range(3)]
    kept(tmp_path, *runs[:2])
    expected = frames(runs[:2])
    steps = 0
    for name, owner in (("replace", os), ("unlink", Path)):
        for allowed in range(2):
            done = iter(range(allowed))
            original = getattr(owner, name)

            def dies(*args: Any, original: Any = original, done: Iterator[int] = done) -> None:
                if next(done, None) is None:
                    raise KeyboardInterrupt
                original(*args)

            with monkeypatch.context() as patch:
                patch.setattr(owner, name, dies)
                with pytest.raises(KeyboardInterrupt):
                    files.merge(tmp_path)
            for found, wanted in zip(read(tmp_path), expected, strict=True):
                assert sorted(found["key"]) == sorted(wanted["key"])
            steps += 1
    assert steps == 4
    kept(tmp_path, runs[2], runs[0])
    assert files.merge(tmp_path)["name"].tolist() == ["he s1", "he s2", "he s0"]
    assert len(read(tmp_path)[1]) == 3 * len(rows())
    assert not (tmp_path / "shards").exists()


def test_a_shard_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = trial(seed=0), trial(seed=1)
    kept(tmp_path, (first, outcome(first)))
    with monkeypatch.context() as patch:
        patch.setattr(files.pa.ipc, "new_stream", lambda file, schema: file.write(b"half") and 1 / 0)
        with pytest.raises(ZeroDivisionError):
            kept(tmp_path, (second, outcome(second)))
    assert read(tmp_path)[0]["name"].tolist() == ["he s0"]
    files.merge(tmp_path)
    assert not (tmp_path / "shards").exists()


def test_columns_of_different_types_are_merged(tmp_path: Path) -> None:
    runs = [trial(seed=i, threshold=value) for i, value in enumerate([1, 0.5, None, "auto"])]
    runs += [trial(seed=i, threshold=0.25, flag=value) for i, value in enumerate([1, 2.5, None], start=4)]
    kept(tmp_path, *((of, outcome(of)) for of in runs))
    table = files.merge(tmp_path)
    assert table["training.threshold"].tolist()[:2] == ["1", "0.5"]
    assert table["training.threshold"].tolist()[3:] == ["auto", "0.25", "0.25", "0.25"]
    assert table["training.flag"].tolist()[4:6] == [1.0, 2.5]
    assert table["training.flag"].isna().sum() == 5


def test_arrays_stay_beside_the_tables(tmp_path: Path) -> None:
    of = trial()
    arrays = {"histogram/weight/hidden/1": np.arange(6.0).reshape(2, 3), "final/output/weight": np.ones(4, np.float32)}
    kept(tmp_path, (of, outcome(of, arrays=arrays)))
    files.merge(tmp_path)
    with np.load(tmp_path / "arrays" / f"{of.key}.npz") as found:
        assert set(found) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array, strict=True)


def test_an_empty_directory_says_so(tmp_path: Path) -> None:
    assert files.merge(tmp_path).empty
    with pytest.raises(FileNotFoundError, match=r"runs\.parquet.*holds none"):
        read(tmp_path)


def test_outputs_that_cannot_be_written_are_found_before_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="outputs must be a folder that can be written"):
        Recorder(session(tmp_path / "run"), tracking(tmp_path / "file" / "outputs")).check()


# Addresses


@pytest.mark.parametrize(
    ("uri", "located"),
    [
        (None, "sqlite:////lab/mlflow.db"),
        ("sqlite:////data/x.db", "sqlite:////data/x.db"),
        ("sqlite:///x.db", f"sqlite:///{Path.cwd()}/x.db"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("postgresql+psycopg2://u:secret@host/db", "postgresql+psycopg2://u:secret@host/db"),
        ("databricks", "databricks"),
    ],
)
def test_addresses_of_databases_and_servers(uri: str | None, located: str) -> None:
    found, file, artifacts = locate(tracking(Path("/lab"), uri=uri))
    assert found == located
    assert (file is not None) == located.startswith("sqlite")
    assert artifacts == (None if located.startswith(("http", "databricks")) else "file:///lab/mlartifacts")


@pytest.mark.parametrize(
    ("installed", "scheme"),
    [
        ({"psycopg"}, "postgresql+psycopg"),
        ({"psycopg", "psycopg2"}, "postgresql+psycopg"),
        ({"psycopg2"}, "postgresql"),
        (set(), "postgresql"),
    ],
)
def test_postgresql_takes_the_driver_that_is_installed(
    installed: set[str], scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.tracking.address.find_spec", lambda name: name if name in installed else None)
    assert locate(tracking(Path("/lab"), uri="postgresql://u:p@host/db"))[0] == f"{scheme}://u:p@host/db"


@pytest.mark.parametrize(
    "uri", ["file:///tmp/mlruns", "./mlruns", "", "sqlite://", "sqlite:///:memory:", "ftp://host", "mysql"]
)
def test_an_address_that_mlflow_cannot_record_to_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tracking\.uri must be .* got .*sqlite:///"):
        Recorder(session(tmp_path), tracking(tmp_path, uri=uri))


def test_passwords_are_not_shown() -> None:
    assert without_password("at http://me:secret@host/x and mysql://u:p@h") == "at http://***@host/x and mysql://***@h"


def test_a_server_that_is_not_there_is_said_within_three_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        for port, reason in ((free_port(), "refused"), (mute.getsockname()[1], "timed out|no answer")):
            recorder = Recorder(session(tmp_path / "run"), tracking(tmp_path, uri=f"http://127.0.0.1:{port}"))
            message = rf"127.0.0.1:{port} \(.*({reason}).*mlflow server --port {port}.*SQLite"
            start = time.perf_counter()
            with pytest.raises(ValueError, match=message), recorder:
                pass
            assert time.perf_counter() - start < 3


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# MLflow on SQLite


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs of mine")


@pytest.fixture(scope="module")
def client(outputs: Path) -> Any:
    with Recorder(session(outputs / "first", multirun=False), tracking(outputs)):
        pass
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{outputs}/mlflow.db")


def runs_of(client: Any, experiment: str = "weightinit") -> list[Any]:
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id], order_by=["attributes.run_name"])) if found else []


@pytest.fixture(scope="module")
def sweep(client: Any, outputs: Path) -> dict[str, Any]:
    """The MLflow runs of a sweep of three by name; the parent's is ``parent``."""
    he, bad, diverged = trial("he"), trial("bad"), trial("wild")
    figure = outputs / "rms.png"
    figure.write_bytes(b"png")
    drawn: list[int] = []

    def draw() -> dict[str, Path]:
        drawn.append(len(read(outputs / "sweep")[0]))
        return {"rms": figure}

    with Recorder(session(outputs / "sweep", name="parent"), tracking(outputs, experiment="sweep")) as recorder:
        put(recorder, he, outcome(he, notes=("Half of the signal is lost.",)))
        put(recorder, bad, outcome(bad, fate="failed", error="ValueError: x" * 1000, rows=Rows.of([]), summary={}))
        put(recorder, diverged, outcome(diverged, fate="diverged", diverged_at_step=3, summary={}))
        recorder.finish(figures=draw, text=lambda: "scheme  test acc\nhe          .960\n" + "more\n" * 2000)
    assert drawn == [3]
    return {run.info.run_name: run for run in runs_of(client, "sweep")}


def test_a_sweep_is_a_parent_with_a_child_for_each_run(sweep: dict[str, Any]) -> None:
    parent = sweep["parent"]
    parents = {name: run.data.tags.get("mlflow.parentRunId") for name, run in sweep.items()}
    assert parents == {"parent": None, **dict.fromkeys(("he s0", "bad s0", "wild s0"), parent.info.run_id)}
    statuses = {name: run.info.status for name, run in sweep.items()}
    assert statuses == {"parent": "FAILED", "he s0": "FINISHED", "bad s0": "FAILED", "wild s0": "FINISHED"}
    assert parent.data.metrics == {
        "runs_finished": 1, "runs_diverged": 1, "runs_failed": 1, "best_validation_accuracy": 0.95,
    }  # fmt: skip


def test_a_run_says_where_it_is_from(sweep: dict[str, Any], outputs: Path) -> None:
    tags = sweep["he s0"].data.tags
    assert tags["sweep_id"] == "f00d" * 16 == sweep["parent"].data.tags["sweep_id"]
    assert tags["trial_key"] == trial("he").key
    assert (tags["fate"], tags["network"]) == ("finished", "64-2x128-10")
    assert (tags["host"], tags["pid"]) == (socket.gethostname(), str(os.getpid()))
    assert tags["numpy"] == np.__version__
    assert {"python", "weightinit", "mlflow.user", "mlflow.source.name", "cpu", "cores", "platform"} <= set(tags)
    note = tags["mlflow.note.content"]
    assert note.startswith("`python -m runner scheme=he seed=0 'data.note=a b'`")
    assert "Half of the signal is lost." in note
    assert str(outputs / "sweep") in note
    assert sweep["wild s0"].data.tags["fate"] == "diverged"
    assert sweep["wild s0"].data.metrics["diverged_at_step"] == 3
    assert sweep["bad s0"].data.tags["error"].startswith("ValueError: x")


def test_the_sweep_says_what_it_showed(sweep: dict[str, Any], client: Any, outputs: Path) -> None:
    note = sweep["parent"].data.tags["mlflow.note.content"]
    assert note.startswith("```\nscheme  test acc\nhe          .960\nmore\n")
    assert 4_000 < len(note) <= LONGEST_TAG
    assert "more\n...\n```\n" in note
    assert "`python -m runner scheme=xavier,he 'seed=range(0,2)' -m`" in note
    assert str(outputs / "sweep") in note
    about = client.get_experiment_by_name("sweep").tags
    assert about["mlflow.experimentKind"] == "custom_model_development"
    assert "compared by **weightinit**" in about["mlflow.note.content"]


def test_git_says_what_was_run(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        named = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
        command = ["git", "-C", str(tmp_path), *named, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert _source(tmp_path) == {}
    git("init", "-q", "-b", "topic")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    found = {"commit": git("rev-parse", "HEAD"), "branch": "topic", "dirty": "false"}
    assert _source(tmp_path) == {f"mlflow.source.git.{name}": value for name, value in found.items()}
    (tmp_path / "file").write_text("2")
    assert _source(tmp_path)["mlflow.source.git.dirty"] == "true"
    (installed := tmp_path / "site-packages").mkdir()
    assert _source(installed) == {}, "the commit of another project says nothing of the lab"


def test_what_opens_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = tracking(tmp_path / "outputs")
    assert viewer(mine) == "python -m mlflow ui --backend-store-uri sqlite:///outputs/mlflow.db"
    (tmp_path / "Makefile").write_text("all:\n")
    assert viewer(mine) == "python -m mlflow ui --backend-store-uri sqlite:///outputs/mlflow.db"
    (tmp_path / "Makefile").write_text("ui:\n")
    assert viewer(mine) == "make ui"
    assert viewer(tracking(tmp_path / "else where")) == (
        "python -m mlflow ui --backend-store-uri 'sqlite:///else where/mlflow.db'"
    )
    away = tmp_path.parent / "away"
    assert viewer(tracking(away)) == f"python -m mlflow ui --backend-store-uri sqlite:///{away}/mlflow.db"
    assert viewer(replace(mine, uri="http://me:secret@host:5000")) == "http://***@host:5000"
    shown = viewer(replace(mine, uri="postgresql+psycopg://me:secret@host/db"))
    assert shown == "python -m mlflow ui --backend-store-uri 'postgresql+psycopg://***@host/db'"
    assert viewer(replace(mine, backend="none")) is None
    page = "#/experiments/7/runs?workflowType=machine_learning"
    assert viewer(mine, "7") == f"make ui, then http://localhost:5000/{page}"
    assert viewer(replace(mine, uri="http://host:80/ml/"), "7") == f"http://host:80/ml/{page}"


def test_times_are_the_true_ones(sweep: dict[str, Any]) -> None:
    assert (sweep["he s0"].info.start_time, sweep["he s0"].info.end_time) == (START * 1000, END * 1000)
    parent = sweep["parent"].info
    assert 0 <= parent.end_time - parent.start_time < 60_000
    assert abs(time.time() * 1000 - parent.end_time) < 600_000


def test_parameters_are_the_flattened_config(sweep: dict[str, Any]) -> None:
    assert sweep["he s0"].data.params == {
        "scheme": "he", "data": "digits", "network": "64-2x128-10", "seed": "0", "scheme.scale": "2.0",
        "architecture.widths": "[128, 128]", "architecture.bias": "true", "training.steps": "420",
        "training.epochs": "null",
    }  # fmt: skip


def test_metrics_have_the_steps_they_were_measured_at(client: Any, sweep: dict[str, Any]) -> None:
    run_id = sweep["he s0"].info.run_id
    history = client.get_metric_history(run_id, "init_by_layer/activation_rms")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.5), (2, 2.5), (3, 3.5)]
    history = client.get_metric_history(run_id, "weight_std/hidden_002")
    assert [(m.step, m.value) for m in history] == [(s, 2 + s / 1000) for s in range(0, 421, 42)]
    assert {round(m.timestamp - START * 1000 - m.step * (END - START) * 1000 / 420) for m in history} == {0}
    assert sweep["he s0"].data.metrics["test_accuracy"] == 0.96
    assert "init_ratio" not in sweep["he s0"].data.metrics


def test_the_data_set_is_an_input(sweep: dict[str, Any]) -> None:
    (entry,) = sweep["he s0"].inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("digits", ("0123456789abcdef" * 4)[:36])
    assert entry.tags[0].value == "training"
    assert json.loads(entry.dataset.profile) == {
        "task": "classification", "classes": 10, "training": 30, "validation": 5, "test": 7,
    }  # fmt: skip
    from mlflow.data import get_source
    from mlflow.data.schema import TensorDatasetSchema

    schema = TensorDatasetSchema.from_dict(json.loads(entry.dataset.schema))
    assert schema.features.inputs[0].shape == (-1, 64)
    assert get_source(entry).to_dict()["tags"]["mlflow.source.name"] == "scikit-learn, 1797 samples"


def test_artifacts(client: Any, sweep: dict[str, Any], outputs: Path) -> None:
    def listed(name: str, folder: str | None = None) -> set[str]:
        return {file.path for file in client.list_artifacts(sweep[name].info.run_id, folder)}

    assert listed("he s0") == {"config.yaml"}
    assert listed("parent") == {"runs.parquet", "curves.parquet", "figures"}
    assert listed("parent", "figures") == {"figures/rms.png"}
    path = outputs / "mlartifacts" / sweep["he s0"].info.run_id / "artifacts" / "config.yaml"
    assert yaml.safe_load(path.read_text()) == trial("he").config


def test_a_single_run_has_no_parent_and_the_tables(client: Any, outputs: Path) -> None:
    of = trial()
    options = tracking(outputs, experiment="one", figures=False)
    with Recorder(session(outputs / "one", multirun=False), options) as recorder:
        put(recorder, of, outcome(of))
        recorder.finish(figures=lambda: pytest.fail("no figures are wanted"))
    (run,) = runs_of(client, "one")
    assert "mlflow.parentRunId" not in run.data.tags
    listed = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert listed == {"config.yaml", "runs.parquet", "curves.parquet"}


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, "KILLED"), (RuntimeError, "FAILED"), (None, "FINISHED")]
)
def test_leaving_keeps_what_is_finished(
    client: Any, outputs: Path, error: type[BaseException] | None, status: str
) -> None:
    of, name = trial(), f"left-{status}"
    recorder = Recorder(session(outputs / name, name=name), tracking(outputs, experiment=name))
    with pytest.raises(error) if error else nullcontext(), recorder:
        put(recorder, of, outcome(of))
        if error is not None:
            raise error
    assert {run.info.run_name: run.info.status for run in runs_of(client, name)} == {"he s0": "FINISHED", name: status}
    assert len(read(outputs / name)[0]) == 1


def test_mlflows_global_state_stays_as_it_was(sweep: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    assert mlflow.active_run() is None
    assert "mlflow.db" not in mlflow.get_tracking_uri() or "outputs of mine" not in mlflow.get_tracking_uri()
    assert not {"MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_DISABLE_TELEMETRY"} & set(os.environ)


def test_a_deleted_experiment_is_said_before_work(client: Any, outputs: Path) -> None:
    client.delete_experiment(client.create_experiment("gone"))
    recorder = Recorder(session(outputs / "gone"), tracking(outputs, experiment="gone"))
    with pytest.raises(ValueError, match=r"'gone' was deleted.*tracking\.experiment=NAME"), recorder:
        pass


def test_a_locked_database_is_tried_again_and_other_errors_are_not(tmp_path: Path) -> None:
    store, calls = Store(session(tmp_path), tracking(tmp_path)), []

    def fails(message: str, times: int) -> str:
        calls.append(message)
        if len(calls) <= times:
            raise RuntimeError(message)
        return "done"

    assert store._call(fails, "(sqlite3.OperationalError) database is locked", 3) == "done"
    assert len(calls) == 4
    with pytest.raises(RuntimeError, match="another"):
        store._call(fails, "another", 5)
    assert len(calls) == 5


@pytest.mark.parametrize("way", ["client", "tables"])
def test_what_mlflow_missed_is_sent_at_the_end(
    client: Any, outputs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    """The store fails once in the middle of a run: the run is there once, and complete."""
    first, second = trial(seed=0), trial(seed=1)
    name = f"gap {way}"
    if way == "client":
        monkeypatch.setattr(mlflow_tables, "known", lambda columns: False)
    with Recorder(session(outputs / name, name=name), tracking(outputs, experiment=name)) as recorder:
        assert recorder.store is not None
        with monkeypatch.context() as patch:
            if way == "client":
                patch.setattr(recorder.store._client, "set_terminated", lambda *args: 1 / 0)
            else:  # with the run in its table, in a transaction that is not closed
                patch.setattr(mlflow_tables, "_connect", lambda *args: 1 / 0)
            put(recorder, first, outcome(first))
        put(recorder, second, outcome(second))
        assert len(runs_of(client, name)) == (2 if way == "client" else 1)
    runs = runs_of(client, name)
    assert [(run.info.run_name, run.info.status) for run in runs] == [
        (name, "FINISHED"), ("he s0", "FINISHED"), ("he s1", "FINISHED"),
    ]  # fmt: skip
    found = {run.info.run_name: run for run in runs}
    assert len(client.get_metric_history(found["he s0"].info.run_id, "weight_std/output")) == 11
    assert len(found["he s0"].inputs.dataset_inputs) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "division by zero" in caplog.text


def contents(uri: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of a database, sorted; ids that MLflow draws stand under the name of what they are drawn for."""
    made = sqlalchemy.create_engine(uri)
    with made.connect() as database:

        def asked(query: str) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in database.exec_driver_sql(query)]

        found = {name: asked(f"SELECT * FROM {name}") for name in sqlalchemy.inspect(made).get_table_names()}
        known = {
            **{id: f"run {name}" for id, name in asked("SELECT run_uuid, name FROM runs")},
            **{id: f"data {name}" for id, name in asked("SELECT dataset_uuid, name FROM datasets")},
        }
        known |= {id: f"input of {known[run]}" for id, run in asked("SELECT input_uuid, destination_id FROM inputs")}
    made.dispose()

    def plain(value: Any) -> Any:
        return re.sub(r"[0-9a-f]{32}", lambda id: known.get(id[0], id[0]), value) if isinstance(value, str) else value

    return {name: sorted((tuple(map(plain, row)) for row in rows), key=repr) for name, rows in found.items()}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Address of the databases of a PostgreSQL server."""
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")
    if PG_CTL is None or INITDB is None:
        pytest.skip("PostgreSQL's programs are not installed")
    with postgresql() as found:
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Address of a new database by its name."""
    if request.param == "sqlite":
        return lambda name: f"sqlite:///{tmp_path}/{name}/mlflow.db"
    address = request.getfixturevalue("address")

    def new(name: str) -> str:
        made = sqlalchemy.create_engine(locate(tracking(tmp_path, uri=address.format("postgres")))[0])
        with made.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        made.dispose()
        return str(address.format(name))

    return new


def test_tables_hold_what_the_client_would_put_there(
    database: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row by row, in every table that MLflow has; a run that failed, one that diverged and another data set among."""
    monkeypatch.setattr("time.time", lambda: END)
    runs = [(of, outcome(of)) for of in (trial("he"), trial("xavier"), trial("he", 1), trial("he", 2))]
    runs[1] = (runs[1][0], outcome(runs[1][0], fate="failed", error="ValueError: no", summary={}, rows=Rows.of(())))
    runs[2] = (runs[2][0], outcome(runs[2][0], fate="diverged", diverged_at_step=7))
    runs[3][0].dataset.digest = "another"
    found = {}
    for way in ("client", "tables"):
        uri = database(way)
        if way == "client":
            monkeypatch.setattr(mlflow_tables, "known", lambda columns: False)
        else:
            monkeypatch.undo()
            monkeypatch.setattr("time.time", lambda: END)
            if "sqlite" in uri:
                monkeypatch.setattr("runner.tracking.store.MlflowClient", lambda uri: 1 / 0)  # nobody needs it
        (tmp_path / way).mkdir()
        settings = tracking(tmp_path / way, uri=uri)
        store = Store(session(tmp_path), settings)
        store.open("same")
        assert store.batch == (1 if way == "client" else 64)
        for part in (runs[:1], runs[1:]):
            store.send(part)
        (table := tmp_path / "runs.parquet").write_text("table")
        files = {"": [table], "figures": [table]}
        store.close("FINISHED", {"best_accuracy": 0.5, "runs_failed": 1.0}, files, "what it printed", runs[0][1].key)
        (held,) = (tmp_path / way / "mlartifacts").rglob("figures/runs.parquet")
        assert [path.name for path in sorted(held.parents[1].iterdir())] == ["figures", "runs.parquet"]
        found[way] = contents(locate(settings)[0])
        found[way] = {
            name: [tuple(str(value).replace(f"/{way}/", "/") for value in row) for row in rows]
            for name, rows in found[way].items()
        }
        texts = (tmp_path / way / "mlartifacts").rglob("config.yaml")
        assert [text.read_text().splitlines()[1] for text in texts] == ["outputs: outputs"] * 4
    assert {len(found["tables"][name]) for name in ("runs", "inputs", "datasets")} == {5, 4, 2}
    assert found["tables"] == found["client"]


def test_tables_that_are_not_known_are_left_to_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mlflow_tables._COLUMNS, "metrics", "key value timestamp step run_uuid")
    monkeypatch.setattr(mlflow_tables, "insert", lambda *args: 1 / 0)
    record_four(tmp_path, "he")
    assert len(contents(f"sqlite:///{tmp_path}/mlflow.db")["runs"]) == 5


def test_a_database_of_another_version_of_mlflow_is_left_to_mlflow(tmp_path: Path) -> None:
    record_four(tmp_path, "he")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'another'")
    with pytest.raises(ValueError, match="out-of-date database schema"):
        Store(session(tmp_path), tracking(tmp_path)).open("same")


@pytest.mark.parametrize("where", ["", "no remote", "a remote", "detached", "no commit"])
def test_the_origin_of_a_run_is_what_mlflow_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    from mlflow.tracking.context import registry

    program = tmp_path / "below" / "program.py"
    program.parent.mkdir()
    program.touch()
    identity = ("-c", "user.name=me", "-c", "user.email=me@here")
    made = [
        ["init", "-qb", "trunk/one"],
        [*identity, "commit", "-qm", "first", "--allow-empty"][: 0 if where == "no commit" else None],
        ["remote", "add", "zeta", "https://me:secret@host/z.git"] if where == "a remote" else [],
        ["remote", "add", "alpha", "git@host:a.git"] if where == "a remote" else [],
        ["checkout", "-q", "--detach"] if where == "detached" else [],
    ]
    for words in made if where else []:
        if words:
            subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    monkeypatch.setattr("sys.argv", [str(program)])
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    for provider in registry._run_context_provider_registry:
        if hasattr(provider, "_cache"):
            provider._cache.clear()
    expected = registry.resolve_tags()
    with monkeypatch.context() as patch:
        if where != "no commit":
            patch.setattr(origin, "import_mlflow", lambda: 1 / 0)
        assert origin.tags() == expected
    assert len(expected) == 3 + {"no remote": 2, "a remote": 3, "detached": 1}.get(where, 0)
    monkeypatch.setenv("MLFLOW_RUN_CONTEXT", '{"of": "the job"}')
    assert origin.tags()["of"] == "the job"


ANOTHER_PROCESS = """
import sys
from pathlib import Path
import mlflow
from runner.tracking import line
from tests.test_tracking import record_four
line.TOLD = 60.0  # the first to make tables may take long, which is told
print("ready", flush=True)
sys.stdin.readline()
record_four(Path(sys.argv[1]), "xavier", sys.argv[2])
"""


def record_four(outputs: Path, name: str, uri: str | None = None) -> None:
    with Recorder(session(outputs / name, name=name), tracking(outputs, uri=uri)) as recorder:
        for seed in range(4):
            put(recorder, trial(name, seed), outcome(trial(name, seed)))


def test_two_processes_at_once_on_a_new_store_lose_nothing(database: Callable[[str], str], tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = database("shared")
    code = [sys.executable, "-W", "error::UserWarning", "-c", ANOTHER_PROCESS, str(tmp_path), uri]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(code, cwd=ROOT, text=True, **pipes) as other:  # type: ignore[call-overload]
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        record_four(tmp_path, "he", uri)
        assert (*other.communicate(timeout=120), other.returncode) == ("", "", 0)
    found = runs_of(MlflowClient(locate(tracking(tmp_path, uri=uri))[0]))
    names = ("he", "xavier")
    expected = sorted([*names, *(f"{name} s{seed}" for name in names for seed in range(4))])
    assert [run.info.run_name for run in found] == expected
    assert {run.info.status for run in found} == {"FINISHED"}
    assert {len(run.data.metrics) for run in found if " s" in run.info.run_name} == {8 + 3 + 4 + 2}
    assert {len(run.inputs.dataset_inputs) for run in found if " s" in run.info.run_name} == {1}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_data_set_that_two_insert_at_once_is_there_once(database: Callable[[str], str], tmp_path: Path) -> None:
    """One has inserted it and has yet to commit; the other waits for its end, and takes the same."""
    store = Store(session(tmp_path), tracking(tmp_path, uri=database("data")))
    store.open("one")
    entry = entry_of(trial(), outcome(trial()), store.session, {})
    tables: Any = store._tables
    other = threading.Thread(target=mlflow_tables.insert, args=(tables, "1", [("b" * 32, "", entry)]))
    with tables.begin() as first:
        found = mlflow_tables._dataset(tables, first, 1, entry.input)
        other.start()
        other.join(0.3)
        assert other.is_alive()
    other.join(30)
    with tables.engine.connect() as connection:
        ids = connection.exec_driver_sql("SELECT dataset_uuid FROM datasets").scalars().all()
        assert (ids, connection.exec_driver_sql("SELECT source_id FROM inputs").scalars().all()) == ([found], ids)


WITHOUT_MLFLOW = """
import sys
from pathlib import Path
from tests.test_tracking import Recorder, outcome, put, read, session, tracking, trial
outputs = Path(sys.argv[1])
with Recorder(session(outputs / "run"), tracking(outputs, backend="none", uri="anything")) as recorder:
    put(recorder, trial(), outcome(trial()))
assert len(read(outputs / "run")[0]) == 1
try:
    Recorder(session(outputs / "run"), tracking(outputs, uri="http://127.0.0.1:9")).check()
except ValueError:
    pass
sys.exit("mlflow" in sys.modules)
"""


def test_without_mlflow_it_is_not_imported(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_MLFLOW, str(tmp_path)], cwd=ROOT, check=True, timeout=60)
    assert not (tmp_path / "mlflow.db").exists()


# An MLflow server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """(URI, process) of a real MLflow server."""
    directory, port = tmp_path_factory.mktemp("server"), free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{directory}/mlflow.db",
        "--artifacts-destination", str(directory / "artifacts"),
    ]  # fmt: skip
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while silence(f"http://127.0.0.1:{port}"):
            assert process.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < deadline, (directory / "log").read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}", process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server and its workers, which are its process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait(timeout=30)


def test_a_server_takes_a_sweep_and_its_death_stops_nothing(
    server: tuple[str, subprocess.Popen[bytes]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    uri, process = server
    sweep = [trial(seed=seed) for seed in range(4)]
    with Recorder(session(tmp_path / "kept", name="kept"), tracking(tmp_path, uri=uri)) as recorder:
        put(recorder, sweep[0], outcome(sweep[0]))
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    parent, child = sorted(runs_of(client), key=lambda run: run.info.run_name == "he s0")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (parent.info.status, child.info.status, child.info.end_time) == ("FINISHED", "FINISHED", END * 1000)
    assert len(client.get_metric_history(child.info.run_id, "weight_std/hidden_002")) == 11
    assert len(child.inputs.dataset_inputs) == 1
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {"runs.parquet", "curves.parquet"}

    assert not caplog.records
    assert capfd.readouterr() == ("", "")  # MLflow's client would print two lines a run
    with Recorder(session(tmp_path / "lost", name="lost"), tracking(tmp_path, uri=uri)) as recorder:
        put(recorder, sweep[1], outcome(sweep[1]))
        stop(process)
        start = time.perf_counter()
        put(recorder, sweep[2], outcome(sweep[2]))
        put(recorder, sweep[3], outcome(sweep[3]))
    assert time.perf_counter() - start < 6
    assert read(tmp_path / "lost")[0]["name"].tolist() == ["he s1", "he s2", "he s3"]
    first, last = (record.getMessage() for record in caplog.records)
    assert "Work goes on" in first
    assert "lacks 2 of 3 runs and the sweep's summary" in last
    assert str(tmp_path / "lost") in last


def test_archives_are_to_the_byte_as_numpy_writes_them(tmp_path: Path) -> None:
    values = np.arange(12.0).reshape(3, 4)
    arrays = {
        "histogram/weight/hidden/1": values,
        "größe": values.astype(np.float16),
        "turned": values.T,
        "strided": values[:, ::2],
        "one": np.array(3),
        "none": np.empty((0, 2), bool),
        "text": np.array(["a", "bc"]),
    }
    for kept in (arrays, {}):
        with (tmp_path / "ours.npz").open("wb") as file:
            archives.save(file, kept)
        np.savez(tmp_path / "numpys.npz", **kept)
        assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "numpys.npz").read_bytes()
    with pytest.raises(ValueError, match="Object arrays"), (tmp_path / "ours.npz").open("wb") as file:
        archives.save(file, {"object": np.array([None])})
