"""The README holds: its examples run, its commands work and print what it shows, its tables are complete."""

from __future__ import annotations

import doctest
import logging
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import runner
import weightinit
from runner.config.catalogue import GROUPS, choices
from tests.commands import FOR_OPTUNA
from weightinit.initializers import INITIALIZERS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

PYTHON = [text for kind, text in BLOCKS if kind == "python"]
# A block after "In `mine.py`:" is that file.
FILES = dict(re.findall(r"`([\w/.]+)`:\n\n```(?:python|yaml)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))
EXAMPLES = [text for text in PYTHON if not text.startswith(">>>") and text not in FILES.values()]
# A command and what it prints.
SHOWN = dict(re.fullmatch(r"\$ (.+?)\n(.*)", text, re.DOTALL).groups() for kind, text in BLOCKS if kind == "console")  # type: ignore[union-attr]
PROSE = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [*SHOWN, *re.findall(r"^    ((?:python|make) .+)$|`((?:python -m|make) [^`]+)`", PROSE, re.MULTILINE)]
COMMANDS = list(dict.fromkeys(text if isinstance(text, str) else text[0] or text[1] for text in COMMANDS))
RUNNER = [command for command in COMMANDS if command.startswith("python -m runner")]

QUICK = ("training.steps=2", "architecture.width=8", "training.probe.size=16", "tracking=none")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The reader's folder, with the files that the README says to write; what a command changes here is undone."""
    for name, text in (FILES | {"Makefile": MAKEFILE}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.delitem(sys.modules, "runner.__main__", raising=False)  # where another test has imported it
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield tmp_path
    root.level, root.handlers[:] = level, handlers
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
    sys.modules.pop("mine", None)


def typed(command: str, *, quick: bool = False) -> list[str]:
    """The arguments of a command of the runner's; ``quick``: with overrides among them that make it small."""
    arguments = shlex.split(command, comments=True)[3:]
    if quick:
        first = next((i for i, text in enumerate(arguments) if "=" in text), 0)
        arguments[first:first] = QUICK
        if "-m" in arguments:
            arguments = [text for text in arguments if not text.startswith("seed=")]
            arguments.insert(first, "seed=0,3")
    return arguments


def status(arguments: list[str]) -> int:
    """The exit status of ``python -m runner`` with these arguments, in this process."""
    sys.argv = ["runner", *arguments]
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("runner", run_name="__main__")
    assert isinstance(ended.value.code, int)
    return ended.value.code


def make_data() -> None:
    """Writes the data files of the README's example."""
    exec(next(text for text in EXAMPLES if "to_csv" in text), {})


def test_first_example_is_the_plain_function() -> None:
    assert "initialize_parameters(3, 4, 1, rng=" in PYTHON[0]


def test_interactive_examples_print_what_they_show() -> None:
    session = "\n".join(text for text in PYTHON if text.startswith(">>>"))
    test = doctest.DocTestParser().get_doctest(session, {}, "README", "README.md", 0)
    assert len(test.examples) > 8
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.strip().splitlines()[-1][:40])
def test_examples_run(example: str, folder: Path) -> None:
    exec(compile(example, "README.md", "exec"), {})


@FOR_OPTUNA
@pytest.mark.parametrize("command", RUNNER)
def test_commands_work(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "data.path" in command:
        make_data()
    given = get_args_parser().parse_args(typed(command))
    forecasts = "mode=forecast" in given.overrides
    compares = "mode=compare" in given.overrides
    if compares:  # there is a sweep, as there is in the reader's folder
        assert status(typed("python -m runner scheme=xavier,he -m", quick=True)) == 0
        capsys.readouterr()
    talks = given.help or given.cfg or forecasts or "mode=schemes" in given.overrides  # without training anything
    assert status(typed(command, quick=not talks and not compares)) == 0
    printed = capsys.readouterr().out
    if compares:
        assert "xavier" in printed or "nothing has changed" in printed
    elif talks:
        assert len(printed.splitlines()) > (5 if forecasts else 50)
        assert not (folder / "outputs").exists()
    else:
        assert "files:    outputs/" in printed
        assert "failed" not in printed


SLOW = {"python -m runner experiment=why -m"}


@pytest.mark.parametrize("command", [pytest.param(c, marks=[pytest.mark.slow] * (c in SLOW)) for c in SHOWN])
def test_shown_output_is_what_is_printed(command: str, folder: Path) -> None:
    """Numbers may differ from one kind of processor to another, words may not."""
    shown = SHOWN[command]
    if command.startswith("make "):
        target, (command, shown) = command.removeprefix("make "), shown.split("\n", 1)
        recipe = command.replace(".venv/bin", "$(BIN)")
        assert re.search(rf"^{target}: .*\n\t{re.escape(recipe)}\n", MAKEFILE, re.MULTILINE)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    printed = subprocess.run(
        [sys.executable, "-m", "runner", *typed(command)],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    assert in_words(printed) == in_words(shown)


def in_words(text: str) -> str:
    return " ".join(re.sub(r"\d*\.?\d+(e-?\d+)?", "#", text).split())


def test_targets_of_make_exist() -> None:
    targets = {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    assert targets >= {"run", "test", "ui", "gallery"}
    assert targets <= set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))


def rows(header: str) -> dict[str, str]:
    """The second column of the table whose first is headed ``header``, by what stands in the first."""
    table = README.partition(f"\n| {header} |")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| (.*) \|$", table, re.MULTILINE))


def test_every_scheme_has_its_row() -> None:
    described = {choice.name: choice.facts.get("formula", choice.title) for choice in choices("scheme")}
    assert rows("scheme") == described


def test_every_group_has_its_row() -> None:
    listed = {group: set(re.findall(r"`(\w+)`", row)) for group, row in rows("group").items()}
    assert listed == {group: {choice.name for choice in choices(group)} for group in GROUPS if group != "scheme"}


@pytest.mark.parametrize("name", [*weightinit.__all__, *INITIALIZERS, *runner.__all__])
def test_every_export_is_mentioned(name: str) -> None:
    code = " ".join([*(text for _, text in BLOCKS), *re.findall(r"`([^`]+)`", PROSE)])
    assert re.search(rf"\b{name}\b", code)


def test_files_that_the_readme_points_to_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).is_file(), target
    for name in re.findall(r"`((?:conf|docs|tests|runner)/[\w/.]+)`", README):
        assert (ROOT / name).exists(), name
    assert all(os.path.getsize(path) < 150_000 for path in (ROOT / "docs").glob("*.[ps][nv]g"))
