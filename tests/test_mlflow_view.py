"""What people look for in MLflow: the page of their runs, tags, names, registered models, the sweep as a row."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.browser import INSTALLED, browser
from tests.commands import ROOT, typed

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

QUICK = ("data=two_spirals", "architecture.width=8", "training.steps=20", "training.probe.size=16")


def test_people_find_their_sweeps_and_models_in_mlflow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mlflow import MlflowClient

    words = [
        *QUICK,
        "tracking.figures=false",
        f"outputs={tmp_path}",
        "tracking.experiment=mine",
        "tracking.tags.team=vision",
    ]
    assert typed(*words, "tracking.log_model=best", "tracking.register=spirals", "scheme=he,xavier", "-m") == 0
    assert typed(*words, "optimizer.learning_rate=0.1") == 0
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("mine").experiment_id
    assert f"#/experiments/{experiment}/runs?workflowType=machine_learning" in capsys.readouterr().out
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert {run.data.tags["team"] for run in runs.values()} == {"vision"}
    assert any("learning_rate=0.1" in name and name.startswith("he") for name in runs)
    (parent,) = (run for run in runs.values() if "best_run" in run.data.tags)
    best = client.get_run(parent.data.tags["best_run"])
    assert best.data.tags["best"] == "true"
    assert parent.data.metrics["test_accuracy"] == best.data.metrics["test_accuracy"]
    assert parent.data.params["scheme"] == "he,xavier"
    (version,) = client.search_model_versions("name='spirals'")
    assert version.run_id == best.info.run_id
    there = f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"
    assert typed("mode=compare", f"outputs={tmp_path}/elsewhere", there) == 2
    assert "commands are in mine (2). Pass tracking.experiment=mine." in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="needs chromium and chromedriver")
def test_the_printed_address_leads_to_the_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (*QUICK, "tracking.figures=false", f"outputs={tmp_path}", "tracking.experiment=mine", "scheme=he,xavier")
    assert typed(*words, "-m") == 0
    found = re.search(r"look:     python -m (.*), then http://localhost:5000(/\S+)", capsys.readouterr().out)
    assert found is not None
    port = 5000 + os.getpid() % 1000
    command = [sys.executable, "-m", *found[1].split(), "--port", str(port), "--host", "127.0.0.1", "--workers", "1"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        with browser(tmp_path / "profile") as window:
            deadline, text = time.monotonic() + 120, ""
            while "3 matching runs" not in text and time.monotonic() < deadline:
                time.sleep(1)
                if not text:
                    try:
                        window.call("POST", "/url", url=f"http://127.0.0.1:{port}{found[2]}")
                    except OSError:
                        continue
                    time.sleep(5)
                text = str(window.run("return document.body ? document.body.innerText : ''"))
            assert "3 matching runs" in text, (window.run("return location.href"), text)
            assert "scheme=he,xavier" in text  # the parent, below which the two are
            assert window.run("return location.href").partition("#")[2].startswith(found[2].partition("#")[2])
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
