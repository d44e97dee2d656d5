"""Stacks on clusters: what travels, what is said of workers, and what a death costs."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import weightinit
from runner import requirements
from runner.config.composition import Composer
from runner.config.trial import Trial
from runner.execution.jobs import Jobs
from runner.execution.pool import PoolLost, Steps
from runner.records import Outcome
from runner.training import parcels, versions, worker
from tests.commands import ROOT, assert_same_records, directories, typed
from tests.test_reliability import strike
from tests.test_training import assert_same, mixed, trials

SMALL = (
    "data=two_spirals", "architecture.depth=2", "architecture.width=8", "training.steps=20", "training.probe.size=16",
    "tracking=none", "tracking.figures=false",
)  # fmt: skip


def test_a_stack_travels_small_and_trains_to_the_same_bits() -> None:
    runs = trials(each=mixed(7))
    packer = parcels.Packer()
    parcel = pickle.loads(pickle.dumps(packer.pack(runs)))
    fetched: list[str] = []

    def fetch(name: str) -> bytes:
        fetched.append(name)
        return packer.contents[name]

    for one, other in zip(worker.train(runs, None), parcels.train(parcel, fetch, None), strict=True):
        assert_same(one, other)
    parcels.train(parcel, fetch, None)
    assert sorted(fetched) == sorted(parcel.contents)  # once each


def test_a_full_stack_of_the_defaults_takes_less_than_16_kilobytes() -> None:
    runs = Composer().trials(
        [[f"seed={seed}", f"scheme={scheme}"] for seed in range(32) for scheme in ("he", "xavier")]
    )
    assert len(pickle.dumps(parcels.Packer().pack(runs))) < 16_000


def test_any_configuration_comes_back_from_its_changes() -> None:
    configs: list[dict[str, Any]] = [
        {"seed": 0, "scheme": {"_target_": "a", "scale": 2.0, "nested": {"x": 1}}, "widths": [2, 3], "flag": True},
        {"seed": 0, "scheme": {"_target_": "a", "scale": 2, "nested": {}}, "widths": [2.0, 3], "flag": 1},
        {"seed": 1, "scheme": {"_target_": "b"}, "widths": None, "flag": False, "more": [{"a": 1}]},
        {"seed": None, "scheme": {"_target_": "b", "nested": None}, "widths": {}, "flag": 0, "more": [{"a": 1.0}]},
        {},
    ]
    for base in configs:
        for config in configs:
            found = parcels._changed(base, pickle.loads(pickle.dumps(parcels._changes(base, config))))
            assert json.dumps(found, sort_keys=True) == json.dumps(config, sort_keys=True)


def test_a_worker_with_other_sources_or_damaged_contents_fails_its_runs_and_says_so() -> None:
    runs = trials(each=[["seed=0"], ["seed=1"]])
    packer = parcels.Packer()
    parcel = packer.pack(runs)
    one, other = parcel.runs
    changed = parcels.Parcel(parcel.base, parcel.dataset, (("0" * 64, *one[1:]), other))
    outcomes = parcels.train(changed, packer.contents.__getitem__, None)
    assert [outcome.fate for outcome in outcomes] == ["failed", "finished"]
    assert "its sources differ" in str(outcomes[0].error)
    parcels._contents.clear()
    outcomes = parcels.train(parcel, lambda name: packer.contents[name] + b"x", None)
    assert "has arrived damaged" in str(outcomes[1].error)


def test_what_differs_in_versions_is_named_with_both() -> None:
    here = versions.versions()
    assert versions.differences(here) == ""
    assert versions.differences({**here, "numpy": "1.0"}) == f"numpy 1.0 (here {np.__version__})"
    assert "OpenBLAS" in here["BLAS"] or "openblas" in here["BLAS"]
    theirs = {**here, "BLAS": here["BLAS"].replace("for ", "for another ")}
    assert versions.differences(theirs) == f"BLAS {theirs['BLAS']} (here {here['BLAS']})"


def test_steps_of_a_stack_that_begins_again_count_once() -> None:
    steps = Steps()
    for passed in (5, 9, 2, 11):
        steps.tell(0, passed)
    steps.tell(1, 1)
    assert steps.take() == 12
    assert steps.take() == 0


@pytest.mark.parametrize("launcher", ["dask", "submitit"])
def test_without_its_package_a_launcher_names_the_extra(
    launcher: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(requirements, "find_spec", lambda name: None if name in ("distributed", "submitit") else name)
    monkeypatch.setattr(requirements, "check", lambda: None)
    assert typed(*SMALL, "seed=0,1", f"hydra/launcher=stacked_{launcher}", "-m") == 2
    err = capsys.readouterr().err
    assert err.splitlines() == [
        f"runner: hydra/launcher=stacked_{launcher} needs a package that is not installed: "
        f"pip install 'weightinit[{launcher}]'."
    ]


# Imports once what the programs of a cluster need, then is each of them at a word: its fork.
STARTER = """
import os, signal, sys
import runner.training.parcels, runner.training.versions
from distributed.cli import dask_scheduler, dask_worker
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    program, *words = line.split()
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        {"scheduler": dask_scheduler, "worker": dask_worker}[program].main(words)
os.killpg(0, signal.SIGKILL)
"""


class Cluster:
    """Dask's scheduler and workers as processes."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "scheduler.json"
        self._starter = subprocess.Popen(
            [sys.executable, "-c", STARTER],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            text=True, start_new_session=True,
        )  # fmt: skip
        self._start("scheduler --port 0")
        deadline = time.monotonic() + 300
        while not self.file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def join(self) -> None:
        """Have one more worker join."""
        self._start("worker --no-nanny --nthreads 1")

    def end(self) -> None:
        """Kill all."""
        with suppress(ProcessLookupError):
            os.killpg(self._starter.pid, signal.SIGKILL)
        self._starter.communicate()

    def _start(self, words: str) -> None:
        assert self._starter.stdin is not None
        print(words, f"--scheduler-file {self.file} --no-dashboard --host 127.0.0.1", file=self._starter.stdin)
        self._starter.stdin.flush()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler and two workers."""
    cluster = Cluster(tmp_path)
    late = threading.Timer(300, cluster.end)  # a command that waits for it then says so, rather than wait for ever
    try:
        late.start()
        cluster.join()
        cluster.join()
        yield cluster
    finally:
        late.cancel()
        cluster.end()


def test_a_killed_worker_costs_its_stack_a_new_one_gets_work_and_what_a_client_leaves_is_done_later(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One worker is killed amid a stack; then no stack ends before a third worker has one. The client stops halfway."""
    from runner.execution.dask_pool import DaskPool

    heard: list[Any] = []
    hear, record = DaskPool._hear, Jobs.record

    def listen(pool: DaskPool, event: tuple[float, Any]) -> None:
        heard.append(event[1])
        hear(pool, event)

    def stop(jobs: Jobs, recorded: Sequence[tuple[Trial, Outcome]]) -> None:
        record(jobs, recorded)
        if 3 <= len(jobs.outcomes) < 8:
            monkeypatch.setattr(Jobs, "record", record)
            raise OSError("no space")

    monkeypatch.setattr(DaskPool, "_hear", listen)
    monkeypatch.setattr(Jobs, "record", stop)
    monkeypatch.setattr(weightinit, "__version__", "elsewhere")
    killed = tmp_path / "killed"
    words = (
        *SMALL, "seed=range(0,8)", "scheme=custom", "scheme._target_=tests.schemes_for_tests.KillsAWorker",
        f"+scheme.folder={tmp_path}", "+scheme.processes=3", "-m",
    )  # fmt: skip

    def join() -> None:
        while not killed.exists():
            time.sleep(0.05)
        cluster.join()

    joining = threading.Thread(target=join, daemon=True)
    joining.start()
    dask = (
        "hydra/launcher=stacked_dask",
        f"hydra.launcher.scheduler_file={cluster.file}",
        "hydra.launcher.memory=1e-12",
    )
    assert typed(*words, *dask, f"outputs={tmp_path}/cluster") == 1
    joining.join(300)
    err = capsys.readouterr().err
    sentence = "runner: results may differ in the last digits, since a worker has other versions: weightinit"
    assert err.count(sentence) == 1
    assert err.index(sentence) < err.index("resume=true")
    assert any(0 < passed < 20 for _, passed in heard), heard
    assert len(list(tmp_path.glob("process-*"))) == 3
    assert typed(*words, *dask, f"outputs={tmp_path}/cluster", "resume=true") == 0
    # The same here, where nobody dies any more.
    assert typed(*words, f"outputs={tmp_path}/here") == 0
    assert_same_records(directories(tmp_path / "cluster")[0], directories(tmp_path / "here")[0])
    assert len(directories(tmp_path / "cluster")) == 1


def test_stacks_train_in_allocations_to_the_same_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (*SMALL, "seed=0,1", "-m")
    submitit = ("hydra/launcher=stacked_submitit", "hydra.launcher.cluster=local", "hydra.launcher.mem_gb=1")
    assert typed(*words, *submitit, f"outputs={tmp_path}/cluster") == 0
    assert "waiting for the first allocation" in capsys.readouterr().err
    (job,) = (path for path in (tmp_path / "cluster/.submitit").iterdir() if path.name.isdigit())
    assert (job / f"{job.name}_0_result.pkl").exists()  # it has ended by itself
    assert (tmp_path / "cluster/.submitit").stat().st_mode & 0o77 == 0  # it holds the keys of the connection
    assert typed(*words, f"outputs={tmp_path}/here") == 0
    assert_same_records(directories(tmp_path / "cluster")[0], directories(tmp_path / "here")[0])


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["dask", "submitit"])
def test_what_a_killed_client_leaves_is_done_by_resume_and_its_workers_go_on_or_end(
    launcher: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    words = [*SMALL, "seed=range(0,8)", f"outputs={tmp_path}/outputs", f"hydra/launcher=stacked_{launcher}", "-m"]
    if launcher == "dask":
        file = request.getfixturevalue("cluster").file
        words += [f"hydra.launcher.scheduler_file={file}", "hydra.launcher.memory=1e-12"]
    else:
        words += ["hydra.launcher.cluster=local", "hydra.launcher.mem_gb=1", "hydra.launcher.memory=1e-8"]
    process = strike("writing a shard", signal.SIGKILL, *words)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    if launcher == "submitit":  # its allocation ends, though nobody asks for it
        (job,) = (path for path in (tmp_path / "outputs/.submitit").iterdir() if path.name.isdigit())
        deadline = time.monotonic() + 90
        while not list(job.glob("*_result.pkl")):
            assert time.monotonic() < deadline
            time.sleep(0.5)
    assert typed(*words, "resume=true") == 0
    (directory,) = directories(tmp_path / "outputs")
    words = [word for word in words if "launcher" not in word and "outputs=" not in word]
    assert typed(*words, f"outputs={tmp_path}/here") == 0
    assert_same_records(directory, directories(tmp_path / "here")[0])


class Job:
    """An allocation as submitit shows it."""

    paths = SimpleNamespace(stderr="errors.txt")

    def __init__(self, number: int) -> None:
        self.job_id, self.over = str(number), False

    def done(self) -> bool:
        return self.over


def test_allocations_are_as_many_as_stacks_need_and_are_replaced_unless_they_never_trained() -> None:
    from runner.execution.submitit_pool import SubmititPool

    jobs: list[Job] = []

    def submit(serve: Any) -> Job:
        jobs.append(Job(len(jobs)))
        return jobs[-1]

    client: Any = SimpleNamespace(status="closed", subscribe_topic=lambda *_: None)
    executor = SimpleNamespace(cluster="local", batch=nullcontext, submit=submit)
    serve: Any = SimpleNamespace(memory=8)
    pool = SubmititPool(client, executor, serve, most=3, each=4, share=0.5, say=print)
    assert (pool.workers, pool.memory, pool.room) == (12, 48.0, 24)
    for waiting, asked in ((1, 1), (4, 1), (5, 2), (100, 3), (0, 3)):
        pool.keep(waiting)
        assert len(jobs) == asked
    pool.names = {"0/0/0", "0/0/1", "1/0/0"}
    jobs[0].over = True
    pool.keep(8)  # two are left for them
    assert len(jobs) == 3
    pool.keep(9)
    assert len(jobs) == 4
    jobs[3].over = True
    with pytest.raises(PoolLost, match=r"ended before it could train; see errors\.txt"):
        pool.keep(1)


def test_sbatch_gets_the_options_and_what_it_refuses_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("srun", ""), ("sbatch", f"cp $1 {tmp_path}/script; echo no such partition >&2; exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o700)
    launcher = ("seed=0,1", "hydra/launcher=stacked_submitit", f"outputs={tmp_path}/outputs", "-m")
    assert typed(*SMALL, *launcher) == 2
    assert "there is no sbatch here. Pass hydra.launcher.cluster=local" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    options = {
        "partition": "long", "timeout_min": "90", "cpus_per_task": "4", "mem_gb": "8", "setup": "[module load python]",
        "name": "mine",
    }  # fmt: skip
    given = [f"hydra.launcher.{key}={value}" for key, value in options.items()]
    assert typed(*SMALL, *launcher, *given, "+hydra.launcher.additional_parameters.mail-type=BEGIN") == 2
    assert "runner: hydra/launcher=stacked_submitit: no allocation can be had: " in (err := capsys.readouterr().err)
    assert "no such partition" in err
    assert not (tmp_path / "outputs/sweeps").exists()
    script = (tmp_path / "script").read_text(encoding="utf-8")
    for option in (
        "partition=long", "time=90", "cpus-per-task=4", "mem=8GB", "mail-type=BEGIN", "job-name=mine", "nodes=1"
    ):  # fmt: skip
        assert f"#SBATCH --{option}\n" in script
    assert "\nmodule load python\n" in script


def test_a_key_that_no_cluster_can_work_with(capsys: pytest.CaptureFixture[str]) -> None:
    for launcher, words, said in (
        ("submitit", ["cpus_per_task=0"], "hydra.launcher.cpus_per_task must be 1 or more; got 0."),
        ("submitit", ["cluster=pbs"], "hydra.launcher.cluster must be slurm, or local"),
        ("submitit", ["memory=2"], "hydra.launcher.memory must be a share"),
        ("dask", ["address=tcp://a:1", "scheduler_file=b"], "hydra.launcher takes an address or a scheduler_file"),
    ):
        launched = (f"hydra/launcher=stacked_{launcher}", *(f"hydra.launcher.{word}" for word in words))
        assert typed(*SMALL, "seed=0,1", *launched, "-m") == 2
        assert capsys.readouterr().err.startswith(f"runner: {said}")
