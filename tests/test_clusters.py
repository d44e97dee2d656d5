"""Stacks on clusters: what travels, what is said of workers, and what a death costs."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weightinit
from runner import requirements
from runner.config.composition import Composer
from runner.execution.pool import Steps
from runner.training import parcels, versions, worker
from tests.commands import ROOT, assert_same_records, directories, typed
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


@pytest.mark.parametrize("launcher", ["dask"])
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


@contextmanager
def process(program: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program of Dask's, until the end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", f"distributed.cli.{program}", *words, "--no-dashboard", "--host", "127.0.0.1"]
    started = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def test_a_killed_worker_costs_its_stack_and_a_new_one_gets_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A scheduler and two workers. One is killed amid a stack; then no stack ends before a third worker has one."""
    from runner.execution.dask_pool import DaskPool

    heard: list[Any] = []
    hear = DaskPool._hear

    def listen(pool: DaskPool, event: tuple[float, Any]) -> None:
        heard.append(event[1])
        hear(pool, event)

    monkeypatch.setattr(DaskPool, "_hear", listen)
    monkeypatch.setattr(weightinit, "__version__", "elsewhere")
    scheduler, killed = tmp_path / "scheduler.json", tmp_path / "killed"
    a_worker = ("dask_worker", "--scheduler-file", str(scheduler), "--no-nanny", "--nthreads", "1")
    words = (
        *SMALL, "seed=range(0,8)", "scheme=custom", "scheme._target_=tests.schemes_for_tests.KillsAWorker",
        f"+scheme.folder={tmp_path}", "+scheme.seed=2", "+scheme.processes=3", "-m",
    )  # fmt: skip
    with ExitStack() as cluster:
        cluster.enter_context(process("dask_scheduler", "--scheduler-file", str(scheduler), "--port", "0"))
        for _ in range(2):
            cluster.enter_context(process(*a_worker))

        def join() -> None:
            while not killed.exists():
                time.sleep(0.05)
            cluster.enter_context(process(*a_worker))

        joining = threading.Thread(target=join, daemon=True)
        joining.start()
        deadline = time.monotonic() + 60
        while not scheduler.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        dask = ("hydra/launcher=stacked_dask", f"hydra.launcher.scheduler_file={scheduler}")
        assert typed(*words, *dask, "hydra.launcher.memory=1e-12", f"outputs={tmp_path}/cluster") == 0
        joining.join(60)
    err = capsys.readouterr().err
    sentence = "runner: results may differ in the last digits, since a worker has other versions: weightinit"
    assert err.count(sentence) == 1
    assert err.index(sentence) < err.index("runs ·")
    assert any(0 < passed < 20 for _, passed in heard), heard
    assert len(list(tmp_path.glob("process-*"))) == 3
    # The same here, where nobody dies any more.
    assert typed(*words, f"outputs={tmp_path}/here") == 0
    assert_same_records(directories(tmp_path / "cluster")[0], directories(tmp_path / "here")[0])
