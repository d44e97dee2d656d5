"""The runner from Python: tables for answers, and in a notebook progress, the ranking and links."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.figure
import pandas as pd
import pytest

import runner
from tests.commands import typed

QUICK = ["data=iris", "architecture.depth=2", "architecture.width=8", "training.steps=20", "training.probe.size=16"]
FILES = [*QUICK, "tracking=none"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[runner.Results, Path]:
    outputs = tmp_path_factory.mktemp("python")
    return runner.run(["scheme=he,xavier", "seed=0,1,2", *FILES, f"outputs={outputs}"]), outputs


def test_results_are_two_tables_with_ranking_figures_and_page(swept: tuple[runner.Results, Path]) -> None:
    results, outputs = swept
    runs, curves = results
    assert len(runs) == 6
    assert runs is results.runs
    assert set(curves.columns) == {"key", "step", "quantity", "layer", "value"}
    assert results.directory.parent.parent == outputs
    assert results.page is not None
    assert results.page.exists()
    assert list(results.ranking["place"]) == sorted(results.ranking["place"])
    figures = results.figures()
    assert {"loss", "layers"} <= set(figures)
    assert all(isinstance(figure, matplotlib.figure.Figure) for figure in figures.values())
    assert repr(results).startswith("Results(6 runs, ")


def test_compare_returns_the_ranking_that_the_shell_prints(
    swept: tuple[runner.Results, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    results, outputs = swept
    found = runner.compare(["sweep=latest", f"outputs={outputs}"])
    pd.testing.assert_frame_equal(found, results.ranking)
    capsys.readouterr()
    assert typed("mode=compare", "format=csv", f"outputs={outputs}") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split(",") == list(found.columns)
    assert len(printed) == 1 + len(found)
    assert runner.compare(["sweep=latest", "against=latest", f"outputs={outputs}"]).empty
    with pytest.raises(ValueError, match=r"sweep must be latest, .* got 'nix'"):
        runner.compare(["sweep=nix", f"outputs={outputs}"])


def test_advice_is_a_table_of_the_schemes_tried(tmp_path: Path) -> None:
    few = ["scheme=he,xavier", "seed=0,1", "optimizer.learning_rate=0.01", *FILES]
    found = runner.advise([*few, f"outputs={tmp_path}"])
    assert sorted(found["scheme"]) == ["he", "xavier"]
    assert found["advised"].sum() == 1
    assert found.attrs["advice"].startswith("advice · ")
    (scheme,) = found.loc[found["advised"], "scheme"]
    assert f"scheme={scheme} " in found.attrs["command"]
    assert f"scheme {scheme}, learning rate .01" in found.attrs["advice"]
    with pytest.raises(ValueError, match="mode=advise compares several seeds; got seed=0 alone"):
        runner.advise(["seed=0", *FILES])


CELLS = [
    "import runner",
    f"results = runner.run(['scheme=he,xavier', 'seed=0,1,2', 'outputs=here', *{FILES}])",
    "results",
    "results.figures()['loss']",
    "runner.compare(['sweep=latest', 'outputs=here'])",
    "runner.run(['scheme=hee'])",
]


def test_a_notebook_shows_progress_the_ranking_and_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a real kernel."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    client = nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}, allow_errors=True
    )
    updates: list[str] = []
    received = client.process_message

    def watched(message: Any, *rest: Any) -> Any:
        if message["msg_type"] == "update_display_data":
            updates.append(message["content"]["data"]["text/html"])
        return received(message, *rest)

    client.process_message = watched
    client.execute()
    shown = [cell.outputs for cell in notebook.cells]

    def html(number: int) -> str:
        return "".join(output.data.get("text/html", "") for output in shown[number] if "data" in output)

    assert any("<progress" in text and "6/6 runs" in text for text in updates)
    assert "<progress" not in html(1)
    for word in ("<table", "xavier", "report.html", ">page</a>", ">files</a>"):
        assert word in html(1)
    assert "Results(6 runs" in shown[2][0].data["text/plain"]
    assert "image/png" in shown[3][0].data
    assert "<table" in html(4)
    (error,) = [output for output in shown[5] if output.output_type == "error"]
    assert (error.ename, "got 'hee'" in error.evalue) == ("ValueError", True), error.evalue
    assert not [output for cell in shown[:5] for output in cell if output.output_type == "error"]
