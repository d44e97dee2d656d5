"""CONTRIBUTING.md holds: its worked examples apply to the repository as it is, and what they add works."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.pages import PAGES, ROOT, module

PAGE = next(page for page in PAGES if page.name == "CONTRIBUTING.md")
EDITS = re.findall(r"`([\w/.]+)`[^`\n]*:\n\n```diff\n(.*?)^```$", PAGE.text, re.MULTILINE | re.DOTALL)
COMMANDS = [typed for command in PAGE.typed if (typed := module(command))]
RUNNER = [arguments for name, arguments in COMMANDS if name == "runner"]
PYTEST = [arguments for name, arguments in COMMANDS if name == "pytest"]
SMALL = [
    "training.steps=2",
    "training.probe.size=16",
    "tracking=none",
    "tracking.figures=false",
]
# Every command in one process, which imports once.
SCRIPT = """
import runpy, sys
for arguments in {commands!r}:
    sys.argv = ["runner", *arguments]
    try:
        runpy.run_module("runner", run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            sys.exit(f"{{arguments}} failed")
"""


def edited(text: str, edit: str) -> str:
    """The text after an edit, whose parts each name a place that there is once: lines that stay, go and come."""
    for part in re.split(r"^@@\n", edit, flags=re.MULTILINE):
        lines = [line for line in part.splitlines() if line]
        old = "\n".join(line[1:] for line in lines if line[0] in " -")
        new = "\n".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(old) == 1, f"{text.count(old)} places for\n{old}"
        text = text.replace(old, new)
    return text


def house() -> ModuleType:
    """The script that draws the picture."""
    spec = importlib.util.spec_from_file_location("house", ROOT / "docs" / "house.py")
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    sys.modules["house"] = loaded
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which all worked examples are carried out."""
    copy = tmp_path_factory.mktemp("contributing") / "repository"
    ignored = shutil.ignore_patterns(".*", "outputs", "*.egg-info", "build", "dist")
    shutil.copytree(ROOT, copy, ignore=ignored)
    for path, edit in EDITS:
        file = copy / path
        file.write_text(edited(file.read_text(encoding="utf-8"), edit), encoding="utf-8")
    for path, text in PAGE.files.items():
        assert not (copy / path).exists(), path
        (copy / path).write_text(text, encoding="utf-8")
    return copy


def carried_out(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=repository,
        env=os.environ | {"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_kind_of_part_has_its_example() -> None:
    assert len(PAGE.files) == 5, sorted(PAGE.files)  # a statistic has no file of its own
    assert len(RUNNER) == len(PYTEST) == 6


def test_the_tests_of_the_examples_pass(repository: Path) -> None:
    """All in one process: its words are those of each command, in that command's files."""
    files, chosen = set[str](), []
    for arguments in PYTEST:
        own = [word for word in arguments if word.endswith(".py")]
        files.update(own)
        words = f"({arguments[arguments.index('-k') + 1]}) and " if "-k" in arguments else ""
        chosen.append(f"({words}({' or '.join(Path(file).stem for file in own)}))")
    done = carried_out(repository, "-m", "pytest", *sorted(files), "-k", " or ".join(chosen))
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) passed", f"{done.stdout}")[0]) > 50


def test_the_commands_of_the_examples_run(repository: Path) -> None:
    commands = [[*SMALL, *arguments] for arguments in RUNNER]
    done = carried_out(repository, "-c", SCRIPT.format(commands=commands))
    assert done.returncode == 0, done.stderr
    for word in ("relu6", "width_power", "adagrad", "rings"):
        assert word in f"{commands}{done.stdout}"
    assert done.stdout.count("files:") == len(RUNNER)


def test_the_examples_are_well_formed(repository: Path) -> None:
    changed = [path for path in {*dict(EDITS), *PAGE.files} if path.endswith(".py")]
    for tool in ("check", "format --check"):
        done = carried_out(repository, "-m", "ruff", *shlex.split(tool), *changed)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("example", PAGE.examples, ids=lambda text: text.splitlines()[-1][:40])
def test_the_way_of_one_value(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(example, PAGE.name, "exec"), {})


def test_the_picture_of_the_house_is_made_from_the_imports(tmp_path: Path) -> None:
    drawn = tmp_path / "house.svg"
    house().draw(drawn)
    words = re.compile(r"<text[^>]*>([^<]*)</text>|id=\"([^\"]*>[^\"]*)\"")
    assert words.findall(drawn.read_text()) == words.findall((ROOT / "docs" / "house.svg").read_text()), (
        "run python docs/house.py"
    )


def test_a_circle_of_imports_is_no_house() -> None:
    with pytest.raises(ValueError, match="circle among a, b"):
        house().stacked({"a": {"b"}, "b": {"a"}, "c": set()})
