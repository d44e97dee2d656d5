"""The pages on models of one's own hold: examples print what they show, and commands work."""

from __future__ import annotations

import doctest
import os
import shlex

import pytest

import runner
from runner.analysis.comparison import compare
from runner.report.terminal import sweep_text
from tests.pages import PAGES

os.environ.setdefault("KERAS_BACKEND", "jax")
BY_NAME = {page.name: page for page in PAGES}
OWN = BY_NAME["docs/own-modules.md"]
COMMANDS = {command for page in (BY_NAME["README.md"], OWN) for command in page.commands if "=torch" in command}


def test_examples_print_what_the_page_shows() -> None:
    page = BY_NAME["docs/your-model.md"]
    test = doctest.DocTestParser().get_doctest(page.session, {}, page.name, page.name, 0)
    assert len(test.examples) > 20
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_commands_that_train_modules_work(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in OWN.files.items():
        (tmp_path / name).write_text(text)
    overrides = [word for word in shlex.split(command) if "=" in word]
    small = ["training.steps=2", "training.probe.size=16", "tracking=none", "tracking.figures=false"]
    runs, _ = runner.run([text for text in overrides if not text.startswith("seed=")] + small)
    assert len(runs) > 1
    assert (runs["fate"] == "finished").all()


def test_the_table_shows_the_signals_of_the_modules(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(OWN.files["mine.py"])
    ((command, shown),) = OWN.shown.items()
    overrides = [word for word in shlex.split(command) if "=" in word]
    text = sweep_text(compare(*runner.run([*overrides, "training.steps=0", "tracking=none", "tracking.figures=false"])))
    for scheme in ("he", "xavier", "as_built"):
        found, told = (next(line for line in lines.splitlines() if line.startswith(scheme)) for lines in (text, shown))
        assert found.partition("unknown")[2].split() == told.partition("unknown")[2].split()
