"""Whatever stops a command, the same one with ``resume=true`` ends as if nothing had."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from runner.tracking import Recorder, files, mlflow_tables, read, sessions, sqlite
from runner.tracking.signals import undisturbed
from tests.commands import ROOT, assert_same_records, directories, mlflow_runs, started, typed
from tests.test_tracking import outcome, put, session, tracking, trial

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

# Many small stacks, so that a stop finds some of them done and some not.
SWEEP = (
    "data=two_spirals", "architecture.depth=range(1,6)", "architecture.width=48", "seed=range(0,2)",
    "training.steps=400", "training.probe.size=16", "tracking.figures=false",
)  # fmt: skip
RUNS = 10
QUICK = ("data=two_spirals", "architecture.width=8", "training.steps=20", "training.probe.size=16", "tracking=none")


# Whose a directory is


def state(**fields: Any) -> dict[str, Any]:
    me = {"host": socket.gethostname(), "pid": os.getpid(), "born": sessions.born(os.getpid())}
    return {"heartbeat": time.time(), **me, **fields}


def test_a_process_is_known_by_its_number_and_the_time_of_its_birth() -> None:
    assert sessions.at_work(state()) == f"process {os.getpid()}"
    assert sessions.at_work(state(born="1")) is None
    assert sessions.at_work(state(pid=None)) is None
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    alive = state(pid=child.pid, born=sessions.born(child.pid))
    assert sessions.at_work(alive) == f"process {child.pid}"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet buried
    assert sessions.at_work(alive) is None
    child.communicate()
    assert sessions.at_work(alive) is None


def test_a_process_of_another_machine_lives_by_its_signs_of_life() -> None:
    assert sessions.at_work(state(host="there", pid=7)) == "process 7 on there"
    assert sessions.at_work(state(host="there", pid=7, heartbeat=time.time() - sessions.STALE - 1)) is None


def test_where_a_process_cannot_be_asked_its_signs_of_life_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_ASKABLE", False)
    monkeypatch.setattr(os, "kill", None)
    assert sessions.at_work(state(born="")) == f"process {os.getpid()} on {socket.gethostname()}"
    assert sessions.at_work(state(born="", heartbeat=time.time() - sessions.STALE - 1)) is None


def test_a_holder_gives_signs_of_life_until_it_lets_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "BEAT", 0.02)
    hold = sessions.Hold(session(tmp_path))
    assert not hold.take()
    first = sessions.read(tmp_path)
    with pytest.raises(ValueError, match=rf"{tmp_path} is still at work \(process {os.getpid()}\)"):
        sessions.Hold(session(tmp_path)).take()
    deadline = time.monotonic() + 20
    while sessions.read(tmp_path)["heartbeat"] == first["heartbeat"]:  # type: ignore[index]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    hold.drop("files")
    last = sessions.read(tmp_path)
    assert (last["pid"], last["complete"], last["id"]) == (None, "files", hold.id)  # type: ignore[index]
    again = sessions.Hold(session(tmp_path))
    assert again.take()
    assert (again.id, again.state["started"]) == (hold.id, first["started"])  # type: ignore[index]
    again.drop(None)


def test_the_latest_session_of_a_command_is_found(tmp_path: Path) -> None:
    for name, started_at, sweep_id, multirun in (
        ("a", 1, "x", True), ("b", 3, "x", True), ("c", 2, "x", True), ("d", 4, "y", True), ("e", 5, "x", False),
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        content = {"started": started_at, "sweep_id": sweep_id, "multirun": multirun}
        (tmp_path / name / sessions.FILE).write_text(json.dumps(content))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / sessions.FILE).write_text("{")
    assert sessions.latest(tmp_path, "x", multirun=True) == tmp_path / "b"
    assert sessions.latest(tmp_path, "x", multirun=False) == tmp_path / "e"
    assert sessions.latest(tmp_path, "z", multirun=True) is None


def test_a_command_removes_what_killed_ones_left_before_their_first_run(tmp_path: Path) -> None:
    root, alive = tmp_path / "outputs" / "sweeps", json.dumps(state())
    dead = json.dumps(state(born="1"))
    contents: dict[str, dict[str, str]] = {
        "dead": {sessions.FILE: dead, ".lock": "", "multirun.yaml": "", ".session.json.x.tmp": ""},
        "old and empty": {},
        "old and locked": {".lock": ""},
        "new and empty": {},
        "alive": {sessions.FILE: alive},
        "dead with runs": {sessions.FILE: dead, "runs.parquet": ""},
        "dead with a file of somebody": {sessions.FILE: dead, "mine.txt": ""},
        "resumed": {sessions.FILE: dead},
    }
    for name, files_in in contents.items():
        (root / name).mkdir(parents=True)
        for file, text in files_in.items():
            (root / name / file).write_text(text)
        if name.startswith("old"):
            os.utime(root / name, (0, 0))
    sessions.sweep_up(root, keep=root / "resumed", made_here=False)  # a folder of somebody's, such as a home
    assert set(contents) - {path.name for path in root.iterdir()} == {"dead"}
    assert typed(*QUICK, "seed=0,1", f"outputs={tmp_path}/outputs", "-m") == 0
    left = {path.name for path in root.iterdir()}
    assert set(contents) - left == {"dead", "old and empty", "old and locked", "resumed"}


# What an earlier process left


def die(recorder: Recorder) -> None:
    """Ends a recorder as a killed process does: it does nothing more, and its number names no process."""
    recorder._hold._stop.set()
    recorder._hold._beat.join()
    path = recorder.session.directory / sessions.FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"born": "long ago"}))


def test_what_is_read_back_is_what_was_recorded(tmp_path: Path) -> None:
    he, wild, bad = trial("he"), trial("wild", threshold=1), trial("bad")
    kept = [
        (he, outcome(he)),
        (wild, outcome(wild, fate="diverged", diverged_at_step=7, summary={"validation_loss": 2.5})),
        (bad, outcome(bad, fate="failed", error="ValueError: no", summary={})),
    ]
    with Recorder(session(tmp_path), tracking(tmp_path, backend="none")) as recorder:
        recorder.record(kept[:2])
        recorder.record(kept[2:])
        for _ in range(2):
            found = files.outcomes(tmp_path)
            assert list(found) == [he.key, wild.key, bad.key]
            for _, expected in kept:
                mine = found[expected.key]
                finite = {name: value for name, value in expected.summary.items() if not np.isnan(value)}
                assert replace(mine, rows=expected.rows) == replace(expected, summary=finite)
                assert (mine.rows.quantity, mine.rows.layer) == (expected.rows.quantity, expected.rows.layer)
                np.testing.assert_array_equal(mine.rows.step, expected.rows.step)
                np.testing.assert_array_equal(mine.rows.value, expected.rows.value)
            files.merge(tmp_path)


def test_rows_stand_in_the_order_of_the_command(tmp_path: Path) -> None:
    trials = [trial(seed=seed) for seed in range(4)]
    keys = [of.key for of in trials]
    with Recorder(session(tmp_path), tracking(tmp_path, backend="none"), keys) as recorder:
        for index in (2, 0, 3, 1):
            recorder.record([(trials[index], outcome(trials[index]))])
    runs, curves = read(tmp_path)
    assert runs["key"].tolist() == keys
    assert list(dict.fromkeys(curves["key"])) == keys


def test_mlflow_gets_what_a_killed_process_did_not_send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed with one run sent, one half sent, one only in files and one not yet done; one had failed."""
    trials = [trial(seed=seed) for seed in range(5)]
    keys = [of.key for of in trials]
    directory = tmp_path / "sweep"
    first = Recorder(session(directory), tracking(tmp_path), keys)
    with monkeypatch.context() as patch:
        patch.setattr(mlflow_tables, "known", lambda columns: False)  # only what goes through a client can be half sent
        first.__enter__()
    put(first, trials[0], outcome(trials[0]))
    put(first, trials[4], outcome(trials[4], fate="failed", error="ValueError: no", summary={}))
    with monkeypatch.context() as patch:
        patch.setattr(first.store._client, "log_input", lambda *args: 1 / 0)  # type: ignore[union-attr]
        put(first, trials[1], outcome(trials[1]))
    first.record([(trials[2], outcome(trials[2]))])
    die(first)
    before = {run.info.run_id for run in mlflow_runs(tmp_path)}
    statuses = [run.info.status for run in mlflow_runs(tmp_path)]
    assert sorted(statuses) == ["FAILED", "FINISHED", "RUNNING", "RUNNING"]

    with Recorder(session(directory), tracking(tmp_path), keys) as second:
        assert second.resumed
        statuses = [run.info.status for run in mlflow_runs(tmp_path)]
        assert sorted(statuses) == ["FAILED", "FINISHED", "KILLED", "RUNNING"]  # the orphan, and the parent again
        recalled = [second.recall(of) for of in trials]
        assert [found is not None for found in recalled] == [True, True, True, False, False]
        second.record([(of, outcome(of)) for of in trials[3:]])
    runs = mlflow_runs(tmp_path, session=second._hold.id)
    assert before < {run.info.run_id for run in runs} == {run.info.run_id for run in mlflow_runs(tmp_path)}
    children = {run.data.tags["trial_key"]: run for run in runs if "trial_key" in run.data.tags}
    (parent,) = (run for run in runs if "trial_key" not in run.data.tags)
    assert (sorted(children), len(runs)) == (sorted(keys), 6)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parent.info.run_id}
    assert {len(run.data.metrics) for run in children.values()} == {8 + 3 + 4 + 2}
    assert {len(run.inputs.dataset_inputs) for run in children.values()} == {1}
    assert {(run.data.tags["fate"], run.data.tags.get("error", "")) for run in children.values()} == {("finished", "")}
    assert {run.info.end_time for run in children.values()} == {1_700_000_042_500}
    assert parent.data.metrics["runs_finished"] == 5
    assert read(directory)[0]["key"].tolist() == keys
    config = tmp_path / "mlartifacts" / children[keys[1]].info.run_id / "artifacts" / "config.yaml"
    assert yaml.safe_load(config.read_text())["seed"] == 1
    assert Recorder(session(directory), tracking(tmp_path), keys).complete
    assert not Recorder(session(directory), tracking(tmp_path, backend="none"), keys).complete


def test_runs_recorded_to_files_only_can_be_sent_later(tmp_path: Path) -> None:
    of = trial()
    with Recorder(session(tmp_path / "sweep"), tracking(tmp_path, backend="none"), [of.key]) as recorder:
        recorder.record([(of, outcome(of))])
    later = Recorder(session(tmp_path / "sweep"), tracking(tmp_path), [of.key])
    assert not later.complete
    with later:
        assert later.recall(of) is not None
    assert sorted(run.info.status for run in mlflow_runs(tmp_path)) == ["FINISHED", "FINISHED"]
    assert later.complete


def test_a_directory_in_use_is_left_alone(tmp_path: Path) -> None:
    with Recorder(session(tmp_path / "run"), tracking(tmp_path, backend="none")) as recorder:
        with pytest.raises(ValueError, match="still at work"), Recorder(recorder.session, recorder.tracking):
            pass
        assert sessions.at_work(sessions.read(tmp_path / "run")) is not None  # type: ignore[arg-type]


def test_a_stop_waits_until_mlflow_has_a_run_whole() -> None:
    done = []

    def asked(times: int) -> None:
        with undisturbed():
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
            done.append("the run")
        done.append("the next")

    with pytest.raises(KeyboardInterrupt):
        asked(1)
    assert done == ["the run"]
    with pytest.raises(KeyboardInterrupt):
        asked(2)  # who asks again doesn't wait
    assert done == ["the run"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_process_killed_while_it_makes_the_database_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # where MLflow has made no tables yet
    half = (
        "import os, runner.tracking.sqlite, pathlib, sqlalchemy.event as event;"
        "from sqlalchemy.engine import Engine;"
        "event.listen(Engine, 'before_cursor_execute', lambda *a: os._exit(9) if '_alembic_tmp' in a[2] else None);"
        f"runner.tracking.sqlite.create(pathlib.Path({str(tmp_path / 'mlflow.db')!r}), '')"
    )
    killed = subprocess.run([sys.executable, "-c", half], cwd=ROOT, capture_output=True)
    assert killed.returncode == 9, killed.stderr
    (left,) = (tmp_path / "cache").rglob("*.db.new")
    assert left.stat().st_size > 0
    of = trial()
    with Recorder(session(tmp_path / "sweep"), tracking(tmp_path)) as recorder:
        put(recorder, of, outcome(of))
    assert not list(tmp_path.rglob("*.db.new*"))
    assert len(mlflow_runs(tmp_path)) == 2


def test_a_database_on_a_local_disk_writes_ahead_and_is_whole_in_the_end(tmp_path: Path) -> None:
    of = trial()
    with Recorder(session(tmp_path / "sweep"), tracking(tmp_path)) as recorder:
        put(recorder, of, outcome(of))
    if sqlite.filesystem(tmp_path) in sqlite.LOCAL:
        assert (tmp_path / "mlflow.db").read_bytes()[18] == 2  # the mark of a database that writes ahead
        log = tmp_path / "mlflow.db-wal"
        assert not log.exists() or log.stat().st_size == 0
    assert sqlite.filesystem(Path("/proc/self")) == "proc"


# Whole commands


@pytest.fixture(scope="module")
def undisturbed_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``SWEEP`` has recorded what it does if nothing stops it."""
    outputs = tmp_path_factory.mktemp("undisturbed")
    assert typed(*SWEEP, "tracking=none", f"outputs={outputs}", "-m") == 0
    (directory,) = directories(outputs)
    assert len(read(directory)[0]) == RUNS
    return directory


def assert_mlflow_has_exactly_the_runs(outputs: Path, directory: Path) -> None:
    identity = json.loads((directory / sessions.FILE).read_text())["id"]
    runs = mlflow_runs(outputs, session=identity)
    keys = [run.data.tags["trial_key"] for run in runs if "trial_key" in run.data.tags]
    assert sorted(keys) == sorted(read(directory)[0]["key"])
    assert len(runs) == len(keys) + 1
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGKILL, signal.SIGTERM)),
    ],
    ids=lambda number: number.name,
)
def test_a_stopped_sweep_is_resumed(
    number: signal.Signals, tmp_path: Path, undisturbed_sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*SWEEP, f"outputs={tmp_path}", "-m")
    process = started(*words)
    while not any(tmp_path.glob("sweeps/*/shards/*.arrow")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(number)
    stopped = time.monotonic()
    out, err = process.communicate(timeout=120)
    (directory,) = directories(tmp_path)
    done = len(read(directory)[0])
    assert 0 < done < RUNS
    if number != signal.SIGKILL:
        assert time.monotonic() - stopped < 8
        assert (process.returncode, out) == (130, "")
        assert "Traceback" not in err
        last = err.splitlines()[-1]
        assert last.startswith("runner: interrupted; what had finished is kept. To do the rest: python -m runner data=")
        assert last.endswith("-m resume=true")
        (parent,) = (run for run in mlflow_runs(tmp_path) if "trial_key" not in run.data.tags)
        assert parent.info.status == "KILLED"
    if number == signal.SIGTERM:
        return
    assert typed(*words, "resume=true") == 0
    err = capsys.readouterr().err
    assert f"going on in {directory}, where {done} of {RUNS} runs are" in err
    assert directories(tmp_path) == [directory]
    assert_same_records(directory, undisturbed_sweep)
    assert_mlflow_has_exactly_the_runs(tmp_path, directory)
    ended = read(directory)[0]["end_time"].tolist()
    assert typed(*words, "resume=true") == 0
    out, err = capsys.readouterr()
    assert "nothing is left to do" in err
    assert "depth" in out
    assert read(directory)[0]["end_time"].tolist() == ended


def test_a_sweep_at_work_is_not_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (*QUICK, "seed=0,1", f"outputs={tmp_path}", "-m")
    assert typed(*words) == 0
    (directory,) = directories(tmp_path)
    path = directory / sessions.FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | state(complete=None)))
    capsys.readouterr()
    assert typed(*words, "resume=true") == 2
    assert f"still at work (process {os.getpid()})" in capsys.readouterr().err
    assert len(read(directory)[0]) == 2


def test_with_nothing_to_resume_a_command_starts_anew_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*QUICK, f"outputs={tmp_path}", "-m")
    assert typed("seed=0,1", *words, "resume=true") == 0
    assert f"nothing to resume below {tmp_path}/sweeps: starting anew" in capsys.readouterr().err
    assert typed("seed=0,2", *words, "resume=true") == 0
    assert "starting anew" in capsys.readouterr().err
    first, second = directories(tmp_path)
    assert "resume" not in read(first)[0]
    assert read(second)[0]["seed"].tolist() == [0, 2]


def test_runs_that_failed_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    scheme = """
from pathlib import Path
from weightinit.schemes import VarianceScaling
def mine(broken=True):
    def scheme(network, seeds, batch=None):
        if 1 in seeds and not Path("mended").exists():
            raise RuntimeError("not yet")
        return VarianceScaling(scale=2.0)(network, seeds)
    return scheme
"""
    (tmp_path / "schemes_to_mend.py").write_text(scheme)
    words = (*QUICK, "scheme=custom", "scheme._target_=schemes_to_mend.mine", "seed=0,1,2", f"outputs={tmp_path}", "-m")
    assert typed(*words) == 1
    (directory,) = directories(tmp_path)
    ended = read(directory)[0].set_index("seed")["end_time"]
    (tmp_path / "mended").touch()
    assert typed(*words, "resume=true") == 0
    runs = read(directory)[0].set_index("seed")
    assert runs["fate"].tolist() == ["finished"] * 3
    assert (runs["end_time"] == ended).tolist() == [True, False, True]


def test_a_changed_configuration_is_another_command(tmp_path: Path) -> None:
    """The same overrides ask for other runs, when a file of the configuration has changed between."""
    (tmp_path / "conf" / "optimizer").mkdir(parents=True)
    choice = tmp_path / "conf" / "optimizer" / "mine.yaml"
    words = (*QUICK, "optimizer=mine", "seed=0,1", f"outputs={tmp_path}", "-m", "--config-dir", f"{tmp_path}/conf")
    for rate in (0.1, 0.1, 0.2):
        choice.write_text(f"_target_: runner.optimizers.SGD\nlearning_rate: {rate}\n")
        assert typed(*words, "resume=true") == 0
    first, second = directories(tmp_path)
    assert read(first)[0]["optimizer.learning_rate"].tolist() == [0.1, 0.1]
    assert read(second)[0]["optimizer.learning_rate"].tolist() == [0.2, 0.2]


def test_a_single_run_is_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (*QUICK, "seed=5", f"outputs={tmp_path}")
    assert typed(*words) == 0
    page = capsys.readouterr().out
    assert typed(*words, "resume=true") == 0
    out, err = capsys.readouterr()
    assert "nothing is left to do" in err
    assert out == page
    (directory,) = directories(tmp_path, "runs")
    (directory / files.RUNS).unlink()
    (directory / files.CURVES).unlink()
    path = directory / sessions.FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"complete": None}))
    assert typed(*words, "resume=true") == 0
    out, err = capsys.readouterr()
    assert "going on in" in err
    took = re.compile(r"[\d.]+ s$", re.MULTILINE)  # how long it trained is not the same twice
    assert took.sub("", out) == took.sub("", page)
    assert directories(tmp_path, "runs") == [directory]


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing(tmp_path: Path, undisturbed_sweep: Path) -> None:
    """At least 20 times ``kill -9``, at moments from the first imports to the last figure."""
    rng = np.random.default_rng()
    kills, longest = 0, 3.0
    for sweep in itertools.count():
        outputs = tmp_path / str(sweep)
        words = (*SWEEP, f"outputs={outputs}", "-m", "resume=true")
        while True:
            process = started(*words)
            start = time.monotonic()
            try:
                _, err = process.communicate(timeout=rng.uniform(0, longest))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
                continue
            assert process.returncode == 0, err
            longest = time.monotonic() - start + 0.5
            break
        with_session = [path for path in directories(outputs) if (path / sessions.FILE).exists()]
        (directory,) = with_session
        assert_same_records(directory, undisturbed_sweep)
        assert_mlflow_has_exactly_the_runs(outputs, directory)
        if kills >= 20:
            break
