"""The launcher and the sweeper under Hydra: its own tests, its job directories, callbacks and returns."""

from __future__ import annotations

import errno
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite
from hydra.version import VersionBase
from omegaconf import DictConfig
from packaging.version import Version

import runner
from runner.config.composition import Composer
from runner.config.schema import StackedLauncher
from runner.config.trial import Trial
from runner.execution.jobs import Stopped
from runner.execution.pool import LocalPool
from runner.execution.resources import installed_memory, resources
from runner.tracking import files, read
from runner.training import stacks, worker
from tests.commands import FOR_OPTUNA, ROOT, assert_same_records, directories, mlflow_runs, started, typed

FOR_HYDRA = pytest.mark.filterwarnings("ignore:\nFuture Hydra versions:UserWarning", "ignore:Future Hydra:UserWarning")
FOR_MLFLOW = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

SMALL = (
    "data=two_spirals", "architecture.depth=2", "architecture.width=8", "training.steps=20", "training.probe.size=16",
    "tracking.figures=false",
)  # fmt: skip
RAISING = ("scheme=custom", "scheme._target_=tests.schemes_for_tests.RaisesAtSeed", "+scheme.seed=1")


@pytest.fixture
def _as_hydra_tests_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra's tests expect its oldest defaults, which another test of this process may have changed for good."""
    monkeypatch.setattr(VersionBase.instance(), "version_base", Version("1.1"))


@FOR_HYDRA
@pytest.mark.usefixtures("_as_hydra_tests_itself")
@pytest.mark.parametrize(("launcher_name", "overrides"), [("stacked", [])])
class TestLauncher(LauncherTestSuite):
    """Hydra's tests of a launcher."""


@FOR_HYDRA
@pytest.mark.usefixtures("_as_hydra_tests_itself")
@pytest.mark.parametrize(
    ("launcher_name", "overrides"), [("stacked", ["hydra/sweeper=stacked", "hydra.sweeper.max_batch_size=2"])]
)
class TestBatches(BatchedSweeperTestSuite):
    """Hydra's tests of a sweeper that launches in batches."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"), [({}, ["-m", "hydra/launcher=stacked", "hydra/sweeper=stacked"])]
)
class TestIntegration(IntegrationTestSuite):
    """Hydra's tests of a launcher in programs of their own, a process each."""

    @pytest.fixture(autouse=True)
    def _path(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", str(ROOT))


class Watching(Callback):
    """A callback of Hydra's that keeps what it is told."""

    jobs: ClassVar[list[JobReturn]] = []
    events: ClassVar[list[str]] = []

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self.jobs.clear()
        self.events[:] = ["sweep"]

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        self.events.append("end")

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        self.events.append(f"job {config.hydra.job.num}")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        self.jobs.append(job_return)


WATCHED = "+hydra.callbacks.watching._target_=tests.test_launcher.Watching"


def returned() -> list[tuple[Sequence[str] | None, JobStatus, Any]]:
    """What the jobs' callbacks were told last."""
    return [(job.overrides, job.status, job._return_value) for job in Watching.jobs]


def hydras_files(directory: Path) -> dict[str, Any]:
    """What Hydra writes about the jobs below a sweep's directory, without what differs with the launcher."""
    found: dict[str, Any] = {}
    for path in sorted(directory.glob("[0-9]*/**/*")):
        if path.is_file():
            content = yaml.safe_load(path.read_text())
            if path.name == "hydra.yaml":
                settings = content["hydra"]
                for key in ("launcher", "sweep", "run", "overrides"):
                    del settings[key]
                del settings["runtime"]["output_dir"], settings["runtime"]["choices"]["hydra/launcher"]
            found[str(path.relative_to(directory))] = content
    return found


def test_hydras_basic_launcher_gives_the_same_records_files_and_returns(tmp_path: Path) -> None:
    seen = []
    for launcher in ("stacked", "basic"):
        words = (*SMALL, "scheme=he,xavier", "seed=0,3", "outputs=${oc.env:OUT}", "tracking=none", WATCHED)
        os.environ["OUT"] = str(tmp_path / launcher)
        assert typed(*words, f"hydra/launcher={launcher}", "-m") == 0
        (directory,) = directories(tmp_path / launcher)
        seen.append((directory, hydras_files(directory), returned(), Watching.events[:]))
        assert yaml.safe_load((directory / "multirun.yaml").read_text())["hydra"]["mode"] == "MULTIRUN"
    (one, files, jobs, events), (other, *same) = seen
    assert_same_records(one, other)
    assert [files, jobs, events] == same
    assert {f"{number}/.hydra/{name}.yaml" for number in range(4) for name in ("config", "hydra", "overrides")} == set(
        files
    )
    assert events == ["sweep", "job 0", "job 1", "job 2", "job 3", "end"]
    runs, _ = read(one)
    assert [job[2] for job in jobs] == runs["validation_loss"].tolist()
    assert [job[0][6:8] for job in jobs] == [[f"scheme={s}", f"seed={n}"] for s in ("he", "xavier") for n in (0, 3)]


def test_a_run_that_fails_leaves_the_others_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (*SMALL, "scheme=custom", "scheme._target_=tests.schemes_for_tests.RaisesAtSeed", "tracking=none", WATCHED)
    assert typed(*words, "+scheme.seed=1", "seed=range(0,4)", f"outputs={tmp_path}/one", "-m") == 1
    out, err = capsys.readouterr()
    assert "1 of 4 runs failed" in out
    assert "RaisesAtSeed s1  RuntimeError: seed 1 was refused" in out
    assert "Traceback" not in out + err
    assert [job.status.name for job in Watching.jobs] == ["COMPLETED", "FAILED", "COMPLETED", "COMPLETED"]
    with pytest.raises(RuntimeError, match="seed 1 was refused"):
        _ = Watching.jobs[1].return_value
    capsys.readouterr()
    runs, curves = read(directories(tmp_path / "one")[0])
    assert runs["fate"].tolist() == ["finished", "failed", "finished", "finished"]
    assert typed(*words, "+scheme.seed=9", "seed=0,2,3", f"outputs={tmp_path}/two", "-m") == 0
    _, alone = read(directories(tmp_path / "two")[0])
    np.testing.assert_array_equal(curves["value"], alone["value"])
    # Hydra's own sweeper raises the first failure, when all has been recorded.
    assert typed(*words, "+scheme.seed=1", "seed=0,1", f"outputs={tmp_path}/three", "hydra/sweeper=basic", "-m") == 1
    assert "1 of 2 runs failed" in capsys.readouterr().out


def test_a_run_that_diverges_is_a_result_and_the_worst_of_all(tmp_path: Path) -> None:
    words = (*SMALL, "optimizer=sgd", "optimizer.learning_rate=0.1,1e30", "tracking=none", f"outputs={tmp_path}")
    assert typed(*words, WATCHED, "-m") == 0
    runs, _ = read(directories(tmp_path)[0])
    assert runs["fate"].tolist() == ["finished", "diverged"]
    (finished, diverged) = (job.return_value for job in Watching.jobs)
    assert np.isfinite(finished)
    assert diverged == np.inf


def test_overrides_may_stand_behind_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("seed=0,1", "-m", *SMALL, "tracking=none", f"outputs={tmp_path}") == 0
    assert len(read(directories(tmp_path)[0])[0]) == 2
    capsys.readouterr()
    assert typed("--nonsense", "seed=0") == 2
    assert "unrecognized arguments: --nonsense" in capsys.readouterr().err


def test_a_batch_at_a_time_is_one_sweep(tmp_path: Path) -> None:
    words = (*SMALL, "seed=range(0,5)", "tracking=none", f"outputs={tmp_path}", "hydra.sweeper.max_batch_size=2")
    assert typed(*words, WATCHED, "-m") == 0
    assert len(read(directories(tmp_path)[0])[0]) == 5
    assert Watching.events == ["sweep", *(f"job {number}" for number in range(5)), "end"]


def test_processes_may_take_the_place_of_threads(tmp_path: Path) -> None:
    words = (*SMALL, "seed=0,1", "tracking=none")
    assert typed(*words, f"outputs={tmp_path}/threads", "-m") == 0
    pool = "hydra.launcher.executor=concurrent.futures.ProcessPoolExecutor"
    assert typed(*words, f"outputs={tmp_path}/processes", pool, "hydra.launcher.max_workers=1", "-m") == 0
    assert_same_records(directories(tmp_path / "threads")[0], directories(tmp_path / "processes")[0])


def test_a_worker_that_dies_stops_the_sweep_with_what_had_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*SMALL, "scheme=custom", "scheme._target_=tests.schemes_for_tests.DiesAtSeed", "tracking=none")
    pool = ("hydra.launcher.executor=concurrent.futures.ProcessPoolExecutor", "hydra.launcher.max_workers=1")
    # One run at a time: the first has been recorded when the second's worker dies.
    swept = ("+scheme.seed=1", "seed=0,1", "hydra.sweeper.max_batch_size=1", f"outputs={tmp_path}")
    assert typed(*words, *pool, *swept, "-m") == 1
    out, err = capsys.readouterr()
    assert "a worker process died" in err
    assert "resume=true hydra.launcher.max_workers=1" in err
    assert "Traceback" not in out + err
    runs, _ = read(directories(tmp_path)[0])
    assert runs["seed"].tolist() == [0]


def test_a_full_disk_stops_the_sweep_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write", full)
    assert typed(*SMALL, "seed=0,1", "tracking=none", f"outputs={tmp_path}", "-m") == 1
    out, err = capsys.readouterr()
    assert "nothing can be recorded ([Errno 28] No space left on device)" in err
    assert "resume=true" in err
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("key", "value"), [("memory", "0"), ("memory", "1.5"), ("max_workers", "0"), ("executor", "concurrent.futures.No")]
)
def test_settings_that_no_launcher_can_work_with(
    key: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(*SMALL, "seed=0,1", f"outputs={tmp_path}", f"hydra.launcher.{key}={value}", "-m") == 2
    assert capsys.readouterr().err.startswith(f"runner: hydra.launcher.{key} must be ")
    assert not list(tmp_path.iterdir())


def test_stacks_are_planned_for_the_workers_and_the_memory_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, plan = [], stacks.plan

    def watched(trials: Sequence[Trial], *, workers: int, memory: float) -> list[list[int]]:
        planned.append((workers, memory, plan(trials, workers=workers, memory=memory)))
        return planned[-1][2]

    monkeypatch.setattr(stacks, "plan", watched)
    words = (*SMALL, "seed=range(0,24)", "tracking=none", "hydra.launcher.max_workers=3", "-m")
    assert typed(*words, f"outputs={tmp_path}/half") == 0
    assert typed(*words, f"outputs={tmp_path}/tiny", "hydra.launcher.memory=1e-12") == 0
    assert planned[0][:2] == (3, 0.5 * installed_memory())
    assert [len(indices) for indices in planned[0][2]] == [8, 8, 8]
    assert [len(indices) for _, _, found in planned[1:] for indices in found] == [1] * 24
    assert_same_records(directories(tmp_path / "half")[0], directories(tmp_path / "tiny")[0])


def test_processes_end_with_their_executor() -> None:
    start = time.monotonic()
    with (  # noqa: PT012 - what is tested is how the executor is left
        pytest.raises(KeyboardInterrupt),
        resources(StackedLauncher(executor="concurrent.futures.ProcessPoolExecutor", max_workers=1)) as pool,
    ):
        assert isinstance(pool, LocalPool)
        assert pool.executor.submit(worker.count, 7).result() is None  # as training does at each step
        assert pool.steps() == 7
        future = pool.executor.submit(time.sleep, 60)
        while not future.running():
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert time.monotonic() - start < 30


def test_a_long_sweep_trains_in_processes_and_a_short_one_in_threads() -> None:
    composer = Composer()
    (short,), (long,) = (composer.trials([[*SMALL, f"training.steps={steps}"]]) for steps in (20, 10**7))
    for trial, kind in ((short, ThreadPoolExecutor), (long, ProcessPoolExecutor)):
        with resources(StackedLauncher(), [trial]) as pool:
            assert isinstance(pool, LocalPool)
            assert type(pool.executor) is kind


def test_processes_end_with_a_parent_that_was_killed() -> None:
    script = (
        "import os, signal\n"
        "from runner.config.schema import StackedLauncher\n"
        "from runner.execution.resources import PROCESSES, resources\n"
        "with resources(StackedLauncher(executor=PROCESSES, max_workers=1)) as pool:\n"
        "    print(pool.executor.submit(os.getpid).result(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert parent.returncode == -signal.SIGKILL, parent.stderr
    stat, deadline = Path(f"/proc/{int(parent.stdout)}/stat"), time.monotonic() + 20
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":  # dead, and not yet buried
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_function_gives_what_the_command_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = (*SMALL, "scheme=he,xavier", "seed=0,1", "tracking=none")
    runs, curves = runner.run([*words, "outputs=function"])
    assert typed(*words, "outputs=command", "-m") == 0
    assert_same_records(directories(tmp_path / "function")[0], directories(tmp_path / "command")[0])
    assert (runs["name"].tolist(), curves["key"].nunique()) == (["he s0", "he s1", "xavier s0", "xavier s1"], 4)
    again, _ = runner.run([*words, "outputs=function", "resume=true"])
    assert again["end_time"].tolist() == runs["end_time"].tolist()
    runner.run([*words, "outputs=basic", "hydra/launcher=basic"])
    assert_same_records(directories(tmp_path / "function")[0], directories(tmp_path / "basic")[0])


def test_the_function_refuses_what_is_no_sweep() -> None:
    with pytest.raises(ValueError, match=r"got 'forecast'. Call runner.forecast\(\)."):
        runner.run(["mode=forecast"])


@pytest.mark.slow
@FOR_MLFLOW
def test_two_sweeps_at_once_on_a_new_store_lose_nothing(tmp_path: Path) -> None:
    sweeps = [started(*SMALL, f"scheme={s}", "seed=range(0,8)", f"outputs={tmp_path}", "-m") for s in ("he", "xavier")]
    for sweep in sweeps:
        _, err = sweep.communicate(timeout=300)
        assert sweep.returncode == 0, err
        assert "MLflow" not in err
    runs = mlflow_runs(tmp_path)
    assert sorted(run.info.run_name for run in runs if "trial_key" in run.data.tags) == sorted(
        f"{scheme} s{seed}" for scheme in ("he", "xavier") for seed in range(8)
    )
    assert len(runs) == 18
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len({run.data.tags["session"] for run in runs}) == 2
    assert len({len(run.data.metrics) for run in runs if "trial_key" in run.data.tags}) == 1


@FOR_MLFLOW
@FOR_OPTUNA
def test_optuna_asks_for_runs_as_it_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        *SMALL, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=3", "optimizer=sgd",
        "hydra.sweeper.sampler.seed=1", "optimizer.learning_rate=choice(0.01,0.1,1e30)", f"outputs={tmp_path}",
    )  # fmt: skip
    assert typed(*words, WATCHED, "-m") == 0
    (directory,) = directories(tmp_path)
    best = yaml.safe_load((directory / "optimization_results.yaml").read_text())
    runs, _ = read(directory)
    assert len(Watching.jobs) == 6
    assert {job.return_value for job in Watching.jobs} == {*runs["validation_loss"].fillna(np.inf)}
    assert best["best_value"] == runs["validation_loss"].min()
    said = capsys.readouterr().out
    (again,) = re.findall(r"^again: +(.*)", said, re.MULTILINE)
    (repeated,) = Composer().trials([shlex.split(again)[3:]])
    assert repeated.key == runs.loc[runs["validation_loss"].idxmin(), "key"]
    assert f"best:     of {runs['key'].nunique()} runs, by validation loss: learning rate " in said
    assert "seed=" not in said.partition(again)[2]
    assert "no ranking" not in said
    assert typed("mode=compare", "sweep=latest", f"outputs={tmp_path}") == 0
    shown = capsys.readouterr().out
    assert shown.partition("\n\nfiles:")[0] == said.partition("\n\nlook:")[0]
    page = (directory / "report.html").read_text()
    assert f'class="answer">Best of {runs["key"].nunique()} runs, by validation loss: learning rate ' in page
    assert f"<pre>{again}</pre>" in page
    assert "No ranking" not in page
    parents = [run for run in mlflow_runs(tmp_path) if "mlflow.parentRunId" not in run.data.tags]
    assert [run.info.status for run in parents] == ["FINISHED"]
    assert typed(*words, "resume=true", "-m") == 0
    assert directories(tmp_path) == [directory]


@FOR_OPTUNA
def test_a_search_goes_on_with_what_it_has_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from optuna.trial import TrialState

    from runner.execution import studies

    words = (
        *SMALL, "hydra/sweeper=optuna", "hydra.sweeper.n_jobs=2", "optimizer.learning_rate=interval(0.01,0.1)",
        f"outputs={tmp_path}", "tracking=none", "-m",
    )  # fmt: skip
    tell, told = studies.Kept.set_trial_values, list[int]()

    def interrupt(self: Any, trial: int, values: Sequence[float]) -> None:
        told.append(trial)
        if len(told) == 4:  # of two runs that are recorded, the study knows one
            raise Stopped("a test says so")
        tell(self, trial, values)

    def tried() -> tuple[int, list[float]]:
        (directory,) = directories(tmp_path)
        trials = studies._read(directory / studies.FILE)
        rates = [trial.params["optimizer.learning_rate"] for trial in trials if trial.state == TrialState.COMPLETE]
        runs, _ = read(directory)
        assert set(rates) <= set(runs["optimizer.learning_rate"])
        return len(runs), rates

    monkeypatch.setattr(studies.Kept, "set_trial_values", interrupt)
    assert typed(*words, "hydra.sweeper.n_trials=6") == 1
    runs, first = tried()
    assert (runs, len(first)) == (4, 3)
    monkeypatch.undo()
    assert typed(*words, "hydra.sweeper.n_trials=6", "resume=true") == 0
    assert "where 3 of 6 runs are" in capsys.readouterr().err
    runs, rates = tried()
    assert (runs, len(rates), rates[:3]) == (6, 6, first)  # the one that it did not know was asked for, not trained
    assert typed(*words, "hydra.sweeper.n_trials=7", "resume=true") == 0  # more of the same
    assert tried()[0] == 7
    assert typed(*words, "hydra.sweeper.n_trials=7", "resume=true") == 0
    assert "nothing is left to do" in capsys.readouterr().err
    assert typed(*words, "hydra.sweeper.storage=sqlite:///mine.db") == 2
    assert "resume=true goes on with it." in capsys.readouterr().err
