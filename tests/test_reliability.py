"""Kills in every phase of a command, and a real MLflow server behind a proxy that fails: nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.tracking import read, sessions
from tests.commands import ROOT, assert_same_records, directories, started
from tests.servers import WAYS, Proxy
from tests.test_tracking import server as server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

SWEEP = (
    *("data=two_spirals", "architecture.width=8", "training.steps=20", "training.probe.size=16", "seed=range(0,6)"),
    *("hydra.launcher.max_workers=1", "-m"),
)
RUNS = 6
# Where a command is struck, in the order in which it gets there: a function, and at which of its calls.
PHASES = {
    "composing": ("runner.config.composition:Composer.command", 1),
    "checking the runs": ("runner.config.composition:Composer.trials", 1),
    "making its folder": ("runner.execution.session:_claim", 1),
    "taking its folder": ("runner.tracking.sessions:Hold.take", 1),
    "making the database": ("runner.tracking.sqlite:create", 1),
    "opening the store": ("runner.tracking.store:Store._find_experiment", 1),
    "first step": ("runner.optimizers:Updater.step", 1),
    "between steps": ("runner.optimizers:Updater.step", 50),
    "writing a shard": ("runner.tracking.files:write", 2),
    "sending runs": ("runner.tracking.store:Store.send", 1),
    "merging": ("runner.tracking.files:merge", 1),
    "drawing": ("runner.report.artifacts:draw", 1),
    "closing": ("runner.tracking.store:Store.close", 1),
}
AFTER_FIRST_RUN = ("between steps", "writing a shard", "sending runs", "merging", "drawing", "closing")

STRUCK = """
import functools, importlib, os, sys, time
import runner.training.stacks
runner.training.stacks.MOST = 1
where, call, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
module, _, path = where.partition(":")
owner = importlib.import_module(module)
*holders, name = path.split(".")
for holder in holders:
    owner = getattr(owner, holder)
original, calls = getattr(owner, name), 0

@functools.wraps(original)
def struck(*args, **options):
    global calls
    calls += 1
    if calls == call and number:
        os.kill(os.getpid(), number)
        time.sleep(0.05)
    return original(*args, **options)

setattr(owner, name, struck)
sys.argv = ["runner", *sys.argv[4:]]
from runner.__main__ import main
sys.exit(main())
"""


def strike(phase: str, number: int, *words: str) -> subprocess.Popen[str]:
    where, call = PHASES[phase]
    command = [sys.executable, "-c", STRUCK, where, str(call), str(int(number)), *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, **pipes)  # type: ignore[call-overload, no-any-return]


def statuses(outputs: Path, directory: Path) -> tuple[list[str], list[str]]:
    """Return MLflow's keys of the session's runs, and the statuses of all of them, asked in another process."""
    identity = json.loads((directory / sessions.FILE).read_text())["id"]
    code = f"""
        import json
        from pathlib import Path
        from tests.commands import mlflow_runs
        runs = mlflow_runs(Path({str(outputs)!r}), session={identity!r})
        print(json.dumps([[run.data.tags.get("trial_key"), run.info.status] for run in runs]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    runs = json.loads(done.stdout)
    return sorted(key for key, _ in runs if key), [status for _, status in runs]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outputs = tmp_path_factory.mktemp("undisturbed")
    process = strike("composing", 0, *SWEEP, f"outputs={outputs}", "tracking=none")
    assert process.communicate(timeout=120) is not None
    assert process.returncode == 0
    (directory,) = directories(outputs)
    assert len(read(directory)[0]) == RUNS
    return directory


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("phase", PHASES)
def test_a_command_struck_in_any_phase_is_done_by_resume(
    phase: str, number: signal.Signals, tmp_path: Path, undisturbed: Path
) -> None:
    outputs = tmp_path / "outputs"
    words = (*SWEEP, f"outputs={outputs}")
    start = time.monotonic()
    process = strike(phase, number, *words)
    out, err = process.communicate(timeout=120)
    assert time.monotonic() - start < 60
    assert "Traceback" not in err
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert (process.returncode, out) == (130, "")
        assert directories(outputs) == [] or len(read(directories(outputs)[0])[0]) >= 1
        assert bool(directories(outputs)) == (phase in AFTER_FIRST_RUN), phase
    for left in directories(outputs):
        os.utime(left, (0, 0))  # long ago, as for the next command of a person
    again = started(*words, "resume=true")
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    (directory,) = directories(outputs)
    assert_same_records(directory, undisturbed)
    keys, ended = statuses(outputs, directory)
    assert keys == sorted(read(directory)[0]["key"])
    assert ended == ["FINISHED"] * (RUNS + 1)
    assert not list(outputs.rglob("*.tmp"))


@pytest.fixture
def proxy(server: tuple[str, subprocess.Popen[bytes]]) -> Iterator[Proxy]:
    found = Proxy(int(server[0].rpartition(":")[2]))
    yield found
    found.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_real_server_that_fails_on_the_way_gets_the_rest_later(way: str, proxy: Proxy, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    words = (*SWEEP, f"outputs={tmp_path}", f"tracking.uri={proxy.uri}", f"tracking.experiment={way}")
    words = (*words, "tracking.figures=false")
    client = MlflowClient(proxy.uri)

    def sent() -> list[str]:
        experiment = client.get_experiment_by_name(way)
        runs = client.search_runs([experiment.experiment_id]) if experiment else []
        return sorted(
            run.data.tags["trial_key"] for run in runs if run.info.status == "FINISHED" and "trial_key" in run.data.tags
        )

    def watch() -> None:
        while not sent():
            time.sleep(0.05)
        proxy.fail(way)

    threading.Thread(target=watch, daemon=True).start()
    process = started(*words)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    (directory,) = directories(tmp_path)
    runs, _ = read(directory)
    assert len(runs) == RUNS
    first, last = re.findall("WARNING.*", err)
    assert "Work goes on" in first
    assert "resume=true sends the rest" in last
    proxy.fail("")
    before = sent()
    assert 1 <= len(before) < RUNS
    again = started(*words, "resume=true")
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert sent() == sorted(runs["key"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_sweep_before_a_real_server_that_hangs_can_be_stopped(
    number: signal.Signals, proxy: Proxy, tmp_path: Path
) -> None:
    words = (*SWEEP, "seed=range(0,400)", f"outputs={tmp_path}", f"tracking.uri={proxy.uri}")
    process = started(*words, f"tracking.experiment={number.name}")
    while not any(tmp_path.glob("sweeps/*/shards/*.arrow")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    proxy.fail("silent")
    time.sleep(1)
    start = time.monotonic()
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    assert time.monotonic() - start < 5 + 1  # and a second for a busy machine
    assert process.returncode == 130
