"""Tracking servers that fail in every way, and their secrets: the sweep goes on, the files hold all, nothing leaks."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.config.secrets import Secrets, without_password
from runner.tracking import read
from runner.tracking.line import ANSWER, Line
from tests.commands import ROOT, directories, started, typed
from tests.servers import WAYS, Tracker, tracker

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

QUICK = ("data=two_spirals", "architecture.width=8", "training.steps=20", "training.probe.size=16")
QUICK = (*QUICK, "tracking.figures=false", "hydra.launcher.max_workers=1")
SWEEP = (*QUICK, "seed=range(0,8)", "-m")
TOLD = 10  # seconds until a person knows
ENDED = 5  # seconds until a command ends that was asked to


def fail_after_first(server: Tracker, way: str, before: Callable[[], None] = lambda: None) -> threading.Thread:
    """Has the server fail once it has a whole run; calls ``before`` just before that."""

    def watch() -> None:
        while not server.keys():
            time.sleep(0.002)
        before()
        server.way = way
        if way == "gone":
            server.shutdown()
            server.socket.close()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


# One that says nothing, with a short deadline, and one that answers stand for all.
EACH = [
    pytest.param("silent", 1.0, id="silent, short deadline"),
    pytest.param("500", ANSWER, id="500"),
    *(pytest.param(way, ANSWER, id=way, marks=pytest.mark.slow) for way in WAYS if way != "500"),
]


@pytest.mark.parametrize(("way", "deadline"), EACH)
def test_a_server_that_fails_from_the_start_is_told_before_training(
    way: str, deadline: float, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.tracking.store.ANSWER", deadline)
    with tracker() as server:
        server.way = way
        start = time.monotonic()
        assert typed(*SWEEP, f"outputs={tmp_path}/outputs", f"tracking.uri={server.uri}") == 2
        assert time.monotonic() - start < TOLD
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(
        r"runner: MLflow must be able to record to tracking\.uri; got http://127.* \(.*\)\. Mend.*\n", err
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("way", "deadline"), EACH)
def test_a_server_that_fails_on_the_way_stops_nothing_and_gets_the_rest_later(
    way: str, deadline: float, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracker() as server:
        words = (*SWEEP, f"outputs={tmp_path}", f"tracking.uri={server.uri}")
        fail_after_first(server, way, lambda: monkeypatch.setattr("runner.tracking.store.ANSWER", deadline))
        start = time.monotonic()
        assert typed(*words) == 0
        assert time.monotonic() - start < TOLD + 20  # the time to train, to fail once, and once more at the end
        (directory,) = directories(tmp_path)
        runs, _ = read(directory)
        assert len(runs) == 8
        before = server.keys()
        assert 1 <= len(before) < 8
        first, last = re.findall("WARNING.*", capsys.readouterr().err)
        assert "Work goes on" in first
        assert "resume=true sends the rest" in last
        server.way = ""
        monkeypatch.setattr("runner.tracking.store.ANSWER", ANSWER)
        assert typed(*words, "resume=true") == 0
        assert server.keys() == sorted(runs["key"])  # each once
        assert directories(tmp_path) == [directory]
        asked = server.asked
        capsys.readouterr()
        assert typed(*words, "resume=true") == 0
        assert "nothing is left to do" in capsys.readouterr().err
        assert server.asked == asked


def test_silence_is_told_while_an_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.tracking.line.TOLD", 0.05)
    line, told = Line(), list[str]()
    assert line.call(lambda: 1, 5, lambda: told.append("at once")) == 1
    assert line.call(lambda: time.sleep(0.2) or 2, 5, lambda: told.append("late")) == 2  # type: ignore[func-returns-value]
    with pytest.raises(TimeoutError, match=r"no answer within 0\.[12]\d* seconds"):
        line.call(lambda: time.sleep(1), 0.15, lambda: told.append("never"))
    assert told == ["late", "never"]


@pytest.mark.slow
def test_a_server_that_is_back_in_time_gets_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.tracking.recorder.PAUSE", 0.05)
    with tracker() as server:
        fail_after_first(server, "500").join(0)

        def mend() -> None:
            while not server.way:
                time.sleep(0.002)
            time.sleep(0.2)
            server.way = ""

        threading.Thread(target=mend, daemon=True).start()
        assert typed(*SWEEP, "seed=range(0,24)", f"outputs={tmp_path}", f"tracking.uri={server.uri}") == 0
        assert len(server.keys()) == 24


@pytest.mark.parametrize(
    ("number", "asked"),
    [
        pytest.param(number, asked, id=f"{number.name}-{times}", marks=pytest.mark.slow)
        for number in (signal.SIGTERM, signal.SIGINT)
        for asked, times in ((1, "once"), (2, "twice"))
    ],
)
def test_a_command_before_a_silent_server_ends_when_it_is_asked(
    number: signal.Signals, asked: int, tmp_path: Path
) -> None:
    with tracker() as server:
        fail_after_first(server, "silent")
        long = [word for word in SWEEP if not word.startswith("seed")]
        process = started(*long, "seed=range(0,200)", f"outputs={tmp_path}", f"tracking.uri={server.uri}")
        while server.way != "silent":
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        time.sleep(0.5)
        for _ in range(asked):
            start = time.monotonic()
            process.send_signal(number)
            time.sleep(0.3)
        out, err = process.communicate(timeout=30)
        assert time.monotonic() - start < ENDED
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    (directory,) = directories(tmp_path)
    assert len(read(directory)[0]) >= 1


@pytest.mark.slow
def test_a_second_signal_ends_whatever_the_process_does() -> None:
    stubborn = """
        import os, signal, time
        from runner.execution.interruption import interruptible
        with interruptible():
            while True:
                try:
                    print("ready", flush=True)
                    while True:
                        time.sleep(0.1)
                except KeyboardInterrupt:
                    pass
    """
    code = [sys.executable, "-c", textwrap.dedent(stubborn)]
    process = subprocess.Popen(code, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 130
    assert time.monotonic() - start < ENDED
    process.stdout.close()


# Secrets

LOGIN, PASSWORD = "me", "geheim@1/2"
LEAK = re.compile(rb"geheim|%401%2F2|bWU6Z2VoZWlt")  # plain, quoted, and as a server gets it


def with_login(uri: str) -> str:
    return uri.replace("://", f"://{LOGIN}:geheim%401%2F2@")


def leaks(folder: Path, *printed: str) -> list[str]:
    """Return the files below a folder, and the prints, that hold the password."""
    found = [str(path) for path in folder.rglob("*") if path.is_file() and LEAK.search(path.read_bytes())]
    found += [str(path) for path in folder.rglob("*") if LEAK.search(str(path).encode())]
    return found + [text for text in printed if LEAK.search(text.encode())]


def ours(folder: Path, uri: str, form: str = "tracking: {{uri: '{}'}}") -> tuple[str, ...]:
    """Returns the words that choose an experiment file with this address, outside the folder that is searched."""
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment" / "private.yaml").write_text(f"# @package _global_\n{form.format(uri)}\n")
    return ("--config-dir", str(folder), "experiment=private")


GIVEN: dict[str, Callable[[str, pytest.MonkeyPatch, Path], tuple[str, ...]]] = {
    "typed": lambda uri, patch, folder: (f"tracking.uri={with_login(uri)}",),
    "in a file": lambda uri, patch, folder: ours(folder, with_login(uri)),
    "in a sweep of a file": lambda uri, patch, folder: ours(
        folder, with_login(uri), "hydra: {{sweeper: {{params: {{tracking.uri: '{}'}}}}}}"
    ),
    "in a variable": lambda uri, patch, folder: (
        patch.setenv("OURS", with_login(uri)) or "tracking.uri=${oc.env:OURS}",  # type: ignore[func-returns-value]
    ),
    "of MLflow's": lambda uri, patch, folder: (
        patch.setenv("MLFLOW_TRACKING_USERNAME", LOGIN)  # type: ignore[func-returns-value]
        or patch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        or f"tracking.uri={uri}",
    ),
}


KINDS = {"sweep": ("-m",), "jobs": ("-m", "hydra.launcher.job_files=true"), "run": ()}
# Each way to give it and each kind of command, once; the other pairs are slow.
PAIRS = {("typed", "run"), ("in a file", "jobs"), ("in a sweep of a file", "sweep"), ("in a variable", "run")}
PAIRS |= {("of MLflow's", "jobs")}


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        pytest.param(given, KINDS[kind], id=f"{given}-{kind}", marks=[] if (given, kind) in PAIRS else pytest.mark.slow)
        for given in GIVEN
        for kind in KINDS
        if (given, kind) != ("in a sweep of a file", "run")  # a single run reads no sweep
    ],
)
def test_a_password_works_and_is_nowhere(
    given: str,
    kind: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outputs, elsewhere = tmp_path_factory.mktemp("outputs"), tmp_path_factory.mktemp("elsewhere")
    with tracker(f"{LOGIN}:{PASSWORD}") as server:
        words = (*GIVEN[given](server.uri, monkeypatch, elsewhere), *QUICK, f"outputs={outputs}", *kind)
        swept = ("seed=0,1",) if kind else ()
        assert typed(*words, *swept) == 0
        assert len(server.keys()) == (2 if kind else 1)
        shown = capsys.readouterr()
        assert typed(*words, *swept, "resume=true") == 0
        again = capsys.readouterr()
        sent = b"".join(part for part in server.seen if not part.lower().startswith(b"host"))
    assert "127.0.0.1" in shown.out
    assert leaks(outputs, *shown, *again) == []
    bodies = re.sub(rb"Authorization: .*", b"", sent)
    assert not LEAK.search(bodies)
    for path in outputs.rglob("*"):
        if path.name in ("session.json", "multirun.yaml", "config.yaml", "hydra.yaml", "overrides.yaml", "runner.log"):
            assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize(
    "words",
    [
        ("--cfg", "job"),
        ("mode=compare",),
        ("tracking.uri.x=3",),
        ("training.steps=many",),
        ("resume=true", "tracking.log_model=last"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("address", ["http://me:geheim@127.0.0.1:9", "postgresql://me:geheim@127.0.0.1:9/x"])
def test_no_answer_shows_a_password(
    address: str, words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(f"tracking.uri={address}", f"outputs={tmp_path}/outputs", *words)
    assert leaks(tmp_path, *capsys.readouterr()) == []


@pytest.mark.slow
def test_a_sweep_that_was_stopped_says_how_to_do_the_rest_without_the_password(tmp_path: Path) -> None:
    with tracker(f"{LOGIN}:{PASSWORD}") as server:
        words = (*QUICK, "seed=range(0,200)", "-m", f"outputs={tmp_path}", f"tracking.uri={with_login(server.uri)}")
        process = started(*words)
        while not server.keys():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert f"tracking.uri={server.uri}" in err
    assert leaks(tmp_path, out, err) == []


@pytest.mark.parametrize(
    ("address", "bare"),
    [
        ("http://u:p@host/x", "http://host/x"),
        ("http://u:p@ss@host/x", "http://host/x"),
        ("postgresql://u:a/b?c@host/x", "postgresql://host/x"),
        ("mysql+pymysql://u:p@h", "mysql+pymysql://h"),
        ("http://token@host", "http://host"),
        ("http://[::1]:5000/x@y", "http://[::1]:5000/x@y"),
        ("http://host:5000/x@y", "http://host:5000/x@y"),
        ("postgresql://host/db?user=u&password=p", "postgresql://host/db?user=u"),
        ("postgresql://host/db?password=p&x=1", "postgresql://host/db?x=1"),
        ("sqlite:////a/b@c.db", "sqlite:////a/b@c.db"),
    ],
)
def test_what_is_secret_in_an_address(address: str, bare: str) -> None:
    secrets = Secrets()
    start = time.monotonic()
    assert secrets.hide("x" * 300_000) == "x" * 300_000
    assert time.monotonic() - start < 5
    assert secrets.hide(f"tracking.uri={address}") == f"tracking.uri={bare}"
    assert secrets.whole(bare) == address
    assert secrets.whole("http://other") == "http://other"
    assert without_password(f"at {address} now").replace("***@", "") == f"at {bare} now"
